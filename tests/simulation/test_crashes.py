"""A process dies before and after every single call to AWS that a story makes: all of them, one by one.

Each story is told once to count its calls, then once for each of them. Messages are delivered again as
AWS delivers them; in the second test every event is lost too, so only the sweep is left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from tests.simulation.faults import CALM, Faults
from tests.simulation.instances import Ec2
from tests.simulation.invariants import Violation
from tests.simulation.scenarios import finish
from tests.simulation.workflows import task, workflow
from tests.simulation.world import World, simulated


class Story(NamedTuple):
    """What people do; the cap of the backend; the other backend, if there is one."""

    tell: Callable[[World], None]
    cap: int | None = None
    ec2: Ec2 | None = None


def completes(world: World) -> None:
    world.people.submit(workflow(task("a"), task("b", ["a"])))


def fails(world: World) -> None:
    tasks = (task("a", fails=2, retries=1), task("b", ["a"]), task("c"))
    world.people.submit(workflow(*tasks))


def waits_for_a_retry(world: World) -> None:
    world.people.submit(workflow(task("a", fails=1, retries=1, retry_delay=30), task("b", ["a"])))


def is_an_array(world: World) -> None:
    tasks = (task(f"m{n}", fails=n == 1, retries=1) for n in range(3))
    world.people.submit(workflow(*tasks, task("end", ["m*"], cpus=2)))


def grows(world: World) -> None:
    made = [task("x"), task("y", ["x", "gen"])]
    world.people.submit(workflow(task("gen", generates=made, retries=1), task("z", ["gen"])))


def is_added_to(world: World) -> None:
    tasks = (task("a"), task("b", ["a"]), task("c", ["a", "b"]), task("d", ["a"], cpus=2))
    world.people.submit_in_pieces(workflow(*tasks), 1, 2, 1, after=45)


def gets_a_task(world: World) -> None:
    world.people.submit_in_pieces(
        workflow(task("a", runs=1), task("b", ["a"], runs=1)), 1, 1, after=1
    )


def is_held(world: World) -> None:
    tasks = (task("a"), task("b", ["a"]), task("c", fails=1), task("d", ["c"]))
    world.people.submit_in_pieces(workflow(*tasks), 1, 3, after=10, held=True)


def is_cancelled(world: World) -> None:
    wish = world.people.submit(workflow(task("a"), task("b", ["a"]), task("c", runs=300)))
    world.people.cancel(wish, after=15)


def is_repeated(world: World) -> None:
    wish = world.people.submit(workflow(task("a", fails=1), task("b", ["a"])))
    world.people.retry(wish)


def shares_a_backend(world: World) -> None:
    world.people.submit(workflow(task("a"), task("b"), task("c")))
    world.people.submit(workflow(task("d"), task("e", ["d"])))


def runs_on_an_instance(world: World) -> None:
    world.people.submit(workflow(task("a", backend="ec2"), task("b", ["a"])))


def is_cancelled_on_an_instance(world: World) -> None:
    wish = world.people.submit(workflow(task("a", runs=300, backend="ec2"), task("b", ["a"])))
    world.people.cancel(wish, after=45)


def is_cancelled_while_it_boots(world: World) -> None:
    wish = world.people.submit(workflow(task("a", runs=300, backend="ec2"), task("b", ["a"])))
    world.people.cancel(wish, after=9)


def shares_an_instance(world: World) -> None:
    tasks = (task("a", backend="ec2"), task("b", ["a"], backend="ec2"))
    world.people.submit(workflow(*tasks))


STORIES = {
    "completes": Story(completes),
    "fails": Story(fails),
    "waits for a retry": Story(waits_for_a_retry),
    "is an array": Story(is_an_array),
    "grows": Story(grows),
    "gets a task": Story(gets_a_task),
    "is added to": Story(is_added_to),
    "is held": Story(is_held),
    "is cancelled": Story(is_cancelled),
    "is repeated": Story(is_repeated),
    "shares a backend": Story(shares_a_backend, cap=2),
    "runs on an instance": Story(runs_on_an_instance, ec2=Ec2()),
    "is cancelled on an instance": Story(is_cancelled_on_an_instance, ec2=Ec2()),
    "is cancelled while it boots": Story(is_cancelled_while_it_boots, ec2=Ec2()),
    "shares an instance": Story(shares_an_instance, ec2=Ec2(most=1, reuse=True)),
}
ALL_LOST = Faults(lost=1.0)
_READS = re.compile(r"(get|batch_get|query|describe|list|head)")
_WHOLE = int(os.environ.get("HUT_SIMULATION_EXAMPLES", "1")) > 1
_LONG = (
    *("is cancelled on an instance", "shares an instance"),
    *("gets a task", "is added to", "is held"),
)
_SHORT = tuple(name for name in STORIES if name not in _LONG)


class Told(NamedTuple):
    """How a story went: what was wrong with it, and its calls to AWS."""

    wrong: str
    calls: list[str]


def tell(story: Story, faults: Faults, scripted: Mapping[int, str]) -> Told:
    """Tell a story with something going wrong at the calls of some numbers, from 1 on."""
    options: dict[str, Any] = {"cap": story.cap, "ec2": story.ec2, "scripted": scripted}
    faults = replace(faults, seconds=3600.0)
    with simulated(1, faults, kept=0 not in scripted, **options) as world:
        story.tell(world)
        try:
            finish(world)
        except Violation as violation:
            return Told(f"{violation}\n{world.history.text(last=120)}", world.labels)
        return Told("", world.labels)


def crashes(calls: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield where processes die.

    One that has only read since its last write, or since it began, leaves the same behind wherever it
    dies: it does so as it begins and after each write. `make soak` lets it die at every call.
    """
    before = ""
    for number, label in enumerate(calls, 1):
        process, call, *_ = label.split()
        if _WHOLE or process != before or "FORM FORM" in label:
            yield number, "crash before"
        if _WHOLE or not _READS.match(call):
            yield number, "crash after"
        before = process


