"""What Batch says of a job, in Hut's words. Pure.

The same shape comes from DescribeJobs and as ``detail`` of the event "Batch Job State Change". How a
job ended is spread over it: the exit code, the reasons of the job, of its last attempt and of its
container, which are sentences for people. Their wording is taken from AWS's documentation and from
what users report; unknown sentences are told as they are.

What only the log can tell (a time limit below Batch's, a script that never reached its command) is
`needs_log` and `told_by_log`: nobody has to read the log of a job that ended in any other way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hut.backends.batch.templates import AWSLOGS
from hut.backends.job_logs import log_name
from hut.backends.launcher import EXIT_NOT_FETCHED, EXIT_TIMED_OUT, SHORTEST_BATCH_LIMIT
from hut.backends.markers import Markers
from hut.backends.port import Job, JobState, Usage
from hut.backends.stopping import stopped_by_us
from hut.lifecycle.attempt import (
    EXIT_NOT_STARTED,
    Evidence,
    judge,
    launch_failed,
    lost,
    queue_timeout,
    unsatisfiable,
)
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.model.workflow import TaskSpec

__all__ = [
    "job_from_detail",
    "needs_log",
    "not_fetched",
    "queue_name",
    "told_by_log",
    "with_limit",
]

_STATES = {
    "SUBMITTED": JobState.WAITING,
    "PENDING": JobState.WAITING,
    "RUNNABLE": JobState.WAITING,
    "STARTING": JobState.WAITING,
    "RUNNING": JobState.RUNNING,
    "SUCCEEDED": JobState.ENDED,
    "FAILED": JobState.ENDED,
}

_NEVER = 1e14  # milliseconds; no job of ours lives in the year 5138

_QUEUES_OWN_LIMIT = "Canceled by JobStateTimeLimit action"  # of its jobStateTimeLimitActions
_TIMED_OUT = "Job attempt duration exceeded timeout"
_SAYS_NOTHING = "Essential container in task exited"
_OUT_OF_MEMORY = "OutOfMemory"
_HOST = re.compile(
    r"Host EC2\b.*\b(terminated|stopped)|Spot Task was interrupted|SpotInterruption"
    r"|maintenance on the underlying infrastructure|stopped during instance draining",
    re.IGNORECASE,
)
# "Stopped tasks error messages" in the developer guide of Amazon ECS: what AWS had no room for, or a
# host that was too busy to start anything. Another attempt may do.
_NO_MACHINE = re.compile(
    r"DockerTimeoutError|ContainerRuntimeTimeoutError|Capacity is unavailable"
    r"|Timeout waiting for (network interface|EphemeralStorage) provisioning"
)
_NOT_LAUNCHED = re.compile(
    r"CannotPull|CannotCreateContainer|CannotStartContainer|ResourceInitializationError"
)
_IMPOSSIBLE = re.compile(r"^MISCONFIGURATION:")


def job_from_detail(detail: Mapping[str, Any]) -> Job:
    """Return a job as Batch describes it.

    Raises
    ------
    ValueError
        If this is not the description of a job.
    """
    status = detail.get("status")
    if status not in _STATES or not isinstance(detail.get("jobId"), str):
        raise ValueError("this does not describe a Batch job: it has no jobId and known status")
    state = _STATES[status]
    attempts = detail.get("attempts") or []
    last = attempts[-1] if attempts else {}
    container, tried = detail.get("container") or {}, last.get("container") or {}
    reasons = [detail.get("statusReason"), container.get("reason")]
    told = " - ".join(dict.fromkeys(str(reason) for reason in reasons if reason))
    reasons += [last.get("statusReason"), tried.get("reason")]
    outcome: Outcome | None = None
    started_at = _seconds(detail, "startedAt") or _seconds(last, "startedAt")
    if state is JobState.ENDED:
        code = _whole("exitCode", container.get("exitCode", tried.get("exitCode")))
        evidence = " - ".join(str(reason) for reason in reasons if reason)
        if status == "SUCCEEDED":
            outcome = judge(Evidence(exit_code=0))
        else:
            limit = (detail.get("timeout") or {}).get("attemptDurationSeconds", 0)
            terminated = bool(detail.get("isTerminated") or detail.get("isCancelled"))
            outcome = (
                _stopped(str(detail.get("statusReason") or ""), evidence, code, limit, started_at)
                or _broken(evidence, told, code, started_at)
                or _ended(told, code, started_at, terminated=terminated)
            )
    logging = container.get("logConfiguration") or {}
    stream = container.get("logStreamName") or tried.get("logStreamName")
    if logging.get("logDriver", AWSLOGS) != AWSLOGS:
        stream = None
    return Job(
        name=str(detail.get("jobName", "")),
        handle=detail["jobId"],
        state=state,
        outcome=outcome,
        log=log_name((logging.get("options") or {}).get("awslogs-group"), stream),
        created_at=_seconds(detail, "createdAt"),
        started_at=started_at,
        ended_at=_seconds(detail, "stoppedAt") or _seconds(last, "stoppedAt"),
        detail=" - ".join(filter(None, (status, told))) if state is JobState.WAITING else told,
        image=str(container.get("image") or ""),
        queue=queue_name(str(detail.get("jobQueue") or "")),
        said=str(detail.get("statusReason") or "") if state is JobState.WAITING else "",
        index=_whole("index", (detail.get("arrayProperties") or {}).get("index")),
        usage=_usage(detail) if state is JobState.ENDED else None,
    )


def _usage(detail: Mapping[str, Any]) -> Usage:
    """Return what a job had; each of Batch's own attempts counts."""
    container = detail.get("container") or {}
    asked = {
        each.get("type"): each.get("value") for each in container.get("resourceRequirements") or ()
    }
    seconds = tuple(
        stopped - started
        for tried in detail.get("attempts") or [detail]
        if (started := _seconds(tried, "startedAt")) is not None
        and (stopped := _seconds(tried, "stoppedAt")) is not None
        and stopped >= started
    )
    return Usage(
        seconds=seconds,
        cpus=float(asked.get("VCPU") or container.get("vcpus") or 0),
        memory=float(asked.get("MEMORY") or container.get("memory") or 0),
        gpus=float(asked.get("GPU") or 0),
        disk=float((container.get("ephemeralStorage") or {}).get("sizeInGiB") or 0),
        queue=str(detail.get("jobQueue") or ""),
        platform=str((detail.get("platformCapabilities") or ["EC2"])[0]),
        architecture=str(
            (container.get("runtimePlatform") or {}).get("cpuArchitecture") or "X86_64"
        ),
    )


