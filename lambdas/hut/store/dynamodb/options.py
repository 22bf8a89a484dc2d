"""How the DynamoDB store is used."""

from __future__ import annotations

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
    """

    table: str
    bucket: str
    retention_days: int = 90
    follow: Literal["inline", "stream"] = "inline"
