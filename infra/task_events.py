"""What AWS tells of tasks on instances: of their executions, their commands, and the instances.

The end of an execution is the end of a job. What is told of commands and instances only makes an
execution look sooner; all of it may be lost. EC2's events know no tags, so those of other instances of
the account pass too: each costs a message and its share of a call of `observe`, about a dollar for a
million, and nothing where no instance ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn

__all__ = ["watch_tasks"]


def watch_tasks(stack: Stack, machine: sfn.StateMachine, document: str, queue: sqs.IQueue) -> None:
    """Send what becomes of tasks on instances to the observe queue."""
    _add_rule(
        stack,
        "TaskEnds",
        "Executions of tasks that ended",
        "aws.states",
        "Step Functions Execution Status Change",
        {
            "status": ["SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"],
            "stateMachineArn": [machine.state_machine_arn],
        },
        queue,
    )
    _add_rule(
        stack,
        "TaskCommands",
        "Commands of tasks that ended",
        "aws.ssm",
        "EC2 Command Invocation Status-change Notification",
        {
            "document-name": [document],
            "status": [{"anything-but": ["Pending", "InProgress", "Delayed", "Cancelling"]}],
        },
        queue,
    )
    _add_rule(
        stack,
        "TaskHosts",
        "Instances of the account that end",
        "aws.ec2",
        "EC2 Instance State-change Notification",
        # Each is followed by terminated or stopped, which says nothing new.
        {"state": ["shutting-down", "stopping"]},
        queue,
    )
    _add_rule(
        stack,
        "TaskSpotWarnings",
        "Spot instances of the account that are about to be taken back",
        "aws.ec2",
        "EC2 Spot Instance Interruption Warning",
        None,
        queue,
    )


def _add_rule(
    stack: Stack,
    name: str,
    description: str,
    source: str,
    kind: str,
    detail: Mapping[str, Any] | None,
    queue: sqs.IQueue,
) -> None:
    events.Rule(
        stack,
        name,
        description=description,
        event_pattern=events.EventPattern(
            source=[source], account=[stack.account], detail_type=[kind], detail=detail
        ),
        targets=[targets.SqsQueue(queue)],
    )
