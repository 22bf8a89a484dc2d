"""Keeps calls that start jobs (SubmitJob, launches) below a bound, over all functions that make them.

What is shared, and by which rule, is `hut.scheduling.pacing`; this keeps to it: it takes turns, sleeps
until they begin, and tells of calls that were throttled. When the bucket can't be reached or too many
want to change it at once, calls go on at a tenth of the bound, by this process's own count.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from hut.backends.calls import each
from hut.backends.port import SubmitResult
from hut.scheduling.pacing import (
    LONGEST_WAIT,
    Bucket,
    Place,
    SharedBucket,
    Turn,
    line,
    new_bucket,
    reserve,
    throttled,
)

__all__ = ["SUBMITS_PER_SECOND", "OwnBucket", "Pace", "submit_in_turns"]

SUBMITS_PER_SECOND = 50.0
"""AWS Batch takes so many SubmitJob calls from an account and region; more can't be bought."""

_TRIES = 6
_ALONE = 10  # the part of the bound a process takes that does not know of the others
_THROTTLED_TIMES = 3  # a submission that was throttled so often is left to a later call
_WORTH_WAITING = 3.0  # seconds of a function that stands in line; longer, and it comes again


_T = TypeVar("_T")


def _say_nothing(_: str) -> None:
    pass


def _count_nothing() -> None:
    pass


class OwnBucket:
    """A bucket for the threads of one process; implements `SharedBucket`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bucket: Bucket | None = None
        self._number = 0

    def load(self) -> tuple[Bucket | None, int]:
        """Return the bucket and the number of its last change."""
        with self._lock:
            return self._bucket, self._number

    def swap(self, number: int, bucket: Bucket) -> bool:
        """Put a bucket in place if nothing has changed since."""
        with self._lock:
            if number != self._number:
                return False
            self._bucket, self._number = bucket, number + 1
            return True


class Pace:
    """Gives leave to call.

    Parameters
    ----------
    shared
        Where the bucket is; by default for this process only.
    most
        Calls per second.
    clock, sleep
        Seconds since the epoch, as all callers count them; replaced in tests.
    note
        Told when the shared bucket could not be used.
    count
        Called for each call that was throttled.
    """

    def __init__(
        self,
        shared: SharedBucket | None = None,
        *,
        most: float = SUBMITS_PER_SECOND,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
        note: Callable[[str], object] = _say_nothing,
        count: Callable[[], object] = _count_nothing,
    ) -> None:
        self._shared = shared or OwnBucket()
        self._own = OwnBucket()
        self._most = most
        self._clock = clock
        self._sleep = sleep
        self._note = note
        self._count = count
        self._seen: tuple[Bucket | None, int] = (None, 0)

    def place(self) -> Place:
        """Say whether somebody who wants to call should wait in line, or come again later.

        Asks for the bucket only where it was never seen, or there was a line when it was.
        """
        bucket, _ = self._seen
        if bucket is not None and line(bucket, self._clock()) <= _WORTH_WAITING:
            return Place(has_room=True)
        try:
            bucket, _ = self._seen = self._shared.load()
        except (ClientError, BotoCoreError):
            return Place(has_room=True)
        now = self._clock()
        ahead = 0.0 if bucket is None else line(bucket, now)
        if ahead <= _WORTH_WAITING:
            return Place(has_room=True)
        # Not all at once: what is left of the line is used by those who stand in it.
        again = now + ahead - _WORTH_WAITING * random.random()  # noqa: S311 - no secret
        return Place(has_room=False, again_at=again)

    def latest(self) -> float:
        """Return when a turn begins at the latest that is taken now."""
        return self._clock() + LONGEST_WAIT

    def take(self, calls: int, until: float | None = None) -> Turn | float:
        """Take a turn for some of `calls` calls, or return when to come again.

        Parameters
        ----------
        until
            When a turn must begin to be of use; by default as far ahead as turns are taken.
        """
        latest = self.latest() if until is None else until
        turn: Turn | float | None
        try:
            turn = self._take(self._shared, self._most, calls, latest)
            why = "too many at once"
        except (ClientError, BotoCoreError) as error:
            turn, why = None, str(error)
        if turn is None:
            self._note(f"the pace of all functions is not known, this one goes slowly: {why}")
            turn = self._take(self._own, self._most / _ALONE, calls, latest)
            assert turn is not None  # noqa: S101 - few threads of one process
        return turn

    def wait(self, turn: Turn, number: int) -> None:
        """Return when it is time for a call of a turn; the first one has number 0."""
        pause = turn.start + number * turn.apart - self._clock()
        if pause > 0:
            self._sleep(pause)

    def throttled(self) -> None:
        """Tell that a call was throttled; if nobody can be told, the next one will tell."""
        self._count()
        try:
            self._change(self._shared, lambda b, now: (throttled(b, now, self._most), True))
        except (ClientError, BotoCoreError):
            return

    def _take(
        self, shared: SharedBucket, most: float, calls: int, latest: float
    ) -> Turn | float | None:
        def take(bucket: Bucket, now: float) -> tuple[Bucket, Turn | float]:
            after, turn = reserve(bucket, now, calls, most)
            return (bucket, turn.start) if turn.start > latest else (after, turn)

        return self._change(shared, take)

    def _change(
        self, shared: SharedBucket, change: Callable[[Bucket, float], tuple[Bucket, _T]]
    ) -> _T | None:
        """Change a bucket; None if others always came first.

        What was seen last is tried first, so that nothing is read while nobody else calls.
        """
        known = self._seen if shared is self._shared else shared.load()
        for attempt in range(_TRIES):
            if attempt or known[0] is None:
                known = shared.load()
            now = self._clock()
            before = known[0] or new_bucket(now, self._most)
            after, result = change(before, now)
            if after == before and attempt:
                return result
            if after != before and shared.swap(known[1], after):
                if shared is self._shared:
                    self._seen = (after, known[1] + 1)
                return result
            if attempt and attempt + 1 < _TRIES:
                self._sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - no secret
        return None


def submit_in_turns(
    pace: Pace,
    numbers: Sequence[int],
    submit: Callable[[int], SubmitResult | None],
    *,
    late: str,
    throttled: str,
) -> dict[int, SubmitResult]:
    """Submit when it is time to; a submission that was throttled stands in line again.

    Parameters
    ----------
    numbers
        Of the submissions, in their order.
    submit
        Submits one; None if the call was throttled.
    late, throttled
        What is said of those there is no turn for within some seconds, and of those that were
        throttled again and again.
    """
    results: dict[int, SubmitResult] = {}
    times: Counter[int] = Counter()
    waiting = list(numbers)
    until = pace.latest()

    def in_turn(call: tuple[Turn, int, int]) -> SubmitResult | None:
        turn, place, number = call
        pace.wait(turn, place)
        result = submit(number)
        if result is None:
            pace.throttled()
        return result

    while waiting:
        turn = pace.take(len(waiting), until)
        if not isinstance(turn, Turn):
            later = SubmitResult(None, None, late, again_at=turn)
            return results | dict.fromkeys(waiting, later)
        called, waiting = waiting[: turn.calls], waiting[turn.calls :]
        calls = [(turn, place, number) for place, number in enumerate(called)]
        for number, result in zip(called, each(in_turn, calls), strict=True):
            times[number] += result is None
            if result is not None:
                results[number] = result
            elif times[number] < _THROTTLED_TIMES:
                waiting.append(number)
            else:
                results[number] = SubmitResult(None, None, throttled)
    return results
