"""What the simulation can find of EC2: that part of the product is broken on purpose, as in `test_power`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest import mock

import pytest

from hut.backends.ec2 import instances, outcomes, submitting, tidying
from hut.store.dynamodb import hosts
from hut.store.dynamodb.table import Write
from infra.task_machine import definition
from tests.simulation import instances as world_of_instances
from tests.simulation.asl_machine import load
from tests.simulation.faults import Faults
from tests.simulation.instances import Ec2
from tests.simulation.scenarios import finish
from tests.simulation.shrinking import Trial
from tests.simulation.workflows import task, workflow
from tests.simulation.world import World

_MOST_SEEDS = 40
Break = Callable[[], AbstractContextManager[Any]]


def takes_without_a_condition() -> AbstractContextManager[Any]:
    """Two attempts may take one idle instance."""

    def no_longer_idle(host: Any) -> Write:
        return Write(key=hosts.idle_key(host.backend, host.shape, host.instance))

    return mock.patch.object(hosts, "_no_longer_idle", no_longer_idle)


def terminates_nothing() -> AbstractContextManager[Any]:
    """Functions end no instance; state machines do."""
    return mock.patch.object(instances.Instances, "end", return_value=None)


def leaves_what_was_stopped() -> AbstractContextManager[Any]:
    """Whoever hears that an execution was stopped does not look for its instance."""
    return mock.patch.object(outcomes, "left_open", return_value=False)


def tidies_nothing() -> AbstractContextManager[Any]:
    """The sweep leaves instances alone."""
    return mock.patch.object(tidying.Tidying, "tidy", return_value=0)


def tidies_what_runs() -> AbstractContextManager[Any]:
    """The sweep takes young instances for left over, and believes lists that lag behind."""

    def describe(*_: object) -> dict[str, Any]:
        return {}

    young = mock.patch.object(tidying, "YOUNG_SECONDS", -1e9)
    return _both(young, mock.patch.object(tidying.Executions, "describe", describe))


def believes_news() -> AbstractContextManager[Any]:
    """The machine takes news of an instance for the end of its command, without a look."""

    def machine(table: str, document: str, queue: str) -> Any:
        broken = copy.deepcopy(definition())
        broken["States"]["Await"]["Assign"] |= {"reason": "exit", "exit_code": 0}
        broken["States"]["Await"]["Next"] = "Terminate"
        filled = {"Partition": "aws", "TableName": table, "DocumentName": document}
        return load("hut-ec2-task", broken, {**filled, "ObserveQueueUrl": queue})

    return mock.patch.object(world_of_instances, "task_machine", machine)


def makes_no_room() -> AbstractContextManager[Any]:
    """Idle instances do not count against ``max_instances``."""
    return mock.patch.object(submitting.LaunchSubmitter, "_make_room", return_value=None)


def _both(one: Any, other: Any) -> AbstractContextManager[Any]:
    found = ExitStack()
    found.enter_context(one)
    found.enter_context(other)
    return found


BREAKS: dict[str, Break] = {
    each.__name__: each
    for each in (
        believes_news,
        leaves_what_was_stopped,
        makes_no_room,
        takes_without_a_condition,
        terminates_nothing,
        tidies_nothing,
        tidies_what_runs,
    )
}
_HARSH = Faults(
    stopped=0.01, lost=0.3, repeated=0.3, late=20.0, list_lag=15.0, calls_at_most=1.5, seconds=300.0
)


def on_instances(seed: int) -> Trial:
    """Return a run that leaves idle instances, and three that come for them at once, of two kinds."""

    def play(world: World) -> None:
        chance = world.chance
        on = {"backend": "ec2", "runs": 8.0}
        first = [task(f"t{n}", fails=n % 2, retries=1, **on) for n in range(2)]
        world.people.submit(workflow(*first))
        at = chance.between("then", 60.0, 120.0)
        for n in range(3):
            more = {"partition": "big"} if chance.below(f"kind {n}", 3) == 0 else {}
            wish = world.people.submit(workflow(task("a", **on, **more)), after=at)
            if chance.below(f"cancel {n}", 4) == 0:
                world.people.cancel(wish, after=chance.between(f"cancelled {n}", 0.0, 60.0))
        finish(world)

    return Trial(seed, {"faults": _HARSH, "ec2": Ec2(most=3, reuse=True)}, play)


def one_for_five(seed: int) -> Trial:
    """Return a run that leaves one idle instance, and five that come for it in one moment."""

    def play(world: World) -> None:
        on = {"backend": "ec2", "runs": 8.0}
        world.people.submit(workflow(task("first", **on)))
        for n in range(5):
            at = world.chance.between(f"then {n}", 60.0, 61.0)
            world.people.submit(workflow(task("a", **on)), after=at)
        finish(world)

    return Trial(seed, {"faults": Faults(calls_at_most=1.5), "ec2": Ec2(most=8, reuse=True)}, play)


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_product_is_found(name: str) -> None:
    trial = one_for_five if name == "takes_without_a_condition" else on_instances
    with BREAKS[name]():
        assert any(trial(seed).run() is not None for seed in range(_MOST_SEEDS))


def test_the_product_is_not_broken() -> None:
    for seed in range(8):
        assert on_instances(seed).run() is None
        assert one_for_five(seed).run() is None
