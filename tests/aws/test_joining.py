"""Tasks that join a running run: one writer at a time, and nothing left of one that died."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from hut.model.records import RunRecord
from hut.model.states import TaskState
from hut.planning import Extension
from hut.store.dynamodb import DynamoStore
from hut.store.dynamodb.blocks import buckets_for
from hut.store.dynamodb.keys import bucket_of
from hut.store.port import Claim, StoreError, TaskFilter
from tests.aws.store_world import StoreWorld
from tests.aws.watched_client import Killed
from tests.contract.worlds import COMPLETED, FAILED


def generators(world: StoreWorld, *ids: str) -> tuple[RunRecord, dict[str, Claim]]:
    entries = [{"id": task_id, "generates_source": "g.json"} for task_id in ids]
    run = world.create(*entries, {"id": "plain"})
    return run, world.named(world.claim(run))


def join(
    world: StoreWorld,
    run: RunRecord,
    claim: Claim,
    adds: Extension,
    store: DynamoStore | None = None,
    at: float | None = None,
) -> bool:
    end = world.end_record(claim, COMPLETED, adds=adds)
    end = end._replace(at=world.now if at is None else at)
    (applied,) = (store or world.store).record_ended(run.id, [end])
    return applied


def die_before_joining(
    world: StoreWorld, run: RunRecord, claim: Claim, adds: Extension, at: float | None = None
) -> None:
    """Write what a task generated, and die before it is a part of the run."""
    store, client = world.another()
    client.die("transact_write_items", after=1)  # the lock
    with pytest.raises(Killed):
        join(world, run, claim, adds, store, at)


def in_bucket(prefix: str, bucket: int) -> dict[str, str]:
    """Return a task whose id stands in a certain place among the ids of some 2,000 tasks."""
    names = (f"{prefix}{number}" for number in range(1000))
    return {"id": next(name for name in names if bucket_of(name, buckets_for(2002)) == bucket)}


def test_of_two_that_join_at_once_the_second_one_is_planned_anew(world: StoreWorld) -> None:
    run, claims = generators(world, "a", "b")
    first, second = (world.extension(run, {"id": i}) for i in ("n", "m"))
    other, client = world.another()

    def join_meanwhile(call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        with pytest.raises(StoreError, match="joining the run; do it again"):
            join(world, run, claims["b"], second)
        return call(**arguments)

    client.instead("batch_write_item", join_meanwhile)
    assert join(world, run, claims["a"], first, other)
    with pytest.raises(StoreError, match="plan them again"):
        join(world, run, claims["b"], second)
    assert join(world, run, claims["b"], world.extension(run, {"id": "m", "deps": ["n"]}))
    assert world.store.task_ids(run.id) == ["a", "b", "plain", "n", "m"]
    assert world.check(run).total == 5
    assert world.claimed(run) == ["n"]


def test_nobody_joins_while_a_writer_may_be_alive(world: StoreWorld) -> None:
    run, claims = generators(world, "a", "b")
    die_before_joining(world, run, claims["a"], world.extension(run, {"id": "n"}))
    assert world.check(run).total == 3
    world.now += 299
    with pytest.raises(StoreError, match="do it again"):
        join(world, run, claims["b"], world.extension(run, {"id": "m"}))


def test_the_place_of_a_writer_that_died_is_taken_over(world: StoreWorld) -> None:
    run, claims = generators(world, "a", "b")
    die_before_joining(world, run, claims["a"], world.extension(run, {"id": "n"}))
    world.now += 300
    assert join(world, run, claims["b"], world.extension(run, {"id": "m"}))
    assert join(world, run, claims["a"], world.extension(run, {"id": "n"}))
    assert world.store.task_ids(run.id) == ["a", "b", "plain", "m", "n"]
    world.check(run)
    assert sorted(world.claimed(run)) == ["m", "n"]


def test_whoever_died_may_do_it_again_itself(world: StoreWorld) -> None:
    run, claims = generators(world, "a")
    adds = world.extension(run, {"id": "n"})
    die_before_joining(world, run, claims["a"], adds)
    world.now += 360
    assert join(world, run, claims["a"], adds, at=1000.0)
    assert not join(world, run, claims["a"], adds)
    assert world.check(run).total == 3


def test_a_writer_that_is_alive_keeps_its_place_however_late_its_message(
    world: StoreWorld,
) -> None:
    run, claims = generators(world, "a", "b")
    first, second = (world.extension(run, {"id": i}) for i in ("n", "m"))
    other, client = world.another()
    world.now += 1000

    def join_meanwhile(call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        with pytest.raises(StoreError):
            join(world, run, claims["b"], second)
        return call(**arguments)

    client.instead("batch_write_item", join_meanwhile)
    assert join(world, run, claims["a"], first, other, at=world.now - 360)  # told a second time


def test_the_place_of_a_writer_that_died_long_ago_is_taken_over(world: StoreWorld) -> None:
    run, claims = generators(world, "a", "b")
    die_before_joining(world, run, claims["a"], world.extension(run, {"id": "n"}))
    world.now += 10_000
    # Its job ended soon after the other one; the message has come again and again since.
    assert join(world, run, claims["b"], world.extension(run, {"id": "m"}), at=1010.0)


def test_of_two_that_record_the_same_end_one_writes(world: StoreWorld) -> None:
    """As when a sweep sees a job while its event is being taken in."""
    run, claims = generators(world, "a")
    adds = world.extension(run, {"id": "n"})
    other, client = world.another()

    def join_meanwhile(call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        with contextlib.suppress(StoreError):
            join(world, run, claims["a"], adds)
        world.claim(run)
        return call(**arguments)  # if both wrote, this would be over what was claimed

    client.instead("batch_write_item", join_meanwhile)
    with contextlib.suppress(StoreError):
        join(world, run, claims["a"], adds, other)
    world.claim(run)
    assert world.states(run)["n"] == "submitted"
    world.check(run)


def test_ids_of_a_writer_that_died_are_not_ids_of_the_run(world: StoreWorld) -> None:
    # Enough tasks that ids stand in several places.
    others = [{"id": f"x{i}"} for i in range(2000)]
    run = world.create(
        {"id": "a", "generates_source": "g"}, {"id": "b", "generates_source": "g"}, *others
    )
    claims = world.named(world.claim(run, 2))
    lost, found = in_bucket("lost", 4), in_bucket("found", 0)
    die_before_joining(world, run, claims["a"], world.extension(run, lost))
    world.now += 300
    assert join(world, run, claims["b"], world.extension(run, found))
    assert world.store.task_ids(run.id)[2002:] == [found["id"]]
    world.extension(run, lost)


def test_edges_of_a_writer_that_died_release_nothing(world: StoreWorld) -> None:
    run, claims = generators(world, "a", "b")
    die_before_joining(
        world, run, claims["a"], world.extension(run, {"id": "n", "deps": ["plain"]})
    )
    world.now += 300
    assert join(world, run, claims["b"], world.extension(run, {"id": "m", "deps": ["a"]}))
    world.end(run, (claims["plain"], COMPLETED))
    assert world.task(run, "m").waiting_for == 1
    assert world.claimed(run) == []


def test_specifications_of_a_writer_that_died_are_not_read(world: StoreWorld) -> None:
    run, claims = generators(world, "a", "b")
    die_before_joining(world, run, claims["a"], world.extension(run, {"id": "n", "command": "old"}))
    world.now += 300
    assert join(world, run, claims["b"], world.extension(run, {"id": "n", "command": "new"}))
    assert world.task(run, "n").spec.command == "new"


def test_specifications_of_a_writer_that_died_are_not_remembered(world: StoreWorld) -> None:
    run, claims = generators(world, "a", "b")
    die_before_joining(world, run, claims["a"], world.extension(run, {"id": "n", "command": "old"}))
    reader = world.open_another()
    assert reader.get_task(run.id, "plain") is not None
    world.now += 300
    assert join(world, run, claims["b"], world.extension(run, {"id": "n", "command": "new"}))
    task = reader.get_task(run.id, "n")
    assert task is not None
    assert task.spec.command == "new"


def test_what_was_written_in_vain_is_not_read(world: StoreWorld) -> None:
    others = [{"id": f"x{i}"} for i in range(2000)]
    run = world.create(
        {"id": "a", "generates_source": "g"}, {"id": "b", "generates_source": "g"}, *others
    )
    claims = world.named(world.claim(run, 2))
    other, client = world.another()

    def end_meanwhile(call: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        world.end(run, (claims["a"], FAILED))  # as when a sweep takes its job for lost
        return call(**arguments)

    client.instead("batch_write_item", end_meanwhile)
    vain, found = in_bucket("vain", 4), in_bucket("found", 0)
    assert not join(world, run, claims["a"], world.extension(run, vain), other)
    assert join(world, run, claims["b"], world.extension(run, found))
    assert world.store.task_ids(run.id)[2002:] == [found["id"]]


def test_large_pieces_of_a_writer_that_died_are_not_read(world: StoreWorld) -> None:
    run, claims = generators(world, "a", "b", "c")
    lost = [{"id": f"lost{i}", "command": "lost"} for i in range(1100)]
    die_before_joining(world, run, claims["a"], world.extension(run, *lost))
    world.now += 300
    assert join(world, run, claims["b"], world.extension(run, {"id": "b.1"}, {"id": "b.2"}))
    found = [{"id": f"found{i}", "command": "found"} for i in range(1100)]
    assert join(world, run, claims["c"], world.extension(run, *found))
    specs = [task.spec for task in world.store.list_tasks(run.id, TaskFilter(after=5))]
    assert [(spec.id, spec.command) for spec in specs] == [(f["id"], "found") for f in found]


def test_hundreds_of_tasks_join_with_what_they_wait_for(world: StoreWorld) -> None:
    run, claims = generators(world, "a")
    entries = [{"id": f"n{i}", "deps": ["plain"]} for i in range(300)]
    adds = world.extension(run, *entries, {"id": "sum", "deps": ["n*", "a"]})
    assert join(world, run, claims["a"], adds)
    assert world.claimed(run) == []
    world.end(run, (claims["plain"], COMPLETED))
    found = world.claim(run, 400)
    assert len(found) == 300
    world.end(run, *((claim, COMPLETED) for claim in found))
    assert world.claimed(run) == ["sum"]
    record = world.check(run)
    assert (record.total, record.counts[TaskState.COMPLETED]) == (303, 302)
