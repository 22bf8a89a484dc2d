"""What an error of AWS means for a submission: never, not now, or perhaps done. Pure.

`SubmitResult` with neither handle nor outcome is the word for "not now". A fault of the installation
(no permission, no credentials) is "not now" too: it is not the task's, and is over when somebody has
mended it. Only what names this very job as impossible ends its attempt.
"""

from __future__ import annotations

import re

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from hut.backends.errors import code_of, may_have_happened, said_by
from hut.backends.port import SubmitResult
from hut.lifecycle.attempt import launch_failed

__all__ = ["is_gone", "names_definition", "refused"]

_PASSES = re.compile(
    r"not authorized|throttl|too many requests|rate exceeded"
    # A queue that takes no jobs; AWS does not document in which words.
    r"|disabled|not enabled|queue\b.*\b(?:state|status)\b"
    # 500 share identifiers may be active in a queue; nor does it document these.
    r"|^(?=.*share identifier).*(?:limit|maximum|exceed|at most|quota)",
    re.IGNORECASE,
)
_GONE = re.compile(r"not found|does not exist|doesn't exist|not exist", re.I)


def refused(error: ClientError | BotoCoreError) -> SubmitResult:
    """Return what became of a submission that failed with `error`."""
    said = said_by(error)
    if isinstance(error, ParamValidationError) or _is_for_good(error):
        return SubmitResult(None, launch_failed(f"AWS Batch refused the job: {said}"), said)
    return SubmitResult(None, None, said)


def names_definition(error: ClientError) -> bool:
    """Say whether SubmitJob failed for want of its job definition."""
    return code_of(error) == "ClientException" and "definition" in said_by(error).lower()


def is_gone(error: ClientError) -> bool:
    """Say whether a job can't be ended because there is none."""
    return code_of(error) == "ClientException" and bool(_GONE.search(said_by(error)))


def _is_for_good(error: ClientError | BotoCoreError) -> bool:
    if not isinstance(error, ClientError) or may_have_happened(error):
        return False
    known = code_of(error) in ("ClientException", "ValidationException")
    return known and not _PASSES.search(said_by(error))
