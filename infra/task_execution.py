"""The state machine "ec2-task" in the stack: with its role, which is what may launch instances.

What it does is `infra.task_machine`. All that it launches carries the deployment's tag, and it may end
and command only what does.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn

from infra.permissions import acknowledge, allow, service_role
from infra.settings import Settings
from infra.task_compute import TaskHosts, task_machine_name
from infra.task_machine import definition

if TYPE_CHECKING:
    from aws_cdk import aws_dynamodb as dynamodb
    from constructs import Construct

__all__ = ["make_task_machine"]

_KEYS = ("EC2JOB#*", "HOST#*", "IDLE#*")
_FROM_PARAMETER = "resolve:ssm:"


def make_task_machine(
    scope: Construct,
    settings: Settings,
    hosts: TaskHosts,
    *,
    table: dynamodb.ITable,
    observe_queue: sqs.IQueue,
    log_group: logs.ILogGroup,
) -> sfn.StateMachine:
    """Make the state machine with a role of its own."""
    name = task_machine_name(settings.prefix)
    role = service_role(scope, "TaskRole", "states.amazonaws.com", f"The state machine {name}")
    _allow_launches(role, settings, hosts)
    _allow_commands(role, settings, hosts)
    allow(
        role,
        [
            "dynamodb:ConditionCheckItem",
            "dynamodb:DeleteItem",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
        ],
        [table.table_arn],
        conditions={"ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(_KEYS)}},
    )
    allow(role, ["sqs:SendMessage"], [observe_queue.queue_arn])
    machine = sfn.StateMachine(
        scope,
        "Task",
        state_machine_name=name,
        definition_body=sfn.DefinitionBody.from_string(json.dumps(definition())),
        definition_substitutions={
            "Partition": Aws.PARTITION,
            "TableName": table.table_name,
            "DocumentName": hosts.document,
            "ObserveQueueUrl": observe_queue.queue_url,
        },
        role=role,
        logs=sfn.LogOptions(
            destination=log_group, level=sfn.LogLevel.ALL, include_execution_data=False
        ),
        tracing_enabled=True,
    )
    acknowledge(
        role,
        "AwsSolutions-IAM5[Resource::*]",
        "CloudWatch Logs knows no resource for log deliveries, X-Ray none for segments, EC2 and Systems "
        "Manager none for what only asks.",
    )
    return machine


def _allow_launches(role: iam.Role, settings: Settings, hosts: TaskHosts) -> None:
    """Allow to launch what is tagged as the deployment's, as a configuration may choose it.

    Which resources RunInstances is checked against is from the service authorization reference of EC2.
    """
    ours = {"StringEquals": {"aws:RequestTag/hut": settings.prefix}}
    made = [_ec2(role, "instance/*"), _ec2(role, "volume/*")]
    allow(
        role,
        ["ec2:RunInstances"],
        made,
        because="EC2 makes their ids; the tag says whose they are",
        conditions=ours,
    )
    allow(
        role,
        ["ec2:CreateTags"],
        made,
        because="EC2 makes their ids; only what it launches is tagged",
        conditions={"StringEquals": {"ec2:CreateAction": "RunInstances"}},
    )
    allow(
        role,
        ["ec2:RunInstances"],
        [
            *(_ec2(role, f"{kind}/*", account="") for kind in ("image", "snapshot")),
            *(_ec2(role, f"{kind}/*") for kind in ("network-interface", "spot-instances-request")),
            *(_ec2(role, f"{kind}/*") for kind in ("subnet", "security-group")),
        ],
        because="a configuration chooses image, subnets and security groups; the others are made",
    )
    allow(role, ["ec2:RunInstances"], [_ec2(role, f"launch-template/{hosts.launch_template}")])
    allow(
        role,
        ["iam:PassRole"],
        [hosts.role_arn],
        conditions={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
    )
    stack = Stack.of(role)
    linked = "role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
    allow(
        role,
        ["iam:CreateServiceLinkedRole"],
        [stack.format_arn(service="iam", region="", resource=linked)],
        conditions={"StringEquals": {"iam:AWSServiceName": "spot.amazonaws.com"}},
    )
    public = f"arn:{stack.partition}:ssm:{stack.region}::parameter/aws/service/*"
    allow(
        role,
        ["ssm:GetParameters"],
        [public, *_own_parameter(stack, settings)],
        because="AWS publishes its newest images as parameters, which EC2 reads for the caller",
    )


def _own_parameter(stack: Stack, settings: Settings) -> list[str]:
    """Return the ARN of the parameter that the deployment's AMI is read from, if it has one."""
    ami = str((settings.ec2 or {}).get("ami") or "")
    name = ami.removeprefix(_FROM_PARAMETER).partition(":")[0].lstrip("/")
    if not ami.startswith(_FROM_PARAMETER) or name.startswith("aws/service/"):
        return []
    return [stack.format_arn(service="ssm", resource=f"parameter/{name}")]


def _allow_commands(role: iam.Role, settings: Settings, hosts: TaskHosts) -> None:
    """Allow to ask for instances, to send them the document, and to end them."""
    instances = _ec2(role, "instance/*")
    allow(
        role,
        [
            "ec2:DescribeInstances",
            "ssm:DescribeInstanceInformation",
            "ssm:GetCommandInvocation",
        ],
        ["*"],
        because="these know no resources",
    )
    allow(
        role,
        ["ssm:SendCommand"],
        [Stack.of(role).format_arn(service="ssm", resource=f"document/{hosts.document}")],
    )
    allow(
        role,
        ["ssm:SendCommand"],
        [instances],
        because="EC2 makes the ids of instances; the tag says whose they are",
        conditions={"StringEquals": {"ssm:resourceTag/hut": settings.prefix}},
    )
    allow(
        role,
        ["ec2:TerminateInstances"],
        [instances],
        because="EC2 makes the ids of instances; the tag says whose they are",
        conditions={"StringEquals": {"aws:ResourceTag/hut": settings.prefix}},
    )


def _ec2(role: iam.Role, resource: str, account: str | None = None) -> str:
    options: dict[str, Any] = {} if account is None else {"account": account}
    return Stack.of(role).format_arn(service="ec2", resource=resource, **options)
