"""Tasks that share jobs, whatever goes wrong: the job is killed, marks are lost, late or repeated, functions die.

A task that has said how it ended is never run again, one that has not is; that is held against what was
really written into the logs (`tests.simulation.bundles`), beside all that holds for other jobs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from hut.backends.batch import BatchBackend
from hut.backends.port import NOTHING_SAID, JobState
from hut.service import bundling, observing
from tests.simulation.chance import Chance
from tests.simulation.faults import CALM, Faults
from tests.simulation.instances import Ec2
from tests.simulation.scenarios import finish, random_faults
from tests.simulation.shrinking import Trial, try_seed
from tests.simulation.test_crashes import _READS, Story, tell
from tests.simulation.workflows import Planned, task, workflow
from tests.simulation.world import World

_MOST_SEEDS = 30
_SEEDS = 12 * int(os.environ.get("HUT_SIMULATION_EXAMPLES", "1"))


def shares_jobs(chance: Chance, name: str, *, on_ec2: bool) -> Planned:
    """Return a workflow of tasks that may all share jobs, and one behind them."""

    def below(what: str, bound: int) -> int:
        return chance.below(f"{name} {what}", bound)

    tasks = [
        task(
            f"t{n}",
            runs=1.0 + below(f"runs {n}", 30),
            fails=below(f"fails {n}", 3) if below(f"bad {n}", 4) == 0 else 0,
            retries=below(f"retries {n}", 3),
            **({"cpus": 2} if below(f"cpus {n}", 8) == 0 else {}),
            **({"backend": "ec2"} if on_ec2 else {}),
        )
        for n in range(3 + below("size", 12))
    ]
    fields: dict[str, Any] = {"bundle": 2 + below("bundle", 6) if below("auto", 4) else "auto"}
    if below("slotted", 2):
        fields["bundle_slots"] = 1 + below("slots", 3)
    if below("capped", 4) == 0:
        fields["max_concurrent"] = 1 + below("cap", 6)
    behind = {"backend": "ec2"} if on_ec2 and below("where", 2) else {}
    return workflow(*tasks, task("end", ["t0", "t1"], runs=2, **behind), **fields)


def bundled(seed: int) -> Trial:
    """Return the history of a seed: one or two runs whose tasks share jobs, with faults of all kinds."""
    chance = Chance(seed)
    on_ec2 = chance.below("on instances", 3) == 0
    cap = 1 + chance.below("cap", 3) if chance.below("capped", 2) else None
    ec2 = Ec2(most=1 + chance.below("most", 3), reuse=chance.below("reuse", 2) == 0)

    def play(world: World) -> None:
        for n in range(1 + chance.below("runs", 2)):
            wish = world.people.submit(shares_jobs(chance, f"run {n}", on_ec2=on_ec2))
            if chance.below(f"cancelled {n}", 5) == 0:
                world.people.cancel(wish, after=chance.between(f"cancel {n}", 0.0, 90.0))
            elif chance.below(f"repeated {n}", 5) == 0:
                world.people.retry(wish, everything=chance.below(f"all {n}", 2) == 0)
        finish(world)

    faults = replace(random_faults(seed), reclaimed=0.4 * chance.roll("reclaimed"))
    return Trial(seed, {"faults": faults, "cap": cap, "ec2": ec2 if on_ec2 else None}, play)


@pytest.mark.parametrize("first", range(0, _SEEDS, 4))
def test_whatever_goes_wrong_only_what_had_not_ended_is_run_again(first: int) -> None:
    for seed in range(first, first + 4):
        told = try_seed(bundled(seed))
        assert not told, told


# The product broken on purpose --------------------------------------------------------------------


def a_late_start_ends_the_job() -> AbstractContextManager[Any]:
    """What is told of a task that is not wanted is taken for news of an unwanted job."""
    return mock.patch.object(observing, "_may_end", lambda job: job.state is not JobState.ENDED)


def nobody_reads_the_log() -> AbstractContextManager[Any]:
    """What a killed job has told counts only if somebody heard it."""
    return mock.patch.object(BatchBackend, "report", return_value=NOTHING_SAID)


def a_code_of_the_job_is_its_tasks_code() -> AbstractContextManager[Any]:
    """Tasks without an end take the end of their job, whatever it says."""
    return mock.patch.object(bundling, "outcome_without_end", lambda job, **_: job)


def harsh(seed: int) -> Trial:
    """Return a small run on a backend with little room, whose jobs are killed and whose marks come twice."""
    chance = Chance(seed)
    faults = Faults(
        lost=0.3, repeated=0.5, late=20.0, crash=0.02, reclaimed=0.4, vanished=0.1, seconds=600.0
    )

    def play(world: World) -> None:
        world.people.submit(shares_jobs(chance, "run", on_ec2=False))
        finish(world)

    return Trial(seed, {"faults": faults, "cap": 1}, play)


BREAKS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    each.__name__: each
    for each in (
        a_code_of_the_job_is_its_tasks_code,
        nobody_reads_the_log,
        a_late_start_ends_the_job,
    )
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_product_is_found(name: str) -> None:
    with BREAKS[name]():
        assert any(harsh(seed).run() is not None for seed in range(_MOST_SEEDS))


# Functions that die ------------------------------------------------------------------------------


def shares_a_job(world: World) -> None:
    tasks = (task(f"m{n}", runs=5.0, fails=n == 1, retries=1) for n in range(3))
    world.people.submit(workflow(*tasks, bundle=3))


@pytest.mark.parametrize("cap", [None, 1])
def test_whoever_dispatches_or_listens_may_die_at_any_write(cap: int | None) -> None:
    story = Story(shares_a_job, cap=cap)
    wrong, calls = tell(story, CALM, {0: ""})
    assert not wrong, wrong
    for number, label in enumerate(calls, 1):
        who, what = label.split()[:2]
        if who in ("advance", "observe", "sweep") and not _READS.match(what):
            wrong, _ = tell(story, CALM, {number: "crash after"})
            assert not wrong, f"{number}, {label}: {wrong}"
