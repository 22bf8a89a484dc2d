"""What the SDK itself finds wrong, and how any exception becomes error reports. Pure.

The names of these classes are public: they are the ``type`` of the reports.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType

__all__ = [
    "Fault",
    "OutputValidationError",
    "TaskDefinitionError",
    "UsageError",
    "ValidationError",
    "first_line",
    "reports_of",
]

LONGEST_MESSAGE = 10_000
LONGEST_TRACEBACK = 20_000
"""Characters of a report: it is read by people and kept with the run."""


class Fault(ValueError):  # noqa: N818 - never raised; the errors below are
    """Something that is told without a traceback: it is no fault of the function's code.

    Parameters
    ----------
    message
        What is wrong and what would be right.
    details : list of objects with ``path`` and ``message``, or None
        Each fault of a document with its place.
    """

    def __init__(self, message: str, details: list[dict[str, object]] | None = None) -> None:
        super().__init__(message)
        self.details = details


class ValidationError(Fault):
    """The input is no JSON document, or violates the task's schema; the function was not called."""


class OutputValidationError(Fault):
    """What the function returned violates the task's schema, or is nothing JSON can say."""


class UsageError(Fault):
    """The program was called with arguments it does not take."""


class TaskDefinitionError(Fault):
    """Tasks that can't be: all that is wrong with them, a line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        super().__init__("\n".join(problems))


def reports_of(error: BaseException) -> list[dict[str, object]]:
    """Return the error reports of an exception, at least one; a group's are those of its members.

    Returns
    -------
    list of objects
        ``type`` (the exception's class name), ``message``, and where there are any ``details`` (the
        exception's attribute of that name, if JSON can say it) and ``traceback``.
    """
    return [_report(each) for each in _leaves(error)]


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception says, or its class name."""
    return next(iter(_message(error).splitlines()), "") or type(error).__name__


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for member in error.exceptions:
        yield from _leaves(member)


def _report(error: BaseException) -> dict[str, object]:
    report: dict[str, object] = {
        "type": _sayable(type(error).__name__),
        "message": _sayable(_message(error)[:LONGEST_MESSAGE]),
    }
    details = _details(error)
    if details is not None:
        report["details"] = details
    if not isinstance(error, Fault):
        report["traceback"] = _sayable(_traceback(error))
    return report


def _message(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"the task ended its process itself, by exit({error.code!r})"
    try:
        return str(error)
    except Exception as worse:  # noqa: BLE001 - __str__ is the author's, and the report must be made
        return f"(its message can't be made: {type(worse).__name__})"


def _details(error: BaseException) -> object:
    try:
        details = getattr(error, "details", None)
        text = json.dumps(details, ensure_ascii=False, allow_nan=False)
        text.encode()
    except Exception:  # noqa: BLE001 - the attribute may be anything; what can't be said is left out
        return None
    return json.loads(text)  # as it is now: nobody changes it any more


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(type(error), error, _of_the_task(error)))
    except Exception:  # noqa: BLE001 - it calls the author's __str__ and __repr__, see above
        text = "".join(traceback.format_tb(_of_the_task(error)))
    if len(text) <= LONGEST_TRACEBACK:
        return text
    half = LONGEST_TRACEBACK // 2
    return f"{text[:half]}\n[...]\n{text[-half:]}"


def _of_the_task(error: BaseException) -> TracebackType | None:
    """Return the traceback without the frames of this package above the function."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_globals):
        trace = trace.tb_next
    return trace or error.__traceback__


def _is_ours(module: Mapping[str, object]) -> bool:
    return str(module.get("__name__")).startswith("hut.task.")


def _sayable(text: str) -> str:
    """Return a text without lone surrogates (of file names that are no UTF-8, say)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
