"""Jobs that Hut itself stops: the reason it gives the service, and what comes back with the end. Pure."""

from __future__ import annotations

from hut.lifecycle.attempt import Evidence, cancelled_before_start, judge, queue_timeout
from hut.model.records import Outcome
from hut.model.states import Reason

__all__ = ["OUR_REASON", "WAITED", "stop_reason", "stopped_by_us"]

OUR_REASON = "hut: "
"""Begins the reason under which Hut ends a job: ``hut: cancelled``."""

WAITED = f"{Reason.QUEUE_TIMEOUT}: "
"""Follows it for a job that waited too long; what it waited for comes behind it and back with it."""


def stop_reason(reason: str, longest: int) -> str:
    """Return a reason as the service is given it, of at most so many characters."""
    return f"{OUR_REASON}{reason.removeprefix(OUR_REASON)}"[:longest]


def stopped_by_us(
    reason: str, code: int | None, limit: float, started_at: float | None
) -> Outcome | None:
    """Return the outcome of a job that was ended for this reason; None if it is none of Hut's.

    Parameters
    ----------
    code
        Its exit code, if it has one.
    limit
        Seconds of its time limit, for the message.
    started_at
        None if it never started.
    """
    if not reason.startswith(OUR_REASON):
        return None
    why = reason.removeprefix(OUR_REASON)
    if why == Reason.TIMEOUT:
        return judge(Evidence(code, timed_out=True, time_limit=limit))
    if why.startswith(WAITED):
        return queue_timeout(why.removeprefix(WAITED))
    if started_at is None:
        return cancelled_before_start()
    outcome = judge(Evidence(code, cancelled=True))
    return outcome if why == Reason.CANCELLED else outcome._replace(message=f"stopped: {why}")
