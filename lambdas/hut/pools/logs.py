"""How a worker of a control plane writes what its tasks print into one log stream, and how it is found. Pure.

A stream for each attempt would cost a call each, and CloudWatch makes 50 streams a second. So each
session of a worker has one stream, and every event in it belongs to one attempt: its first line says to
which, and whether more follows; behind it are whole lines of output. A long line is cut, as the log
drivers of containers do.

    ::hut:<id>:more
    a line of output
    another one

The id is made of the lease, so who knows an attempt's lease finds its events. The name of an attempt's log
also says when it began: a reader starts there, and ends at the event that says ``last``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = [
    "LARGEST_EVENT",
    "Event",
    "LogName",
    "events",
    "log_id",
    "log_name",
    "parse",
    "read_event",
    "stream_of",
]

LARGEST_EVENT = 200_000
"""Bytes of an event's text at most; CloudWatch takes 256 KiB with what counts beside it."""

_HEAD = re.compile(r"::hut:([0-9a-f]{16}):(more|last)(?:\n|$)", re.ASCII)
_NAME = re.compile(
    r"(?P<stream>[A-Za-z0-9_./-]{1,400})#(?P<id>[0-9a-f]{16})@(?P<at>[0-9]{1,15})", re.ASCII
)


class LogName(NamedTuple):
    """Where an attempt's output is.

    Attributes
    ----------
    id : str
        Of its events, in the stream.
    since : int
        Milliseconds since the epoch: when the attempt began, by the worker's clock.
    """

    stream: str
    id: str
    since: int


class Event(NamedTuple):
    """What an event says: a piece of an attempt's output, and whether it is the last one."""

    id: str
    text: str
    is_last: bool


def log_id(lease: str, index: int, epoch: int) -> str:
    """Return what marks the events of a task that a worker has under a lease."""
    return hashlib.sha256(f"{lease}\0{index}\0{epoch}".encode()).hexdigest()[:16]


def stream_of(pool: str, worker: str) -> str:
    """Return the stream of a worker's session; the same worker has another one when it joins anew."""
    return f"pools/{pool}/{worker}"


def log_name(stream: str, log: str, started_at: float) -> str:
    """Return the name of an attempt's log."""
    return f"{stream}#{log}@{max(int(started_at * 1000), 0)}"


def parse(name: str) -> LogName | None:
    """Return what `log_name` put into a name; None if it is none of ours."""
    match = _NAME.fullmatch(name)
    return match and LogName(match["stream"], match["id"], int(match["at"]))


def events(log: str, text: str, *, last: bool) -> Iterator[str]:
    """Yield the messages of the events for a piece of output, in order.

    Parameters
    ----------
    text
        Whole lines; a last one without its end gets one.
    last
        Whether nothing follows: then there is an event even for no text.
    """
    pieces = list(_pieces(text))
    for number, piece in enumerate(pieces, 1):
        word = "last" if last and number == len(pieces) else "more"
        yield f"::hut:{log}:{word}\n{piece}"
    if last and not pieces:
        yield f"::hut:{log}:last"


def read_event(message: str) -> Event | None:
    """Return what an event says; None for one that no worker wrote."""
    match = _HEAD.match(message)
    return match and Event(match[1], message[match.end() :], match[2] == "last")


def _pieces(text: str) -> Iterator[str]:
    """Yield a text in pieces of whole lines that an event has room for; longer lines are cut."""
    piece: list[str] = []
    size = 0
    for line in text.removesuffix("\n").split("\n") if text else ():
        for part in _parts(line):
            length = len(part.encode(errors="replace"))
            if piece and size + length > LARGEST_EVENT:
                yield "".join(piece)
                piece, size = [], 0
            piece.append(part)
            size += length
    if piece:
        yield "".join(piece)


def _parts(line: str) -> Iterator[str]:
    most = LARGEST_EVENT // 4 - 1  # characters; UTF-8 has four bytes for one at most
    for start in range(0, max(len(line), 1), most):
        yield f"{line[start : start + most]}\n"
