"""The ``check`` Lambda: holds documents of task programs against their JSON schemas.

It is allowed nothing, and is asked by the functions that prepare and judge tasks: see `hut.aws.checks`.
"""

from __future__ import annotations

from typing import Any

from hut.checking import check_document
from hut.logs import new_logger
from hut.model.schema_faults import UnusableSchema

__all__ = ["handler"]

logger = new_logger()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001
    """Answer with the faults of a document, or why its schema is of no use."""
    try:
        return {"faults": check_document(event["schema"], event["document"])}
    except UnusableSchema as error:
        return {"unusable": str(error)}
