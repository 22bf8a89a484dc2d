"""Submitting, and submitting the same again; repeating a run that has ended."""

from __future__ import annotations

import pytest

from hut.model.states import RunState
from hut.service.submitting import DEFAULT_TIME_LIMIT
from hut.store.dynamodb.blocks import BLOCK
from hut.store.port import IdempotencyConflict, RunFilter, StoreError, UnknownRun
from tests.aws.watched_client import cancelled
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import FAILED, Died


def test_the_execution_is_told_what_it_needs(plane: ControlPlane) -> None:
    run = plane.submit(*({"id": f"t{i}"} for i in range(2 * BLOCK + 1)), time_limit="2h")
    execution = plane.executions.started[f"{run.id}-0"]
    assert (execution.blocks, execution.time_limit) == (3, 7200.0)
    other = plane.submit({"id": "a"})
    assert plane.executions.started[f"{other.id}-0"].time_limit == DEFAULT_TIME_LIMIT


def test_an_idempotency_key_gives_one_run_and_one_execution(plane: ControlPlane) -> None:
    first = plane.submit({"id": "a"}, key="k")
    assert plane.submit({"id": "a"}, key="k").id == first.id
    plane.finish(first)
    assert plane.submit({"id": "a"}, key="k").state is RunState.COMPLETED
    assert len(plane.executions.started) == 1
    assert len(plane.backend.jobs) == 1


def test_an_idempotency_key_with_another_workflow_is_refused(plane: ControlPlane) -> None:
    plane.submit({"id": "a"}, key="k")
    with pytest.raises(IdempotencyConflict, match="'k'"):
        plane.submit({"id": "b"}, key="k")
    assert len(plane.store.list_runs(RunFilter())) == 1


def test_the_same_key_starts_what_was_stored_but_not_started(plane: ControlPlane) -> None:
    plane.fate.dies_before = 6
    assert plane.dies(lambda: plane.submit({"id": "a"}, key="k")) == "executions.start"
    assert plane.executions.started == {}
    run = plane.submit({"id": "a"}, key="k")
    assert list(plane.executions.started) == [f"{run.id}-0"]
    assert plane.finish(run).state is RunState.COMPLETED


def test_a_sweep_starts_what_was_stored_but_not_started(plane: ControlPlane) -> None:
    plane.fate.dies_before = 6
    assert plane.dies(lambda: plane.submit({"id": "a"}, new_id="r1")) == "executions.start"
    assert plane.sweep().started_again == 0  # it may just be on its way
    plane.clock.now += 61
    assert plane.sweep().started_again == 1
    assert plane.finish(plane.run("r1")).state is RunState.COMPLETED


def test_an_id_that_is_taken_gets_a_letter_more(plane: ControlPlane) -> None:
    ids = [plane.submit({"id": "a"}, new_id="same").id for _ in range(3)]
    assert ids == ["same", "same0", "same1"]


@pytest.mark.parametrize("reason", ["TransactionConflict", "ThrottlingError"])
def test_a_run_that_can_not_be_stored_at_once_is_stored_a_little_later(
    plane: ControlPlane, reason: str
) -> None:
    plane.client.fail("transact_write_items", cancelled(reason, "None", "None"))
    assert plane.submit({"id": "a"}, key="k").state is RunState.PENDING


@pytest.mark.parametrize("call", ["cancel", "retry"])
def test_unknown_runs_are_refused_by_name(plane: ControlPlane, call: str) -> None:
    def do() -> None:
        if call == "cancel":
            plane.submitting.cancel("nope", 0.0)
        else:
            plane.submitting.retry("nope")

    with pytest.raises(UnknownRun, match="nope"):
        do()


# Repeating --------------------------------------------------------------------------------------


def test_each_repetition_is_an_execution_of_its_own(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]}, {"id": "c"})
    plane.backend.outcomes["a"] = [FAILED, FAILED]
    for number in (1, 2):
        assert plane.finish(run).state is RunState.FAILED
        repeated, record = plane.submitting.retry(run.id)
        assert (repeated, record.state, record.ended_at) == (2, RunState.PENDING, None)
        execution = plane.executions.started[f"{run.id}-{number}"]
        assert (execution.generation, execution.blocks) == (number, 0)
        assert run.id in plane.store.active_runs()
    assert plane.finish(run).state is RunState.COMPLETED
    assert [len(plane.backend.ran(task_id)) for task_id in "abc"] == [3, 1, 1]
    assert plane.is_over(run)
    assert len(set(plane.executions.told)) == 3


def test_everything_may_be_repeated(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.finish(run)
    assert plane.submitting.retry(run.id) == (0, plane.run(run))
    assert list(plane.executions.started) == [f"{run.id}-0"]
    assert plane.submitting.retry(run.id, everything=True)[0] == 2
    assert plane.finish(run).state is RunState.COMPLETED
    assert [len(plane.backend.ran(task_id)) for task_id in "ab"] == [2, 2]


def test_a_run_that_goes_on_is_not_repeated(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    with pytest.raises(StoreError, match="has not ended"):
        plane.submitting.retry(run.id)


def test_a_repetition_whose_execution_was_not_started_is_started_by_the_sweep(
    plane: ControlPlane,
) -> None:
    run = plane.begin({"id": "a"})
    plane.finish(run)
    started = plane.executions.start

    def die(*_: object) -> None:
        raise Died

    plane.executions.start = die  # type: ignore[method-assign, assignment]
    with pytest.raises(Died):
        plane.submitting.retry(run.id, everything=True)
    plane.executions.start = started  # type: ignore[method-assign]
    plane.clock.now += 200
    assert plane.sweep().started_again == 1
    assert plane.finish(run).state is RunState.COMPLETED


def test_nothing_is_claimed_before_a_repetition_begins(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.finish(run)
    plane.submitting.retry(run.id, everything=True)
    plane.advancing.advance(run.id)
    plane.sweep()
    assert plane.states(run) == {"a": "completed"}
    assert len(plane.backend.jobs) == 1
