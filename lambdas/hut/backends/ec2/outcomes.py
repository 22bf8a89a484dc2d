"""What Step Functions says of an attempt's execution, in Hut's words. Pure.

The state machine ends with a document of what it saw: as its output where the command ended with exit
code 0, as the cause of its failure otherwise. The same shape comes as ``detail`` of the event "Step
Functions Execution Status Change" and from DescribeExecution. An execution that ended without such a
document was stopped, or broke; then an instance may be left (`left_open`).

Sentences of EC2 are told as they are. What says that a spot instance was taken back is its state reason
``Server.SpotInstanceTermination`` (StateReason in the API reference of EC2).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from hut.backends.hosts import JobNote, Phase
from hut.backends.port import Job, JobState, Usage
from hut.backends.stopping import stopped_by_us
from hut.lifecycle.attempt import (
    EXIT_NOT_STARTED,
    Evidence,
    cancelled_before_start,
    judge,
    launch_failed,
    lost,
)
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.model.workflow import TaskSpec

__all__ = [
    "ended_as_noted",
    "is_told",
    "job_from_execution",
    "job_from_start",
    "left_open",
    "log_stream",
    "needs_log",
    "not_started",
    "with_limit",
    "with_note",
]

_RUNNING = "RUNNING"
_SUCCEEDED = "SUCCEEDED"
_ABORTED = "ABORTED"
_TIMED_OUT = "TIMED_OUT"
_STATUSES = frozenset({_RUNNING, _SUCCEEDED, "FAILED", _ABORTED, _TIMED_OUT, "PENDING_REDRIVE"})
_RECLAIMED = "SpotInstanceTermination"
_LONGEST_SAID = 1000
_NEVER = 1e11  # seconds; nothing of ours happens in the year 5138


def log_stream(name: str) -> str:
    """Return the stream a job's output goes to; names of streams hold neither ``:`` nor ``*``."""
    return f"ec2/{name}"


def job_from_execution(detail: Mapping[str, Any]) -> Job:
    """Return the job whose execution this describes.

    A job that has not ended is said to wait: how far it is, its note tells (`with_note`).

    Raises
    ------
    ValueError
        If this is not the description of an execution.
    """
    status, name = detail.get("status"), detail.get("name")
    if status not in _STATUSES or not isinstance(name, str) or not name:
        raise ValueError("this does not describe an execution: it has no name and known status")
    created, ended = _time(detail.get("startDate")), _time(detail.get("stopDate"))
    if status not in (_SUCCEEDED, "FAILED", _ABORTED, _TIMED_OUT):
        return Job(name, name, JobState.WAITING, log=log_stream(name), created_at=created)
    told = _document(detail, name)
    started = None if told is None else _seconds(told, "started_at") or _seconds(told, "sent_at")
    return Job(
        name,
        name,
        JobState.ENDED,
        outcome=_outcome(detail) if told is None else _told(told),
        log=log_stream(name),
        created_at=created,
        started_at=started,
        ended_at=(told and _seconds(told, "ended_at")) or ended,
        detail=str(told.get("message") or "") if told is not None else _said(detail),
        usage=None if told is None else _usage(told, ended),
    )


def job_from_start(detail: Mapping[str, Any]) -> Job:
    """Return the job that the state machine says has been sent to its instance.

    Raises
    ------
    ValueError
        If this is not such a message.
    """
    name = detail.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("this does not tell of a start: it has no name")
    return Job(
        name,
        name,
        JobState.RUNNING,
        log=str(detail.get("log") or log_stream(name)),
        started_at=_seconds(detail, "sent_at"),
        detail=str(detail.get("instance") or ""),
    )


def with_note(job: Job, note: JobNote | None) -> Job:
    """Return a job that has not ended again, with what its state machine has noted."""
    if note is None or job.state is JobState.ENDED:
        return job
    runs = note.phase is Phase.RUNNING
    return replace(
        job,
        state=JobState.RUNNING if runs else JobState.WAITING,
        started_at=note.sent_at if runs else None,
        said="" if runs else note.said,
        detail=note.instance,
    )


