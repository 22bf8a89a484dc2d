"""Small text: columns, durations, times, states with their colours."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import click

__all__ = [
    "age",
    "clock",
    "columns",
    "counts_text",
    "duration",
    "elapsed",
    "paint",
    "plural",
    "printable",
    "printable_lines",
    "report_line",
]

_COLOURS = {
    "completed": "green",
    "failed": "red",
    "dep_failed": "yellow",
    "cancelled": "magenta",
    "running": "cyan",
    "submitted": "blue",
    "pending": None,
}


def paint(state: str, text: str | None = None) -> str:
    """Return a state, or `text`, in the state's colour."""
    return click.style(state if text is None else text, fg=_COLOURS.get(state))


def plural(count: int, noun: str) -> str:
    """Return ``1 task`` or ``1,234 tasks``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a duration for people: ``0.42s``, ``12.3s``, ``3m20s``, ``2h05m``, ``3d04h``."""
    if round(seconds, 2) < 10:
        return f"{max(seconds, 0):.2f}s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def printable(text: str) -> str:
    """Keep control characters from the terminal, which would obey them."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def printable_lines(text: str) -> str:
    """Do the same to a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def report_line(report: Mapping[str, Any]) -> str:
    """Return an error report of a task program in a line."""
    message = report.get("message")
    kind = str(report.get("type"))
    return f"{kind}: {' '.join(message.split())}" if isinstance(message, str) and message else kind


def _read(time: str) -> datetime:
    return datetime.fromisoformat(time)


def elapsed(document: Mapping[str, Any]) -> str:
    """Return how long a run, task or attempt took, or has been running; empty if it never did."""
    if document["started_at"] is None:
        return ""
    end = datetime.now(UTC) if document["ended_at"] is None else _read(document["ended_at"])
    return duration((end - _read(document["started_at"])).total_seconds())


def age(time: str | None) -> str:
    """Return how long ago something was."""
    if time is None:
        return ""
    return f"{duration((datetime.now(UTC) - _read(time)).total_seconds())} ago"


def clock(time: str) -> str:
    """Return the local time of day of an RFC 3339 time."""
    return _clock_of_second(time[:19])


@lru_cache(maxsize=64)
def _clock_of_second(time: str) -> str:
    return _read(f"{time}Z").astimezone().strftime("%H:%M:%S")


def counts_text(counts: Mapping[str, int]) -> str:
    """Return the counts that are not zero: ``3 completed, 1 failed``."""
    return ", ".join(paint(state, f"{count:,} {state}") for state, count in counts.items() if count)


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    """Yield the lines of a table; the last column is cut to the terminal where there is one.

    Cells may be styled; their visible width counts.
    """
    table = [list(row) for row in rows]
    widths = [len(title) for title in header]
    for row in table:
        for index, cell in enumerate(row[:-1]):
            widths[index] = max(widths[index], len(click.unstyle(cell)))
    room = _terminal_width()
    yield click.style(_line(header, widths, None), bold=True)
    for row in table:
        yield _line(row, widths, room)


def _terminal_width() -> int | None:
    import sys

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _line(row: Sequence[str], widths: Sequence[int], room: int | None) -> str:
    parts = [
        cell + " " * (width - len(click.unstyle(cell)))
        for cell, width in zip(row[:-1], widths, strict=False)
    ]
    last = row[-1]
    if room is not None:
        left = room - sum(widths[:-1]) - 2 * len(parts)
        if len(click.unstyle(last)) > left > 8:
            last = click.unstyle(last)[: left - 1] + "…"
    return "  ".join([*parts, last]).rstrip()
