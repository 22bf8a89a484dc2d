"""What every store must do with runs that get tasks while they run, or before they may."""

from __future__ import annotations

import json

import pytest

from hut.model.problems import InvalidInput
from hut.model.records import RunRecord
from hut.model.run_options import RunOptions
from hut.model.states import Reason, RunState
from hut.planning import Extension, extend_run
from hut.store.port import (
    IdempotencyConflict,
    RunClosed,
    RunFilter,
    StaleExtension,
    StoreError,
    TaskExists,
)
from tests.contract.worlds import COMPLETED, FAILED, World

OPEN = RunOptions(open=True)
HELD = RunOptions(held=True)


def finish(world: World, run: RunRecord) -> list[str]:
    """Complete everything that may run, also what becomes ready by that; return the ids."""
    done = []
    while claims := world.claim(run):
        world.end(run, *((claim, COMPLETED) for claim in claims))
        done += [claim.spec.id for claim in claims]
    return done


def extension(world: World, run: RunRecord, *tasks: dict[str, object]) -> Extension:
    text = json.dumps([{"command": "true", **task} for task in tasks])
    return extend_run(text, filename="more.json", existing=world.store.task_ids(run.id))


# Open -------------------------------------------------------------------------------------------


def test_an_open_run_ends_when_it_is_closed_and_not_before(world: World) -> None:
    run = world.create({"id": "a"}, options=OPEN)
    assert run.open
    assert finish(world, run) == ["a"]
    assert world.store.settle(run.id, world.now).state is RunState.RUNNING
    world.add(run, {"id": "b"}, {"id": "c", "deps": ["b"]})
    assert finish(world, run) == ["b", "c"]
    assert world.store.settle(run.id, world.now).ended_at is None
    closed = world.control.close(run.id, world.now)
    assert (closed.state, closed.open, closed.total) == (RunState.COMPLETED, False, 3)
    world.check(run)


def test_a_run_may_be_open_without_a_task(world: World) -> None:
    run = world.create(options=OPEN)
    assert world.store.settle(run.id, world.now).ended_at is None
    world.add(run, {"id": "a"})
    assert world.claimed(run) == ["a"]
    other = world.create(options=OPEN)
    assert world.control.close(other.id, world.now).state is RunState.COMPLETED


def test_a_closed_run_goes_on_with_what_it_has(world: World) -> None:
    run = world.create({"id": "a"}, options=OPEN)
    assert world.control.close(run.id, world.now).ended_at is None
    assert world.store.close_run(run.id, world.now).ended_at is None
    assert finish(world, run) == ["a"]
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED


def test_added_tasks_wait_for_tasks_the_run_has(world: World) -> None:
    run = world.create({"id": "done"}, {"id": "bad"}, {"id": "runs"}, {"id": "waits"}, options=OPEN)
    claims = {claim.spec.id: claim for claim in world.claim(run, 3)}
    world.end(run, (claims["done"], COMPLETED), (claims["bad"], FAILED))
    world.add(
        run,
        {"id": "now", "deps": ["done"]},
        {"id": "never", "deps": ["done", "bad"]},
        {"id": "after-never", "deps": ["never"]},
        {"id": "later", "deps": ["runs", "waits"]},
        {"id": "much-later", "deps": ["done", "runs", "waits", "later"]},
    )
    states = world.states(run)
    assert (states["never"], states["after-never"]) == ("dep_failed", "dep_failed")
    assert sorted(world.claimed(run)) == ["now", "waits"]
    world.end(run, (claims["runs"], COMPLETED))
    assert world.claimed(run) == []
    world.check(run)


def test_added_tasks_wait_by_pattern_for_tasks_of_before(world: World) -> None:
    run = world.create(*({"id": f"map.{n}"} for n in range(3)), options=OPEN)
    (first,) = world.claim(run, 1)
    world.end(run, (first, COMPLETED))
    world.add(run, {"id": "map.3"}, {"id": "reduce", "deps": ["map.*"]})
    world.add(run, {"id": "map.4"}, {"id": "again", "deps": ["map.*", "reduce"]})
    # What came later is not what the pattern meant.
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    assert sorted(claims) == ["map.1", "map.2", "map.3", "map.4"]
    world.end(run, *((claims[f"map.{n}"], COMPLETED) for n in (1, 2, 3)))
    assert world.claimed(run) == ["reduce"]


