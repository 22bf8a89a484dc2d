"""Virtual time for tests of one simulated service: what is to happen, in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from heapq import heappop, heappush

__all__ = ["Timeline"]


class Timeline:
    """A clock that stands until somebody waits.

    Attributes
    ----------
    now : float
        Seconds since the epoch.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        self._numbers = itertools.count()
        self._coming: list[tuple[float, int, Callable[[], object]]] = []

    def clock(self) -> float:
        return self.now

    def at(self, when: float, what: Callable[[], object]) -> None:
        heappush(self._coming, (when, next(self._numbers), what))

    def wait(self, seconds: float) -> None:
        """Let so much time pass."""
        until = self.now + seconds
        while self._coming and self._coming[0][0] <= until:
            when, _, what = heappop(self._coming)
            self.now = max(self.now, when)
            what()
        self.now = until

    def wait_for_all(self) -> None:
        """Let time pass until nothing is to happen any more."""
        while self._coming:
            self.wait(max(0.0, self._coming[0][0] - self.now))
