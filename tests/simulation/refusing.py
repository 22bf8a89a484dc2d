"""The errors that simulated services answer with, as botocore's clients raise them."""

from __future__ import annotations

from botocore.exceptions import ClientError

__all__ = ["refusal_of"]


def refusal_of(operation: str, code: str, message: str, status: int = 400) -> ClientError:
    """Return the error of a request that AWS refuses, in its words."""
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        operation,
    )
