"""Keeps calls a certain time apart, over all threads of a process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["SUBMITS", "Pace"]


class Pace:
    """Lets callers through one by one, at most so many per second.

    Parameters
    ----------
    per_second
        How many.
    clock, sleep
        Replaced in tests.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._apart = 1 / per_second
        self._clock = clock
        self._sleep = sleep
        self._next = float("-inf")
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Return when it is the caller's turn."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._apart
        if turn > now:
            self._sleep(turn - now)


SUBMITS = Pace(50)
"""AWS Batch takes 50 SubmitJob calls a second from an account; more can't be bought."""
