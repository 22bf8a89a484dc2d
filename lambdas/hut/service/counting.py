"""What the ends of attempts come to in metrics."""

from __future__ import annotations

from collections.abc import Iterable

from hut.metrics import ENDED_TASKS, LOST_ATTEMPTS, Metric
from hut.scheduling.twins import leader_of
from hut.service.ports import Measuring
from hut.store.port import End

__all__ = ["count_ends"]


def count_ends(measure: Measuring, ends: Iterable[End], now: float) -> None:
    """Count attempts whose end was just recorded.

    Parameters
    ----------
    ends
        Those that were the first to be told; a repeated event counts nothing.
    now
        Seconds since the epoch.
    """
    for end in ends:
        measure(ENDED_TASKS.get(end.next.state, Metric.ATTEMPTS_REPEATED))
        lost = LOST_ATTEMPTS.get(end.outcome.reason)
        if lost is not None:
            measure(lost)
        if end.handle is not None and leader_of(end.handle) is None:  # a job told when it ended
            measure(Metric.EVENT_SECONDS, max(now - end.at, 0.0))
