"""Which target may run a task, and which of them does. Pure.

A target is whatever runs tasks: this machine, a queue of AWS Batch, a kind of EC2 instance, a worker
of a pool. It advertises properties, of which the scheduler says how they are matched. The rules are
those of NativeLink's scheduler: only what the task asks for is looked at, so a target may advertise
more; numbers of the kind minimum are used up by what runs; soft properties rank and never exclude.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, nextafter
from typing import Any, NamedTuple, TypeVar

from hut.model.problems import Problem
from hut.model.scheduler import (
    BUILT_IN,
    OF_POOLS,
    Allocation,
    Kind,
    Scheduler,
    UnknownProperty,
    Unsatisfiable,
    number_of,
)
from hut.model.scheduler_checks import no_number, unknown_property

__all__ = [
    "BUILT_IN",
    "OF_POOLS",
    "Allocation",
    "Kind",
    "Mismatch",
    "Scheduler",
    "Target",
    "UnknownProperty",
    "Unsatisfiable",
    "assign",
    "choose",
    "give_back",
    "lacks",
    "mismatches",
    "number_of",
    "preference",
    "property_problems",
    "remaining_of",
    "shortcomings",
    "shortfall",
    "take",
    "target_problems",
    "unsatisfiable",
]

Wanted = Mapping[str, str]
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class Target:
    """Something that runs tasks.

    Attributes
    ----------
    properties : mapping of str to str
        As advertised: the whole of it.
    remaining : mapping of str to int
        What is left of properties of the kind minimum; of one that is not in it, the whole is left.
    inflight, max_inflight : int
        Tasks it has, and at most; 0 is no bound.
    draining : bool
        It gets nothing new.
    used_at : float
        When it joined, was given a task or reported one, whichever was last.
    """

    name: str
    properties: Mapping[str, str] = field(default_factory=dict)
    remaining: Mapping[str, int] = field(default_factory=dict)
    inflight: int = 0
    max_inflight: int = 0
    draining: bool = False
    used_at: float = 0.0

    @property
    def has_room(self) -> bool:
        """Whether it may be given another task, whatever that asks for."""
        return not self.draining and not 0 < self.max_inflight <= self.inflight


class Mismatch(NamedTuple):
    """Why a target can't run a task.

    Attributes
    ----------
    kind : Kind
        `Kind.MINIMUM` or `Kind.EXACT`; the others never exclude.
    offered : str or None
        What the target has; of a minimum, what it has left. None if it lacks the property.
    total : str or None
        Of a minimum, what it has while nothing runs; else the same as `offered`.
    """

    property: str
    kind: Kind
    asked: str
    offered: str | None
    total: str | None


def remaining_of(target: Target, name: str) -> int | None:
    """Return what is left of a number; None if the target lacks it or advertises no number."""
    whole = number_of(target.properties.get(name, ""))
    return None if whole is None else target.remaining.get(name, whole)


def mismatches(
    scheduler: Scheduler, wanted: Wanted, target: Target, *, ever: bool = False
) -> tuple[Mismatch, ...]:
    """Return every property that keeps a task from a target; nothing if it will do.

    Parameters
    ----------
    ever
        Judge by the whole of what the target has, not by what is left.
    """
    return tuple(
        found
        for name, asked in wanted.items()
        if (found := _mismatch(scheduler, name, asked, target, ever=ever)) is not None
    )


def _mismatch(
    scheduler: Scheduler, name: str, asked: str, target: Target, *, ever: bool
) -> Mismatch | None:
    kind = scheduler.kind_of(name)
    total = target.properties.get(name)
    if kind is Kind.EXACT:
        return None if total == asked else Mismatch(name, kind, asked, total, total)
    if kind is not Kind.MINIMUM:
        return None
    least, whole = number_of(asked), number_of(total or "")
    if least is None or whole is None:
        return Mismatch(name, kind, asked, total, total)
    left = whole if ever else target.remaining.get(name, whole)
    return None if left >= least else Mismatch(name, kind, asked, str(left), total)


def preference(scheduler: Scheduler, wanted: Wanted, target: Target) -> int:
    """Return how many of the soft properties are just as the task would like them."""
    return sum(
        scheduler.kind_of(name) is Kind.PRIORITY and target.properties.get(name) == asked
        for name, asked in wanted.items()
    )


def choose(scheduler: Scheduler, wanted: Wanted, targets: Iterable[Target]) -> Target | None:
    """Return the target that gets a task, None if there is none now.

    Of those that match and have room, the one with most soft properties; of equal ones the least or
    the most recently used; of those, the first.
    """
    fitting = [
        target
        for target in targets
        if target.has_room and not mismatches(scheduler, wanted, target)
    ]
    if not fitting:
        return None
    oldest = scheduler.allocation is Allocation.LEAST_RECENTLY_USED
    return min(
        fitting,
        key=lambda target: (
            -preference(scheduler, wanted, target),
            target.used_at if oldest else -target.used_at,
        ),
    )


def take(scheduler: Scheduler, wanted: Wanted, target: Target, now: float) -> Target:
    """Return the target with a task more: without the numbers the task asks for."""
    return replace(
        target,
        remaining=_moved(scheduler, wanted, target, -1),
        inflight=target.inflight + 1,
        used_at=now,
    )


def give_back(scheduler: Scheduler, wanted: Wanted, target: Target, now: float) -> Target:
    """Return the target with a task less: what `take` took, and nothing else, is there again.

    It is for the caller to do this once for each task.
    """
    return replace(
        target,
        remaining=_moved(scheduler, wanted, target, 1),
        inflight=target.inflight - 1,
        used_at=now,
    )


def _moved(
    scheduler: Scheduler, wanted: Wanted, target: Target, direction: int
) -> Mapping[str, int]:
    moved = dict(target.remaining)
    for name, asked in wanted.items():
        if scheduler.kind_of(name) is Kind.MINIMUM:
            left, number = remaining_of(target, name), number_of(asked)
            if left is not None and number is not None:
                moved[name] = left + direction * number
    return moved


def assign(
    scheduler: Scheduler,
    waiting: Iterable[tuple[_Key, int, Any, Wanted]],
    targets: Iterable[Target],
) -> list[tuple[_Key, str]]:
    """Return which of the tasks that wait goes to which target now.

    The highest priority first, then who came first. What nobody can run now is skipped and keeps
    nothing from those behind it.

    Parameters
    ----------
    waiting
        ``(key, priority, arrival, wanted)`` each; arrivals are comparable, and no two are equal.
    targets
        With different names.

    Returns
    -------
    list of (key, str)
        Key and name of the target, in the order of the queue.
    """
    there = {target.name: target for target in targets}
    moment = max((target.used_at for target in there.values()), default=0.0)
    assigned: list[tuple[_Key, str]] = []
    in_vain: set[frozenset[tuple[str, str]]] = set()
    open_ = {name for name, target in there.items() if target.has_room}
    for key, _priority, _arrival, wanted in sorted(waiting, key=lambda one: (-one[1], one[2])):
        if not open_:
            break
        # Within a pass capacity only shrinks: what found no target once finds none later on.
        alike = frozenset(wanted.items())
        if alike in in_vain:
            continue
        chosen = choose(scheduler, wanted, there.values())
        if chosen is None:
            in_vain.add(alike)
            continue
        moment = nextafter(moment, inf)
        after = there[chosen.name] = take(scheduler, wanted, chosen, moment)
        if not after.has_room:
            open_.discard(after.name)
        assigned.append((key, chosen.name))
    return assigned


def unsatisfiable(scheduler: Scheduler, wanted: Wanted, targets: Iterable[Target]) -> list[str]:
    """Say why no target could ever run a task; nothing if one could.

    Judged by all that targets have while nothing runs, also of those that are full or draining.

    Returns
    -------
    list of str
        A sentence for each property no target has enough of: what was asked, and the best that any
        target offers. Where each of them is had somewhere, but nowhere all, a sentence for each target.
    """
    return [
        f"{name}: {sentence}" if name else sentence
        for name, sentence in shortcomings(scheduler, wanted, targets)
    ]


def shortcomings(
    scheduler: Scheduler, wanted: Wanted, targets: Iterable[Target]
) -> list[tuple[str, str]]:
    """Return what `unsatisfiable` says, apart from the property it is about; that may be empty."""
    there = list(targets)
    if not there:
        return [("", "there is no target")] if wanted else []
    faults = [mismatches(scheduler, wanted, target, ever=True) for target in there]
    if not all(faults):
        return []
    everywhere = [
        name for name in wanted if all(any(m.property == name for m in found) for found in faults)
    ]
    if everywhere:
        return [(name, _best_of(scheduler, name, wanted[name], there)) for name in everywhere]
    return [("", lack) for lack in lacks(scheduler, wanted, there, ever=True)]


def lacks(
    scheduler: Scheduler, wanted: Wanted, targets: Iterable[Target], *, ever: bool = False
) -> list[str]:
    """Say of each target that does not match what it lacks, one line each."""
    found = ((target, mismatches(scheduler, wanted, target, ever=ever)) for target in targets)
    return [
        f"{target.name} lacks " + " and ".join(map(shortfall, faults))
        for target, faults in found
        if faults
    ]


def shortfall(found: Mismatch) -> str:
    """Say of one property what was asked and what there is: ``cpu_count >= 8 (it has 4)``."""
    sign = ">=" if found.kind is Kind.MINIMUM else "="
    if found.offered is None:
        there = "it does not say"
    elif found.offered != found.total:
        there = f"{found.offered} of {found.total} are left"
    else:
        there = f"it has {found.offered}"
    return f"{found.property} {sign} {found.asked} ({there})"


def _best_of(scheduler: Scheduler, name: str, asked: str, targets: Sequence[Target]) -> str:
    """Say of a property that no target has enough of what the best is that any offers."""
    having = [target for target in targets if name in target.properties]
    if not having:
        return f"{asked} was asked for, and no target has this property"
    if scheduler.kind_of(name) is Kind.MINIMUM:
        best = max(having, key=lambda target: number_of(target.properties[name]) or 0)
        return (
            f"at least {asked} was asked for, and the most any target has is "
            f"{best.properties[name]} ({best.name})"
        )
    values = list(dict.fromkeys(target.properties[name] for target in having))
    shown = ", ".join(values[:_SHOWN]) + (", ..." if len(values) > _SHOWN else "")
    return f"{asked} was asked for, and targets have {shown}"


_SHOWN = 10  # values of a property in one sentence


def property_problems(scheduler: Scheduler, wanted: Wanted) -> list[Problem]:
    """Return what is wrong with the properties a task asks for, whatever targets there are."""
    problems = []
    for name, asked in wanted.items():
        declared = scheduler.properties.get(name)
        if declared is None and scheduler.unknown_property is UnknownProperty.REJECT:
            message = unknown_property(scheduler, name)
        elif declared is Kind.MINIMUM and number_of(asked) is None:
            message = no_number(asked)
        else:
            continue
        problems.append(Problem(message, field=f"properties.{name}"))
    return problems


def target_problems(scheduler: Scheduler, properties: Mapping[str, str]) -> list[Problem]:
    """Return what is wrong with the properties a target advertises. What is not declared may stand."""
    return [
        Problem(no_number(value), field=f"properties.{name}")
        for name, value in properties.items()
        if scheduler.properties.get(name) is Kind.MINIMUM and number_of(value) is None
    ]
