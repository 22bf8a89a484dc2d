"""What a worker's words mean for an attempt: reports become outcomes, losses too."""

from __future__ import annotations

from hut.lifecycle.attempt import Evidence, judge, lost
from hut.model.records import Outcome
from hut.pools.port import How, Lost, Report

__all__ = ["outcome_of", "outcome_of_loss"]


def outcome_of(
    report: Report, worker: str, *, time_limit: float, losses: int, most: int
) -> Outcome | None:
    """Return how an attempt ended; None for one that was given back before it was started.

    Parameters
    ----------
    time_limit
        Seconds, for the message.
    losses, most
        As for `outcome_of_loss`.
    """
    how = report.how
    if how is How.RETURNED:
        return None
    if how is How.ERROR:
        why = f"worker {worker} could not run it: {report.said or 'it does not say why'}"
        return lost(_lost_message(why, losses, most, disconnected=False))
    not_started = ""
    if how is How.NOT_STARTED:
        not_started = report.said or "the task could not be started"
    return judge(
        Evidence(
            exit_code=report.exit_code,
            signal_number=report.signal,
            timed_out=how is How.TIMEOUT,
            cancelled=how is How.CANCELLED,
            time_limit=time_limit,
            not_started=not_started,
        )
    )


def outcome_of_loss(loss: Lost, losses: int, most: int) -> Outcome:
    """Return how an attempt ended that its worker lost.

    Parameters
    ----------
    losses
        Attempts of the task that were lost before this one.
    most
        `Scheduler.max_job_retries`: how many may be, and the task still be run again.
    """
    return lost(_lost_message(loss.why, losses, most, disconnected=loss.disconnected))


def _lost_message(why: str, losses: int, most: int, *, disconnected: bool) -> str:
    """Say why an attempt was lost, and of the last one that no other follows."""
    if losses < most:
        return why
    times = f"{losses + 1} attempts were lost, {most} retries are allowed"
    what = (
        "worker disconnected repeatedly" if disconnected else "attempted to execute too many times"
    )
    return f"{what}: {why} ({times})"
