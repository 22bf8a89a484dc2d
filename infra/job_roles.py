"""The roles of jobs: of the container, of what starts it, and of the EC2 host below it."""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3

from infra.permissions import allow, service_role

__all__ = [
    "allow_images_and_logs",
    "make_execution_role",
    "make_instance_profile",
    "make_job_role",
]

_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_WRITE_LOGS = ("logs:CreateLogStream", "logs:PutLogEvents")


def make_job_role(stack: Stack, bucket: s3.IBucket) -> iam.Role:
    """Make the role of the tasks themselves; its owner adds what tasks need.

    It reads scripts that were too large for the job: by then a presigned URL may have expired.
    """
    role = service_role(stack, "JobRole", "ecs-tasks.amazonaws.com", "What tasks of Hut may do")
    allow(
        role,
        ["s3:GetObject"],
        [bucket.arn_for_objects("scripts/*")],
        because="scripts are named after runs, whose ids can't be guessed nor listed",
    )
    return role


def make_execution_role(
    stack: Stack, job_logs: logs.ILogGroup, secrets: Iterable[str] = ()
) -> iam.Role:
    """Make the role with which ECS pulls images, writes the logs of jobs and reads their secrets.

    Parameters
    ----------
    secrets
        ARNs of secrets and parameters, as job definitions name them.
    """
    role = service_role(
        stack, "ExecutionRole", "ecs-tasks.amazonaws.com", "Pulls images, writes logs of jobs"
    )
    allow_images_and_logs(role, job_logs)
    for service, action in (
        ("secretsmanager", "secretsmanager:GetSecretValue"),
        ("ssm", "ssm:GetParameters"),
    ):
        # Behind the name of a secret may stand a key of its JSON, a stage and a version.
        named = {":".join(arn.split(":")[:7]) for arn in secrets if arn.split(":")[2] == service}
        if named:
            allow(role, [action], sorted(named))
    return role


def make_instance_profile(stack: Stack, job_logs: logs.ILogGroup) -> iam.CfnInstanceProfile:
    """Make the profile of EC2 hosts: what the ECS agent calls, on clusters that Batch made."""
    role = service_role(stack, "HostRole", "ec2.amazonaws.com", "EC2 hosts of Hut's Batch jobs")
    allow_images_and_logs(role, job_logs)
    # As CDK's ecs.Cluster does for its hosts; which resource each action knows is from the service
    # authorization reference of ECS.
    clusters = stack.format_arn(service="ecs", resource="cluster/AWSBatch-*")
    made_by_batch = "Batch makes the cluster of an environment under a name of its own"
    allow(
        role,
        [
            "ecs:DeregisterContainerInstance",
            "ecs:RegisterContainerInstance",
            "ecs:SubmitAttachmentStateChanges",
            "ecs:SubmitContainerStateChange",
            "ecs:SubmitTaskStateChange",
        ],
        [clusters],
        because=made_by_batch,
    )
    allow(
        role,
        ["ecs:Poll", "ecs:StartTelemetrySession", "ecs:UpdateContainerInstancesState"],
        ["*"],
        because="these act on a host that does not exist yet; the condition holds the cluster",
        conditions={"ArnLike": {"ecs:cluster": clusters}},
    )
    allow(
        role,
        ["ecs:DiscoverPollEndpoint"],
        ["*"],
        because="ECS checks this call against no resource",
    )
    return iam.CfnInstanceProfile(stack, "HostProfile", roles=[role.role_name])


def allow_images_and_logs(role: iam.Role, job_logs: logs.ILogGroup) -> None:
    """Allow to pull images from ECR and to write the logs of jobs."""
    partition = Stack.of(role).partition
    allow(
        role,
        ["ecr:GetAuthorizationToken"],
        ["*"],
        because="ECR gives its token for a registry, not for a repository",
    )
    allow(
        role,
        _PULL,
        [f"arn:{partition}:ecr:*:*:repository/*"],
        because="tasks name their images, also those of other accounts; the repositories' own "
        "policies say who may pull",
    )
    allow(role, _WRITE_LOGS, [job_logs.log_group_arn])