def test_the_same_key_adds_once(world: World) -> None:
    run = world.create(options=OPEN)
    assert world.add(run, {"id": "a"}, key="k")
    assert not world.add(run, {"id": "a"}, key="k")
    with pytest.raises(IdempotencyConflict, match="'k'"):
        world.add(run, {"id": "b"}, key="k")
    assert world.add(run, {"id": "b"}, key="l")
    assert world.store.task_ids(run.id) == ["a", "b"]
    world.control.close(run.id, world.now)
    assert not world.add(run, {"id": "a"}, key="k")  # it was told late
    other = world.create(options=OPEN)
    assert world.add(other, {"id": "a"}, key="k")
    assert world.store.has_added(other.id, "new") is False


@pytest.mark.parametrize("what", ["never opened", "closed", "stopped", "ended"])
def test_a_run_that_is_not_open_takes_no_tasks(world: World, what: str) -> None:
    run = world.create({"id": "a"}, options=RunOptions(open=what != "never opened"))
    world.claim(run)
    words = {"never opened": "was not opened", "closed": "is closed", "stopped": "was stopped"}
    if what in ("closed", "ended"):
        world.control.close(run.id, world.now)
    if what in ("stopped", "ended"):
        world.control.cancel(run.id, world.now)
    adds = extension(world, run, {"id": "b"})
    if what == "ended":
        other = world.create(options=OPEN)
        run, adds = world.control.close(other.id, world.now), extension(world, other, {"id": "b"})
    for add in (
        lambda: world.add(run, {"id": "b"}),
        lambda: world.store.add_tasks(run.id, adds, key="k", now=world.now),
    ):
        with pytest.raises(RunClosed, match=words.get(what, "has ended")):
            add()
    assert "b" not in world.store.task_ids(run.id)
    world.check(run)


def test_ids_are_unique_in_a_run(world: World) -> None:
    run = world.create({"id": "a"}, options=OPEN)
    with pytest.raises(InvalidInput, match="already has a task with this id"):
        world.add(run, {"id": "new"}, {"id": "a"})
    with pytest.raises(InvalidInput, match="already has a task with this id"):
        world.add(run, {"id": "new", "deps": ["a*"]}, {"id": "a"})
    adds = extension(world, run, {"id": "b"}, {"id": "c"})
    for ids, told in ((("a", "b"), "ids already: a"), (("b", "b"), "one id: b")):
        tasks = tuple(adds.tasks[0]._replace(id=each) for each in ids)
        wrong = Extension(tasks, adds.graph)
        with pytest.raises(TaskExists, match=told):
            world.store.add_tasks(run.id, wrong, key="k", now=world.now)
    assert world.store.add_tasks(run.id, adds, key="k", now=world.now)
    assert world.store.task_ids(run.id) == ["a", "b", "c"]
    assert world.store.find_positions(run.id, ["c", "a", "nobody"]) == {"a": 0, "c": 2}
    assert sorted(world.claimed(run)) == ["a", "b", "c"]
    world.check(run)


def test_unknown_dependencies_are_told_and_nothing_is_stored(world: World) -> None:
    run = world.create({"id": "a"}, options=OPEN)
    with pytest.raises(InvalidInput) as caught:
        world.add(run, {"id": "b", "deps": ["nobody"]}, {"id": "c", "retries": -1})
    assert len(caught.value.problems) == 2
    assert world.store.task_ids(run.id) == ["a"]


def test_tasks_planned_against_others_are_refused(world: World) -> None:
    run = world.create(options=OPEN)
    stale = extension(world, run, {"id": "b"})
    world.add(run, {"id": "a"})
    with pytest.raises(StaleExtension):
        world.store.add_tasks(run.id, stale, key="k", now=world.now)
    assert world.store.task_ids(run.id) == ["a"]
    assert not world.store.has_added(run.id, "k")


def test_many_pieces_become_one_run(world: World) -> None:
    run = world.create({"id": "t0"}, options=OPEN)
    for piece in range(5):
        ids = [f"t{piece * 20 + n + 1}" for n in range(20)]
        world.add(run, *({"id": each, "deps": ["t0"]} for each in ids), {"id": f"s{piece}"})
    assert world.store.get_run(run.id).total == 106
    assert sorted(world.claimed(run, 10)) == ["s0", "s1", "s2", "s3", "s4", "t0"]
    assert world.check(run).counts["submitted"] == 6
    other = world.open_another()
    assert other.task_ids(run.id)[21:23] == ["s0", "t21"]


