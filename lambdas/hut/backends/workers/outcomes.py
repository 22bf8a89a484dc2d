"""What pools and workers say of attempts, as jobs; and the message that tells of ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from hut.backends.port import Job, JobState, child_handle, parse_job_name
from hut.backends.stopping import stop_reason, stopped_by_us
from hut.lifecycle.attempt import Evidence, cancelled_before_start, judge, lost
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState
from hut.model.workflow import TaskSpec
from hut.pools.jobs import PoolJob
from hut.pools.judging import outcome_of
from hut.pools.port import How, Lost, Report, Started

__all__ = [
    "SOURCE",
    "job_of_report",
    "job_of_start",
    "jobs_of_loss",
    "jobs_of_message",
    "jobs_of_withdrawal",
    "message_of",
    "task_job",
    "whole_job",
    "with_limit",
]

SOURCE = "hut.pools"
"""Source of messages that tell of ends."""

_LONGEST = 2000


def index_of(name: str, index: int) -> tuple[str, int | None]:
    """Return the handle of a task, and which child it is of its bundle; None if it is no bundle's."""
    parsed = parse_job_name(name)
    if parsed is not None and parsed.array:
        return child_handle(name, index), index
    return name, None


def whole_job(job: PoolJob) -> Job:
    """Return an item of a pool as the job that exists under its name."""
    state = JobState.RUNNING if job.started and job.tasks == 1 else JobState.WAITING
    return Job(job.name, job.name, state, created_at=job.at, detail=job.worker)


def task_job(job: PoolJob, index: int) -> Job | None:
    """Return one task of an item as a job; None if the pool does not have it any more."""
    handle, child = index_of(job.name, index)
    if index in job.ended:
        why, at = job.ended[index]
        outcome = _withdrawn(why)
        return Job(job.name, handle, JobState.ENDED, outcome, ended_at=at, index=child)
    if index not in job.left:
        return None
    state = JobState.RUNNING if index in job.started else JobState.WAITING
    return Job(job.name, handle, state, created_at=job.at, detail=job.worker, index=child)


def job_of_start(name: str, started: Started) -> Job:
    """Return the job that a worker says it has started."""
    handle, child = index_of(name, started.part)
    return Job(name, handle, JobState.RUNNING, log=started.log, started_at=started.at, index=child)


def job_of_report(name: str, report: Report, worker: str, most: int) -> Job | None:
    """Return the job whose end a worker tells; None for one that was given back.

    Parameters
    ----------
    most
        How often a task may be lost in this pool and still be run again.
    """
    # How often it was lost before, and its limit, only the run's store knows.
    outcome = outcome_of(report, worker, time_limit=0.0, losses=0, most=1)
    if outcome is None:
        return None
    handle, child = index_of(name, report.part)
    return Job(
        name,
        handle,
        JobState.ENDED,
        outcome,
        log=report.log,
        started_at=report.started_at,
        ended_at=report.ended_at,
        index=child,
        most_losses=most,
        spent="attempted to execute too many times" if report.how is How.ERROR else "",
    )


def jobs_of_loss(loss: Lost, now: float, most: int) -> list[Job]:
    """Return the jobs that were lost with a worker."""
    spent = (
        "worker disconnected repeatedly"
        if loss.disconnected
        else "attempted to execute too many times"
    )
    jobs = []
    for index in loss.left:
        handle, child = index_of(loss.item.name, index)
        jobs.append(
            Job(
                loss.item.name,
                handle,
                JobState.ENDED,
                lost(loss.why),
                ended_at=now,
                index=child,
                most_losses=most,
                spent=spent,
            )
        )
    return jobs


def jobs_of_withdrawal(name: str, indices: Iterable[int], reason: str, now: float) -> list[Job]:
    """Return the jobs that were taken out of a queue."""
    jobs = []
    for index in indices:
        handle, child = index_of(name, index)
        outcome = _withdrawn(reason)
        jobs.append(Job(name, handle, JobState.ENDED, outcome, ended_at=now, index=child))
    return jobs


def _withdrawn(reason: str) -> Outcome:
    found = stopped_by_us(stop_reason(reason, _LONGEST), None, 0.0, None)
    return found or cancelled_before_start()


def with_limit(outcome: Outcome, spec: TaskSpec) -> Outcome:
    """Return the outcome again; a time-out names the task's limit."""
    if outcome.reason is not Reason.TIMEOUT:
        return outcome
    limit = spec.resources.time_limit
    return judge(Evidence(outcome.exit_code, timed_out=True, time_limit=limit))


def message_of(jobs: Iterable[Job]) -> dict[str, Any]:
    """Return a message for the queue of events that tells of jobs which ended."""
    return {"source": SOURCE, "detail": {"jobs": [_document(job) for job in jobs]}}


def jobs_of_message(detail: Mapping[str, Any]) -> list[Job]:
    """Return the jobs that a message tells of.

    Raises
    ------
    ValueError, LookupError, TypeError
        If it is not such a message.
    """
    return [_job(document) for document in detail["jobs"]]


def _document(job: Job) -> dict[str, Any]:
    outcome = job.outcome or lost("")
    found: dict[str, Any] = {
        "name": job.name,
        "handle": job.handle,
        "index": job.index,
        "state": outcome.state,
        "reason": outcome.reason,
        "exit_code": outcome.exit_code,
        "message": outcome.message,
        "log": job.log,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "most_losses": job.most_losses,
        "spent": job.spent,
    }
    return {key: value for key, value in found.items() if value not in (None, "")}


def _job(document: Mapping[str, Any]) -> Job:
    outcome = Outcome(
        TaskState(document["state"]),
        Reason(document["reason"]),
        document.get("exit_code"),
        document.get("message", ""),
    )
    job = Job(str(document["name"]), str(document["handle"]), JobState.ENDED, outcome)
    return replace(
        job,
        index=document.get("index"),
        log=document.get("log"),
        started_at=document.get("started_at"),
        ended_at=document.get("ended_at"),
        most_losses=document.get("most_losses"),
        spent=document.get("spent", ""),
    )
