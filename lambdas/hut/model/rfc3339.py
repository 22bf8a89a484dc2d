"""Times as text: RFC 3339 in UTC, to the microsecond. Seconds since the epoch everywhere else."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["format_time"]


def format_time(seconds: float) -> str:
    """Return e.g. ``2026-11-23T08:45:12.034567Z``."""
    at = datetime.fromtimestamp(seconds, UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
