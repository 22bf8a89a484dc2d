"""How an attempt of a task program ended, by the files it left: the whole table, as a function. Pure.

The exit code does not matter: an output document that is valid, and no error file, is success. What
the program wrote as error reports is kept; where it wrote none, Hut makes one of how the attempt ended. What
the document of HQS Tasks leaves open is decided here (docs/task-programs.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from hut.model.problems import in_one_line
from hut.model.records import Outcome
from hut.model.schema_faults import Check, Fault, UnusableSchema
from hut.model.states import Reason, TaskState
from hut.model.task_definition import TaskDefinition
from hut.model.workflow import RetryPolicy

__all__ = [
    "ABNORMAL",
    "OWN_ENDS",
    "Judged",
    "Left",
    "Report",
    "invalid_input",
    "judge_program",
    "parse_document",
    "retry_policy",
    "types_of",
]

Report = dict[str, Any]
"""An error report: ``type`` and, mostly, ``message``; a task writes what else it likes."""

ABNORMAL = "AbnormalTermination"
_VIOLATION = "ContractViolation"
_OUTPUT = "OutputValidationError"
_INPUT = "ValidationError"
_TYPES = {
    Reason.OUT_OF_MEMORY: "OutOfMemory",
    Reason.TIMEOUT: "Timeout",
    Reason.HOST_TERMINATED: "HostTerminated",
    Reason.CANCELLED: "Cancelled",
    Reason.LOST: "Lost",
    Reason.LAUNCH_FAILED: "LaunchFailed",
    Reason.NO_CAPACITY: "NoCapacity",
    Reason.STARTUP_TIMEOUT: "StartupTimeout",
    Reason.QUEUE_TIMEOUT: "QueueTimeout",
    Reason.UNSATISFIABLE: "Unsatisfiable",
    Reason.BUDGET: "Budget",
}
OWN_ENDS = frozenset({Reason.EXIT, Reason.SIGNAL})
"""Reasons of ends that files decide: nobody stopped the attempt."""

_INFRASTRUCTURE = frozenset(_TYPES) - {Reason.CANCELLED, Reason.UNSATISFIABLE, Reason.BUDGET}
_LONGEST_RAW = 10_000
_LONGEST_TAIL = 4000
_LONGEST_SAID = 500
_FAULTS_SAID = 3
MOST_REPORTS = 1000


class Left(NamedTuple):
    """What an attempt left behind.

    Attributes
    ----------
    output, error : bytes or None
        The files' contents; None where there is no such file.
    no_output, no_error : str
        Why a file that may be there could not be brought back; empty if nothing is wrong.
    log_tail : str
        The end of what it printed.
    log : str
        How to read all of it.
    """

    output: bytes | None = None
    error: bytes | None = None
    no_output: str = ""
    no_error: str = ""
    log_tail: str = ""
    log: str = ""


class Judged(NamedTuple):
    """The verdict.

    Attributes
    ----------
    outcome : Outcome
        Its message says what went wrong, or warns of a success with an exit code.
    reports : tuple of dict
        Error reports; none for a success.
    output : bytes or None
        The output document: a success's, or what came with a failure and may help to understand it.
    """

    outcome: Outcome
    reports: tuple[Report, ...] = ()
    output: bytes | None = None


class _Unreadable(ValueError):  # noqa: N818 - says what it is
    """A file holds no JSON document; the message says why."""


def judge_program(definition: TaskDefinition, outcome: Outcome, left: Left, check: Check) -> Judged:
    """Return how an attempt ended.

    Parameters
    ----------
    outcome
        How its process ended, by what its backend saw.
    check
        Holds the output against its schema.

    Notes
    -----
    ==============  ===========  ============================================================
    output file     error file   verdict
    ==============  ===========  ============================================================
    valid           none         success, with a warning if the exit code is not 0
    none            reports      failure with these reports, whatever the exit code
    there           there        failure: ``ContractViolation``, the output attached
    none            none         failure with a report Hut makes, also for exit code 0
    none            no reports   failure with a report Hut makes, the raw text in it
    invalid         none         failure: ``OutputValidationError``
    ==============  ===========  ============================================================

    An attempt that was stopped, or whose machine was taken away, failed for that reason whatever it
    left: nobody knows that what it wrote was whole. Its own reports are kept beside that one.
    """
    if outcome.reason not in OWN_ENDS:
        return _stopped(outcome, left)
    if left.error is not None or left.no_error:
        return _failed(definition, outcome, left, check)
    if left.output is None:
        return _nothing(outcome, left)
    return _ended_with_output(definition, outcome, left, check)


def _stopped(outcome: Outcome, left: Left) -> Judged:
    """Judge an attempt that Hut, its service or its machine ended."""
    own = _read_reports(left)
    reports = [] if isinstance(own, str) else own
    report = _synthesized(_TYPES.get(outcome.reason, ABNORMAL), outcome, left)
    if isinstance(own, str) and left.error is not None:
        report["error_file"] = _raw(left.error)
    return Judged(outcome, (*reports, report), left.output)


def _failed(definition: TaskDefinition, outcome: Outcome, left: Left, check: Check) -> Judged:
    """Judge an attempt with an error file."""
    found = _read_reports(left)
    reports: tuple[Report, ...]
    if isinstance(found, str):
        report = _synthesized(ABNORMAL, outcome, left)
        report["message"] = f"the error file {found}; it ended with {_ending(outcome)}"
        if left.error is not None:
            report["error_file"] = _raw(left.error)
        reports = (report,)
        reason, said = outcome.reason, str(report["message"])
    else:
        reports, reason, said = tuple(found), Reason.REPORTED, _said(found)
    if left.output is not None or left.no_output:
        violation = {
            "type": _VIOLATION,
            "message": "it wrote an error file and an output file; a task writes exactly one of them",
            "exit_code": outcome.exit_code,
        }
        problem = _output_problem(definition, left, check)
        violation["output"] = "is valid" if problem is None else problem["message"]
        reports, reason = (violation, *reports), Reason.INVALID_OUTPUT
        said = f"{_VIOLATION}: {violation['message']} ({said})"
    return Judged(_failure(reason, outcome, said), reports, left.output)


def _nothing(outcome: Outcome, left: Left) -> Judged:
    """Judge an attempt that left neither file."""
    if left.no_output:
        report = {"type": _OUTPUT, "message": f"the output file {left.no_output}"}
        return Judged(_failure(Reason.INVALID_OUTPUT, outcome, _said([report])), (report,))
    report = _synthesized(ABNORMAL, outcome, left)
    report["message"] = f"it ended with {_ending(outcome)} and wrote neither output nor error file"
    reason = outcome.reason if outcome.state is TaskState.FAILED else Reason.INVALID_OUTPUT
    return Judged(_failure(reason, outcome, str(report["message"])), (report,))


def _ended_with_output(
    definition: TaskDefinition, outcome: Outcome, left: Left, check: Check
) -> Judged:
    problem = _output_problem(definition, left, check)
    if problem is not None:
        failed = _failure(Reason.INVALID_OUTPUT, outcome, _said([problem]))
        return Judged(failed, (problem,), left.output)
    said = ""
    if outcome.state is TaskState.FAILED:
        said = f"it ended with {_ending(outcome)}, but wrote a valid output, which counts"
    completed = Outcome(TaskState.COMPLETED, Reason.EXIT, outcome.exit_code, said)
    return Judged(completed, (), left.output)


def _output_problem(definition: TaskDefinition, left: Left, check: Check) -> Report | None:
    """Return the report on an output that is not what the task's schema says."""
    if left.output is None:
        return {"type": _OUTPUT, "message": f"the output file {left.no_output}"}
    try:
        document = parse_document(left.output)
    except ValueError as error:
        message = f"the output file {error}"
        return {"type": _OUTPUT, "message": message, "output_file": _raw(left.output)}
    try:
        faults = check(definition.output_schema, document)
    except UnusableSchema as error:
        return {"type": _OUTPUT, "message": f"the output's schema: {error}"}
    if not faults:
        return None
    return _violation(_OUTPUT, f"the output violates its schema: {_of_faults(faults)}", faults)


