"""Virtual time: what happens next, and when. Nothing here waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable

__all__ = ["Agenda"]


class Agenda:
    """What is to happen, in the order of time; of two things at one moment, the one noted first.

    Attributes
    ----------
    now : float
        Seconds since the epoch.
    done : int
        How many things have happened.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self.done = 0
        self._noted = 0
        self._waiting: list[tuple[float, int, Callable[[], object]]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def at(self, when: float, what: Callable[[], object]) -> None:
        """Let something happen at a time; what should have happened before happens now."""
        self._noted += 1
        heapq.heappush(self._waiting, (max(when, self.now), self._noted, what))

    def after(self, seconds: float, what: Callable[[], object]) -> None:
        """Let something happen some seconds from now."""
        self.at(self.now + seconds, what)

    def step(self) -> None:
        """Let the next thing happen."""
        self.now, _, what = heapq.heappop(self._waiting)
        self.done += 1
        what()
