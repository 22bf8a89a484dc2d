"""Notices when starts of processes have become slow for no good reason, and when to pause for it.

On Linux a process that was busy for a while (planning a large workflow, say) can fall into a
pattern with its children in which the scheduler puts each new child behind a running one although
another core is idle: a start then takes four times as long, and 10,000 short tasks a third longer
(measured on two cores, kernel 6.18). The pattern keeps itself up. A pause before the
first start avoids it; a pause later ends it sometimes, so pauses become rarer while they don't help.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StartPace"]

_SLOW_SECONDS = 0.0005
_WINDOW = 24
_PAUSE_SECONDS = 0.025
_BUSY_SECONDS = 0.05
_MANY_STARTS = 200
_LEAST_APART = 0.5
_MOST_APART = 64.0


@dataclass(slots=True)
class StartPace:
    """Watches how long starts take; says how long to pause after each."""

    _slow: int = 0
    _count: int = 0
    _not_before: float = 0.0
    _apart: float = _LEAST_APART

    @staticmethod
    def pause_before_first(busy: float, expected: int) -> float:
        """Return for how long to pause before the first start.

        Parameters
        ----------
        busy
            Seconds of processor time this process has used so far.
        expected
            How many starts are to come; for a few it is not worth it.
        """
        return _PAUSE_SECONDS if busy > _BUSY_SECONDS and expected >= _MANY_STARTS else 0.0

    def pause_after(self, seconds: float, now: float) -> float:
        """Return for how long to pause after a start that took `seconds`; mostly 0.

        Parameters
        ----------
        now
            On any clock that only goes forward.
        """
        self._slow += seconds > _SLOW_SECONDS
        self._count += 1
        if self._count < _WINDOW:
            return 0.0
        many = self._slow > _WINDOW // 2  # one that waited for a disk says nothing
        self._slow = self._count = 0
        if not many:
            self._apart = _LEAST_APART
            return 0.0
        if now < self._not_before:
            return 0.0
        self._not_before = now + self._apart
        self._apart = min(self._apart * 2, _MOST_APART)
        return _PAUSE_SECONDS
