"""Each kind of fault by itself, as strong as it can be, on a few random workflows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.simulation.faults import CALM, Faults
from tests.simulation.instances import Ec2
from tests.simulation.scenarios import finish, random_people
from tests.simulation.shrinking import Trial, try_seed
from tests.simulation.workflows import task, workflow
from tests.simulation.world import BEGIN, World, simulated

_SEEDS = 5

FAULTS = {
    "messages come one to five times": Faults(repeated=0.7),
    "the stream is told again and again": Faults(repeated=0.9),
    "ends come before starts, old attempts after new ones": Faults(late=600.0, repeated=0.5),
    "half of the events are lost": Faults(lost=0.5),
    "all events are lost": Faults(lost=1.0),
    "every second call is throttled": Faults(throttled=0.5),
    "every fifth call breaks": Faults(broken=0.2),
    "every tenth answer is lost": Faults(unanswered=0.1),
    "every second transaction is in the way of another": Faults(raced=0.5),
    "batches are done in part": Faults(left=0.8),
    "clocks differ by a minute": Faults(skew=30.0, crash=0.02),
    "indexes are a minute behind": Faults(index_lag=60.0, lost=0.3),
    "Batch shows jobs late": Faults(list_lag=60.0, crash=0.05, unanswered=0.05),
    "jobs vanish": Faults(vanished=0.6, lost=0.6),
    "hosts are taken away": Faults(reclaimed=0.4),
    "calls take seconds": Faults(calls_at_most=4.0),
    "processes die": Faults(crash=0.1),
    "much at once": Faults(
        crash=0.03, throttled=0.2, unanswered=0.03, lost=0.5, repeated=0.5, late=60.0, list_lag=20.0
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_runs_end_right_where(kind: str) -> None:
    def play(world: World) -> None:
        random_people(world, most=8)
        finish(world)

    for seed in range(_SEEDS):
        told = try_seed(Trial(seed, {"faults": FAULTS[kind]}, play))
        assert not told, told


ON_INSTANCES = {
    "no capacity": Faults(no_capacity=0.8),
    "offline": Faults(offline=0.4),
    "stopped": Faults(stopped=0.04),
    "reclaimed": Faults(reclaimed=0.5, lost=0.5),
    "lost": Faults(lost=1.0, list_lag=60.0),
    "unanswered": Faults(unanswered=0.2, throttled=0.2, broken=0.1),
}


@pytest.mark.parametrize("kind", ON_INSTANCES)
def test_no_instance_is_left_where(kind: str) -> None:
    happened: list[str] = []

    def play(world: World) -> None:
        tasks = [task(f"t{n}", runs=10 + n, retries=1, backend="ec2") for n in range(4)]
        world.people.submit(workflow(*tasks, task("end", ["t*"])))
        finish(world)
        happened.extend(world.chance.faults)

    for seed in range(_SEEDS):
        ec2 = Ec2(most=3, reuse=seed % 2 == 0, spot=("never", "prefer")[seed % 2])
        told = try_seed(Trial(seed, {"faults": ON_INSTANCES[kind], "ec2": ec2}, play))
        assert not told, told
    assert any(fault.startswith(kind) for fault in happened)


def test_eight_dispatchers_at_once_claim_each_task_once() -> None:
    faults = replace(CALM, calls_at_most=1.0)
    with simulated(1, faults) as world:
        tasks = [task(f"t{n}", cpus=1 + n % 3) for n in range(40)]
        wish = world.people.submit(workflow(*tasks, task("end", ["t*"]), max_concurrent=30))

        def call() -> None:
            body = json.dumps({"run": wish.run_id})
            records = [{"eventSource": "aws:sqs", "messageId": "m", "body": body}]
            for _ in range(8):
                world.functions.invoke("advance", {"Records": records}, lambda _: None)

        for seconds in (4.0, 8.0, 20.0, 40.0):
            world.agenda.after(seconds, call)
        finish(world)
        assert world.functions.invocations["advance"] >= 32
        names = [(job.name, job.index) for job in world.batch.jobs.values() if job.summary is None]
        assert len(names) == len(set(names)) == 41


def test_sweeps_between_all_events_change_nothing() -> None:
    """A sweep begins every two seconds, in the midst of everything."""
    with simulated(2, replace(CALM, calls_at_most=0.3)) as world:
        world.people.submit(workflow(*(task(f"t{n}", runs=5) for n in range(6)), task("z", ["t*"])))
        for number in range(60):
            world.agenda.after(
                2.0 * number, lambda: world.functions.has_room("sweep") and sweep(world)
            )
        finish(world)
        assert world.functions.invocations["sweep"] > 20
        assert len([job for job in world.batch.jobs.values() if job.summary is None]) == 7


def sweep(world: World) -> None:
    world.functions.invoke("sweep", {}, lambda _: None)


def test_a_poison_message_ends_among_the_dead_and_keeps_nobody() -> None:
    with simulated(3, Faults(poisoned=1.0, seconds=60.0)) as world:
        world.people.submit(workflow(task("a", runs=5), task("b", ["a"], runs=5)))
        finish(world)
        (wish,) = world.people.wishes.values()
        ended = world.store.get_run(wish.run_id).ended_at
        dead = world.observe_queue.dead
        assert {message.body for message in dead} == {'{"source": "aws.batch"}'}
        assert len(dead) >= 3
        assert ended is not None
        assert ended < BEGIN + 120  # the others did not wait for it


def test_two_hundred_tasks_are_a_few_thousand_steps() -> None:
    with simulated(4) as world:
        tasks = [task(f"t{n}") for n in range(199)]
        world.people.submit(workflow(*tasks, task("end", ["t*"])))
        finish(world)
        assert world.calls < 10 * 200
        assert world.agenda.done < 30 * 200
        assert world.acknowledging.looked_at > 20
