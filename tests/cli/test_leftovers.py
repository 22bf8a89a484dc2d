"""Which executions of EC2 tasks a restored table does not want."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from hut.model.states import TaskState
from hut.store.port import UnknownRun
from hutctl.recovery.leftovers import end, find

MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:hut-ec2-task"
WANTED, NOT_NOTED = "hut-abcdefghij-0-1-1", "hut-abcdefghij-1-1-1"
OLD, ENDED = "hut-abcdefghij-0-1-0", "hut-abcdefghij-2-1-1"
UNKNOWN, STRANGE = "hut-zzzzzzzzzz-0-1-1", "lab-abcdefghij-0-1-1"


class States:
    """Step Functions with executions of the machine of tasks."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.stopped: list[str] = []

    def get_paginator(self, _name: str) -> States:
        return self

    def paginate(self, *, stateMachineArn: str, **_: Any) -> list[dict[str, Any]]:  # noqa: N803
        names = self.names if stateMachineArn == MACHINE else []
        found = [{"name": n, "executionArn": f"arn:{n}", "status": "RUNNING"} for n in names]
        return [{"executions": found}]

    def stop_execution(self, **given: str) -> None:
        self.stopped.append(given["executionArn"])


class Store:
    """A table with one run of three tasks."""

    def get_tasks(self, run_id: str, positions: Sequence[int]) -> dict[int, Any]:
        if run_id != "abcdefghij":
            raise UnknownRun(run_id)
        states = (TaskState.RUNNING, TaskState.SUBMITTED, TaskState.COMPLETED)
        handles = (WANTED, None, ENDED)
        return {
            place: SimpleNamespace(state=states[place], attempt=1, epoch=1, handle=handles[place])
            for place in positions
        }


def test_executions_of_tasks_that_nobody_wants_are_found_and_stopped() -> None:
    states = States([WANTED, NOT_NOTED, OLD, ENDED, UNKNOWN, STRANGE, "by hand"])
    place: Any = SimpleNamespace(
        client=lambda _: states, machine="arn:run", queues=[], task_machines=[MACHINE], prefix="hut"
    )
    store: Any = Store()
    found = find(place, store)
    assert [each.name for each in found] == [OLD, ENDED, UNKNOWN]
    assert {each.kind for each in found} == {"execution"}
    end(place, found)
    assert states.stopped == [f"arn:{name}" for name in (OLD, ENDED, UNKNOWN)]
