"""All randomness of a simulated history: each decision is a function of the seed and of what it is about.

There is no stream of random numbers. So one fault can be left out of a history, and the decisions
about other things stay the same: that is what lets a history be shrunk (see `shrinking`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from hashlib import blake2b

__all__ = ["Chance"]

_WHOLE = 2.0**64


class Chance:
    """Decides.

    Parameters
    ----------
    seed
        Two histories of one seed are the same.
    allowed
        The only faults that may happen; None: all that chance brings.

    Attributes
    ----------
    faults : list of str
        The faults that happened, by their labels, in order.
    """

    def __init__(self, seed: int, allowed: Collection[str] | None = None) -> None:
        self._seed = b"%d/" % seed
        self._allowed = None if allowed is None else frozenset(allowed)
        self._seen: Counter[str] = Counter()
        self.faults: list[str] = []

    def numbered(self, label: str) -> str:
        """Return a label with how often it came before."""
        self._seen[label] += 1
        return f"{label} ({self._seen[label]})"

    def roll(self, label: str) -> float:
        """Return a number in [0, 1) that depends on the label alone."""
        digest = blake2b(self._seed + label.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / _WHOLE

    def below(self, label: str, bound: int) -> int:
        """Return a whole number in [0, bound)."""
        return int(self.roll(label) * bound)

    def between(self, label: str, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + self.roll(label) * (high - low)

    def fault(self, kind: str, label: str, share: float) -> bool:
        """Say whether a fault happens here, and keep it if it does."""
        if share <= 0 and self._allowed is None:
            return False
        name = f"{kind}: {label}"
        allowed = self._allowed
        happens = self.roll(name) < share if allowed is None else name in allowed
        if happens:
            self.faults.append(name)
        return happens
