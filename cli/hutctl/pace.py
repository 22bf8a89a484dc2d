"""How often to look whether something has changed: soon after a change, less and less without one."""

from __future__ import annotations

__all__ = ["Pace"]

_GROWTH = 1.5


class Pace:
    """Seconds to wait between looks.

    Parameters
    ----------
    shortest, longest
        Seconds; the wait grows from one to the other while nothing changes.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self._shortest = shortest
        self._longest = longest
        self._next = shortest

    def changed(self) -> None:
        """Begin again with the shortest wait."""
        self._next = self._shortest

    def next(self) -> float:
        """Return how long to wait now."""
        seconds = self._next
        self._next = min(seconds * _GROWTH, self._longest)
        return seconds