def _read_reports(left: Left) -> list[Report] | str:
    """Return the reports of an error file, or what is wrong with it: the rest of a sentence."""
    if left.error is None:
        return left.no_error or "is not there"
    try:
        document = parse_document(left.error)
    except ValueError as error:
        return str(error)
    if not isinstance(document, list):
        return "holds no array of error reports"
    if not document:
        return "holds an empty array; a task that succeeds writes no error file at all"
    if not all(isinstance(each, dict) and isinstance(each.get("type"), str) for each in document):
        return "holds something that is no error report: an object with a type"
    return document[:MOST_REPORTS]


def parse_document(content: bytes) -> Any:
    """Return a JSON document; only what JSON itself knows, so no NaN.

    Raises
    ------
    ValueError
        With the rest of a sentence about the file.
    """
    if not content.strip():
        raise _Unreadable("is empty")
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise _Unreadable(f"is not UTF-8 text ({error.reason} at byte {error.start})") from None
    except RecursionError:
        raise _Unreadable("is nested too deeply") from None
    except _Unreadable:
        raise
    except ValueError as error:
        raise _Unreadable(f"holds no JSON document: {error}") from None


def _no_constant(word: str) -> None:
    raise _Unreadable(f"holds {word}, which JSON does not know")


def invalid_input(faults: Sequence[Fault], why: str = "") -> Judged:
    """Return the verdict on an attempt that is not started, as its input is not what the task takes.

    Parameters
    ----------
    why
        What is wrong where it is no fault of one place.
    """
    message = why or f"the input violates its schema: {_of_faults(faults)}"
    report = _violation(_INPUT, message, faults)
    nothing = Outcome(TaskState.FAILED, Reason.INVALID_INPUT, None)
    return Judged(_failure(Reason.INVALID_INPUT, nothing, _said([report])), (report,))


