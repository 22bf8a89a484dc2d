"""Documents against JSON schemas, by a function of its own: ``handlers.check``.

Schemas are strangers' texts, and what checks them is compiled and slow to import. So the functions that take
messages neither have it nor can be held up by it (decision 27).
"""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from hut.model.schema_faults import Fault, UnusableSchema
from hut.script.calling import json_text

__all__ = ["CheckFunction", "check_function_name"]

_TOO_LARGE = "RequestTooLargeException"
_KILLED = "Runtime.ExitError"  # out of memory, for example
_TIMED_OUT = "Task timed out"


def check_function_name(prefix: str) -> str:
    """Return the name of the function in the deployment of a prefix."""
    return f"{prefix}-check"


class CheckFunction:
    """Implements `hut.model.schema_faults.Check`.

    Parameters
    ----------
    client
        A client of Lambda.
    name
        The function's.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def __call__(self, schema: Any, document: Any) -> list[Fault]:
        """Return how a document violates a schema.

        Raises
        ------
        UnusableSchema
            If nothing can be held against the schema: also if the function dies of it.
        RuntimeError
            If the function itself is broken, which is no fault of the document.
        """
        if schema is True or schema == {}:
            return []
        given = json_text({"schema": schema, "document": document}).encode()
        try:
            answer = self._client.invoke(FunctionName=self._name, Payload=given)
        except ClientError as error:
            if error.response["Error"]["Code"] == _TOO_LARGE:
                raise UnusableSchema("the document is too large to be held against it") from None
            raise
        told = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            said = str(told.get("errorMessage"))
            if told.get("errorType") == _KILLED or _TIMED_OUT in said:
                raise UnusableSchema(f"nothing could be held against it: {said}")
            raise RuntimeError(f"the function {self._name} failed: {said}")
        if "unusable" in told:
            raise UnusableSchema(told["unusable"])
        faults: list[Fault] = told["faults"]
        return faults
