"""What is refused, and how: the one place where errors become statuses, words and places.

Anything that is not known here is a fault of our own. `hut.rest.answers` makes problem documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError

from hut.model.documents import MalformedDocument, dotted
from hut.model.problems import InvalidInput, Problem, did_you_mean
from hut.planning.fields import show
from hut.rest.services import Busy, TooLarge, UnknownUpload
from hut.service.configuring import NeededEntry, UnknownEntry, UnknownVersion
from hut.store.configurations import VersionConflict
from hut.store.port import (
    IdempotencyConflict,
    RunClosed,
    RunExists,
    StaleExtension,
    StoreError,
    TryAgain,
    UnknownRun,
    UnusableStore,
)
from hut.store.registry import DefinitionExists

__all__ = ["Refusal", "fault_problem", "invalid_configuration", "malformed", "refusal_of"]


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - reads as what it is: raise Refusal(404, ...)
    """A request that is answered with a problem document.

    Attributes
    ----------
    status : int
    kind : str
        The end of the problem's ``type``; stable, for programs.
    detail : str
        What is wrong and what would be right, for people.
    errors : sequence of Problem
    """

    status: int
    kind: str
    detail: str
    errors: Sequence[Problem] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.detail


def refusal_of(error: Exception) -> Refusal | None:
    """Return how an error is told, or None if it is no fault of the request."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InvalidInput):
        return _with_errors(422, "invalid-workflow", "the workflow", error.problems)
    if isinstance(error, RequestValidationError):
        problems = [fault_problem(fault, skip=1) for fault in error.errors()]
        return _with_errors(400, "malformed-request", "the request", problems)
    if isinstance(error, MalformedDocument):
        problem = Problem(error.message, line=error.line)
        return Refusal(400, "malformed-request", f"the body: {problem}", (problem,))
    if isinstance(error, UnknownRun):
        return Refusal(404, "unknown-run", str(error))
    if isinstance(error, UnknownUpload):
        detail = (
            "there is no such upload of yours; send the file to the url that POST /uploads gave"
        )
        return Refusal(404, "unknown-upload", detail)
    if isinstance(error, IdempotencyConflict):
        detail = "the Idempotency-Key was used before, with another body; use a new one"
        return Refusal(409, "idempotency-conflict", detail)
    if isinstance(error, VersionConflict):
        detail = f"{error}; look at what they changed (GET /config), then change that"
        return Refusal(409, "config-conflict", detail)
    if isinstance(error, (UnknownVersion, UnknownEntry)):
        kind = "unknown-version" if isinstance(error, UnknownVersion) else "unknown-entry"
        return Refusal(404, kind, str(error))
    if isinstance(error, NeededEntry):
        return Refusal(409, "needed", str(error))
    if isinstance(error, StoreError) and not isinstance(error, RunExists):
        return _of_store(error)
    if isinstance(error, TooLarge):
        return Refusal(413, "too-large", str(error))
    if isinstance(error, Busy):
        detail = "the control plane is busy; try again in a moment"
        return Refusal(429, "busy", detail, headers={"Retry-After": "2"})
    return None


def _of_store(error: StoreError) -> Refusal:
    if isinstance(error, (TryAgain, StaleExtension)):
        return Refusal(429, "busy", str(error), headers={"Retry-After": "2"})
    kinds = {
        UnusableStore: (503, "unusable"),
        RunClosed: (409, "run-closed"),
        DefinitionExists: (409, "definition-exists"),
    }
    status, kind = kinds.get(type(error), (409, "conflict"))
    return Refusal(status, kind, str(error))


def malformed(problems: Iterable[Problem]) -> Refusal:
    """Return the refusal of a request whose shape is wrong."""
    return _with_errors(400, "malformed-request", "the request", tuple(problems))


def invalid_configuration(error: InvalidInput) -> Refusal:
    """Return the refusal of a configuration that can't be followed."""
    return _with_errors(422, "invalid-configuration", "the configuration", error.problems)


def _with_errors(status: int, kind: str, what: str, problems: Sequence[Problem]) -> Refusal:
    if len(problems) == 1:
        detail = f"{what} has a problem: {problems[0]}"
    else:
        detail = f"{what} has {len(problems):,} problems; the first: {problems[0]}"
    return Refusal(status, kind, detail, problems)


def fault_problem(
    fault: Mapping[str, Any], known: Sequence[str] = (), *, skip: int = 0, inside: str = ""
) -> Problem:
    """Turn one of pydantic's errors into a problem in the words of this project.

    Parameters
    ----------
    known
        Fields there are, for the hint at an unknown one.
    skip
        Parts at the beginning of the place to leave out.
    inside
        Where the place begins.
    """
    place = [part for part in fault["loc"][skip:] if part != "[key]"]
    message = str(fault["msg"])
    kind = fault["type"]
    if kind == "extra_forbidden":
        message = f"unknown field; {did_you_mean(str(place[-1]), known, list_up_to=20)}"
    elif kind == "missing":
        message = "is missing"
    elif kind in ("value_error", "assertion_error"):
        message = message.removeprefix("Value error, ")
    else:
        message = f"{show(fault.get('input'))}: {message[:1].lower()}{message[1:]}"
    return Problem(message, field=dotted(filter(None, (inside, *place))) or None)
