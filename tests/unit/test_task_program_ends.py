"""Exit code, output file, error file and how the attempt ended: the whole table of a task program's ends."""

from __future__ import annotations

import itertools
import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.lifecycle.attempt import Evidence, judge, lost
from hut.lifecycle.json_schemas import faults_of
from hut.lifecycle.retry import Spent, next_delay
from hut.lifecycle.task_program import (
    ABNORMAL,
    Judged,
    Left,
    invalid_input,
    judge_program,
    retry_policy,
)
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.model.task_definition import TaskDefinition
from hut.model.workflow import RetryPolicy

DEFINITION = TaskDefinition(
    "t", "1", ("t",), "--out", "--err", output_schema={"type": "integer", "minimum": 0}
)
REPORTS = [{"type": "ValueError", "message": "bad rows", "details": {"row": 5}, "mine": 1}]


def exit_with(code: int) -> Outcome:
    return judge(Evidence(exit_code=code))


ENDS = {
    "exit 0": exit_with(0),
    "exit 3": exit_with(3),
    "signal": judge(Evidence(signal_number=11)),
    "timeout": judge(Evidence(exit_code=143, timed_out=True, time_limit=60)),
    "cancelled": judge(Evidence(exit_code=143, cancelled=True)),
    "out of memory": Outcome(TaskState.FAILED, Reason.OUT_OF_MEMORY, 137, "killed for memory"),
    "host": Outcome(TaskState.FAILED, Reason.HOST_TERMINATED, None, "Host EC2 terminated"),
    "lost": lost("gone"),
}


def ended(end: str, output: Any = None, error: Any = None, **left: str) -> Judged:
    def as_file(value: Any) -> bytes | None:
        return value if value is None or isinstance(value, bytes) else json.dumps(value).encode()

    files = Left(as_file(output), as_file(error), log_tail="the end of it", log="hutctl logs r t")
    return judge_program(DEFINITION, ENDS[end], files._replace(**left), faults_of)


class Row(NamedTuple):
    behaviour: str
    end: str
    output: Any
    error: Any
    reason: Reason
    types: list[str]
    says: str = ""
    state: TaskState = TaskState.FAILED


DONE = TaskState.COMPLETED
TABLE = [
    Row("a valid output and exit 0 is success", "exit 0", 5, None, Reason.EXIT, [], "", DONE),
    Row(
        "a valid output and another exit code is success with a warning",
        *("exit 3", 5, None, Reason.EXIT, [], "exit code 3, but wrote a valid output", DONE),
    ),
    Row(
        "a valid output of a program that crashed is success with a warning",
        *("signal", 5, None, Reason.EXIT, [], "signal 11", DONE),
    ),
    Row(
        "reports and exit 1 are failure",
        *("exit 3", None, REPORTS, Reason.REPORTED, ["ValueError"], "ValueError: bad rows"),
    ),
    Row(
        "reports and exit 0 are failure",
        *("exit 0", None, REPORTS, Reason.REPORTED, ["ValueError"], "ValueError: bad rows"),
    ),
    Row(
        "every report is kept",
        *("exit 3", None, [*REPORTS, {"type": "E"}], Reason.REPORTED, ["ValueError", "E"]),
        "(and 1 more)",
    ),
    Row(
        "both files are a contract violation",
        *("exit 0", 5, REPORTS, Reason.INVALID_OUTPUT, ["ContractViolation", "ValueError"]),
        "ContractViolation",
    ),
    Row(
        "an output with an empty array of reports is a contract violation",
        *("exit 0", 5, [], Reason.INVALID_OUTPUT, ["ContractViolation", ABNORMAL]),
        "empty array",
    ),
    Row(
        "neither file is failure, also on exit 0",
        *("exit 0", None, None, Reason.INVALID_OUTPUT, [ABNORMAL], "neither output nor error"),
    ),
    Row(
        "neither file on another exit code",
        *("exit 3", None, None, Reason.EXIT, [ABNORMAL], "exit code 3"),
    ),
    Row(
        "neither file after a signal",
        *("signal", None, None, Reason.SIGNAL, [ABNORMAL], "signal 11"),
    ),
    Row("an empty error file", "exit 3", None, b"", Reason.EXIT, [ABNORMAL], "is empty"),
    Row("an empty array", "exit 3", None, [], Reason.EXIT, [ABNORMAL], "empty array"),
    Row(
        "an error file that is no JSON",
        *("exit 3", None, b"boom", Reason.EXIT, [ABNORMAL], "no JSON document"),
    ),
    Row("reports without a type", "exit 3", None, [{}], Reason.EXIT, [ABNORMAL], "with a type"),
    Row("an object", "exit 3", None, {"type": "E"}, Reason.EXIT, [ABNORMAL], "no array"),
    Row(
        "an output that violates its schema",
        *("exit 0", -1, None, Reason.INVALID_OUTPUT, ["OutputValidationError"], "minimum of 0"),
    ),
    Row(
        "an output that is no JSON",
        *("exit 0", b"{", None, Reason.INVALID_OUTPUT, ["OutputValidationError"], "no JSON"),
    ),
    Row(
        "an empty output",
        *("exit 0", b"", None, Reason.INVALID_OUTPUT, ["OutputValidationError"], "is empty"),
    ),
    Row(
        "NaN is nothing JSON can say",
        *("exit 0", b"NaN", None, Reason.INVALID_OUTPUT, ["OutputValidationError"], "NaN"),
    ),
    Row("a time limit", "timeout", None, None, Reason.TIMEOUT, ["Timeout"], "time limit"),
    Row(
        "a time limit although an output is there: nobody knows that it is whole",
        *("timeout", 5, None, Reason.TIMEOUT, ["Timeout"], "time limit"),
    ),
    Row(
        "a time limit with reports keeps both",
        *("timeout", None, REPORTS, Reason.TIMEOUT, ["ValueError", "Timeout"]),
    ),
    Row("cancelled", "cancelled", None, None, Reason.CANCELLED, ["Cancelled"], "cancelled"),
    Row(
        "want of memory",
        *("out of memory", None, None, Reason.OUT_OF_MEMORY, ["OutOfMemory"], "memory"),
    ),
    Row(
        "a machine that went away",
        *("host", None, None, Reason.HOST_TERMINATED, ["HostTerminated"]),
        "Host EC2",
    ),
    Row("an attempt nobody saw the end of", "lost", None, None, Reason.LOST, ["Lost"], "gone"),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.behaviour)