def queue_name(reference: str) -> str:
    """Return the name in the ARN of a queue or a compute environment, or the name itself."""
    return reference.rpartition("/")[2]


def not_fetched() -> Outcome:
    """Return the outcome of an array's child that could not get its script: not the task's doing."""
    return lost(
        "its script could not be fetched from S3 by the image (it needs curl, wget, python3 or aws, "
        "and the way to S3); it is submitted in another way"
    )


def needs_log(outcome: Outcome, spec: TaskSpec, *, in_array: bool = False) -> bool:
    """Say whether the log may tell more of an end than the job does."""
    telling = {EXIT_NOT_STARTED}
    if spec.resources.time_limit < SHORTEST_BATCH_LIMIT:
        telling.add(EXIT_TIMED_OUT)
    if in_array:
        telling.add(EXIT_NOT_FETCHED)
    return outcome.reason is Reason.EXIT and outcome.exit_code in telling


def with_limit(outcome: Outcome, spec: TaskSpec) -> Outcome:
    """Return the outcome again; a time-out names the task's limit, which Batch may not have known."""
    if outcome.reason is not Reason.TIMEOUT:
        return outcome
    limit = spec.resources.time_limit
    return judge(Evidence(outcome.exit_code, timed_out=True, time_limit=limit))


def told_by_log(outcome: Outcome, spec: TaskSpec, markers: Markers) -> Outcome:
    """Return the outcome again, with what the lines of the log say."""
    if markers.not_fetched and outcome.exit_code == EXIT_NOT_FETCHED:
        return not_fetched()
    if not needs_log(outcome, spec):
        return outcome
    if markers.timed_out and outcome.exit_code == EXIT_TIMED_OUT:
        limit = spec.resources.time_limit
        return judge(Evidence(outcome.exit_code, timed_out=True, time_limit=limit))
    if markers.not_started and outcome.exit_code == EXIT_NOT_STARTED:
        return judge(Evidence(outcome.exit_code, not_started=markers.not_started))
    return outcome


def _stopped(
    status_reason: str, evidence: str, code: int | None, limit: float, started_at: float | None
) -> Outcome | None:
    """Return the outcome of a job that was stopped on purpose: by Batch's limits or by Hut."""
    if _TIMED_OUT in evidence:
        return judge(Evidence(code, timed_out=True, time_limit=limit))
    if status_reason.startswith(_QUEUES_OWN_LIMIT):
        return queue_timeout(f"the queue's own limit on waiting ended it: {status_reason}")
    return stopped_by_us(status_reason, code, limit, started_at)


def _broken(evidence: str, told: str, code: int | None, started_at: float | None) -> Outcome | None:
    """Return the outcome of a job that the machine, its memory or its image ended."""
    if _HOST.search(evidence):
        return Outcome(TaskState.FAILED, Reason.HOST_TERMINATED, code, told)
    if _OUT_OF_MEMORY in evidence:
        message = "killed for lack of memory; ask for more with `memory`"
        return Outcome(TaskState.FAILED, Reason.OUT_OF_MEMORY, code, message)
    if code is None and _NO_MACHINE.search(evidence):
        return lost(told)
    if _NOT_LAUNCHED.search(evidence):
        return launch_failed(told)
    if code is None and started_at is None and _IMPOSSIBLE.search(evidence):
        return unsatisfiable(told)
    return None


def _ended(told: str, code: int | None, started_at: float | None, *, terminated: bool) -> Outcome:
    if terminated:
        message = f"stopped in AWS Batch: {told}" if told else "stopped in AWS Batch"
        return Outcome(TaskState.FAILED, Reason.CANCELLED, code, message)
    if code is None:
        if started_at is None:
            return launch_failed(told or "AWS Batch gave no reason")
        return lost(told or "AWS Batch gave neither an exit code nor a reason")
    if code == 0:
        # The command succeeded, but Batch failed the job: its reason is all there is.
        return lost(told)
    outcome = judge(Evidence(code))
    extra = told.removeprefix(_SAYS_NOTHING).removeprefix(" - ")
    return outcome._replace(message=f"{outcome.message}; {extra}") if extra else outcome


def _whole(name: str, value: Any) -> int | None:
    """Return a number that is stored as it is: what is none must not get that far."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ValueError(f"{name} is no whole number from 0 on")
    return value


def _seconds(detail: Mapping[str, Any], key: str) -> float | None:
    """Return a time, which Batch gives in milliseconds; 0 and missing mean: not yet."""
    value = detail.get(key)
    if not value:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < _NEVER:
        raise ValueError(f"{key} is no time in milliseconds")
    return value / 1000
