"""The ``api`` Lambda: the REST API behind API Gateway.

Powertools' tracer wants the X-Ray SDK, which is not shipped; requests are traced by the Lambda's
own active tracing, and powertools' logger writes the trace id into each line.
"""

from __future__ import annotations

from typing import Any

from hut.measuring import measured
from hut.rest.app import respond

__all__ = ["handler"]


@measured  # workers tell of ends
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a REST API proxy event."""
    from handlers.serving import services  # makes clients; an import must not

    return respond(event, context, services)
