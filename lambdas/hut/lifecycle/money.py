"""What ended attempts add to their run: an estimate of what they cost, and how many were lost.

An attempt whose cost is not known adds nothing to the sums. So a sum is a lower bound, and there is
none as long as no cost is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hut.model.records import Outcome
from hut.model.states import INFRASTRUCTURE_REASONS

__all__ = ["Spending", "spending"]

_DIGITS = 7
"""Behind the point of a dollar: a second of the smallest job costs a few millionths."""


class Spending(NamedTuple):
    """What some attempts add to their run.

    Attributes
    ----------
    cost : float or None
        Dollars, if any of them has a known cost.
    lost : float
        How much of it attempts cost that were lost.
    losses : int
        How many were lost.
    """

    cost: float | None = None
    lost: float = 0.0
    losses: int = 0

    def added_to(self, cost: float | None, lost: float | None) -> tuple[float | None, float | None]:
        """Return a run's cost, and what of it was lost, with this on top."""
        if self.cost is None:
            return cost, lost
        return round((cost or 0) + self.cost, _DIGITS), round((lost or 0) + self.lost, _DIGITS)


def spending(ends: Iterable[tuple[Outcome, float | None]]) -> Spending:
    """Return what ended attempts add to their run.

    Parameters
    ----------
    ends
        How each ended, and what it cost.
    """
    costs: list[float] = []
    lost: list[float] = []
    losses = 0
    for outcome, cost in ends:
        is_lost = outcome.reason in INFRASTRUCTURE_REASONS
        losses += is_lost
        if cost is not None:
            costs.append(cost)
            if is_lost:
                lost.append(cost)
    return Spending(sum(costs) if costs else None, sum(lost), losses)
