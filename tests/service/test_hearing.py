"""What is told of EC2 tasks: starts, ends of executions, news of instances."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from handlers import observe
from hut.backends.port import Job, JobState
from hut.model.records import RunRecord
from hut.model.states import Reason, RunState
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import COMPLETED
from tests.service.test_handlers import call, execution_event, sqs_record, submitted

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:hut-ec2-task"
OTHER = "arn:aws:states:us-east-1:123456789012:stateMachine:hut-run"


class FakeInstances:
    """Executions and instances as the test says.

    Attributes
    ----------
    later : dict of str to Job
        What is known from the second time on that anybody asks.
    waits : dict of str to list of str
        By instance what becomes of news of it, one after the other; then it is nobody's.
    """

    def __init__(self) -> None:
        self.known: dict[str, Job] = {}
        self.later: dict[str, Job] = {}
        self.waits: dict[str, list[str]] = {}
        self.nudged: list[str] = []
        self.ended: list[str] = []
        self.fault: Exception | None = None

    def describe(self, handles: Sequence[str]) -> Mapping[str, Job]:
        found = {handle: self.known[handle] for handle in handles if handle in self.known}
        self.known |= self.later
        return found

    def end_instances(self, names: Sequence[str]) -> int:
        if self.fault is not None:
            raise self.fault
        self.ended += names
        return len(names)

    def nudge(self, instance: str) -> str:
        if self.fault is not None:
            raise self.fault
        self.nudged.append(instance)
        answers = self.waits.get(instance) or ["nobody"]
        return answers.pop(0)


@pytest.fixture(autouse=True)
def _functions(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "surroundings", lambda *_: plane.around())
    plane.backend.handles_are_names = True


@pytest.fixture
def instances(plane: ControlPlane) -> FakeInstances:
    found = FakeInstances()
    plane.instances = {MACHINE: lambda: found}
    return found


def started(name: str) -> dict[str, Any]:
    detail = {"name": name, "instance": "i-1", "type": "c5.large", "log": "x", "sent_at": 1001.5}
    return sqs_record({"source": "hut.ec2", "detail": detail})


def ended(name: str, status: str = "SUCCEEDED", **more: Any) -> dict[str, Any]:
    told = {"name": name, "reason": "exit", "exit_code": 0, "sent_at": 1001, "ended_at": 1009}
    detail = {
        "executionArn": f"{MACHINE.replace('stateMachine', 'execution')}:{name}",
        "stateMachineArn": MACHINE,
        "name": name,
        "status": status,
        "startDate": 1_000_000,
        "stopDate": 1_010_000,
        "output": json.dumps(told) if status == "SUCCEEDED" else None,
        "outputDetails": {"included": True},
        "error": None,
        "cause": None,
        **more,
    }
    return sqs_record({"source": "aws.states", "detail": detail})


def news(instance: str, source: str = "aws.ssm") -> dict[str, Any]:
    return sqs_record({"source": source, "detail": {"instance-id": instance, "status": "Success"}})


def one(plane: ControlPlane) -> tuple[RunRecord, str]:
    run = submitted(plane, {"id": "a"})
    return run, plane.job("a").name


@pytest.mark.usefixtures("instances")
def test_a_start_and_an_end_are_recorded(plane: ControlPlane) -> None:
    run, name = one(plane)
    assert call(observe, started(name)) == []
    task = plane.task(run, "a")
    assert (str(task.state), task.started_at, task.log) == ("running", 1001.5, "x")
    assert call(observe, ended(name), ended(name), started(name)) == []
    assert plane.states(run) == {"a": "completed"}
    assert plane.backend.terminated == []
    plane.deliver()
    assert plane.run(run).state is RunState.COMPLETED


def test_an_end_whose_document_was_left_out_is_asked_for(
    plane: ControlPlane, instances: FakeInstances
) -> None:
    run, name = one(plane)
    without = ended(name, output=None, outputDetails={"included": False})
    assert call(observe, without) == [without["messageId"]]  # it can't be found out
    assert plane.states(run) == {"a": "submitted"}
    instances.known[name] = Job(name, name, JobState.ENDED, COMPLETED, ended_at=1010.0)
    assert call(observe, without) == []
    assert plane.states(run) == {"a": "completed"}


def test_an_end_that_step_functions_does_not_show_yet_is_waited_for(
    plane: ControlPlane, instances: FakeInstances
) -> None:
    run, name = one(plane)
    without = ended(name, output=None, outputDetails={"included": False})
    instances.known[name] = Job(name, name, JobState.WAITING)
    assert call(observe, without) == [without["messageId"]]
    assert plane.states(run) == {"a": "submitted"}
    instances.later[name] = Job(name, name, JobState.ENDED, COMPLETED, ended_at=1010.0)
    assert call(observe, without) == []
    assert plane.states(run) == {"a": "completed"}


def test_what_a_stopped_execution_left_is_ended_before_the_message_is_acknowledged(
    plane: ControlPlane, instances: FakeInstances
) -> None:
    run, name = one(plane)
    event = ended(name, "ABORTED")
    instances.fault = ConnectionError("no answer")
    assert call(observe, event) == [event["messageId"]]
    assert plane.states(run) == {"a": "submitted"}
    instances.fault = None
    assert call(observe, event) == []
    assert instances.ended == [name]
    assert plane.task(run, "a").reason is Reason.CANCELLED


def test_executions_of_others_are_left_alone(plane: ControlPlane, instances: FakeInstances) -> None:
    run, name = one(plane)
    assert (
        call(observe, ended(name.replace("hut-", "lab-"), "ABORTED"), ended("some", "ABORTED"))
        == []
    )
    assert instances.ended == []
    assert plane.states(run) == {"a": "submitted"}


@pytest.mark.usefixtures("instances")
def test_an_execution_of_a_run_is_told_apart(plane: ControlPlane) -> None:
    run, _ = one(plane)
    event = execution_event(f"{run.id}-0")
    body = json.loads(event["body"])
    body["detail"]["stateMachineArn"] = OTHER
    assert call(observe, sqs_record(body)) == []
    assert plane.run(run).cancel_requested_at is not None


def test_news_make_whoever_waits_look(plane: ControlPlane, instances: FakeInstances) -> None:
    instances.waits = {"i-1": ["taken"], "i-2": ["over"]}
    assert call(observe, news("i-1"), news("i-2", "aws.ec2"), news("i-3"), news("i-1")) == []
    assert instances.nudged == ["i-1", "i-2", "i-3"]
    assert plane.pauses == []


def test_news_of_a_command_that_come_too_early_are_told_again(
    plane: ControlPlane, instances: FakeInstances
) -> None:
    instances.waits = {"i-1": ["not_yet", "not_yet", "taken"], "i-2": ["not_yet"]}
    assert call(observe, news("i-1"), news("i-2", "aws.ec2")) == []
    assert instances.nudged == ["i-1", "i-2", "i-1", "i-1"]
    assert plane.pauses == [1.0, 3.0]


def test_news_that_stay_too_early_are_dropped(
    plane: ControlPlane, instances: FakeInstances
) -> None:
    instances.waits = {"i-1": ["not_yet"] * 9}
    assert call(observe, news("i-1")) == []
    assert len(instances.nudged) == 4
    plane.has_time = lambda: False
    assert call(observe, news("i-1")) == []
    assert len(instances.nudged) == 5


def test_news_that_cannot_be_passed_on_keep_nothing_else(
    plane: ControlPlane, instances: FakeInstances
) -> None:
    run, name = one(plane)
    instances.fault = ConnectionError("no answer")
    told, broken = news("i-1"), sqs_record({"source": "aws.ssm", "detail": {}})
    failed = call(observe, told, broken, started(name), news("i-1", "aws.ec2"))
    assert told["messageId"] in failed
    assert broken["messageId"] in failed
    assert len(failed) == 3
    assert plane.states(run) == {"a": "running"}


def test_news_in_a_deployment_without_such_tasks_are_dropped(plane: ControlPlane) -> None:
    assert call(observe, news("i-1"), news("i-1", "aws.ec2")) == []
    assert plane.pauses == []