def test_the_table(row: Row) -> None:
    judged = ended(row.end, row.output, row.error)
    assert (judged.outcome.state, judged.outcome.reason) == (row.state, row.reason)
    assert [report["type"] for report in judged.reports] == row.types
    assert row.says in judged.outcome.message
    assert judged.outcome.exit_code == ENDS[row.end].exit_code
    assert (judged.output is None) is (row.output is None)


def test_reports_are_kept_as_they_were_written() -> None:
    assert list(ended("exit 3", None, REPORTS).reports) == REPORTS


def test_a_report_hut_makes_says_what_is_known() -> None:
    [report] = ended("signal").reports
    assert report["synthesized"] is True
    assert (report["exit_code"], report["signal"]) == (139, 11)
    assert (report["log_tail"], report["log"]) == ("the end of it", "hutctl logs r t")


def test_a_malformed_error_file_is_kept_raw() -> None:
    [report] = ended("exit 3", None, b"boom \xff").reports
    assert report["error_file"] == "boom \ufffd"


def test_faults_of_an_output_have_their_place() -> None:
    [report] = ended("exit 0", "five").reports
    assert report["details"] == [{"path": "", "message": "'five' is not of type 'integer'"}]


@pytest.mark.parametrize(
    ("end", "left", "types"),
    [
        ("exit 0", {"no_output": "is larger than 4 MiB"}, ["OutputValidationError"]),
        ("exit 1", {"no_error": "is a folder"}, [ABNORMAL]),
        (
            "exit 0",
            {"no_error": "is a folder", "no_output": "is a pipe"},
            ["ContractViolation", ABNORMAL],
        ),
    ],
)
def test_files_that_can_not_be_brought_back(end: str, left: Any, types: list[str]) -> None:
    ENDS.setdefault("exit 1", exit_with(1))
    judged = ended(end, **left)
    assert judged.outcome.state is TaskState.FAILED
    assert [report["type"] for report in judged.reports] == types
    assert any(word in judged.outcome.message for word in left.values())


def test_an_invalid_input_is_a_report_and_no_exit_code() -> None:
    judged = invalid_input([{"path": "/a", "message": "is wrong"}])
    assert judged.outcome.reason is Reason.INVALID_INPUT
    assert judged.outcome.exit_code is None
    assert judged.reports[0]["type"] == "ValidationError"
    assert "at /a: is wrong" in judged.outcome.message


FILES = [None, b"", b"5", b"-5", b"{", b"[]", b'[{"type": "E"}]', b"\xff", b"[" * 100_000]


@given(st.sampled_from(sorted(ENDS)), st.sampled_from(FILES), st.sampled_from(FILES))
def test_success_is_only_what_the_document_calls_so(
    end: str, output: bytes | None, error: bytes | None
) -> None:
    judged = ended(end, output, error)
    own_end = end in ("exit 0", "exit 1", "exit 3", "signal")
    success = own_end and output == b"5" and error is None
    assert (judged.outcome.state is DONE) is success
    assert bool(judged.reports) is not success
    assert all(isinstance(report["type"], str) for report in judged.reports)


# Retries -----------------------------------------------------------------------------------------


def is_retried(judged: Judged, **policy: Any) -> bool:
    rules = retry_policy(RetryPolicy(retries=2, **policy), judged)
    return next_delay(judged.outcome, rules, Spent()) is not None


@pytest.mark.parametrize("end", ["timeout", "out of memory", "host", "lost"])
def test_what_the_infrastructure_did_is_retried(end: str) -> None:
    assert is_retried(ended(end))


@pytest.mark.parametrize(
    ("end", "output", "error"),
    [
        ("exit 3", None, REPORTS),
        ("exit 3", None, None),
        ("exit 0", None, None),
        ("signal", None, None),
        ("exit 0", 5, REPORTS),
        ("exit 0", -1, None),
        ("cancelled", None, None),
    ],
)
def test_what_a_task_did_is_final(end: str, output: Any, error: Any) -> None:
    assert not is_retried(ended(end, output, error))


def test_a_listed_type_is_retried() -> None:
    judged = ended("exit 3", None, REPORTS)
    assert is_retried(judged, on=frozenset({"ValueError"}))
    assert not is_retried(judged, on=frozenset({"KeyError"}))
    assert is_retried(ended("exit 3"), on=frozenset({ABNORMAL}))
    assert is_retried(judged, on=frozenset({"reported"}))


def test_an_exit_code_is_none_of_a_report() -> None:
    assert not is_retried(ended("exit 3", None, REPORTS), on=frozenset({3}))
    assert is_retried(ended("exit 3"), on=frozenset({3}))


def test_an_invalid_input_is_never_retried() -> None:
    judged = invalid_input([], "no such output")
    for on in (frozenset(), frozenset({"timeout"})):
        assert not is_retried(judged, on=on)


def test_every_end_and_pair_of_files_has_a_verdict() -> None:
    for end, output, error in itertools.product(ENDS, FILES, FILES):
        assert ended(end, output, error).outcome.state in (DONE, TaskState.FAILED)
