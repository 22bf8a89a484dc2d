"""What modules of routes share: a router each, and the types of common parameters."""

from __future__ import annotations

from typing import Annotated, Any

from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from aws_lambda_powertools.event_handler.router import APIGatewayRouter
from pydantic import BeforeValidator

__all__ = ["REPEAT", "SPLIT", "Limit", "OpaqueCursor", "Position", "RunId", "TaskId", "new_router"]

REPEAT = "repeat it, or separate them by commas"


def _split(values: Any) -> Any:
    entries = values if isinstance(values, list) else [values]
    return [part.strip() for entry in entries for part in str(entry).split(",")]


SPLIT = BeforeValidator(_split)
"""Lets ``state=failed,running`` mean the same as ``state=failed&state=running``."""

RunId = Annotated[str, Path(description="The run's full id.")]
TaskId = Annotated[str, Path(description="The task's id.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Entries at most.")]
OpaqueCursor = Annotated[
    str | None, Query(max_length=500, description="`X-Next-Cursor` of the page before.")
]
Position = Annotated[
    int | None, Query(ge=0, le=2**53, description="`X-Next-Cursor` of the page before.")
]


def new_router() -> APIGatewayRouter:
    """Return a router for a module's routes; the API includes it."""
    return APIGatewayRouter()  # type: ignore[no-untyped-call]
