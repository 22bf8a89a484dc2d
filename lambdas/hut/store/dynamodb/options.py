"""How the DynamoDB store is used."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

__all__ = ["StoreOptions"]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How the store is used.

    Attributes
    ----------
    table, bucket : str
        Names of both.
    retention_days : int
        When runs are forgotten, counted from their submission.
    follow : {"inline", "stream"}
        Who does what follows from ends: the caller at once, or the reader of the stream.
    counted : collection of str, or None
        Backends whose active tasks are counted over all runs, for caps to be kept; None: all. Each
        count is one more item that a claim and an end write, and that busy runs get in each other's
        way at. It is right for tasks that were claimed since their backend is counted.
    """

    table: str
    bucket: str
    retention_days: int = 90
    follow: Literal["inline", "stream"] = "inline"
    counted: Collection[str] | None = None

    def counts(self, backend: str) -> bool:
        """Say whether the active tasks of a backend are counted."""
        return self.counted is None or backend in self.counted