def check_crashes(story: Story, faults: Faults) -> None:
    wrong, calls = tell(story, faults, {0: ""})
    assert not wrong, wrong
    assert len(calls) > 60
    for number, kind in crashes(calls):
        wrong, _ = tell(story, faults, {number: kind})
        assert not wrong, f"{kind} {number}, {calls[number - 1]}: {wrong}"


@pytest.mark.parametrize("story", STORIES if _WHOLE else _SHORT)
def test_a_crash_before_or_after_any_call_loses_nothing(story: str) -> None:
    check_crashes(STORIES[story], CALM)


@pytest.mark.parametrize("story", STORIES if _WHOLE else ("completes", "fails"))
def test_nor_does_it_where_every_event_is_lost(story: str) -> None:
    check_crashes(STORIES[story], ALL_LOST)


@pytest.mark.parametrize("story", STORIES if _WHOLE else ("completes",))
def test_an_answer_that_never_comes_loses_nothing(story: str) -> None:
    _, calls = tell(STORIES[story], CALM, {0: ""})
    for number, label in enumerate(calls, 1):
        wrong, _ = tell(STORIES[story], CALM, {number: "unanswered"})
        assert not wrong, f"{number}, {label}: {wrong}"


def test_the_api_may_die_at_any_write_while_it_adds_tasks() -> None:
    """The part of "gets a task" that no other story has; all of it is told with the long ones."""
    story = STORIES["gets a task"]
    wrong, calls = tell(story, CALM, {0: ""})
    assert not wrong, wrong
    writes = [
        number
        for number, label in enumerate(calls, 1)
        if label.startswith("api") and not _READS.match(label.split()[1])
    ]
    assert len(writes) > 10
    for number in writes:
        wrong, _ = tell(story, CALM, {number: "crash after"})
        assert not wrong, f"{number}, {calls[number - 1]}: {wrong}"
