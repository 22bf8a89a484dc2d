"""What every store must do with the order of retries, and with runs that record failures only."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hut.model.records import RunRecord
from hut.model.run_options import RetryOrder, RunOptions
from hut.model.states import RunState, TaskState
from hut.scheduling.order import EAGER_RETRY, LAZY_RETRY, NEW, rank_of
from hut.store.port import ClaimRequest, TaskFilter
from tests.contract.worlds import COMPLETED, FAILED, LOST, World

ORDERS: tuple[RetryOrder, ...] = ("document", "eager", "lazy")


@pytest.mark.parametrize(
    ("order", "retries", "rank"),
    [
        ("document", 0, NEW),
        ("document", 2, NEW),
        ("eager", 0, NEW),
        ("eager", 1, EAGER_RETRY),
        ("lazy", 0, NEW),
        ("lazy", 3, LAZY_RETRY),
    ],
)
def test_the_rank_of_a_ready_task(order: RetryOrder, retries: int, rank: int) -> None:
    assert rank_of(order, retries) == rank


@pytest.mark.parametrize(
    ("order", "delay", "then"),
    [
        ("document", "0s", ["b", "c", "d", "e"]),
        ("eager", "0s", ["b", "d", "c", "e"]),
        ("lazy", "0s", ["c", "e", "b", "d"]),
        ("document", "5s", ["b", "c", "d", "e"]),
        ("eager", "5s", ["b", "d", "c", "e"]),
        ("lazy", "5s", ["c", "e", "b", "d"]),
    ],
)
def test_failed_tasks_are_tried_again_in_the_runs_order(
    world: World, order: RetryOrder, delay: str, then: list[str]
) -> None:
    again = {"retries": 1, "retry_delay": delay, "retry_backoff": 1}
    tasks = [{"id": each, **again} for each in "abcde"]
    run = world.create(*tasks, options=RunOptions(retry_order=order))
    # All are ready once; c and e are given back, so they are new.
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    world.end(run, (claims["b"], FAILED), (claims["d"], FAILED), (claims["a"], COMPLETED))
    world.store.release_claims(run.id, [claims["c"].key, claims["e"].key])
    world.now += 10
    assert [each for _ in range(4) for each in world.claimed(run, 1)] == then
    world.check(run)


def test_a_delayed_retry_does_not_go_first_before_its_time(world: World) -> None:
    again = {"retries": 1, "retry_delay": "60s"}
    run = world.create({"id": "a", **again}, {"id": "b"}, options=RunOptions(retry_order="eager"))
    (claim,) = world.claim(run, 1)
    world.end(run, (claim, FAILED))
    assert world.claimed(run) == ["b"]
    world.now += 60
    assert world.claimed(run) == ["a"]


def test_priority_goes_before_the_order_of_retries(world: World) -> None:
    tasks = [{"id": "a", "retries": 1}, {"id": "b"}, {"id": "urgent", "priority": 5}]
    for order, then in (("eager", ["urgent", "a", "b"]), ("lazy", ["urgent", "b", "a"])):
        run = world.create(*tasks, options=RunOptions(retry_order=order))
        claims = {claim.spec.id: claim for claim in world.claim(run)}
        world.end(run, (claims["a"], FAILED))
        world.store.release_claims(run.id, [claims["b"].key, claims["urgent"].key])
        assert world.claimed(run) == then


@pytest.mark.parametrize("order", ORDERS)
def test_a_task_whose_machine_failed_keeps_its_place(world: World, order: RetryOrder) -> None:
    run = world.create(*({"id": each} for each in "abc"), options=RunOptions(retry_order=order))
    claims = world.claim(run)
    world.end(run, (claims[1], LOST))
    world.store.release_claims(run.id, [claims[0].key, claims[2].key])
    world.now += 3600
    assert world.claimed(run) == ["a", "b", "c"]


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    database=None,
)
@given(
    order=st.sampled_from(ORDERS),
    priorities=st.lists(st.integers(0, 2), min_size=1, max_size=8),
    failed=st.sets(st.integers(0, 7)),
)
def test_claims_are_sorted_by_priority_rank_and_place(
    world: World, order: RetryOrder, priorities: list[int], failed: set[int]
) -> None:
    tasks = [{"id": f"t{n}", "priority": p, "retries": 1} for n, p in enumerate(priorities)]
    run = world.create(*tasks, options=RunOptions(retry_order=order))
    claims = world.claim(run)
    bad = {claim.key.position for claim in claims} & failed
    world.end(run, *((claim, FAILED) for claim in claims if claim.key.position in bad))
    rest = [claim.key for claim in claims if claim.key.position not in bad]
    world.store.release_claims(run.id, rest)
    wanted = sorted(
        range(len(priorities)), key=lambda n: (-priorities[n], rank_of(order, n in bad), n)
    )
    found = []
    while claims := world.claim(run, 3):
        found += [claim.key.position for claim in claims]
    assert found == wanted
    world.check(run)


# Failures only ----------------------------------------------------------------------------------


def failures_only(world: World, *tasks: dict[str, object]) -> RunRecord:
    return world.create(*tasks, options=RunOptions(record="failures"))


def test_of_successes_there_is_no_record_and_no_news(world: World) -> None:
    run = failures_only(world, {"id": "a"}, {"id": "b", "deps": ["a"]}, {"id": "bad", "retries": 1})
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    world.start(run, *claims.values())
    world.end(run, (claims["a"], COMPLETED), (claims["bad"], FAILED))
    claims = {claim.spec.id: claim for claim in world.claim(run)}
    assert sorted(claims) == ["b", "bad"]
    world.end(run, *((claim, COMPLETED) for claim in claims.values()))
    ended = world.store.settle(run.id, world.now)
    assert (ended.state, ended.counts[TaskState.COMPLETED]) == (RunState.COMPLETED, 3)
    assert [len(world.attempts(run, each)) for each in ("a", "b", "bad")] == [0, 0, 1]
    told, _ = world.store.changes(run.id, 0)
    assert [(each.task_id, each.state, each.exit_code) for each in told] == [("bad", "pending", 1)]
    assert (world.task(run, "a").exit_code, world.task(run, "a").attempt) == (0, 1)
    world.check(run)


def test_leases_hold_where_failures_only_are_recorded(world: World) -> None:
    run = failures_only(world, {"id": "a"})
    (claim,) = world.claim(run)
    assert world.claim(run) == []
    assert world.end(run, (claim, COMPLETED)) == [True]
    assert world.end(run, (claim, FAILED)) == [False]
    assert world.attempts(run, "a") == []


def test_dependents_fail_and_are_told_where_failures_only_are_recorded(world: World) -> None:
    run = failures_only(world, {"id": "a"}, {"id": "b", "deps": ["a"]})
    (claim,) = world.claim(run)
    world.end(run, (claim, FAILED))
    told, _ = world.store.changes(run.id, 0)
    assert [(each.task_id, str(each.state)) for each in told] == [
        ("a", "failed"),
        ("b", "dep_failed"),
    ]
    world.store.settle(run.id, world.now)
    assert world.control.retry(run.id, world.now) == 2
    epoch = world.store.begin_epoch(run.id, world.now).epoch
    request = ClaimRequest(run.id, epoch, world.now, 10)
    assert [(c.spec.id, c.key.attempt) for c in world.store.claim(request)] == [("a", 2)]
    assert [attempt.number for attempt in world.attempts(run, "a")] == [1]


def test_everything_is_repeated_of_a_run_that_records_failures_only(world: World) -> None:
    run = failures_only(world, *({"id": f"t{n}"} for n in range(40)))
    world.end(run, *((claim, COMPLETED) for claim in world.claim(run)))
    world.store.settle(run.id, world.now)
    assert world.control.retry(run.id, world.now, everything=True) == 40
    world.store.begin_epoch(run.id, world.now)
    claims = world.claim(run)
    assert {claim.key.attempt for claim in claims} == {2}
    tasks = world.store.list_tasks(run.id, TaskFilter())
    assert all(task.state is TaskState.SUBMITTED for task in tasks)
