"""What is refused of tasks that are added to a run, in the same words by every store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice

from hut.model.records import RunRecord
from hut.store.port import IdempotencyConflict, RunClosed, StaleExtension, StoreError, TaskExists

__all__ = [
    "check_close",
    "check_ids",
    "check_key",
    "check_place",
    "check_repeat",
    "check_room",
    "check_whole",
]

_SHOWN = 5


def check_room(run: RunRecord) -> None:
    """Refuse tasks for a run that can't get any.

    Raises
    ------
    RunClosed
    """
    if run.ended_at is not None:
        raise RunClosed(
            f"run {run.id} has ended ({run.state}); submit the tasks as a run of their own"
        )
    if run.cancel_requested_at is not None:
        raise RunClosed(f"run {run.id} was stopped; submit the tasks as a run of their own")
    if not (run.open or run.held):
        was = "is closed" if run.settings.open else "was not opened for more tasks"
        raise RunClosed(f"run {run.id} {was}; submit the tasks as a run of their own")


def check_key(key: str, known: str, digest: str) -> None:
    """Refuse other tasks under a key that was used.

    Raises
    ------
    IdempotencyConflict
    """
    if known != digest:
        raise IdempotencyConflict(
            f"the idempotency key {key!r} was used for other tasks of this run; use a new key"
        )


def check_place(total: int, first: int) -> None:
    """Refuse tasks that were planned against others than those the run has.

    Raises
    ------
    StaleExtension
    """
    if total != first:
        raise StaleExtension("tasks joined the run since these were planned; plan them again")


def check_ids(taken: Collection[str], ids: Sequence[str]) -> None:
    """Refuse ids that the run has already, and those that stand twice among the new ones.

    Raises
    ------
    TaskExists
    """
    if taken:
        raise TaskExists(f"the run has tasks of these ids already: {_some(taken)}")
    if len(set(ids)) < len(ids):
        twice = [task_id for task_id, number in Counter(ids).items() if number > 1]
        raise TaskExists(f"several of the new tasks have one id: {_some(twice)}")


def check_whole(run: RunRecord) -> None:
    """Refuse to let anything run of a run that was stopped before all of it was sent.

    Raises
    ------
    RunClosed
    """
    if run.held and (run.ended_at is not None or run.cancel_requested_at is not None):
        raise RunClosed(f"run {run.id} was stopped before all of it was sent; submit it anew")


def check_close(run: RunRecord) -> None:
    """Refuse to close what is still being sent.

    Raises
    ------
    StoreError
    """
    if run.held:
        raise StoreError(
            f"run {run.id} is still being sent; submit the same again to go on with that, or "
            f"cancel it: hutctl cancel {run.id}"
        )


def check_repeat(*, generated: bool, added: bool) -> None:
    """Refuse to repeat everything where generated tasks can't be withdrawn.

    Raises
    ------
    StoreError
    """
    if generated and added:
        raise StoreError(
            "the run has tasks that others generated among those that were added to it, so it can't "
            "be repeated as a whole; repeat what did not complete, without --all, or submit it anew"
        )


def _some(ids: Collection[str]) -> str:
    more = len(ids) - _SHOWN
    return ", ".join(islice(ids, _SHOWN)) + (f" and {more:,} more" if more > 0 else "")
