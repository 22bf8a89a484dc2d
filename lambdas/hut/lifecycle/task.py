r"""The state machine of a task.

    pending -> submitted -> running -> completed
       ^           |           |  \-> failed
       |           |           |
       +-----------+-----------+      (a retry: the attempt ends, the task waits again)
    pending -> dep_failed             (a dependency failed)
    pending -> failed                 (cancelled)
    failed, dep_failed -> pending     (a person asks for a retry)

`may` says which transitions exist; stores refuse all others by condition. `after_end` decides what
follows from the end of an attempt.
"""

from __future__ import annotations

from typing import NamedTuple

from hut.lifecycle.retry import MOST_LOSSES, Spent, next_delay
from hut.model.records import Outcome
from hut.model.states import INFRASTRUCTURE_REASONS, TaskState
from hut.model.workflow import RetryPolicy

__all__ = ["Next", "after_end", "may"]

_MAY: dict[TaskState, frozenset[TaskState]] = {
    TaskState.PENDING: frozenset({TaskState.SUBMITTED, TaskState.DEP_FAILED, TaskState.FAILED}),
    TaskState.SUBMITTED: frozenset(
        {TaskState.RUNNING, TaskState.COMPLETED, TaskState.FAILED, TaskState.PENDING}
    ),
    TaskState.RUNNING: frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.PENDING}),
    TaskState.COMPLETED: frozenset({TaskState.PENDING}),
    TaskState.FAILED: frozenset({TaskState.PENDING}),
    TaskState.DEP_FAILED: frozenset({TaskState.PENDING}),
}


def may(before: TaskState, after: TaskState) -> bool:
    """Say whether a task may go from one state to the other.

    A start may go unseen (an end that overtakes it), so ``submitted`` may end directly.
    """
    return after in _MAY[before]


class Next(NamedTuple):
    """What a task becomes when its attempt has ended.

    Attributes
    ----------
    state : TaskState
        COMPLETED or FAILED, or PENDING when another attempt follows.
    not_before : float
        Earliest start of that attempt.
    retries_used, losses : int
        New values of the task's counters.
    """

    state: TaskState
    not_before: float
    retries_used: int
    losses: int


def after_end(
    outcome: Outcome,
    policy: RetryPolicy,
    spent: Spent,
    now: float,
    *,
    cancelling: bool = False,
    most_losses: int = MOST_LOSSES,
) -> Next:
    """Decide what follows from the end of an attempt.

    Parameters
    ----------
    outcome
        How the attempt ended.
    policy
        The task's retry rules.
    spent
        Retries the task has used before this end.
    now
        Seconds since the epoch.
    cancelling
        The run is being cancelled: no new attempt.
    most_losses
        Attempts that may be lost and the task still be run again.
    """
    delay = None
    if outcome.state is TaskState.FAILED and not cancelling:
        delay = next_delay(outcome, policy, spent, most_losses=most_losses)
    if delay is None:
        return Next(outcome.state, 0.0, spent.retries, spent.losses)
    infrastructure = outcome.reason in INFRASTRUCTURE_REASONS
    return Next(
        TaskState.PENDING,
        now + delay,
        spent.retries + (not infrastructure),
        spent.losses + infrastructure,
    )