def _violation(kind: str, message: str, faults: Sequence[Fault]) -> Report:
    report: Report = {"type": kind, "message": message}
    if faults:
        report["details"] = [dict(fault) for fault in faults]
    return report


def _of_faults(faults: Sequence[Fault]) -> str:
    told = [f"at {f['path']}: {f['message']}" if f["path"] else f["message"] for f in faults]
    more = len(told) - _FAULTS_SAID
    return "; ".join(told[:_FAULTS_SAID]) + (f"; and {more:,} more" if more > 0 else "")


def _synthesized(kind: str, outcome: Outcome, left: Left) -> Report:
    """Return the report that Hut makes where the task could not."""
    report: Report = {
        "type": kind,
        "message": outcome.message or f"it ended with {_ending(outcome)}",
    }
    report |= {"synthesized": True, "reason": str(outcome.reason)}
    if outcome.exit_code is not None:
        report["exit_code"] = outcome.exit_code
        if (number := _signal_of(outcome)) is not None:
            report["signal"] = number
    if left.log_tail:
        report["log_tail"] = left.log_tail[-_LONGEST_TAIL:]
    if left.log:
        report["log"] = left.log
    return report


def _signal_of(outcome: Outcome) -> int | None:
    """Return the signal that an exit code above 128 stands for, as shells have it."""
    code = outcome.exit_code
    return code - 128 if code is not None and 128 < code <= 128 + 64 else None


def _ending(outcome: Outcome) -> str:
    if (number := _signal_of(outcome)) is not None:
        return f"signal {number}"
    if outcome.message.startswith("exit code "):
        return outcome.message  # with what shells mean by it
    return "an unknown exit code" if outcome.exit_code is None else f"exit code {outcome.exit_code}"


def _raw(content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    return text if len(text) <= _LONGEST_RAW else f"{text[:_LONGEST_RAW]}..."


def _failure(reason: Reason, outcome: Outcome, said: str) -> Outcome:
    # Half a character stands in JSON as an escape; a sentence can't hold it.
    said = said.encode(errors="replace").decode()
    return Outcome(TaskState.FAILED, reason, outcome.exit_code, said)


def _said(reports: Sequence[Report]) -> str:
    """Return the first report in a line, and how many others there are."""
    first = reports[0]
    message = first.get("message")
    text = f"{first['type']}: {message}" if isinstance(message, str) and message else first["type"]
    text = in_one_line(text.strip())
    if len(text) > _LONGEST_SAID:
        text = f"{text[: _LONGEST_SAID - 3]}..."
    more = len(reports) - 1
    return f"{text} (and {more:,} more)" if more else text


# Retries -----------------------------------------------------------------------------------------


def types_of(reports: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the types of error reports."""
    return frozenset(str(report.get("type")) for report in reports)


def retry_policy(policy: RetryPolicy, judged: Judged) -> RetryPolicy:
    """Return by which rules a failed attempt of a task program is retried.

    A type that ``retry_on`` lists is retried. What a task reports, and what it did wrong, is final else;
    without ``retry_on`` only ends that are the infrastructure's doing are retried.
    """
    if judged.outcome.state is not TaskState.FAILED:
        return policy
    if not policy.on.isdisjoint(types_of(judged.reports)):
        return replace(policy, on=frozenset())
    if policy.on or judged.outcome.reason in _INFRASTRUCTURE:
        return policy
    return replace(policy, retries=0)
