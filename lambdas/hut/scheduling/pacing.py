"""How callers that know nothing of each other share a bound on calls per second. Pure.

All of them keep one bucket. Who wants to call takes a turn: a span of time that is moved behind the
last one that was taken, in which so many calls are made, evenly apart. Turns are short, so callers
alternate: one with three calls waits for a turn of each of the others, not for all of their calls.

The rate adapts. A call that was throttled halves it (others use the same account), and it grows by a
constant with time, up to the bound: additive increase, multiplicative decrease (Chiu and Jain, 1989).

In any window of `w` seconds at most ``most * w + 1`` calls are due, however many callers there are. If
their clocks differ by `s` seconds it may be ``most * (w + s) + 1``, and one whose clock is ahead makes
the others wait for as long. A bucket that lies further ahead than turns are ever taken is of a clock
that was wrong; it is begun anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

__all__ = [
    "FARTHEST",
    "LONGEST_WAIT",
    "SLOWEST",
    "Bucket",
    "Place",
    "SharedBucket",
    "Turn",
    "line",
    "new_bucket",
    "rate_at",
    "reserve",
    "throttled",
]

SLOWEST = 1.0
"""Calls per second at least: with none, nobody would find out that it works again."""

LONGEST_WAIT = 10.0
"""Seconds ahead of now a turn is taken at most."""

FARTHEST = 20.0
"""Seconds ahead of now no turn lies, but for a clock that is wrong by about ten seconds."""

_TURN = 0.5  # seconds of a turn, while few wait
_SHORT_TURN = 0.1  # and while many do
_LONG_LINE = 2.0  # seconds of turns ahead that make many
_GROWTH = 1.0  # calls per second, more each second
_PAUSE = 0.5  # seconds nobody calls after a call was throttled
_SAME = 1.0  # seconds in which further throttled calls tell nothing new


@dataclass(frozen=True, slots=True)
class Bucket:
    """What the callers share.

    Attributes
    ----------
    rate : float
        Calls per second when it was last changed; see `rate_at` for now.
    next : float
        When the next turn may begin, in seconds since the epoch.
    changed_at : float
        When calls were throttled last, or the beginning.
    """

    rate: float
    next: float
    changed_at: float


class Turn(NamedTuple):
    """Leave to call: the first call at `start`, each other one `apart` seconds behind the last."""

    start: float
    calls: int
    apart: float


class Place(NamedTuple):
    """Where in the line somebody would stand who wants to call.

    Attributes
    ----------
    has_room : bool
        Whether it is worth to wait.
    again_at : float
        Else when to come again.
    """

    has_room: bool
    again_at: float = 0.0


class SharedBucket(Protocol):
    """Keeps a bucket where all callers find it."""

    def load(self) -> tuple[Bucket | None, int]:
        """Return the bucket, None if there is none yet, and the number of its last change."""

    def swap(self, number: int, bucket: Bucket) -> bool:
        """Put `bucket` in place if change `number` is still the last; say whether it was."""


def new_bucket(now: float, most: float) -> Bucket:
    """Return a bucket nobody has used."""
    return Bucket(most, now, now)


def rate_at(bucket: Bucket, now: float, most: float) -> float:
    """Return how many calls per second are made now."""
    grown = bucket.rate + _GROWTH * max(0.0, now - bucket.changed_at)
    return max(min(most, grown), min(most, SLOWEST))


def line(bucket: Bucket, now: float) -> float:
    """Return the seconds for which turns are taken already."""
    ahead = bucket.next - now
    return ahead if 0 < ahead <= FARTHEST else 0.0


def reserve(bucket: Bucket, now: float, calls: int, most: float) -> tuple[Bucket, Turn]:
    """Take a turn for some of `calls` calls, at least one.

    Parameters
    ----------
    calls
        How many there are to make; the turn says how many fit into it.
    most
        The bound, in calls per second.
    """
    rate = rate_at(bucket, now, most)
    ahead = line(bucket, now)
    fit = int(rate * (_SHORT_TURN if ahead > _LONG_LINE else _TURN))
    turn = Turn(now + ahead, max(1, min(calls, fit)), 1 / rate)
    return replace(bucket, next=turn.start + turn.calls * turn.apart), turn


def throttled(bucket: Bucket, now: float, most: float) -> Bucket:
    """Return the bucket after a call was throttled: half the rate, and a moment without calls.

    Calls that were under way at the same time tell of the same: for a second nothing more changes.
    """
    if 0 <= now - bucket.changed_at < _SAME and bucket.rate < most:
        return bucket
    rate = max(rate_at(bucket, now, most) / 2, min(most, SLOWEST))
    return Bucket(rate, max(now + line(bucket, now), now + _PAUSE), now)
