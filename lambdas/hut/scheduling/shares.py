"""How the free places of a capped backend are divided between the runs that want some. Pure.

The run that has the fewest tasks there gets the next place, until no place is left or nobody wants
one (max-min fairness, "water filling"). So runs come to have the same number; what one of them does
not want goes to the others; and a run that has more than the rest gets nothing until they have caught
up, even when the place was freed by an end of its own. Nothing is taken from anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Contender", "shares_of"]


@dataclass(frozen=True, slots=True)
class Contender:
    """A run that has tasks which could start.

    Attributes
    ----------
    run_id : str
    active : int
        Tasks it has on the backend already.
    wants : int
        How many more it would take.
    since : float
        When it was submitted: of two that have the same, the older one comes first.
    """

    run_id: str
    active: int
    wants: int
    since: float = 0.0


def shares_of(free: int, contenders: Iterable[Contender]) -> dict[str, int]:
    """Return how many of `free` places each run gets; together never more than there are."""
    wanting = [c for c in contenders if c.wants > 0]
    level = _level(free, wanting)
    shares = {c.run_id: _below(c, level) for c in wanting}
    left = max(free, 0) - sum(shares.values())
    for c in sorted(wanting, key=lambda c: (c.since, c.run_id)):
        if left and c.active + shares[c.run_id] == level and shares[c.run_id] < c.wants:
            shares[c.run_id] += 1
            left -= 1
    return shares


def _level(free: int, contenders: list[Contender]) -> int:
    """Return up to how many active tasks all of them can be brought with so many places."""
    low = 0
    high = max((c.active + c.wants for c in contenders), default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(_below(c, middle) for c in contenders) <= free:
            low = middle
        else:
            high = middle - 1
    return low


def _below(contender: Contender, level: int) -> int:
    """Return how many places a run takes until it has `level` active tasks."""
    return min(contender.wants, max(level - contender.active, 0))
