"""What a function tells its operators of an exception: what it is and where it was raised. Pure.

Never its words, which may quote anything: botocore's of a parameter that is wrong hold its value, and
so does many a ``ValueError``. Only those of AWS's answers are passed on; they name actions and resources.
"""

from __future__ import annotations

import traceback

__all__ = ["facts_of", "told"]

_FRAMES = 12
_WORDS = 300


def facts_of(error: BaseException) -> dict[str, object]:
    """Return the facts of an exception as fields of a log line."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    facts: dict[str, object] = {
        "error": type(error).__name__,
        "raised_at": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    operation = getattr(error, "operation_name", None)
    if operation is not None:  # AWS refused a call
        facts["operation"] = operation
        facts["detail"] = str(error)[:_WORDS]
    return facts


def told(error: BaseException) -> str:
    """Return them as one text."""
    facts = facts_of(error)
    words = f"{facts['error']}: {facts['detail']}" if "detail" in facts else str(facts["error"])
    frames = facts["raised_at"]
    assert isinstance(frames, list)  # noqa: S101 - as made above
    return "\n".join([words, *(f"  at {frame}" for frame in frames)])
