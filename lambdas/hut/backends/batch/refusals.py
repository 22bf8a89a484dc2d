"""What an error of AWS means for a submission: never, not now, or perhaps done. Pure.

`SubmitResult` with neither handle nor outcome is the word for "not now". A fault of the installation
(no permission, no credentials) is "not now" too: it is not the task's, and is over when somebody has
mended it. Only what names this very job as impossible ends its attempt.
"""

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

from hut.backends.batch.outcomes import launch_failed
from hut.backends.port import SubmitResult

__all__ = [
    "is_gone",
    "is_throttled",
    "may_have_happened",
    "names_definition",
    "refused",
    "said_by",
]

_WRAPPING = re.compile(r"^Error executing request, Exception : |, RequestId: [0-9a-f-]+$")
_PASSES = re.compile(
    r"not authorized|throttl|too many requests|rate exceeded"
    # A queue that takes no jobs; AWS does not document in which words.
    r"|disabled|not enabled|queue\b.*\b(?:state|status)\b"
    # 500 share identifiers may be active in a queue; nor does it document these.
    r"|^(?=.*share identifier).*(?:limit|maximum|exceed|at most|quota)",
    re.IGNORECASE,
)
_THROTTLED = frozenset(
    {"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)
_GONE = re.compile(r"not found|does not exist|doesn't exist|not exist", re.I)
_TOO_MANY = 429  # HTTP
_NEVER_SENT = (
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProxyConnectionError,
)


def refused(error: ClientError | BotoCoreError) -> SubmitResult:
    """Return what became of a submission that failed with `error`."""
    said = said_by(error)
    if isinstance(error, ParamValidationError) or _is_for_good(error):
        return SubmitResult(None, launch_failed(f"AWS Batch refused the job: {said}"), said)
    return SubmitResult(None, None, said)


def may_have_happened(error: ClientError | BotoCoreError) -> bool:
    """Say whether the call may have had its effect although no answer came."""
    if isinstance(error, ClientError):
        return _status(error) >= 500
    return not isinstance(error, _NEVER_SENT)


def is_throttled(error: ClientError | BotoCoreError) -> bool:
    """Say whether a call came too soon after others; nothing has happened by it."""
    return isinstance(error, ClientError) and (
        _code(error) in _THROTTLED or _status(error) == _TOO_MANY
    )


def names_definition(error: ClientError) -> bool:
    """Say whether SubmitJob failed for want of its job definition."""
    return _code(error) == "ClientException" and "definition" in said_by(error).lower()


def is_gone(error: ClientError) -> bool:
    """Say whether a job can't be ended because there is none."""
    return _code(error) == "ClientException" and bool(_GONE.search(said_by(error)))


def _is_for_good(error: ClientError | BotoCoreError) -> bool:
    if not isinstance(error, ClientError) or may_have_happened(error):
        return False
    known = _code(error) in ("ClientException", "ValidationException")
    return known and not _PASSES.search(said_by(error))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def said_by(error: ClientError | BotoCoreError) -> str:
    """Return AWS's sentence without what only its support needs."""
    if not isinstance(error, ClientError):
        return str(error)
    message = str(error.response.get("Error", {}).get("Message", "")) or str(error)
    return _WRAPPING.sub("", message)
