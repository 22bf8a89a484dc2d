"""What an error of AWS's means for a call that was to start something. Pure."""

from __future__ import annotations

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProxyConnectionError,
)

__all__ = ["code_of", "is_throttled", "may_have_happened", "said_by"]

_WRAPPING = re.compile(r"^Error executing request, Exception : |, RequestId: [0-9a-f-]+$")
_THROTTLED = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)
_TOO_MANY = 429  # HTTP
_NEVER_SENT = (
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProxyConnectionError,
)


def may_have_happened(error: ClientError | BotoCoreError) -> bool:
    """Say whether the call may have had its effect although no answer came."""
    if isinstance(error, ClientError):
        return _status(error) >= 500
    return not isinstance(error, _NEVER_SENT)


def is_throttled(error: ClientError | BotoCoreError) -> bool:
    """Say whether a call came too soon after others; nothing has happened by it."""
    return isinstance(error, ClientError) and (
        code_of(error) in _THROTTLED or _status(error) == _TOO_MANY
    )


def code_of(error: ClientError) -> str:
    """Return AWS's code for what happened."""
    return str(error.response.get("Error", {}).get("Code", ""))


def said_by(error: ClientError | BotoCoreError) -> str:
    """Return AWS's sentence without what only its support needs."""
    if not isinstance(error, ClientError):
        return str(error)
    message = str(error.response.get("Error", {}).get("Message", "")) or str(error)
    return _WRAPPING.sub("", message)


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
