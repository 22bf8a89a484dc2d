"""The pace of all functions, as an item of the table."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from hut.backends.pace import Pace
from hut.scheduling.pacing import Bucket
from hut.store.dynamodb import TableBucket
from tests.aws.store_world import StoreWorld
from tests.aws.watched_client import refusal

EIGHT = 8


def bucket_of(world: StoreWorld) -> TableBucket:
    return TableBucket(world.client, world.options.table, "batch")


def test_a_bucket_is_kept(world: StoreWorld) -> None:
    shared, other = bucket_of(world), bucket_of(world)
    assert shared.load() == (None, 0)
    bucket = Bucket(12.5, 1700000000.1234567, 1699999999.5)
    assert shared.swap(0, bucket)
    assert other.load() == (bucket, 1)


def test_who_comes_second_changes_nothing(world: StoreWorld) -> None:
    shared, bucket = bucket_of(world), Bucket(50.0, 1000.0, 1000.0)
    assert shared.swap(0, bucket)
    assert not shared.swap(0, Bucket(1.0, 0.0, 0.0))
    assert shared.swap(1, bucket)
    assert not shared.swap(1, Bucket(1.0, 0.0, 0.0))
    assert shared.load() == (bucket, 2)


def test_eight_functions_at_once_take_turns_that_do_not_overlap(world: StoreWorld) -> None:
    now, gate = 1_700_000_000.0, threading.Barrier(EIGHT)
    notes: list[str] = []

    def take(_: int) -> list[float]:
        shared = TableBucket(world.bed.client("dynamodb"), world.options.table, "batch")
        pace = Pace(shared, clock=lambda: now, note=notes.append)
        gate.wait()
        turns = [pace.take(100) for _ in range(2)]
        return [turn if isinstance(turn, float) else turn.start for turn in turns]

    with ThreadPoolExecutor(EIGHT) as pool:
        starts = sorted(start for some in pool.map(take, range(EIGHT)) for start in some)
    # Who lost all tries went on by itself, from now on; all others have turns of their own.
    bucket, number = bucket_of(world).load()
    assert bucket is not None
    assert number + len(notes) == 2 * EIGHT
    assert len(set(starts)) >= number
    assert bucket.next >= starts[-1]


def test_a_function_that_can_not_write_goes_on_slowly(world: StoreWorld) -> None:
    notes: list[str] = []
    world.client.fail("put_item", refusal("AccessDeniedException"), times=10)
    turn = Pace(bucket_of(world), clock=lambda: 1000.0, note=notes.append).take(10)
    assert not isinstance(turn, float)
    assert turn.apart == 1 / 5
    assert len(notes) == 1
