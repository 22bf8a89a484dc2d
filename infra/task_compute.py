"""What tasks on instances of their own need beside the state machine: a template, a role, a document.

None of it costs anything while no task runs. What exists already takes its place: `hut:ec2` in the
context.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm

from hut.backends.ec2.document import document_content
from infra.job_roles import allow_images_and_logs
from infra.network import Network
from infra.permissions import allow, service_role
from infra.settings import Settings
from infra.storage import StorageStack

__all__ = ["TaskHosts", "make_task_hosts", "task_document", "task_machine_name"]


@dataclass(frozen=True, slots=True)
class TaskHosts:
    """What instances of tasks are made of.

    Attributes
    ----------
    role_arn : str
        The role in the profile, which the state machine passes on.
    document : str
        Name of the SSM document.
    """

    launch_template: str
    instance_profile_arn: str
    role_arn: str
    document: str
    subnet_ids: tuple[str, ...]
    security_group_ids: tuple[str, ...]

    def entry(self) -> dict[str, object]:
        """Return its part of the entry of ``HUT_BACKENDS``."""
        return {
            "document": self.document,
            "launch_template": self.launch_template,
            "instance_profile_arn": self.instance_profile_arn,
            "subnet_ids": list(self.subnet_ids),
            "security_group_ids": list(self.security_group_ids),
        }


def task_document(prefix: str) -> str:
    """Return the name of the SSM document of a deployment."""
    return f"{prefix}-ec2-task"


def task_machine_name(prefix: str) -> str:
    """Return the name of the state machine of a deployment."""
    return f"{prefix}-ec2-task"


def make_task_hosts(
    stack: Stack, settings: Settings, storage: StorageStack, network: Network | None
) -> TaskHosts:
    """Make what the settings don't name.

    Parameters
    ----------
    network
        Where jobs run; None where Hut makes none, and the settings name subnets and groups.
    """
    given: Mapping[str, Any] = settings.ec2 or {}
    name = task_document(settings.prefix)
    _make_document(stack, name)
    profile, role = given.get("instance_profile_arn"), given.get("instance_role_arn")
    if profile is None:
        made = _make_role(stack, settings, storage)
        role = made.role_arn
        profile = iam.CfnInstanceProfile(stack, "TaskProfile", roles=[made.role_name]).attr_arn
    return TaskHosts(
        launch_template=given.get("launch_template") or _make_template(stack),
        instance_profile_arn=profile,
        role_arn=role or "",
        document=name,
        subnet_ids=tuple(given.get("subnet_ids") or (network.subnet_ids if network else ())),
        security_group_ids=tuple(
            given.get("security_group_ids") or (network.security_group_ids if network else ())
        ),
    )


def _make_document(stack: Stack, name: str) -> None:
    ssm.CfnDocument(
        stack,
        "TaskDocument",
        name=name,
        document_type="Command",
        document_format="JSON",
        content=document_content(),
        target_type="/AWS::EC2::Instance",
        # In place, and the new version is the default at once: a document with a name can't be replaced.
        update_method="NewVersion",
    )


def _make_template(stack: Stack) -> str:
    """Make the template of instances.

    The root volume is not in it: it stands in each request, under the name its image has for it, and
    EC2 would take another name for a second volume.
    """
    template = ec2.CfnLaunchTemplate
    made = template(
        stack,
        "TaskTemplate",
        launch_template_data=template.LaunchTemplateDataProperty(
            instance_initiated_shutdown_behavior="terminate",
            metadata_options=template.MetadataOptionsProperty(
                http_endpoint="enabled",
                http_tokens="required",
                # Two hops: the container of the one task has the instance's role.
                http_put_response_hop_limit=2,
            ),
        ),
    )
    return made.ref


def _make_role(stack: Stack, settings: Settings, storage: StorageStack) -> iam.Role:
    """Make the role of instances, which their tasks have too; its owner adds what tasks need.

    Of AmazonSSMManagedInstanceCore it has what Run Command takes: no sessions, no inventory, no
    parameters. Which action is checked against which resource is from the service authorization
    references of Systems Manager, Message Gateway and Message Delivery.
    """
    role = service_role(
        stack, "TaskHostRole", "ec2.amazonaws.com", "Instances that run a task of Hut each"
    )
    allow(
        role,
        ["ssm:ListAssociations", "ssm:ListInstanceAssociations", "ssm:UpdateInstanceInformation"],
        ["*"],
        because="the agent of an instance that does not exist yet tells that it is there",
    )
    allow(
        role,
        [
            "ec2messages:AcknowledgeMessage",
            "ec2messages:DeleteMessage",
            "ec2messages:FailMessage",
            "ec2messages:GetEndpoint",
            "ec2messages:GetMessages",
            "ec2messages:SendReply",
            "ssmmessages:CreateControlChannel",
            "ssmmessages:OpenControlChannel",
        ],
        ["*"],
        because="commands come through channels that know no resources",
    )
    allow_images_and_logs(role, storage.job_logs)
    if group := (settings.ec2 or {}).get("log_group"):
        allow(
            role,
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            [_log_group_arn(stack, str(group))],
            because="the streams of a group are made by its tasks",
        )
    allow(
        role,
        ["s3:GetObject"],
        [storage.bucket.arn_for_objects("scripts/*")],
        because="what a task runs is named after its run, whose id can't be guessed nor listed",
    )
    return role


def _log_group_arn(stack: Stack, name: str) -> str:
    """Return the ARN of all streams of a log group that is not the stack's."""
    return stack.format_arn(service="logs", resource=f"log-group:{name}:*")
