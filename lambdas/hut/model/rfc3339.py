"""Times as the contract writes them: RFC 3339, UTC, microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["format_time", "parse_time"]


def format_time(seconds: float) -> str:
    """Return e.g. ``2026-11-23T08:45:12.034567Z``."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{micros:06}Z"


def parse_time(text: str) -> float:
    """Return the seconds of a time, or of the beginning of a day in UTC: ``2026-11-23``.

    Raises
    ------
    ValueError
        If it is neither, or has no offset from UTC.
    """
    try:
        found = datetime.fromisoformat(text)
        if len(text) == len("2026-11-23"):
            found = found.replace(tzinfo=UTC)
        seconds = found.timestamp() if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        seconds = None
    if seconds is None or seconds < 0:
        raise ValueError("write a day, 2026-11-23, or a time in UTC, 2026-11-23T08:45:00Z")
    return seconds


@lru_cache(maxsize=256)
def _second(whole: int) -> str:
    """Return a time without its fraction; many changes share a second."""
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
