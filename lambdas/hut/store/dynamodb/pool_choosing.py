"""Which of what waits in a pool a worker that asks may have. Pure.

A worker comes for its tasks; it is not sent them. So others who asked a moment ago are thought of: what
suits them better, or is theirs by the scheduler's allocation, is left to them for some seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest

from hut.model.scheduler import Allocation, Scheduler
from hut.pools.jobs import Waits
from hut.pools.port import Queued
from hut.scheduling.matching import Target, assign
from hut.store.dynamodb.pool_items import Member

__all__ = ["PAGE", "choose"]

PAGE = 100
"""Items that are looked at before the next ones are read."""

_MOST_LOOKED_AT = 5000
_LEFT_TO_OTHERS = 5.0  # seconds
_MOST_OTHERS = 50
"""Others that are thought of: of more, those whose turn it is first."""


def choose(
    scheduler: Scheduler,
    member: Member,
    others: Iterable[Member],
    queue: Iterable[Waits],
    now: float,
) -> list[Queued]:
    """Return what is to be a worker's, first what comes first; more than it wants, perhaps.

    Parameters
    ----------
    queue
        In order; read as far as is needed.
    """
    mine = _hungry(scheduler, member)
    if mine is None:
        return []
    hungry = filter(None, (_hungry(scheduler, other) for other in others))
    oldest = scheduler.allocation is Allocation.LEAST_RECENTLY_USED
    next_in_line = nsmallest(
        _MOST_OTHERS, hungry, key=lambda each: each.used_at if oldest else -each.used_at
    )
    targets = [mine, *next_in_line]
    waiting: dict[str, Queued] = {}
    old: set[str] = set()
    for number, waits in enumerate(queue, 1):
        waiting[waits.item.name] = waits.item
        if now - waits.since > _LEFT_TO_OTHERS:
            old.add(waits.item.name)
        if number % PAGE == 0:
            chosen = _assigned(scheduler, targets, waiting, old)
            if len(chosen) >= member.want or number >= _MOST_LOOKED_AT:
                return chosen
    return _assigned(scheduler, targets, waiting, old)


def _assigned(
    scheduler: Scheduler,
    targets: Sequence[Target],
    waiting: Mapping[str, Queued],
    old: Collection[str],
) -> list[Queued]:
    """Return what the first of the targets may have."""
    me = targets[0].name
    entries = [
        (name, item.priority, (item.arrival, name), item.wanted) for name, item in waiting.items()
    ]
    mine = {name for name, target in assign(scheduler, entries, targets) if target == me}
    if old and len(targets) > 1:
        # The others were to have it, and do not come for it.
        late = [entry for entry in entries if entry[0] in mine or entry[0] in old]
        mine |= {name for name, _ in assign(scheduler, late, targets[:1])}
    return [item for name, item in waiting.items() if name in mine]


def _hungry(scheduler: Scheduler, member: Member) -> Target | None:
    """Return what a worker that wants something is matched by; None for another."""
    target = member.target(scheduler, name=member.id)
    bound = target.inflight + member.want
    if target.max_inflight:
        bound = min(bound, target.max_inflight)
    if member.draining or member.rogue or bound <= target.inflight:
        return None
    return replace(target, max_inflight=bound)
