"""Runs on workers of a pool, with the real backend, pool and store: as on any backend, whatever dies."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from hut.metrics import Metric
from hut.model.records import RunRecord
from hut.model.scheduler import OF_POOLS, Kind
from hut.model.states import Reason, RunState, TaskState
from hut.pools.port import How, Turn
from hut.store.port import StoreError
from tests.service.pool_plane import POOL, Agent, PoolPlane

PATIENT = replace(OF_POOLS, worker_timeout_s=1000.0)
MINIMUM = replace(PATIENT, properties={"cpus": Kind.MINIMUM})


@pytest.fixture
def world() -> PoolPlane:
    return PoolPlane(scheduler=PATIENT)


def many(number: int, **fields: object) -> list[dict[str, object]]:
    return [{"id": f"t.{index:03}", **fields} for index in range(number)]


def test_tasks_with_dependencies_run_once_each_on_a_worker(world: PoolPlane) -> None:
    run = world.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    assert world.finish(run, Agent(world, "w")).state is RunState.COMPLETED
    assert set(world.ran.values()) == {1}
    assert len(world.ran) == 2
    assert world.backend.rings == 2


def test_short_tasks_go_together_and_workers_share_them(world: PoolPlane) -> None:
    one, two = Agent(world, "one", slots=2), Agent(world, "two", slots=2)
    for agent in (one, two):
        agent.join()
    run = world.begin(*many(64))
    world.plane.deliver()
    sizes = [waits.tasks for waits in world.backend.pool.waiting(1000)]
    assert (sum(sizes), max(sizes)) == (64, 8)
    one.step()
    two.step()
    assert one.has
    assert two.has
    assert world.finish(run, one, two).state is RunState.COMPLETED
    assert set(world.ran.values()) == {1}


@pytest.mark.parametrize("bundle", [1, 5])
def test_a_bundle_is_as_large_as_is_said(bundle: int) -> None:
    world = PoolPlane(scheduler=PATIENT, bundle=bundle)
    run = world.begin(*many(12))
    world.plane.deliver()
    assert max(waits.tasks for waits in world.backend.pool.waiting(100)) == bundle
    assert world.finish(run, Agent(world, "w")).state is RunState.COMPLETED


def test_what_uses_up_numbers_of_a_worker_goes_alone() -> None:
    world = PoolPlane(scheduler=MINIMUM, bundle=10)
    run = world.begin(*many(6, properties={"cpus": "2"}))
    agent = Agent(world, "w", properties={"cpus": "4"})
    world.plane.deliver()
    agent.holds = True
    agent.step()
    assert len(agent.has) == 2
    agent.holds = False
    assert world.finish(run, agent).state is RunState.COMPLETED


def test_a_failed_task_is_repeated_as_its_policy_says(world: PoolPlane) -> None:
    world.codes["a", 1] = 3
    run = world.begin({"id": "a", "retries": 1}, {"id": "b"})
    assert world.finish(run, Agent(world, "w")).state is RunState.COMPLETED
    assert world.ran[run.id, "a", 2] == 1


def test_starts_are_told_and_shown(world: PoolPlane) -> None:
    run = world.begin(*many(3))
    agent = Agent(world, "w", holds=True)
    world.plane.deliver()
    agent.step()
    agent.begin()
    agent.step()
    assert set(world.plane.states(run).values()) == {"running"}
    task = world.plane.task(run, "t.000")
    assert task.log == "log"
    assert world.backend.where(task.handle or "") == "worker w on h"
    world.plane.sweep()
    assert set(world.plane.states(run).values()) == {"running"}


# Losses ------------------------------------------------------------------------------------------


def test_a_lost_worker_costs_an_attempt_and_others_go_on() -> None:
    world = PoolPlane(scheduler=replace(OF_POOLS, worker_timeout_s=30.0))
    run = world.begin(*many(20))
    dead, alive = Agent(world, "dead", holds=True), Agent(world, "alive")
    world.plane.deliver()
    dead.step()
    assert dead.has
    world.plane.clock.now += 31
    assert world.finish(run, alive).state is RunState.COMPLETED
    task = world.plane.task(run, "t.000")
    assert (task.attempt, task.losses) == (2, 1)
    attempt, _ = world.plane.store.list_attempts(run.id, [0])[0]
    assert (attempt.outcome.reason, attempt.outcome.message) == (
        Reason.LOST,
        "worker dead disconnected",
    )
    dead.step()
    assert not dead.id  # it is told that nobody knows it


def test_a_task_whose_workers_are_lost_too_often_fails_with_the_references_words() -> None:
    scheduler = replace(OF_POOLS, worker_timeout_s=30.0, max_job_retries=1)
    world = PoolPlane(scheduler=scheduler)
    run = world.begin({"id": "a"})
    for number in range(2):
        world.plane.deliver()
        agent = Agent(world, f"w{number}", holds=True)
        agent.step()
        assert agent.has
        world.plane.clock.now += 100
        world.plane.sweep()
    task = world.plane.task(run, "a")
    assert (task.state, task.reason) == ("failed", "lost")
    assert task.message == (
        "worker disconnected repeatedly: worker w1 disconnected "
        "(2 attempts were lost, 1 retries are allowed)"
    )


def test_an_error_of_the_worker_is_no_fault_of_the_task() -> None:
    world = PoolPlane(scheduler=replace(PATIENT, max_job_retries=1))
    run = world.begin({"id": "a"})
    agent = Agent(world, "w", holds=True)
    for _ in range(2):
        world.plane.deliver()
        agent.step()
        (order,) = agent.has.values()
        agent.end(order, How.ERROR, said="its disk is full")
        agent.step()
        agent.step()
    assert "attempted to execute too many times" in world.plane.task(run, "a").message
    assert "its disk is full" in world.plane.task(run, "a").message


def test_a_worker_that_starts_again_gives_up_what_it_had(world: PoolPlane) -> None:
    run = world.begin(*many(3))
    world.plane.deliver()
    Agent(world, "w", holds=True).step()
    assert world.finish(run, Agent(world, "w")).state is RunState.COMPLETED
    assert world.plane.task(run, "t.000").losses == 1


# Cancelling --------------------------------------------------------------------------------------


def test_cancelling_takes_out_what_waits_and_stops_what_runs(world: PoolPlane) -> None:
    run = world.begin(*many(40))
    agent = Agent(world, "w", slots=1, holds=True)
    world.plane.deliver()
    agent.step()
    agent.begin()
    agent.step()
    assert 0 < len(agent.has) < 40
    world.plane.submitting.cancel(run.id, world.plane.clock.now)
    ended = world.finish(run, agent)
    assert ended.state is RunState.CANCELLED
    assert agent.cancelled
    assert world.backend.pool.waiting(10) == []
    reasons = {task.reason for task in world.plane.tasks(run)}
    assert reasons == {Reason.CANCELLED}


def test_a_cancel_whose_news_are_lost_is_found_by_the_sweep(world: PoolPlane) -> None:
    run = world.begin(*many(8))
    world.plane.deliver()
    world.plane.submitting.cancel(run.id, world.plane.clock.now)
    world.plane.deliver_stream()
    world.plane.lose_events()
    assert world.plane.run(run).ended_at is None
    ended = world.finish(run, sweeps=2)
    assert ended.state is RunState.CANCELLED
    assert {task.reason for task in world.plane.tasks(run)} == {Reason.CANCELLED}


def test_what_waits_too_long_for_a_worker_is_failed(world: PoolPlane) -> None:
    run = world.begin({"id": "a", "max_queue_time": "60s"}, {"id": "b"})
    world.plane.deliver()
    world.plane.clock.now += 100
    world.plane.sweep()
    world.plane.deliver()
    task = world.plane.task(run, "a")
    assert (task.state, task.reason) == ("failed", "queue_timeout")
    assert world.finish(run, Agent(world, "w")).state is RunState.FAILED
    assert world.plane.task(run, "b").state == "completed"


def test_what_nobody_wants_any_more_is_taken_out(world: PoolPlane) -> None:
    """The pool has it, but no run of this table: it was restored from an older copy, say."""
    run = world.begin({"id": "a"})
    world.plane.deliver()
    (waits,) = world.backend.pool.waiting(10)
    item = waits.item._replace(name="hut-gone-0-1-1", run_id="gone", orders=())
    from hut.pools.port import Order

    order = Order(item.name, 0, "gone", "x", 1, "true")
    world.backend.pool.enqueue([item._replace(orders=(order,))], world.plane.clock.now)
    world.plane.clock.now += 200
    world.plane.sweep()
    assert [each.item.run_id for each in world.backend.pool.waiting(10)] == [run.id]


# Why ---------------------------------------------------------------------------------------------


def test_why_names_what_each_worker_lacks_and_the_place_in_the_queue() -> None:
    world = PoolPlane(scheduler=MINIMUM)
    run = world.begin({"id": "a", "properties": {"cpus": "8"}}, {"id": "b", "priority": 5})
    world.plane.deliver()
    spec, handle = world.plane.task(run, "a").spec, world.plane.task(run, "a").handle
    waiting = world.backend.waiting(spec, handle)
    assert (waiting.said, waiting.position) == (f"{POOL} has no worker", 2)
    Agent(world, "small", properties={"cpus": "4"}).join()
    waiting = world.backend.waiting(spec, handle)
    assert waiting.said == "worker small lacks cpus >= 8 (it has 4)"
    assert waiting.meaning == "has waited {span} for a worker, with 1 task before it"
    assert waiting.advice == ("start a worker that has what it asks for: --property cpus=8",)
    world.pooling.drain(POOL, None, draining=True)
    assert "draining" in world.backend.waiting(spec, handle).said


# Faults ------------------------------------------------------------------------------------------


def begin_bundles(world: PoolPlane) -> RunRecord:
    world.codes["t.001", 1] = 1
    return world.begin(*many(4, retries=1), {"id": "end", "deps": ["*"], "priority": 1})


def what_goes_wrong(fault: str) -> list[str]:
    """Tell the story as often as it has effects, each time with another fault in it."""
    wrong: list[str] = []
    number = 0
    while True:
        number += 1
        world = PoolPlane(scheduler=PATIENT, bundle=2)
        run = begin_bundles(world)
        fate = world.plane.fate
        fate.effects.clear()
        setattr(fate, fault, number)
        problem = ""
        try:
            agents = [Agent(world, "one", slots=2), Agent(world, "two", slots=2)]
            ended = world.finish(run, *agents, sweeps=6)
            assert ended.state is RunState.COMPLETED
            assert len(world.ran) == 6, world.ran
            assert set(world.ran.values()) == {1}, world.ran
            attempts = world.plane.store.list_attempts(run.id, range(5))
            assert [len(attempts.get(at, ())) for at in range(5)] == [1, 2, 1, 1, 1]
            assert not any(task.losses for task in world.plane.tasks(run))
            assert world.backend.pool.waiting(10) == []
            assert not any(each.leases for each in world.backend.pool.workers()[1])
        except (AssertionError, StoreError) as error:
            problem = str(error)
        if number > len(fate.effects):
            assert not problem, problem
            return wrong
        if problem:
            wrong.append(f"{number}, {fate.effects[number - 1]}: {problem:.300}")


@pytest.mark.parametrize("fault", ["dies_before", "loses_answer_of"])
def test_whatever_dies_each_task_is_recorded_once_and_none_is_lost(fault: str) -> None:
    """Before every single write of putting in, leasing and reporting, and of what lies between."""
    assert what_goes_wrong(fault) == []


# For those who run it ----------------------------------------------------------------------------


def matches(world: PoolPlane) -> list[Any]:
    """Return what the log says of tasks that wait, and forget it."""
    told = [f for _, message, f in world.plane.notes.told if message == "tasks wait for workers"]
    world.plane.notes.told.clear()
    return [fields["status"] for fields in told]


def test_what_waits_for_what_is_logged_at_the_schedulers_interval() -> None:
    world = PoolPlane(scheduler=replace(PATIENT, worker_match_logging_interval_s=20.0))
    world.begin(*many(2, properties={"arch": "arm"}))
    world.plane.deliver()
    agent = Agent(world, "w", properties={"arch": "x86"})
    for _ in range(3):  # 0, 10 and 20 seconds
        agent.step()
        world.plane.clock.now += 10
    assert matches(world) == [["2 tasks wait: arch = arm, workers have x86"]] * 2
    world.plane.sweep()  # which comes every two minutes
    assert matches(world) == [["2 tasks wait: arch = arm, workers have x86"]]


def test_with_an_interval_of_0_nothing_is_logged_of_what_waits() -> None:
    world = PoolPlane(scheduler=replace(PATIENT, worker_match_logging_interval_s=0.0))
    world.begin(*many(2, properties={"arch": "arm"}))
    world.plane.deliver()
    Agent(world, "w").step()
    world.plane.sweep()
    assert matches(world) == []


def test_a_sweep_tells_what_waits_while_nobody_could_run_it(world: PoolPlane) -> None:
    world.begin(*many(3), {"id": "b", "properties": {"arch": "arm"}})
    world.plane.deliver()
    swept = world.plane.sweep()
    assert (swept.workers, swept.waiting, swept.unserved) == (0, 4, 4)
    assert matches(world) == [
        ["3 tasks wait: there is no worker", "1 task waits: there is no worker"]
    ]
    Agent(world, "w", holds=True).join()
    swept = world.plane.sweep()
    assert (swept.workers, swept.waiting, swept.unserved) == (1, 4, 1)
    world.pooling.drain(POOL, None, draining=True)
    swept = world.plane.sweep()
    assert (swept.workers, swept.waiting, swept.unserved) == (1, 4, 0)


def test_a_pool_that_cannot_be_looked_at_keeps_nothing_from_the_sweep(world: PoolPlane) -> None:
    world.begin({"id": "a"})
    world.plane.pools["broken"] = None
    world.plane.deliver()
    swept = world.plane.sweep()
    assert (swept.failed, swept.runs, swept.waiting) == (1, 1, 1)
    assert "a pool could not be looked at" in world.plane.notes.warnings()


def test_a_lost_worker_is_counted_once_whoever_finds_it() -> None:
    world = PoolPlane(scheduler=replace(OF_POOLS, worker_timeout_s=30.0))
    world.begin(*many(20))
    world.plane.deliver()
    Agent(world, "dead", holds=True).step()
    other = Agent(world, "alive", holds=True)
    other.join()
    world.plane.clock.now += 31
    world.invoke(other.step)
    world.plane.sweep()
    assert world.plane.measures.values[Metric.WORKERS_LOST] == [1]


# Costs -------------------------------------------------------------------------------------------


def test_a_bundle_of_100_short_tasks_costs_few_requests_per_task() -> None:
    """All of DynamoDB, S3, SQS and the API, from the moment the run begins to its end; 1.5 is allowed."""
    world = PoolPlane(scheduler=PATIENT, bundle=100)
    run = world.begin(*many(100))
    agent = Agent(world, "w")
    agent.join()
    asked: Counter[str] = Counter()
    for client in (world.plane.client, world.plane.s3):
        whole = client._around

        def counted(operation: str, arguments: Any, call: Any, whole: Any = whole) -> Any:
            asked[operation] += 1
            return whole(operation, arguments, call)

        client._around = counted
    turn = world.pooling.turn

    def counted_turn(*said: Any) -> Any:
        asked["API"] += 1
        return turn(*said)

    world.pooling.turn = counted_turn  # type: ignore[method-assign]
    ended = world.finish(run, agent)
    asked["SQS"] += world.backend.rings
    assert ended.counts[TaskState.COMPLETED] == 100
    assert set(world.ran.values()) == {1}
    print(dict(asked))
    assert asked["API"] <= 4
    assert sum(asked.values()) <= 1.5 * 100 / 2, asked


def reads_of(world: PoolPlane) -> Counter[str]:
    """Count from now on what is read of the table: by its operation, and for queries the partition."""
    asked: Counter[str] = Counter()
    whole = world.plane.client._around

    def counted(operation: str, arguments: Any, call: Any) -> Any:
        values = [v.get("S", "") for v in arguments.get("ExpressionAttributeValues", {}).values()]
        of = next((value for value in values if value.startswith("POOL#")), "")
        asked[f"{operation} {of}".strip()] += 1
        return whole(operation, arguments, call)

    world.plane.client._around = counted  # type: ignore[method-assign]
    return asked


WORKERS, QUEUE = f"query POOL#{POOL}", f"query POOL#{POOL}#Q"


def test_a_sign_of_life_reads_its_worker_and_the_pool_only(world: PoolPlane) -> None:
    world.begin(*many(3))
    world.plane.deliver()
    agent = Agent(world, "w")
    agent.step()  # it says what it wants, and gets it
    world.pooling._looked_at[POOL] = world.pooling._told_at[POOL] = world.plane.clock.now
    asked = reads_of(world)
    world.pooling.turn(POOL, agent.id, Turn())
    assert asked == {"batch_get_item": 1, "put_item": 1}


def test_a_turn_that_finds_nothing_does_not_read_the_others(world: PoolPlane) -> None:
    agent = Agent(world, "w")
    agent.step()
    asked = reads_of(world)
    agent.step()
    assert asked == {"batch_get_item": 1, QUEUE: 1, "put_item": 1}


def test_of_a_large_pool_the_others_are_read_every_few_seconds() -> None:
    """What a turn costs with a thousand workers is noted in docs/limits.md."""
    world = PoolPlane(scheduler=PATIENT, bundle=1)
    world.begin(*many(80, properties={"arch": "x86"}))
    world.plane.deliver()
    agents = [Agent(world, f"w{n:02}", 1, {"arch": "x86"}, holds=True) for n in range(60)]
    for agent in agents:
        agent.join()
    world.pooling._looked_at[POOL] = world.pooling._told_at[POOL] = world.plane.clock.now
    asked = reads_of(world)
    for agent in agents:
        agent.step()
    assert asked[WORKERS] == 1
    assert asked[QUEUE] == len(agents)
    given = [lease for agent in agents for lease, _ in agent.has]
    assert len(given) == len(set(given)) == 60
    world.plane.clock.now += 6
    Agent(world, "late", 1, {"arch": "x86"}).step()
    assert asked[WORKERS] == 3  # one by joining


def test_an_idle_pool_costs_a_sweep_five_read_units(world: PoolPlane) -> None:
    """As the bill of an idle month has it (`infra.idle`)."""
    asked = reads_of(world)
    world.plane.sweep()
    assert asked[WORKERS] + asked[QUEUE] == 5
