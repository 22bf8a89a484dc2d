"""A task's output, from the file it is written to, to CloudWatch Logs, while it runs.

The file is the source: the task never waits for CloudWatch, nothing is lost while CloudWatch is away,
and no more than one batch is in memory. What was not accepted is sent again, so a line may come
twice if an answer was lost.
"""

from __future__ import annotations

import collections
import os
import threading
import time
from typing import Any, NamedTuple

from hut.backends.ec2.host.calls import Aws, CallError, pause_factor

__all__ = ["LARGEST_PIECE", "MOST_BYTES", "MOST_EVENTS", "Batch", "Shipper", "make_batch"]

MOST_EVENTS = 10_000
MOST_BYTES = 1_048_576
"""Of one call of PutLogEvents, as its API reference says; each event counts 26 bytes more."""

LARGEST_PIECE = 65_536
"""Bytes of a line that become one event. Three times as many, if none are UTF-8, still fit."""

_EVENT_BYTES = 26
_MOST_SPAN = 23 * 3600 * 1000  # milliseconds; a batch may not span more than a day
_INTERVAL = 1.0
_LONGEST_PAUSE = 30.0
_PATIENCE = 60.0  # seconds without progress after which the end is told all the same
_LONGEST_FLUSH = 600.0
_MOST_MARKS = 10_000
_POISON = ("InvalidParameterException", "SerializationException", "ValidationException")


class Batch(NamedTuple):
    """Events for one call, and where in the file they end."""

    events: list[dict[str, Any]]
    end: int


class _Marks:
    """When which part of the file was there; events are told with that time."""

    def __init__(self) -> None:
        self._marks: collections.deque[tuple[int, int]] = collections.deque()
        self._last = 0

    def note(self, size: int) -> None:
        now = max(int(time.time() * 1000), self._last)
        self._last = now
        if size and (not self._marks or size > self._marks[-1][0]):
            self._marks.append((size, now))
        if len(self._marks) > _MOST_MARKS:
            self._marks = collections.deque(list(self._marks)[1::2])

    def at(self, position: int) -> int:
        """Return the time of a byte; earlier ones are not asked for any more."""
        while len(self._marks) > 1 and self._marks[0][0] <= position:
            self._marks.popleft()
        return self._marks[0][1] if self._marks else int(time.time() * 1000)


def make_batch(data: bytes, start: int, marks: Any, *, is_end: bool) -> Batch:
    """Return what of the file's bytes from `start` on fits into one call.

    Empty lines become a blank, since CloudWatch refuses empty messages. Longer lines than an event
    takes are cut, but not within a character. What is no UTF-8 is replaced.

    Parameters
    ----------
    marks
        Knows when which byte was there.
    is_end
        Nothing follows `data`, so a last line without an end is whole.
    """
    events: list[dict[str, Any]] = []
    position, size = 0, 0
    while position < len(data) and len(events) < MOST_EVENTS:
        newline = data.find(b"\n", position, position + LARGEST_PIECE)
        if newline >= 0:
            stop, following = newline, newline + 1
        elif len(data) - position > LARGEST_PIECE:
            stop = following = _boundary(data, position + LARGEST_PIECE)
        elif is_end:
            stop = following = len(data)
        else:
            break
        message = data[position:stop].decode("utf-8", "replace") or " "
        weight = len(message.encode()) + _EVENT_BYTES
        at = marks.at(start + position)
        if events and (size + weight > MOST_BYTES or at - events[0]["timestamp"] > _MOST_SPAN):
            break
        events.append({"timestamp": at, "message": message})
        size += weight
        position = following
    return Batch(events, start + position)


def _boundary(data: bytes, position: int) -> int:
    """Return where to cut at `position` or before it: not within a character of UTF-8."""
    for back in range(4):
        if data[position - back] & 0xC0 != 0x80:
            return position - back
    return position


