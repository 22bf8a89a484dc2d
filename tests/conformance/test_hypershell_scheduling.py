"""HyperShell's server: retries, their order, ``--forever``, ``--restart`` and ``--no-db``.

The options are those of its manual; what each means here stands in the reference table of the issue.
Stores of both kinds are held to the same by `tests.contract`; this is what a user of the seed expects.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from hut.model.run_options import RetryOrder, RunOptions
from hut.model.states import RunState
from hut.store.port import RunClosed
from tests.contract.worlds import COMPLETED, FAILED, World, sqlite_world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return sqlite_world(tmp_path)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_max_retries_n_means_n_plus_one_attempts(world: World, retries: int) -> None:
    run = world.create({"id": "1", "command": "false", "retries": retries})
    attempts = 0
    while claims := world.claim(run):
        attempts += 1
        world.end(run, (claims[0], FAILED))
        world.now += 3600
    assert attempts == retries + 1
    assert [attempt.number for attempt in world.attempts(run, "1")] == [*range(1, attempts + 1)]
    assert world.store.settle(run.id, world.now).state is RunState.FAILED


def test_a_retry_keeps_cores_memory_timeout_and_tags(world: World) -> None:
    """Defect 5 of the seed: its retries drop them."""
    asked = {"cpus": 4, "memory": "8G", "time_limit": "90", "tags": {"site": "eu"}, "retries": 1}
    run = world.create({"id": "1", "command": "false", **asked})
    (first,) = world.claim(run)
    world.end(run, (first, FAILED))
    (second,) = world.claim(run)
    assert (first.key.attempt, second.key.attempt) == (1, 2)
    assert second.spec == first.spec
    assert (second.spec.resources.cpus, second.spec.resources.memory) == (4, 8192)
    assert dict(second.spec.tags) == {"site": "eu"}


@pytest.mark.parametrize(
    ("option", "order", "then"),
    [
        ("(none): failed tasks fill up when no new ones are left", "lazy", ["2", "3", "1"]),
        ("--eager: failed tasks go before new ones", "eager", ["1", "2", "3"]),
    ],
)
def test_the_order_of_new_and_failed_tasks(
    world: World, option: str, order: RetryOrder, then: list[str]
) -> None:
    tasks = ({"id": each, "retries": 1} for each in "123")
    run = world.create(*tasks, options=RunOptions(retry_order=order))
    (first,) = world.claim(run, 1)
    world.end(run, (first, FAILED))
    assert [world.claimed(run, 1) for _ in range(3)] == [[each] for each in then], option


def test_the_order_is_decided_at_the_claim_and_not_when_a_task_came(world: World) -> None:
    """New tasks that come after a failure still go before it, if it is lazy."""
    options = RunOptions(open=True, retry_order="lazy")
    run = world.create({"id": "1", "retries": 1}, options=options)
    (first,) = world.claim(run)
    world.end(run, (first, FAILED))
    world.add(run, {"id": "2"})
    assert world.claimed(run) == ["2", "1"]


def test_forever_waits_for_tasks_until_it_is_closed(world: World) -> None:
    run = world.create(options=RunOptions(open=True))
    for piece in ("1", "2"):
        assert world.store.settle(run.id, world.now).ended_at is None
        world.add(run, {"id": piece})
        (claim,) = world.claim(run)
        world.end(run, (claim, COMPLETED))
    assert world.control.close(run.id, world.now).state is RunState.COMPLETED
    with pytest.raises(RunClosed):
        world.add(run, {"id": "3"})


def test_restart_runs_again_what_was_scheduled_with_the_attempt_unchanged(world: World) -> None:
    run = world.create({"id": "1"}, {"id": "2"})
    old = world.claim(run)
    world.end(run, (old[1], COMPLETED))
    world.store.release_claims(run.id, [old[0].key])  # what the takeover does with it
    world.store.begin_epoch(run.id, world.now)
    (new,) = world.claim(run)
    assert (new.spec.id, new.key.attempt) == ("1", old[0].key.attempt)
    assert world.end(run, (old[0], FAILED)) == [False], "a late result of an older epoch"
    assert world.end(run, (new, COMPLETED)) == [True]
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED


def test_restart_halts_at_once_if_nothing_remains(world: World) -> None:
    run = world.create({"id": "1"})
    world.end(run, *((claim, COMPLETED) for claim in world.claim(run)))
    world.store.begin_epoch(run.id, world.now)
    assert world.claim(run) == []
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED


def test_without_a_database_leases_still_hold(world: World) -> None:
    """Defect 3 of the seed: with ``--no-db`` a killed client loses tasks."""
    run = world.create({"id": "1"}, options=RunOptions(record="failures"))
    (lost,) = world.claim(run)
    world.store.release_claims(run.id, [lost.key])
    world.store.begin_epoch(run.id, world.now)
    (again,) = world.claim(run)
    world.end(run, (again, COMPLETED))
    assert world.attempts(run, "1") == []
    assert world.store.settle(run.id, world.now).state is RunState.COMPLETED
