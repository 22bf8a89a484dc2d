"""What the simulation can find: the product is broken on purpose, in one place at a time.

Each break takes away one of the conditions or orders that the code relies on. If nobody noticed, the
simulation would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from hut.backends.port import JobState
from hut.service import advancing, observing, sweeping
from hut.store.dynamodb import store as dynamo
from hut.store.dynamodb import table, unit
from tests.simulation.faults import Faults
from tests.simulation.scenarios import finish
from tests.simulation.shrinking import Trial, try_seed
from tests.simulation.workflows import random_workflow, task, workflow
from tests.simulation.world import World

_MOST_SEEDS = 40
Break = Callable[[], AbstractContextManager[Any]]


def without_seq() -> AbstractContextManager[Any]:
    """Changes of a run no longer exclude each other."""
    whole = unit.Unit._writes

    def writes(self: unit.Unit) -> Any:
        return [
            replace(each, condition=None) if n == 0 else each for n, each in enumerate(whole(self))
        ]

    return mock.patch.object(unit.Unit, "_writes", writes)


def any_attempt_ends() -> AbstractContextManager[Any]:
    """An end is taken for whatever attempt the task has now."""
    return mock.patch.object(observing, "is_attempt", lambda task, _: task.handle is not None)


def submits_before_it_claims() -> AbstractContextManager[Any]:
    """The handles of jobs are never noted, and no claim is looked for."""
    return mock.patch.object(sweeping, "_CLAIM_SECONDS", 1e9)


def sweep_looks_at_no_jobs() -> AbstractContextManager[Any]:
    """Lost ends stay lost."""
    return mock.patch.object(sweeping.Sweeping, "_check_jobs", return_value=None)


def forgets_who_follows() -> AbstractContextManager[Any]:
    """Ends are taken off the stream, and nobody is released by them."""
    return mock.patch.object(dynamo.DynamoStore, "follow", return_value=None)


def submits_in_stopped_runs() -> AbstractContextManager[Any]:
    """A claim does not look whether the run was stopped."""
    whole = dynamo.DynamoStore._claim

    def claim(self: Any, request: Any, most: int, work: unit.Unit) -> Any:
        stop = work.meta.pop("stop", None)
        result = whole(self, request, most, work)
        if stop is not None:
            work.meta["stop"] = stop
        return result

    return mock.patch.object(dynamo.DynamoStore, "_claim", claim)


def gives_up_races() -> AbstractContextManager[Any]:
    """What was raced is believed to be done."""
    return mock.patch.object(table.Table, "transact", _careless(table.Table.transact))


def _careless(whole: Any) -> Any:
    def transact(self: table.Table, writes: Any) -> None:
        try:
            whole(self, writes)
        except table.Cancelled:
            return

    return transact


def never_tells_the_end() -> AbstractContextManager[Any]:
    """Whoever waits for the end of a run is not told."""
    return mock.patch.object(advancing.Advancing, "_tell", return_value=None)


def leaves_jobs_alone() -> AbstractContextManager[Any]:
    """A job whose attempt is not wanted is not ended."""
    return mock.patch.object(
        observing.Observing, "observe", _without_unwanted(observing.Observing.observe)
    )


def _without_unwanted(whole: Any) -> Any:
    def observe(self: Any, run_id: str, seen: Any) -> Any:
        return whole(self, run_id, [e for e in seen if e[1].state is JobState.ENDED])

    return observe


BREAKS: dict[str, Break] = {
    each.__name__: each
    for each in (
        any_attempt_ends,
        forgets_who_follows,
        gives_up_races,
        never_tells_the_end,
        submits_before_it_claims,
        submits_in_stopped_runs,
        sweep_looks_at_no_jobs,
        without_seq,
    )
}
_HARSH = Faults(
    crash=0.04, raced=0.2, lost=0.4, repeated=0.5, late=120.0, calls_at_most=2.0, seconds=300.0
)


def harsh(seed: int) -> Trial:
    """Return two small runs, one of which is cancelled at some moment."""

    def play(world: World) -> None:
        chance = world.chance
        for n in range(2):
            wish = world.people.submit(random_workflow(chance, f"run {n}", most=5))
            if n:
                world.people.cancel(wish, after=chance.between("cancelled", 0.0, 40.0))
        finish(world)

    return Trial(seed, {"faults": _HARSH}, play)


def losing(seed: int) -> Trial:
    """Return a small run that loses events."""

    def play(world: World) -> None:
        world.people.submit(workflow(task("a"), task("b", ["a"]), task("c", ["a"])))
        finish(world)

    return Trial(seed, {"faults": Faults(lost=0.2, crash=0.02, repeated=0.2, late=20.0)}, play)


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_product_is_found(name: str) -> None:
    with BREAKS[name]():
        assert any(harsh(seed).run() is not None for seed in range(_MOST_SEEDS))


def test_what_is_found_is_told_with_the_fewest_faults() -> None:
    with sweep_looks_at_no_jobs():
        seed = next(seed for seed in range(200) if losing(seed).run() is not None)
        told = try_seed(losing(seed))
    head, _, history = told.partition("  what happened:\n")
    faults = [line for line in head.splitlines() if line.startswith("    ")]
    assert f"seed {seed}, {len(faults)} of its" in head
    assert len(faults) == 1, head
    assert history.count("\n! ") == 1  # the fault, where it happened
    assert "sweep" in history
