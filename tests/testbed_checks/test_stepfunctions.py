"""Step Functions: the shape of Hut's run, and what standard workflows promise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testbed_checks.making import Maker, wait_for

TOKEN = "{% $states.context.Task.Token %}"


def run_machine(make: Maker, function: str) -> str:
    """The shape of the run: register blocks, wait for a token as long as the input says."""
    return make.machine(
        {
            "QueryLanguage": "JSONata",
            "StartAt": "Blocks",
            "States": {
                "Blocks": {
                    "Type": "Map",
                    "Items": "{% [0..$states.input.blocks - 1] %}",
                    "MaxConcurrency": 3,
                    "ItemSelector": {
                        "run": "{% $states.input.run %}",
                        "block": "{% $states.context.Map.Item.Value %}",
                    },
                    "ItemProcessor": {
                        "StartAt": "Block",
                        "States": {
                            "Block": {
                                "Type": "Task",
                                "Resource": "arn:aws:states:::lambda:invoke",
                                "Arguments": {
                                    "FunctionName": function,
                                    "Payload": "{% $merge([{'step': 'block'}, $states.input]) %}",
                                },
                                "Output": "{% $states.result.Payload %}",
                                "End": True,
                            }
                        },
                    },
                    "Output": {
                        "blocks": "{% $states.result %}",
                        "limit": "{% $states.input.limit %}",
                    },
                    "Next": "Wait",
                },
                "Wait": {
                    "Type": "Task",
                    "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
                    "TimeoutSeconds": "{% $states.input.limit %}",
                    "Arguments": {
                        "FunctionName": function,
                        "Payload": {"step": "start", "token": TOKEN},
                    },
                    "Output": {
                        "answer": "{% $states.result %}",
                        "blocks": "{% $states.input.blocks %}",
                    },
                    "Catch": [{"ErrorEquals": ["States.Timeout"], "Next": "Late"}],
                    "Next": "End",
                },
                "Late": {"Type": "Fail", "Error": "late", "Cause": "{% 'it took too long' %}"},
                "End": {"Type": "Succeed"},
            },
        }
    )


@pytest.fixture
def function(make: Maker) -> str:
    return make.function('note(event)\nreturn event.get("block")')


def start(make: Maker, machine: str, limit: float, **more: Any) -> str:
    given = json.dumps({"run": "r1", "blocks": 4, "limit": limit})
    started = make.bed.client("stepfunctions").start_execution(
        stateMachineArn=machine, input=given, **more
    )
    return str(started["executionArn"])


def token_of(make: Maker, function: str) -> str:
    def find() -> Any:
        return next((each["token"] for each in make.seen(function) if "token" in each), None)

    return str(wait_for(find))


def test_a_run_goes_through(make: Maker, function: str) -> None:
    states = make.bed.client("stepfunctions")
    arn = start(make, run_machine(make, function), 60)
    token = token_of(make, function)
    with pytest.raises(ClientError) as refused:
        states.send_task_success(taskToken="made up", output="{}")
    assert refused.value.response["Error"]["Code"] == "InvalidToken"
    states.send_task_heartbeat(taskToken=token)
    states.send_task_success(taskToken=token, output='{"ok": 1}')
    execution = make.execution(arn)
    assert execution["status"] == "SUCCEEDED"
    assert json.loads(execution["output"]) == {"answer": {"ok": 1}, "blocks": [0, 1, 2, 3]}
    with pytest.raises(ClientError) as refused:
        states.send_task_success(taskToken=token, output="{}")
    assert refused.value.response["Error"]["Code"] == "TaskTimedOut"


def test_a_time_limit_from_the_input_is_caught(make: Maker, function: str) -> None:
    execution = make.execution(start(make, run_machine(make, function), 0.3))
    assert (execution["status"], execution["error"]) == ("FAILED", "late")
    assert execution["cause"] == "it took too long"


def test_a_start_is_repeated_under_its_name(make: Maker, function: str) -> None:
    machine = run_machine(make, function)
    first = start(make, machine, 60, name="r1-1")
    assert start(make, machine, 60, name="r1-1") == first
    with pytest.raises(ClientError) as refused:
        start(make, machine, 61, name="r1-1")
    assert refused.value.response["Error"]["Code"] == "ExecutionAlreadyExists"
    make.bed.client("stepfunctions").stop_execution(executionArn=first)
    with pytest.raises(ClientError) as refused:
        start(make, machine, 60, name="r1-1")
    assert refused.value.response["Error"]["Code"] == "ExecutionAlreadyExists"


def test_a_stopped_execution_stays_stopped(make: Maker, function: str) -> None:
    states = make.bed.client("stepfunctions")
    machine = run_machine(make, function)
    url, queue = make.queue()
    make.rule(
        {
            "source": ["aws.states"],
            "detail": {"stateMachineArn": [machine], "status": ["ABORTED", "FAILED"]},
        },
        queue,
    )
    arn = start(make, machine, 60)
    token = token_of(make, function)
    states.stop_execution(executionArn=arn, error="cancelled", cause="by hand")
    with pytest.raises(ClientError) as refused:
        states.send_task_failure(taskToken=token, error="x", cause="y")
    assert refused.value.response["Error"]["Code"] == "TaskTimedOut"
    [told] = wait_for(lambda: make.receive(url))
    assert told["detail-type"] == "Step Functions Execution Status Change"
    assert told["detail"]["status"] == "ABORTED"
    assert told["detail"]["executionArn"] == arn
    assert make.execution(arn)["status"] == "ABORTED"


def test_every_end_is_told(make: Maker) -> None:
    url, queue = make.queue()
    make.rule(
        {"source": ["aws.states"], "detail": {"status": [{"anything-but": "RUNNING"}]}}, queue
    )
    wait = {"Type": "Wait", "Seconds": 2, "End": True}
    for state, more in (
        ({"Type": "Succeed"}, {}),
        ({"Type": "Fail", "Error": "e", "Cause": "c"}, {}),
        (wait, {"TimeoutSeconds": 0.3}),
    ):
        machine = make.machine({"StartAt": "A", "States": {"A": state}, **more})
        make.bed.client("stepfunctions").start_execution(stateMachineArn=machine)
    got: list[str] = []

    def three() -> bool:
        got.extend(each["detail"]["status"] for each in make.receive(url))
        return {"SUCCEEDED", "FAILED", "TIMED_OUT"} <= set(got)

    wait_for(three)


def test_a_function_that_fails_fails_the_waiting_task(make: Maker) -> None:
    broken = make.function('raise KeyError("no such run")')
    arn = start(make, run_machine_of_one(make, broken), 60)
    execution = make.execution(arn)
    assert (execution["status"], execution["error"]) == ("FAILED", "KeyError")
    assert "no such run" in json.loads(execution["cause"])["errorMessage"]


def test_heartbeats(make: Maker) -> None:
    silent = make.function("note(event)")
    machine = run_machine_of_one(make, silent, HeartbeatSeconds=0.3)
    execution = make.execution(start(make, machine, 60))
    assert execution["error"] == "States.HeartbeatTimeout"


def run_machine_of_one(make: Maker, function: str, **more: Any) -> str:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Arguments": {"FunctionName": function, "Payload": {"token": TOKEN}},
        "End": True,
        **more,
    }
    return make.machine({"QueryLanguage": "JSONata", "StartAt": "A", "States": {"A": task}})
