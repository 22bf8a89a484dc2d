"""Many at once: counts stay exact, and whoever was second begins again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from hut.control import Control
from hut.lifecycle.task import after_end
from hut.model.states import Reason, RunState, TaskState
from hut.scheduling.room import Caps
from hut.store.dynamodb import DynamoStore
from hut.store.dynamodb.store import RACES
from hut.store.port import Claim, ClaimRequest, End, StoreError
from hut.submission import Setting, Submission
from tests.aws.store_world import StoreWorld, tasks
from tests.aws.watched_client import cancelled, refusal
from tests.contract.worlds import COMPLETED, FAILED

EIGHT = 8


def together(work: Callable[[int], None]) -> None:
    """Do something in eight threads at once; the first error is raised."""
    gate = threading.Barrier(EIGHT)

    def begin(number: int) -> None:
        gate.wait()
        work(number)

    with ThreadPoolExecutor(EIGHT) as pool:
        list(pool.map(begin, range(EIGHT)))


def again(call: Callable[[], list[Any]]) -> list[Any]:
    """Call something until it is not given up: a function is called again too."""
    while True:
        with suppress(StoreError):
            return call()


def end(store: DynamoStore, world: StoreWorld, run_id: str, claims: list[Claim]) -> list[bool]:
    ends = [
        End(c.key, COMPLETED, after_end(COMPLETED, c.spec.retry, c.spent, world.now), world.now)
        for c in claims
    ]
    return store.record_ended(run_id, ends)


def test_eight_that_claim_and_end_at_once_keep_counts_exact(world: StoreWorld) -> None:
    world.store._table.sleep = lambda _: None
    members = tasks(*(f"m{i}" for i in range(120)))
    run = world.create(*members, {"id": "sum", "deps": ["m*"]})
    claimed: list[list[str]] = [[] for _ in range(EIGHT)]
    stores = [world.open_another() for _ in range(EIGHT)]

    def work(number: int) -> None:
        store = stores[number]
        request = ClaimRequest(run.id, run.epoch, world.now, 4)
        while claims := again(partial(store.claim, request)):
            claimed[number] += [claim.spec.id for claim in claims]
            again(partial(end, store, world, run.id, claims))

    together(work)
    everything = sorted(task_id for some in claimed for task_id in some)
    assert everything.count("sum") == 1 or world.claimed(run) == ["sum"]
    assert [i for i in everything if i != "sum"] == sorted(task["id"] for task in members)
    record = world.check(run)
    assert record.counts[TaskState.COMPLETED] >= 120


def test_eight_that_claim_for_runs_that_wait_keep_to_their_shares(world: StoreWorld) -> None:
    world.store._table.sleep = lambda _: None
    caps = Caps(backend=16)
    holder = world.create(*tasks(*(f"h{i}" for i in range(16))))
    held = world.store.claim(ClaimRequest(holder.id, holder.epoch, world.now, 16, caps=caps))
    runs = [world.create(*tasks(*(f"t{i}" for i in range(40)))) for _ in range(4)]
    for run in runs:
        assert not world.store.claim(ClaimRequest(run.id, run.epoch, world.now, 40, caps=caps))
    assert all(end(world.store, world, holder.id, held))
    stores = [world.open_another() for _ in range(EIGHT)]

    def work(number: int) -> None:
        run = runs[number % 4]
        stores[number].claim(ClaimRequest(run.id, run.epoch, world.now, 40, caps=caps))

    together(work)
    active = [world.store.get_run(run.id).active for run in runs]
    assert sum(active) == world.item("BACKEND#local", "BACKEND")["busy"] <= 16
    assert max(active) <= 4
    # Who lost all its tries is called; nobody else takes what is its own.
    for run_id in world.store.call_waiting("local", 16, world.now):
        world.store.claim(ClaimRequest(run_id, 1, world.now, 40, caps=caps))
    assert [world.store.get_run(run.id).active for run in runs] == [4, 4, 4, 4]
    for run in runs:
        world.check(run)


def test_eight_that_end_the_same_tasks_end_each_once(world: StoreWorld) -> None:
    run = world.create(*tasks(*(f"t{i}" for i in range(40))))
    claims = world.claim(run)
    firsts: list[list[bool]] = [[] for _ in range(EIGHT)]
    stores = [world.open_another() for _ in range(EIGHT)]

    def work(number: int) -> None:
        firsts[number] = end(stores[number], world, run.id, claims)

    together(work)
    assert [sum(column) for column in zip(*firsts, strict=True)] == [1] * 40
    assert world.check(run).counts[TaskState.COMPLETED] == 40
    changes, _ = world.store.changes(run.id, 0)
    assert sum(change.state is TaskState.COMPLETED for change in changes) == 40


def test_eight_runs_never_exceed_the_bound_of_a_backend_together(world: StoreWorld) -> None:
    runs = [world.create(*tasks("a", "b", "c")) for _ in range(EIGHT)]
    stores = [world.open_another() for _ in range(EIGHT)]
    claimed: list[int] = [0] * EIGHT

    def work(number: int) -> None:
        run = runs[number]
        request = ClaimRequest(run.id, run.epoch, world.now, 3, caps=Caps(backend=5))
        for _ in range(5):
            claimed[number] += len(stores[number].claim(request))

    together(work)
    for number in range(EIGHT):
        work(number)
    assert sum(claimed) == 5
    assert world.item("BACKEND#local", "BACKEND")["busy"] == 5


def test_eight_that_settle_end_the_run_once(world: StoreWorld) -> None:
    run = world.create({"id": "a"})
    world.complete(run, "a")
    stores = [world.open_another() for _ in range(EIGHT)]
    ended: list[float | None] = [None] * EIGHT

    def work(number: int) -> None:
        ended[number] = stores[number].settle(run.id, 2000.0 + number).ended_at

    together(work)
    assert len(set(ended)) == 1
    assert world.store.get_run(run.id).state is RunState.COMPLETED


def test_eight_submissions_under_one_key_are_one_run(world: StoreWorld) -> None:
    submission = Submission('[{"id": "a", "command": "true"}]', "w.json", "w", idempotency_key="k")
    stores = [world.open_another() for _ in range(EIGHT)]
    ids: list[str] = [""] * EIGHT

    def work(number: int) -> None:
        control = Control(stores[number])
        run, _ = control.submit(submission, Setting(), now=world.now, new_id=f"r{number}")
        ids[number] = run.id

    together(work)
    assert len(set(ids)) == 1
    assert sum(item.get("kind") == "run" for item in world.items()) == 1


# Lost races -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", ["TransactionConflict", "ConditionalCheckFailed", "ThrottlingError"]
)
def test_a_change_that_was_raced_is_made_anew(world: StoreWorld, reason: str) -> None:
    run = world.create({"id": "a"})
    world.client.fail("transact_write_items", cancelled(reason, "None"), times=3)
    assert world.claimed(run) == ["a"]
    assert len(world.slept) == 3
    assert all(0 <= pause <= 0.02 * 2**number for number, pause in enumerate(world.slept))
    world.check(run)


def test_a_change_that_is_always_raced_is_given_up_by_name(world: StoreWorld) -> None:
    run = world.create({"id": "a"})
    world.client.fail("transact_write_items", cancelled("TransactionConflict"), times=1000)
    with pytest.raises(StoreError, match=rf"run {run.id} is being changed by too many at once"):
        world.claim(run)
    assert len(world.slept) == RACES


def test_claims_that_were_stored_are_told_though_the_next_are_always_raced(
    world: StoreWorld,
) -> None:
    run = world.create(*({"id": f"t{n}", "priority": n} for n in range(110)))

    def race_after(call, arguments):
        answer = call(**arguments)
        world.client.fail("transact_write_items", cancelled("TransactionConflict"), times=1000)
        return answer

    world.client.instead("transact_write_items", race_after)  # a page each: too many for one change
    claims = world.claim(run, 110)
    assert 0 < len(claims) < 110
    assert world.check(run).counts[TaskState.SUBMITTED] == len(claims)


def test_a_conflict_of_one_item_is_waited_out(world: StoreWorld) -> None:
    run = world.create({"id": "a"}, {"id": "b", "deps": ["a"]})
    (claim,) = world.claim(run)
    world.client.fail("update_item", refusal("TransactionConflictException"), times=2)
    world.end(run, (claim, COMPLETED))
    assert world.claimed(run) == ["b"]


def test_a_claim_takes_what_is_left_after_a_race(world: StoreWorld) -> None:
    run = world.create(*tasks("a", "b"))
    other = world.open_another()

    def overtake(call, arguments):
        assert [c.spec.id for c in other.claim(request)] == ["a"]
        return call(**arguments)

    request = ClaimRequest(run.id, run.epoch, world.now, 1)
    world.client.instead("transact_write_items", overtake)
    assert [claim.spec.id for claim in world.store.claim(request)] == ["b"]
    world.check(run)


def test_an_end_and_a_cancellation_leave_nothing_pending(world: StoreWorld) -> None:
    run = world.create({"id": "a", "retries": 1}, {"id": "b"})
    claims = world.named(world.claim(run))
    other = world.open_another()

    def cancel_first(call, arguments):
        other.cancel_run(run.id, Reason.CANCELLED, world.now)
        return call(**arguments)

    world.client.instead("transact_write_items", cancel_first)
    world.end(run, (claims["a"], FAILED))
    assert world.states(run) == {"a": "failed", "b": "submitted"}
    world.check(run)
