"""The state machine "run": register the tasks, start, wait for the end, tell how it went.

One execution per run. It does not drive the run, the table's stream does: the execution waits for
its token, bounds the run's time, and is the run's trace in the console. Stopping it cancels the run
(a rule in `infra.control`). `definition` is plain data with placeholders for what only the
deployment knows.

Input: ``{"run": id, "generation": n, "blocks": n, "time_limit": seconds}``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aws_cdk import Aws
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_stepfunctions as sfn

from infra.permissions import acknowledge, allow, service_role

if TYPE_CHECKING:
    from constructs import Construct

__all__ = ["definition", "make_run_machine"]

_DAY = 24 * 3600
_BLOCKS_AT_ONCE = 10
# What the run is; each state hands it on unchanged, so that any of them can be looked at alone.
_RUN = {
    "run": "{% $states.input.run %}",
    "generation": "{% $states.input.generation %}",
}
_RETRY = {
    "IntervalSeconds": 1,
    "BackoffRate": 2,
    "MaxDelaySeconds": 60,
    "MaxAttempts": 8,
    "JitterStrategy": "FULL",
}
_ABANDON = {
    "ErrorEquals": ["States.ALL"],
    "Output": "{% $merge([$states.input, {'error': $states.errorOutput}]) %}",
    "Next": "Abandon",
}


def definition() -> dict[str, Any]:
    """Return the machine in the Amazon States Language (JSONata).

    ``${Partition}``, ``${RegisterArn}`` and ``${FinishArn}`` are filled in by CloudFormation.
    """
    return {
        "Comment": "One run of Hut: register its tasks, start it, wait for its end",
        "QueryLanguage": "JSONata",
        "StartAt": "AnyTasks",
        "States": {
            "AnyTasks": {
                "Type": "Choice",
                "Choices": [{"Condition": "{% $states.input.blocks > 0 %}", "Next": "Register"}],
                "Default": "Start",
            },
            "Register": _register_blocks(),
            "Start": {
                **_wait("start", "{% $states.input.time_limit %}"),
                "Comment": "The token is answered when the run has ended; the answer is not needed",
                "Catch": [
                    {
                        "ErrorEquals": ["States.Timeout"],
                        "Output": "{% $states.input %}",
                        "Next": "Expire",
                    },
                    _ABANDON,
                ],
                "Next": "Finish",
            },
            "Expire": {
                **_wait("expire", _DAY),
                "Comment": "The time limit has passed: cancel, and wait for the end of what runs",
                "Catch": [_ABANDON],
                "Next": "Finish",
            },
            "Finish": {
                **_call("${FinishArn}", _RUN),
                "Retry": [{"ErrorEquals": ["States.ALL"], **_RETRY}],
                "Output": "{% $states.result.Payload %}",
                "Catch": [_ABANDON],
                "Next": "HowItEnded",
            },
            "HowItEnded": {
                "Type": "Choice",
                "Choices": [
                    {"Condition": "{% $states.input.state = 'completed' %}", "Next": "Completed"}
                ],
                "Default": "Failed",
            },
            "Abandon": _abandon(),
            "Completed": {"Type": "Succeed"},
            "Failed": {
                "Type": "Fail",
                "Error": "{% $states.input.state %}",
                "Cause": "{% $states.input.message ? $states.input.message"
                " : 'The run ended as ' & $states.input.state %}",
            },
        },
    }


def _call(function: str, payload: dict[str, Any], how: str = "invoke") -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": f"arn:${{Partition}}:states:::lambda:{how}",
        "Arguments": {"FunctionName": function, "Payload": payload},
    }


def _wait(step: str, seconds: int | str) -> dict[str, Any]:
    """Return a state that calls register with a task token and waits until it is answered."""
    token = {"token": "{% $states.context.Task.Token %}"}
    return {
        **_call("${RegisterArn}", {"step": step, **_RUN, **token}, "invoke.waitForTaskToken"),
        "TimeoutSeconds": seconds,
        # A run that has used up its time must not be given it again.
        "Retry": [
            {"ErrorEquals": ["States.Timeout"], "MaxAttempts": 0},
            # A call that wrote a block and was killed is waited for, as long as it could have lived.
            {
                "ErrorEquals": ["NotRegistered"],
                "IntervalSeconds": 5,
                "BackoffRate": 1,
                "MaxAttempts": 36,
            },
            {"ErrorEquals": ["States.ALL"], **_RETRY},
        ],
        "Output": "{% $states.input %}",
    }


def _register_blocks() -> dict[str, Any]:
    store = {
        **_call(
            "${RegisterArn}",
            {"step": "block", **_RUN, "block": "{% $states.input.block %}"},
        ),
        "Retry": [{"ErrorEquals": ["States.ALL"], **_RETRY}],
        # Blocks store what they store in the table; an execution carries at most 256 KiB.
        "Output": "{% $states.input.block %}",
        "End": True,
    }
    return {
        "Type": "Map",
        "Items": "{% [0..$states.input.blocks - 1] %}",
        "ItemSelector": {**_RUN, "block": "{% $states.context.Map.Item.Value %}"},
        "MaxConcurrency": _BLOCKS_AT_ONCE,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "INLINE"},
            "StartAt": "StoreBlock",
            "States": {"StoreBlock": store},
        },
        "Output": "{% $states.input %}",
        "Catch": [_ABANDON],
        "Next": "Start",
    }


def _abandon() -> dict[str, Any]:
    """Return the state that ends a run whose control plane failed for good."""
    message = "{% 'The control plane failed (' & $states.input.error.Error & '); see its logs' %}"
    failed = {"state": "failed", "message": message}
    return {
        **_call(
            "${RegisterArn}",
            {"step": "abandon", **_RUN, "error": "{% $states.input.error %}"},
        ),
        "Retry": [{"ErrorEquals": ["States.ALL"], **_RETRY}],
        "Output": failed,
        # The sweep ends the run then: it finds a run whose execution is over.
        "Catch": [{"ErrorEquals": ["States.ALL"], "Output": failed, "Next": "Failed"}],
        "Next": "Failed",
    }


def make_run_machine(
    scope: Construct,
    *,
    name: str,
    register: lambda_.IFunction,
    finish: lambda_.IFunction,
    log_group: logs.ILogGroup,
) -> sfn.StateMachine:
    """Make the state machine with a role of its own."""
    role = service_role(scope, "RunRole", "states.amazonaws.com", f"The state machine {name}")
    allow(role, ["lambda:InvokeFunction"], [register.function_arn, finish.function_arn])
    machine = sfn.StateMachine(
        scope,
        "Run",
        state_machine_name=name,
        definition_body=sfn.DefinitionBody.from_string(json.dumps(definition())),
        definition_substitutions={
            "Partition": Aws.PARTITION,
            "RegisterArn": register.function_arn,
            "FinishArn": finish.function_arn,
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
        "CloudWatch Logs knows no resource for log deliveries, X-Ray none for segments.",
    )
    return machine
