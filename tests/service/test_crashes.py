"""A process dies between any two effects, or loses an answer; what it was told is never told again.

Only the sweep, and what AWS repeats by itself (steps of an execution, a person's next try), are left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from hut.lifecycle.task_program import Left
from hut.model.records import RunRecord
from hut.model.states import RunState
from hut.planning.calls import FrozenDefinitions
from hut.store.port import StoreError
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import COMPLETED, FAILED, AnswerLost, Died
from tests.unit.test_task_definitions import HELLO

Begin = Callable[[ControlPlane], RunRecord]
Go = Callable[[ControlPlane, RunRecord], None]
GENERATED = '[{"id": "n", "command": "true", "deps": ["gen"]}]'


def insist(plane: ControlPlane, work: Callable[[], Any]) -> Any:
    """Do what a person does whose command died: the same again."""
    for _ in range(3):
        try:
            return work()
        except (Died, AnswerLost):
            plane.fate.revive()
    raise AssertionError("it dies every time")


class Story(NamedTuple):
    """How a run begins, and what happens to it then; faults are made in the second part."""

    begin: Begin
    go: Go


def begin_two(plane: ControlPlane) -> RunRecord:
    return plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})


def complete_two(plane: ControlPlane, run: RunRecord) -> None:
    assert plane.finish(run, sweeps=6).state is RunState.COMPLETED
    assert [len(plane.backend.ran(task_id)) for task_id in "ab"] == [1, 1]


def begin_retry(plane: ControlPlane) -> RunRecord:
    plane.backend.outcomes["a"] = [FAILED, COMPLETED]
    return plane.begin({"id": "a", "retries": 1})


def complete_retry(plane: ControlPlane, run: RunRecord) -> None:
    assert plane.finish(run, sweeps=6).state is RunState.COMPLETED
    assert len(plane.backend.ran("a")) == 2


def begin_programs(plane: ControlPlane) -> RunRecord:
    plane.definitions = FrozenDefinitions({"hello@1": {**HELLO, "version": "1"}}, plane.holds)
    plane.backend.left = {"a": Left(b'"x"'), "b": Left(None, b'[{"type": "E"}]')}
    first, second = {"id": "a", "input": "x"}, {"id": "b", "input": {"$output": "a"}}
    third = {"id": "c", "input": [{"$output": "a"}]}
    return plane.begin(*({"task": "hello", **each} for each in (first, second, third)))


def complete_programs(plane: ControlPlane, run: RunRecord) -> None:
    assert plane.finish(run, sweeps=6).state is RunState.FAILED
    found = {task.spec.id: (task.state, task.reason) for task in plane.tasks(run)}
    assert found == {
        "a": ("completed", "exit"),
        "b": ("failed", "reported"),
        "c": ("failed", "invalid_input"),
    }
    assert [len(plane.backend.ran(task_id)) for task_id in "abc"] == [1, 1, 0]
    kinds = {(position, kind) for _, position, _, kind in plane.documents.kept}
    assert kinds == {(0, "output"), (1, "errors"), (2, "errors")}


def begin_failure(plane: ControlPlane) -> RunRecord:
    plane.backend.outcomes["a"] = [FAILED]
    return plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]}, {"id": "c", "deps": ["b"]})


def fail(plane: ControlPlane, run: RunRecord) -> None:
    assert plane.finish(run, sweeps=6).state is RunState.FAILED
    assert plane.states(run) == {"a": "failed", "b": "dep_failed", "c": "dep_failed"}


def begin_capped(plane: ControlPlane) -> RunRecord:
    run = plane.begin({"id": "a"}, {"id": "b"}, {"id": "c", "deps": ["a"]}, max_concurrent=1)
    plane.deliver()
    return run


def cancel(plane: ControlPlane, run: RunRecord) -> None:
    insist(plane, lambda: plane.submitting.cancel(run.id, plane.clock.now))
    assert plane.finish(run, sweeps=6).state is RunState.CANCELLED
    assert [len(plane.backend.ran(task_id)) for task_id in "bc"] == [0, 0]


def begin_generator(plane: ControlPlane) -> RunRecord:
    plane.backend.generated["gen"] = GENERATED
    run = plane.begin({"id": "gen", "generates_source": "g.json"})
    plane.deliver()
    return run


def grow(plane: ControlPlane, run: RunRecord) -> None:
    ended = plane.finish(run, sweeps=6)
    assert (ended.state, ended.total) == (RunState.COMPLETED, 2)
    assert [len(plane.backend.ran(task_id)) for task_id in ("gen", "n")] == [1, 1]


def end_badly(plane: ControlPlane) -> RunRecord:
    plane.backend.outcomes["a"] = [FAILED, COMPLETED]
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    assert plane.finish(run).state is RunState.FAILED
    return run


def repeat(plane: ControlPlane, run: RunRecord) -> None:
    def retry() -> None:
        if plane.run(run).ended_at is not None:
            plane.submitting.retry(run.id)

    insist(plane, retry)
    assert plane.finish(run, sweeps=6).state is RunState.COMPLETED
    assert [len(plane.backend.ran(task_id)) for task_id in "ab"] == [2, 1]


def begin_array(plane: ControlPlane) -> RunRecord:
    plane.backend.makes_arrays = True
    plane.backend.outcomes["b"] = [FAILED, COMPLETED]
    tasks = [{"id": each, "retries": 1} for each in "abc"]
    return plane.begin(*tasks, {"id": "end", "deps": ["*"], "cpus": 2})


def complete_array(plane: ControlPlane, run: RunRecord) -> None:
    assert plane.finish(run, sweeps=6).state is RunState.COMPLETED
    assert [len(plane.backend.ran(each)) for each in ("a", "b", "c", "end")] == [1, 2, 1, 1]


STORIES = {
    "completes": Story(begin_two, complete_two),
    "retries": Story(begin_retry, complete_retry),
    "fails": Story(begin_failure, fail),
    "is cancelled": Story(begin_capped, cancel),
    "grows": Story(begin_generator, grow),
    "is repeated": Story(end_badly, repeat),
    "runs task programs": Story(begin_programs, complete_programs),
    "runs as an array": Story(begin_array, complete_array),
}


def what_goes_wrong(make_plane: Callable[[], ControlPlane], story: Story, fault: str) -> list[str]:
    """Tell a story as often as it has effects, each time with another fault in it."""
    wrong: list[str] = []
    number = 0
    while True:
        number += 1
        plane = make_plane()
        run = story.begin(plane)
        plane.fate.effects.clear()
        setattr(plane.fate, fault, number)
        problem = ""
        try:
            story.go(plane, run)
            if not plane.is_over(run):
                plane.sweep()
                assert plane.is_over(run)
        except (AssertionError, StoreError) as error:
            problem = str(error)
        if number > len(plane.fate.effects):
            assert not problem, problem  # nothing went wrong this time
            return wrong
        if problem:
            wrong.append(f"{number}, {plane.fate.effects[number - 1]}: {problem:.300}")


@pytest.mark.parametrize(
    ("story", "fault"),
    [
        *((story, "dies_before") for story in STORIES),
        ("completes", "loses_answer_of"),
        ("runs as an array", "loses_answer_of"),
    ],
)
def test_whatever_dies_the_run_ends_right(
    make_plane: Callable[[], ControlPlane], story: str, fault: str
) -> None:
    assert what_goes_wrong(make_plane, STORIES[story], fault) == []


def test_an_end_that_was_not_told_is_told_by_the_sweep(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    plane.backend.end()
    plane.deliver_jobs()
    told = plane.take_images()[run.id]
    plane.fate.dies_before = len(plane.fate.effects) + 2
    assert plane.dies(lambda: plane.advance(run.id, told)) == "executions.tell_end"
    plane.lose_events()
    assert plane.run(run).state is RunState.COMPLETED
    plane.sweep()
    assert plane.is_over(run)
