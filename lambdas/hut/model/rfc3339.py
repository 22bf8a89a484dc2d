"""Times as the contract writes them: RFC 3339, UTC, microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["format_time"]


def format_time(seconds: float) -> str:
    """Return e.g. ``2026-11-23T08:45:12.034567Z``."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_second(whole)}.{micros:06}Z"


@lru_cache(maxsize=256)
def _second(whole: int) -> str:
    """Return a time without its fraction; many changes share a second."""
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