def test_a_cancelled_open_run_ends(world: World) -> None:
    run = world.create({"id": "a"}, {"id": "b", "deps": ["a"]}, options=OPEN)
    (claim,) = world.claim(run)
    assert world.control.cancel(run.id, world.now).ended_at is None
    world.end(run, (claim, FAILED._replace(reason=Reason.CANCELLED)), cancelling=True)
    ended = world.store.settle(run.id, world.now)
    assert (ended.state, ended.open) == (RunState.CANCELLED, False)
    empty = world.create(options=OPEN)
    assert world.control.cancel(empty.id, world.now).ended_at is not None


def test_what_failed_of_an_open_run_is_repeated_once_it_has_ended(world: World) -> None:
    run = world.create({"id": "a"}, options=OPEN)
    world.add(run, {"id": "b", "deps": ["a"]}, {"id": "c"})
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    world.end(run, (claims["a"], FAILED), (claims["c"], COMPLETED))
    with pytest.raises(StoreError, match="has not ended"):
        world.control.retry(run.id, world.now)
    world.control.close(run.id, world.now)
    assert world.control.retry(run.id, world.now) == 2
    again = world.store.begin_epoch(run.id, world.now)
    assert not again.open
    assert [(c.spec.id, c.key.attempt) for c in world.claim(run)] == [("a", 2)]
    world.check(run)


def test_everything_of_a_run_with_added_tasks_is_repeated(world: World) -> None:
    run = world.create({"id": "a"}, options=OPEN)
    world.add(run, {"id": "b", "deps": ["a"]})
    finish(world, run)
    world.control.close(run.id, world.now)
    assert world.control.retry(run.id, world.now, everything=True) == 2
    world.store.begin_epoch(run.id, world.now)
    assert finish(world, run) == ["a", "b"]
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED
    assert [attempt.number for attempt in world.attempts(run, "b")] == [1, 2]


@pytest.mark.parametrize("order", ["generated first", "added first"])
def test_generated_tasks_among_added_ones_keep_a_run_from_being_repeated_wholly(
    world: World, order: str
) -> None:
    run = world.create({"id": "g", "generates_source": "g.json"}, options=OPEN)
    if order == "added first":
        world.add(run, {"id": "added"})
    (claim,) = world.claim(run, 1)
    world.end(run, (claim, COMPLETED), adds=extension(world, run, {"id": "n", "deps": ["g"]}))
    if order == "generated first":
        world.add(run, {"id": "added", "deps": ["n"]})
    assert sorted(finish(world, run)) == ["added", "n"]
    world.control.close(run.id, world.now)
    before = world.states(run)
    with pytest.raises(StoreError, match="without --all"):
        world.control.retry(run.id, world.now, everything=True)
    assert world.states(run) == before
    assert world.control.retry(run.id, world.now) == 0


# Held -------------------------------------------------------------------------------------------


def test_nothing_of_a_held_run_runs_before_it_is_released(world: World) -> None:
    run = world.create({"id": "a"}, options=HELD)
    assert run.held
    world.add(run, {"id": "b", "deps": ["a"]})
    assert world.claim(run) == []
    assert world.store.settle(run.id, world.now).ended_at is None
    with pytest.raises(StoreError, match="still being sent"):
        world.store.close_run(run.id, world.now)
    released = world.store.release_run(run.id, world.now)
    assert (released.held, released.state) == (False, RunState.RUNNING)
    with pytest.raises(RunClosed, match="was not opened"):
        world.add(run, {"id": "c"})
    assert finish(world, run) == ["a", "b"]
    assert world.store.release_run(run.id, world.now).held is False
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED


def test_a_held_run_may_be_open_once_it_is_released(world: World) -> None:
    run = world.create(options=RunOptions(open=True, held=True))
    world.add(run, {"id": "a"})
    world.store.release_run(run.id, world.now)
    world.add(run, {"id": "b"})
    assert sorted(finish(world, run)) == ["a", "b"]
    assert world.control.close(run.id, world.now).state is RunState.COMPLETED


def test_a_held_run_that_was_stopped_never_runs(world: World) -> None:
    run = world.create({"id": "a"}, options=HELD)
    assert world.control.cancel(run.id, world.now).state is RunState.CANCELLED
    with pytest.raises(RunClosed, match="before all of it was sent"):
        world.store.release_run(run.id, world.now)
    with pytest.raises(RunClosed, match="before all of it was sent"):
        world.control.retry(run.id, world.now)
    assert world.states(run) == {"a": "failed"}
    assert [found.held for found in world.store.list_runs(RunFilter())] == [True]
