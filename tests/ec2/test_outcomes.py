"""What executions say of attempts, in Hut's words."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.backends.ec2 import is_told, job_from_execution, job_from_start, left_open
from hut.backends.ec2.outcomes import ended_as_noted, needs_log, with_limit, with_note
from hut.backends.hosts import JobNote, Phase
from hut.backends.port import Job, JobState, Usage
from hut.lifecycle.attempt import Evidence, judge
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.model.workflow import Resources, TaskSpec
from tests.ec2.plain_ec2 import document, ended

NAME = "hut-abcdefghij-3-1-2"


def test_a_command_that_ended_well():
    assert job_from_execution(ended("SUCCEEDED")) == Job(
        NAME,
        NAME,
        JobState.ENDED,
        outcome=Outcome(TaskState.COMPLETED, Reason.EXIT, 0),
        log=f"ec2/{NAME}",
        created_at=990.0,
        started_at=1070.5,
        ended_at=1360.0,
        usage=Usage((360.0,), machine="c5.xlarge", spot=False),
    )


ENDS = [
    ({"exit_code": 3}, Reason.EXIT, 3, "exit code 3"),
    ({"exit_code": 3.0}, Reason.EXIT, 3, "exit code 3"),
    ({"exit_code": None}, Reason.LOST, None, 'its state machine says "exit" and nothing else'),
    ({"reason": "signal", "exit_code": 143}, Reason.SIGNAL, 143, "killed by SIGTERM (signal 15)"),
    (
        {"reason": "signal", "exit_code": None, "message": "the command was cancelled"},
        Reason.SIGNAL,
        None,
        "the command was cancelled",
    ),
    (
        {"reason": "out_of_memory", "exit_code": 137, "message": "the kernel killed it"},
        Reason.OUT_OF_MEMORY,
        137,
        "the kernel killed it; use a type with more of it",
    ),
    ({"reason": "timeout", "exit_code": 143}, Reason.TIMEOUT, 143, "stopped at its time limit of"),
    (
        {"reason": "timeout", "exit_code": None, "started_at": None, "message": "SSM ended it"},
        Reason.TIMEOUT,
        None,
        "SSM ended it",
    ),
    (
        {"reason": "not_started", "exit_code": None, "message": "no such image"},
        Reason.LAUNCH_FAILED,
        None,
        "no such image",
    ),
    (
        {"reason": "launch_failed", "exit_code": None, "message": "Invalid AMI"},
        Reason.LAUNCH_FAILED,
        None,
        "no instance could be launched: Invalid AMI",
    ),
    (
        {"reason": "no_capacity", "capacity_errors": 12, "message": "Insufficient capacity."},
        Reason.NO_CAPACITY,
        None,
        "EC2 had no instance for it in 12 tries: Insufficient capacity.",
    ),
    (
        {"reason": "startup_timeout", "exit_code": None},
        Reason.STARTUP_TIMEOUT,
        None,
        "its instance i-0123456789abcdef0 (c5.xlarge) never came online in SSM",
    ),
    (
        {"reason": "host_terminated", "exit_code": None, "message": "the spot instance i-1 was reclaimed"},
        Reason.HOST_TERMINATED,
        None,
        "the spot instance i-1 was reclaimed",
    ),
    (
        {"reason": "host_terminated", "message": "Server.SpotInstanceTermination", "exit_code": None},
        Reason.HOST_TERMINATED,
        None,
        "(c5.xlarge) was reclaimed by EC2 Spot: Server.SpotInstanceTermination",
    ),
    (
        {"reason": "host_terminated", "exit_code": None, "instance": None},
        Reason.HOST_TERMINATED,
        None,
        "its instance was ended from outside",
    ),
    ({"reason": "lost", "exit_code": None, "message": "gone"}, Reason.LOST, None, "gone"),
    ({"reason": "later", "exit_code": 9}, Reason.LOST, None, 'says "later" and nothing else'),
    ({"reason": 7, "exit_code": -1}, Reason.LOST, None, "says 7 and nothing else"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "reason", "code", "said"), ENDS)
def test_every_end_has_its_reason_and_a_sentence(changes, reason, code, said):
    job = job_from_execution(ended(**changes))
    assert job.outcome is not None
    assert (job.outcome.state, job.outcome.reason) == (TaskState.FAILED, reason)
    assert job.outcome.exit_code == code
    assert said in job.outcome.message


def test_the_time_limit_is_named_where_the_command_had_begun():
    spec = TaskSpec("t", "true", resources=Resources(time_limit=90))
    job = job_from_execution(ended(reason="timeout", exit_code=None))
    assert with_limit(job.outcome, spec).message == "stopped at its time limit of 90s"
    early = ended(reason="timeout", exit_code=None, started_at=None, message="pulling its image")
    told = job_from_execution(early).outcome
    assert with_limit(told, spec) == told
    failed = judge(Evidence(1))
    assert with_limit(failed, spec) == failed


OURS = "hut: cancelled"
WAITED = "hut: queue_timeout: waited 12m for a machine; max_queue_time is 10m"


@pytest.mark.parametrize(
    ("status", "error", "cause", "reason", "said"),
    [
        ("ABORTED", "Hut.Cancelled", OURS, Reason.CANCELLED, "cancelled before it started"),
        ("ABORTED", "Hut.Cancelled", WAITED, Reason.QUEUE_TIMEOUT, "waited 12m for a machine"),
        ("ABORTED", "Hut.Cancelled", "hut: timeout", Reason.TIMEOUT, "time limit"),
        ("ABORTED", None, None, Reason.CANCELLED, "stopped in AWS Step Functions"),
        ("ABORTED", None, "by me", Reason.CANCELLED, "stopped in AWS Step Functions: by me"),
        ("TIMED_OUT", None, None, Reason.LOST, "its execution ran out of time"),
        ("FAILED", "States.Runtime", "no $x", Reason.LOST, "broke: States.Runtime: no $x"),
        ("FAILED", None, None, Reason.LOST, "its execution broke"),
        ("FAILED", "exit", "{garbled", Reason.LOST, "its execution broke: exit: {garbled"),
        ("FAILED", "exit", '{"name": "another", "reason": "exit"}', Reason.LOST, "broke"),
        ("FAILED", "exit", "[]", Reason.LOST, "its execution broke"),
    ],
)
def test_an_end_without_a_document_leaves_its_instance_open(status, error, cause, reason, said):
    detail = {"name": NAME, "status": status, "error": error, "cause": cause, "stopDate": 5_000}
    job = job_from_execution(detail)
    assert job.outcome is not None
    assert (job.outcome.reason, job.ended_at) == (reason, 5.0)
    assert said in job.outcome.message
    assert left_open(detail)


def test_an_end_with_a_document_does_not():
    assert not left_open(ended())
    assert not left_open(ended("SUCCEEDED"))
    assert not left_open({"name": NAME, "status": "RUNNING"})


def test_success_is_success_without_its_document_too():
    job = job_from_execution({**ended("SUCCEEDED"), "output": None})
    assert job.outcome == Outcome(TaskState.COMPLETED, Reason.EXIT, 0)
    assert job.usage is None


@pytest.mark.parametrize(
    ("detail", "told"),
    [
        (ended(), True),
        (ended("SUCCEEDED"), True),
        ({**ended("SUCCEEDED"), "output": None, "outputDetails": {"included": False}}, False),
        ({**ended(), "cause": None}, False),
        ({"status": "ABORTED"}, True),
        ({"status": "TIMED_OUT"}, True),
    ],
)
def test_what_has_to_be_asked_for(detail, told):
    assert is_told(detail) is told


def test_answers_have_times_of_their_own():
    at = datetime(2026, 1, 2, tzinfo=UTC)
    job = job_from_execution({"name": NAME, "status": "RUNNING", "startDate": at})
    assert job == Job(NAME, NAME, JobState.WAITING, log=f"ec2/{NAME}", created_at=at.timestamp())


@pytest.mark.parametrize("status", ["PENDING_REDRIVE", "RUNNING"])
def test_what_has_not_ended_waits_until_its_note_says_that_it_runs(status):
    job = job_from_execution({"name": NAME, "status": status, "startDate": 1_000})
    assert (job.state, job.outcome, job.usage) == (JobState.WAITING, None, None)
    assert with_note(job, None) == job
    launching = JobNote(NAME, "ec2", Phase.LAUNCHING, said="no room")
    assert with_note(job, launching).said == "no room"
    assert with_note(job, launching).state is JobState.WAITING
    running = JobNote(NAME, "ec2", Phase.RUNNING, instance="i-1", sent_at=7.0)
    found = with_note(job, running)
    assert (found.state, found.started_at, found.said) == (JobState.RUNNING, 7.0, "")


def test_a_stopped_job_keeps_what_was_noted_before():
    cause = "hut: the task was repeated"
    detail = {"name": NAME, "status": "ABORTED", "cause": cause, "stopDate": 200_000}
    job = job_from_execution(detail)
    note = JobNote(
        NAME,
        "ec2",
        Phase.RUNNING,
        launching_since=10.0,
        since=100.0,
        type="c5.large",
        spot=True,
        sent_at=100.0,
    )
    found = ended_as_noted(job, note)
    assert found.outcome == Outcome(
        TaskState.FAILED, Reason.CANCELLED, None, "stopped: the task was repeated"
    )
    assert found.started_at == 100.0
    assert found.usage == Usage((100.0,), machine="c5.large", spot=True)
    assert ended_as_noted(job, None) == job
    launching = JobNote(NAME, "ec2", Phase.LAUNCHING, launching_since=10.0)
    assert ended_as_noted(job, launching).outcome == job.outcome
    assert ended_as_noted(job, launching).usage is None
    told = job_from_execution(ended())
    assert ended_as_noted(told, note) == told
    untyped = job_from_execution(ended(type=None))
    assert ended_as_noted(untyped, note).started_at == untyped.started_at == 1070.5


def test_only_a_launcher_that_gave_up_is_looked_for_in_the_log():
    assert needs_log(judge(Evidence(125)))
    assert not needs_log(judge(Evidence(124)))
    assert not needs_log(judge(Evidence(125, timed_out=True)))


def test_a_start():
    detail = {"name": NAME, "instance": "i-1", "type": "c5.large", "log": "x/y", "sent_at": 12.5}
    assert job_from_start(detail) == Job(
        NAME, NAME, JobState.RUNNING, log="x/y", started_at=12.5, detail="i-1"
    )
    assert job_from_start({"name": NAME}).log == f"ec2/{NAME}"


@pytest.mark.parametrize("detail", [{}, {"name": ""}, {"name": 7}, {"name": NAME, "status": "?"}])
def test_what_is_none_of_it_is_refused(detail):
    with pytest.raises(ValueError, match="does not describe an execution"):
        job_from_execution(detail)
    if "status" not in detail:
        with pytest.raises(ValueError, match="does not tell of a start"):
            job_from_start(detail)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(
    st.sampled_from(["SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT", "RUNNING"]),
    st.dictionaries(st.sampled_from([*document()]), VALUES),
    st.dictionaries(st.sampled_from(["startDate", "stopDate", "error"]), VALUES),
)
def test_whatever_is_told_is_a_job_that_can_be_stored(status, told, more):
    text = json.dumps(document(**told))
    detail = {"name": NAME, "status": status, "output": text, "cause": text, **more}
    job = job_from_execution(detail)
    assert (job.outcome is None) == (status == "RUNNING")
    if job.outcome is not None:
        assert job.outcome.exit_code is None or 0 <= job.outcome.exit_code < 2**31
        assert len(job.outcome.message) < 2000
        assert status == "FAILED" or job.outcome.message != "exit code 0"
    for at in (job.created_at, job.started_at, job.ended_at):
        assert at is None or 0 < at < 1e12
    if job.usage is not None:
        assert all(0 <= seconds < 1e12 for seconds in job.usage.seconds)