class Shipper:
    """Sends a file that grows, in a thread of its own.

    Parameters
    ----------
    aws
        With a `Stop` of its own: it goes on while the agent is being ended.
    log
        Group, stream and region.
    path
        The file; it is read to its end even if somebody removes it.
    """

    def __init__(self, aws: Aws, log: tuple[str, str, str], path: str) -> None:
        self._aws = aws
        self._group, self._stream, self._region = log
        self._file = open(path, "rb")  # noqa: SIM115 - the thread closes it
        self._ending = threading.Event()
        self._until = 0.0
        self._position = 0
        self._size = 0
        self._marks = _Marks()
        self._is_made = False
        self._refused = 0
        self._error = ""
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="shipping", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def finish(self) -> str:
        """Send the rest, for a bounded time; return what could not be sent, in words."""
        self._progress = time.monotonic()
        self._until = self._progress + _LONGEST_FLUSH
        self._ending.set()
        self._thread.join()
        said = []
        left = self._size - self._position
        if left > 0:
            said.append(f"{left} bytes of its output could not be sent to CloudWatch Logs")
        if self._refused:
            said.append(f"CloudWatch Logs refused {self._refused} lines of its output")
        if said and self._error:
            said.append(self._error)
        return ": ".join(said)

    def _run(self) -> None:
        pause = _INTERVAL
        with self._file:
            while True:
                is_last = self._ending.is_set()
                try:
                    has_more = self._ship(is_end=is_last)
                    pause = _INTERVAL
                except CallError as error:
                    self._error = str(error)
                    if is_last and self._is_late():
                        return
                    self._wait(pause, is_last=is_last)
                    pause = min(pause * 2, _LONGEST_PAUSE)
                except Exception as error:  # noqa: BLE001 - the end of the task is told all the same
                    self._error = f"{type(error).__name__}: {error}"
                    return
                else:
                    if is_last and (not has_more or self._is_late()):
                        return
                    if not has_more:
                        self._wait(pause, is_last=is_last)

    def _is_late(self) -> bool:
        now = time.monotonic()
        return now > self._until or now > self._progress + _PATIENCE * pause_factor()

    def _wait(self, seconds: float, *, is_last: bool) -> None:
        if is_last:
            time.sleep(min(seconds, 2.0) * pause_factor())
        else:
            self._ending.wait(seconds * pause_factor())

    def _ship(self, *, is_end: bool) -> bool:
        """Send one batch; return whether there is more that can be sent at once."""
        file = self._file
        size = self._size = os.fstat(file.fileno()).st_size
        self._marks.note(size)
        if not self._is_made:
            self._make_stream()
        file.seek(self._position)
        data = file.read(MOST_BYTES)
        reaches = self._position + len(data) >= size
        batch = make_batch(data, self._position, self._marks, is_end=is_end and reaches)
        if not batch.events:
            return False
        self._put(batch)
        self._position = batch.end
        self._progress = time.monotonic()
        return batch.end < size and (is_end or not reaches or len(batch.events) == MOST_EVENTS)

    def _make_stream(self) -> None:
        names = {"logGroupName": self._group, "logStreamName": self._stream}
        try:
            self._aws.logs("CreateLogStream", names, region=self._region, tries=1)
        except CallError as error:
            if error.code != "ResourceAlreadyExistsException":
                raise
        self._is_made = True

    def _put(self, batch: Batch) -> None:
        body = {
            "logGroupName": self._group,
            "logStreamName": self._stream,
            "logEvents": batch.events,
        }
        try:
            answer = self._aws.logs("PutLogEvents", body, region=self._region, tries=1)
        except CallError as error:
            if error.code == "ResourceNotFoundException":
                self._is_made = False
            if error.code not in _POISON:
                raise
            # It would be refused for ever, and hold back what comes after it.
            self._error = str(error)
            self._refused += len(batch.events)
            return
        rejected = answer.get("rejectedLogEventsInfo") or {}
        early = max(
            rejected.get("tooOldLogEventEndIndex") or 0,
            rejected.get("expiredLogEventEndIndex") or 0,
        )
        late = rejected.get("tooNewLogEventStartIndex")
        self._refused += early + (0 if late is None else len(batch.events) - late)