def ended_as_noted(job: Job, note: JobNote | None) -> Job:
    """Return a job again that ended without a document, with what had been noted of it before."""
    if note is None or job.state is not JobState.ENDED or job.usage is not None:
        return job
    usage, outcome = None, job.outcome
    if note.type and note.launching_since is not None and job.ended_at is not None:
        begun = note.sent_at or note.since or note.launching_since
        seconds = max(job.ended_at - begun, 0.0)
        usage = Usage((seconds,), machine=note.type, spot=note.spot)
    if outcome == cancelled_before_start():
        outcome = stopped_by_us(job.detail, None, 0.0, note.sent_at)
    started_at = job.started_at or note.sent_at
    return replace(job, started_at=started_at, usage=usage, outcome=outcome)


def is_told(detail: Mapping[str, Any]) -> bool:
    """Say whether an end carries its document; events leave out what is large (``included``)."""
    if detail.get("status") in (_ABORTED, _TIMED_OUT):
        return True  # there is none to be had
    return isinstance(detail.get("output"), str) or isinstance(detail.get("cause"), str)


def left_open(detail: Mapping[str, Any]) -> bool:
    """Say whether an execution has ended in a way in which its instance may be left."""
    status = detail.get("status")
    if status in (_ABORTED, _TIMED_OUT):
        return True
    return status == "FAILED" and _document(detail, str(detail.get("name"))) is None


def needs_log(outcome: Outcome) -> bool:
    """Say whether the log may tell more of an end: that the command was never reached."""
    return outcome.reason is Reason.EXIT and outcome.exit_code == EXIT_NOT_STARTED


def not_started(outcome: Outcome, why: str) -> Outcome:
    """Return the outcome of an attempt whose launcher says why it did not reach the command."""
    return judge(Evidence(outcome.exit_code, not_started=why))


def with_limit(outcome: Outcome, spec: TaskSpec) -> Outcome:
    """Return the outcome again; a time-out names the task's limit, if the command had begun."""
    if outcome != judge(Evidence(outcome.exit_code, timed_out=True)):
        return outcome
    limit = spec.resources.time_limit
    return judge(Evidence(outcome.exit_code, timed_out=True, time_limit=limit))


def _told(told: Mapping[str, Any]) -> Outcome:
    """Return the outcome that a document tells of."""
    reason, code = told.get("reason"), _code(told.get("exit_code"))
    message = str(told.get("message") or "")[:_LONGEST_SAID]
    if reason == "exit" and code is not None:
        return judge(Evidence(exit_code=code))
    if reason == "signal":
        signal = None if code is None or code <= 128 else code - 128
        if signal is not None:
            return judge(Evidence(signal_number=signal))
        return Outcome(TaskState.FAILED, Reason.SIGNAL, code, message or "killed by a signal")
    if reason == "out_of_memory":
        said = f"{message or 'killed for lack of memory'}; use a type with more of it"
        return Outcome(TaskState.FAILED, Reason.OUT_OF_MEMORY, code, said)
    if reason == "timeout":
        outcome = judge(Evidence(code, timed_out=True))
        had_begun = _seconds(told, "started_at") is not None
        return outcome if had_begun or not message else outcome._replace(message=message)
    if reason == "not_started":
        why = message or "the command could not be started, and nothing says why"
        return judge(Evidence(code, not_started=why))
    if reason == "launch_failed":
        return launch_failed(f"no instance could be launched: {message or 'EC2 gave no reason'}")
    if reason == "no_capacity":
        return Outcome(TaskState.FAILED, Reason.NO_CAPACITY, None, _no_capacity(told, message))
    if reason == "startup_timeout":
        return Outcome(
            TaskState.FAILED, Reason.STARTUP_TIMEOUT, None, message or _never_online(told)
        )
    if reason == "host_terminated":
        return Outcome(TaskState.FAILED, Reason.HOST_TERMINATED, code, _gone(told, message))
    return lost(message or f"its state machine says {json.dumps(reason)[:100]} and nothing else")


