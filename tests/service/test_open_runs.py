"""An open run on AWS: it begins at once, rests while it waits, and is found again."""

from __future__ import annotations

import json

import pytest

from hut.control import Control
from hut.model.run_options import RunOptions
from hut.model.states import RunState
from hut.service.submitting import DEFAULT_TIME_LIMIT
from hut.store.events import LONGEST_OPEN
from hut.store.port import RunClosed
from tests.service.control_plane import ControlPlane

OPEN = RunOptions(open=True)


def add(plane: ControlPlane, run_id: str, *ids: str, deps: tuple[str, ...] = ()) -> None:
    tasks = [{"id": each, "command": "true", "deps": deps} for each in ids]
    Control(plane.store).add_tasks(
        run_id, json.dumps(tasks), filename="more.json", key=ids[0], now=plane.clock.now
    )


def run_all(plane: ControlPlane) -> None:
    """Let everything happen until nothing does."""
    plane.deliver()
    while plane.backend.active():
        plane.backend.run_all()
        plane.deliver()


def test_an_idle_open_run_is_not_looked_at_and_comes_back_with_a_task(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, options=OPEN)
    run_all(plane)
    assert plane.states(run) == {"a": "completed"}
    assert plane.run(run).state is RunState.RUNNING
    assert plane.store.active_runs() == []
    assert plane.sweep().runs == 0
    add(plane, run.id, "b", deps=("a",))
    assert plane.store.active_runs() == [run.id]
    run_all(plane)
    assert plane.states(run) == {"a": "completed", "b": "completed"}
    assert plane.store.active_runs() == []
    plane.store.close_run(run.id, plane.clock.now)
    assert plane.finish(run).state is RunState.COMPLETED
    assert plane.is_over(run)


@pytest.mark.parametrize("what", ["tasks", "close", "cancel"])
def test_a_sweep_finds_what_no_event_told_of(plane: ControlPlane, what: str) -> None:
    run = plane.begin({"id": "a"}, options=OPEN)
    run_all(plane)
    if what == "tasks":
        add(plane, run.id, "b", deps=("a",))
    elif what == "close":
        plane.store.close_run(run.id, plane.clock.now)
    else:
        plane.submitting.cancel(run.id, plane.clock.now)
    plane.lose_events()
    assert plane.store.active_runs() == [run.id]
    plane.sweep()
    run_all(plane)
    if what == "tasks":
        assert plane.states(run)["b"] == "completed"
    else:
        assert plane.run(run).ended_at is not None
        assert plane.is_over(run)


def test_an_open_run_has_begun_when_its_submission_is_answered(plane: ControlPlane) -> None:
    run = plane.submit(options=OPEN)
    assert plane.store.standing(run.id).begun
    add(plane, run.id, "a")
    run_all(plane)
    assert plane.states(run) == {"a": "completed"}
    assert plane.executions.started[f"{run.id}-0"].time_limit == LONGEST_OPEN
    assert LONGEST_OPEN > DEFAULT_TIME_LIMIT


def test_what_is_kept_of_an_open_run_outlives_it(plane: ControlPlane) -> None:
    opened, plain = plane.submit(options=OPEN), plane.submit({"id": "a"})
    kept = {run.id: plane.store._meta(run.id)["ttl"] for run in (opened, plain)}
    assert kept[opened.id] - kept[plain.id] == LONGEST_OPEN


def test_a_held_run_starts_nothing_and_rests(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, options=RunOptions(held=True))
    add(plane, run.id, "b")
    run_all(plane)
    assert plane.states(run) == {"a": "pending", "b": "pending"}
    assert plane.store.active_runs() == []
    plane.store.release_run(run.id, plane.clock.now)
    with pytest.raises(RunClosed):
        add(plane, run.id, "c")
    assert plane.finish(run).state is RunState.COMPLETED
