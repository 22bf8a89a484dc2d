"""What ends of attempts become in the tables."""

from __future__ import annotations

from typing import NamedTuple

from hut.model.run_options import RetryOrder
from hut.model.states import TaskState
from hut.scheduling.order import rank_of
from hut.store.port import End

__all__ = ["GONE", "Active", "attempt_row", "end_change", "task_row"]


class Active(NamedTuple):
    """What the store holds of an active attempt."""

    state: str
    submitted_at: float | None
    started_at: float | None
    backend: str
    handle: str | None
    task_id: str


GONE = Active("", None, None, "", None, "")


def attempt_row(run: int, end: End, before: Active) -> tuple[object, ...]:
    """Return the row of ``attempts`` that an end becomes."""
    outcome = end.outcome
    return (
        run,
        before.task_id,
        end.key.attempt,
        outcome.state,
        outcome.reason,
        outcome.exit_code,
        outcome.message or None,
        before.submitted_at,
        before.started_at if end.started_at is None else end.started_at,
        end.at,
        before.backend,
        before.handle if end.handle is None else end.handle,
        end.cost,
    )


def task_row(run: int, end: End, before: Active, order: RetryOrder) -> tuple[object, ...]:
    """Return what an end makes of the task, in the order of the store's statement."""
    outcome, following = end.outcome, end.next
    return (
        following.state,
        outcome.reason,
        outcome.message or None,
        outcome.exit_code,
        before.started_at if end.started_at is None else end.started_at,
        None if following.state is TaskState.PENDING else end.at,
        before.handle if end.handle is None else end.handle,
        following.not_before,
        following.retries_used,
        following.losses,
        rank_of(order, following.retries_used),
        run,
        end.key.position,
    )


def end_change(end: End) -> tuple[float, int, int, str, str | None, int | None]:
    """Return the row of ``changes`` that tells of an end."""
    key, outcome = end.key, end.outcome
    return (
        end.at,
        key.position,
        key.attempt,
        end.next.state,
        outcome.reason,
        outcome.exit_code,
    )