def _no_capacity(told: Mapping[str, Any], message: str) -> str:
    tries = told.get("capacity_errors")
    times = f" in {tries:,.0f} tries" if isinstance(tries, (int, float)) and tries > 0 else ""
    return f"EC2 had no instance for it{times}: {message or 'it gave no reason'}"


def _never_online(told: Mapping[str, Any]) -> str:
    return f"{_instance(told)} never came online in SSM"


def _gone(told: Mapping[str, Any], message: str) -> str:
    """Say what became of the instance, and that it was taken back where its state reason says so."""
    if not message:
        return f"{_instance(told)} was ended from outside"
    if _RECLAIMED in message and "reclaimed" not in message:
        return f"{_instance(told)} was reclaimed by EC2 Spot: {message}"
    return message


def _instance(told: Mapping[str, Any]) -> str:
    name, kind = told.get("instance"), told.get("type")
    return f"its instance {name}" + (f" ({kind})" if kind else "") if name else "its instance"


def _outcome(detail: Mapping[str, Any]) -> Outcome:
    """Return the outcome of an execution that has left no document."""
    status, said = detail["status"], _said(detail)
    if status == _SUCCEEDED:
        return judge(Evidence(exit_code=0))  # it succeeds for no other end
    if status == _TIMED_OUT:
        return lost(f"its execution ran out of time{_because(said)}")
    if status != _ABORTED:
        return lost(f"its execution broke{_because(said)}")
    # Whether it had started, only its note tells: see `ended_as_noted`.
    ours = stopped_by_us(str(detail.get("cause") or ""), None, 0.0, None)
    if ours is not None:
        return ours
    message = f"stopped in AWS Step Functions{_because(said)}"
    return Outcome(TaskState.FAILED, Reason.CANCELLED, None, message)


def _said(detail: Mapping[str, Any]) -> str:
    if detail["status"] == _ABORTED:
        return str(detail.get("cause") or "")[:_LONGEST_SAID]
    parts = (detail.get("error"), detail.get("cause"))
    return ": ".join(str(part) for part in parts if part)[:_LONGEST_SAID]


def _because(said: str) -> str:
    return f": {said}" if said else ""


def _document(detail: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Return what an execution ended with, if that is the document of this job."""
    text = detail.get("output" if detail.get("status") == _SUCCEEDED else "cause")
    if detail.get("status") in (_ABORTED, _TIMED_OUT) or not isinstance(text, str):
        return None
    try:
        told = json.loads(text)
    except ValueError:
        return None
    is_ours = isinstance(told, dict) and told.get("name") == name and "reason" in told
    return told if is_ours else None


def _usage(told: Mapping[str, Any], stopped: float | None) -> Usage | None:
    """Return what an attempt had: its instance, from the launch on, or since it took it."""
    machine = told.get("type")
    begun = _seconds(told, "launched_at") or _seconds(told, "sent_at")
    ended = _seconds(told, "ended_at") or stopped
    if not isinstance(machine, str) or not machine or begun is None or ended is None:
        return None
    return Usage((max(ended - begun, 0.0),), machine=machine, spot=told.get("spot") is True)


def _code(value: Any) -> int | None:
    """Return an exit code; what is none is not told at all."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        return None
    return value


def _seconds(told: Mapping[str, Any], key: str) -> float | None:
    value = told.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _NEVER:
        return None
    return float(value)


def _time(value: Any) -> float | None:
    """Return a time of an execution: events have milliseconds, answers what a client made of them."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        return None
    return value / 1000 if value < _NEVER * 1000 else None
