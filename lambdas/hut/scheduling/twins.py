"""Identical tasks: whose execution stands for whose, and what is to become of one that waits. Pure.

A task marked ``dedupe`` whose attempt was claimed while an identical one is under way, of its own run
or of another, does not begin: its attempt *follows* that one, which *leads*, and ends as it ends. It is
submitted all the while, under a handle that names its leader; no backend ever sees it. What makes two
tasks identical is in `hut.script.identity`; how a leader is found is in `hut.twins`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from hut.model.records import Attempt, Outcome, TaskRecord
from hut.model.states import ACTIVE, Reason, TaskState

__all__ = [
    "Follower",
    "Twin",
    "is_under_way",
    "leader_of",
    "leader_of_attempt",
    "outcome_of_follower",
    "shared_end",
    "speaks_of",
    "twin_handle",
]

_HANDLE = re.compile(r"twin:([a-z0-9]+):([0-9]+):([0-9]+):([0-9]+)", re.ASCII)

_OF_THE_COMMAND = frozenset(
    {Reason.EXIT, Reason.SIGNAL, Reason.TIMEOUT, Reason.OUT_OF_MEMORY, Reason.INVALID_OUTPUT}
)
"""Ends that are what executing the command comes to; by any other, nothing is known of that."""


class Twin(NamedTuple):
    """An attempt among those of all runs."""

    run_id: str
    position: int
    attempt: int
    epoch: int


class Follower(NamedTuple):
    """An attempt that waits for the end of an identical one."""

    twin: Twin
    leader: Twin


def twin_handle(leader: Twin) -> str:
    """Return the handle of attempts that follow another one."""
    return f"twin:{leader.run_id}:{leader.position}:{leader.attempt}:{leader.epoch}"


def leader_of(handle: str | None) -> Twin | None:
    """Return the attempt that one with this handle follows; None if it follows none."""
    match = None if handle is None else _HANDLE.fullmatch(handle)
    if match is None:
        return None
    run_id, *numbers = match.groups()
    return Twin(run_id, *map(int, numbers))


def leader_of_attempt(
    task: TaskRecord, attempts: Sequence[Attempt], number: int | None = None
) -> Twin | None:
    """Return the attempt that one of a task's follows or followed, and whose log is its own.

    Parameters
    ----------
    attempts
        Those of the task that have ended.
    number
        Which attempt; None for the latest.
    """
    wanted = task.attempt if number is None else number
    for attempt in attempts:
        if attempt.number == wanted:
            return leader_of(attempt.handle)
    is_it = wanted == task.attempt and task.state in ACTIVE
    return leader_of(task.handle) if is_it else None


def speaks_of(noted: str | None, told: str | None) -> bool:
    """Say whether what is told under a handle is of the attempt that has `noted` as its own.

    What is told of a follower is of it only as long as it follows. It may have been released and
    claimed anew meanwhile, under the same number, and lead now or have a job.
    """
    return leader_of(told) is None or told == noted


def is_under_way(leader: Twin, task: TaskRecord | None) -> bool:
    """Say whether an attempt is going on and may be followed.

    Parameters
    ----------
    task
        The leader's task as it is now, if it is still there.
    """
    return (
        task is not None
        and task.state in ACTIVE
        and (task.attempt, task.epoch) == (leader.attempt, leader.epoch)
    )


def shared_end(leader: Twin, task: TaskRecord, attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the end of a leader that is its followers' too.

    None if there is none: it was given back, cancelled, lost, or could not be started. Then nobody knows
    what the command comes to, and those that waited for it are to be claimed anew.

    Parameters
    ----------
    task, attempts
        Its task, and what is recorded of the task's ended attempts.
    """
    for attempt in attempts:
        if attempt.number == leader.attempt:
            completed = attempt.outcome.state is TaskState.COMPLETED
            return attempt if completed or attempt.outcome.reason in _OF_THE_COMMAND else None
    if task.state is TaskState.COMPLETED and task.attempt == leader.attempt:
        # Its run keeps no record of successes.
        outcome = Outcome(TaskState.COMPLETED, Reason.EXIT, 0)
        times = (task.submitted_at, task.started_at, task.ended_at or 0.0)
        return Attempt(task.attempt, outcome, *times, task.backend, task.handle, task.log)
    return None


def outcome_of_follower(leader: Twin, task_id: str, end: Attempt) -> Outcome:
    """Return how a follower ends: as its leader, saying whose end it is."""
    said = f": {end.outcome.message}" if end.outcome.message else ""
    return end.outcome._replace(message=f"joined task {task_id} of run {leader.run_id}{said}")
