"""The state machine of a run: pending -> running -> completed, failed or cancelled.

A run's state follows from its tasks' counts. It ends when every task is terminal, never before,
and a retry makes it run again. One that is open for more tasks, or held while it is being sent, ends
only once it is closed, released or stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hut.model.records import RunRecord
from hut.model.states import Reason, RunState, TaskState

__all__ = ["RunEnd", "end_of_run", "is_over", "may_end", "waits_for_tasks"]


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended."""

    state: RunState
    reason: Reason | None
    message: str


def is_over(counts: Mapping[TaskState, int]) -> bool:
    """Say whether every task has ended."""
    return not (
        counts[TaskState.PENDING] or counts[TaskState.SUBMITTED] or counts[TaskState.RUNNING]
    )


def waits_for_tasks(run: RunRecord) -> bool:
    """Say whether a run has nothing to do before more tasks come, or it is released or closed."""
    if run.ended_at is not None or run.cancel_requested_at is not None:
        return False
    return run.held or (run.open and is_over(run.counts))


def may_end(run: RunRecord) -> bool:
    """Say whether a run that goes on has nothing to wait for any more: no task, and no news of one."""
    return run.ended_at is None and is_over(run.counts) and not waits_for_tasks(run)


def end_of_run(counts: Mapping[TaskState, int], *, stopped: Reason | None = None) -> RunEnd | None:
    """Return how the run ended, or None while tasks are open.

    Parameters
    ----------
    counts
        Number of tasks by state.
    stopped
        Why the run was stopped from outside, if it was: CANCELLED, TIMEOUT or BUDGET. A run whose
        tasks all completed before that took effect is completed.
    """
    if not is_over(counts):
        return None
    failed, skipped = counts[TaskState.FAILED], counts[TaskState.DEP_FAILED]
    if not failed and not skipped:
        return RunEnd(RunState.COMPLETED, None, "")
    if stopped is Reason.CANCELLED:
        return RunEnd(RunState.CANCELLED, Reason.CANCELLED, "cancelled")
    if stopped is Reason.TIMEOUT:
        return RunEnd(RunState.FAILED, Reason.TIMEOUT, "the run reached its time limit")
    if stopped is Reason.BUDGET:
        return RunEnd(RunState.FAILED, Reason.BUDGET, "the run reached its max_cost")
    message = f"{failed:,} task{'s' if failed != 1 else ''} failed"
    if skipped:
        message += f", {skipped:,} not run because of it"
    return RunEnd(RunState.FAILED, Reason.TASK_FAILED, message)
