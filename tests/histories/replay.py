"""Plays a run's log of changes by the rules of the life cycle: the states follow from the log alone.

What the log does not say, and how the rules meet it:

- a claim that is given back is not in it: ``submitted`` may follow ``submitted`` under the same
  number, and a task that the log leaves ``submitted`` may be ``pending`` with one attempt less;
- tasks that a generator's repetition withdrew are not in it any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hut.lifecycle.task import may
from hut.model.records import Change, TaskRecord
from hut.model.states import ACTIVE, TERMINAL, Reason, TaskState
from hut.planning.patterns import IdIndex, is_pattern

__all__ = ["Played", "dependencies_of", "disagreements", "play"]


@dataclass
class Played:
    """What a log says of one task."""

    state: TaskState = TaskState.PENDING
    attempt: int = 0
    reason: Reason | None = None
    exit_code: int | None = None
    ended: list[int] = field(default_factory=list)


def dependencies_of(tasks: Sequence[TaskRecord]) -> dict[str, set[str]]:
    """Return the ids each task waits for; a pattern means what there was when it was planned."""
    found: dict[str, set[str]] = {}
    first = sum(task.generated_by is None for task in tasks)
    for task in tasks:
        # Tasks of one generator join together; later ones were not there yet.
        known = [
            other.spec.id
            for other in tasks
            if other.position < first
            or (task.generated_by is not None and other.position <= task.position)
            or (task.generated_by is not None and other.generated_by == task.generated_by)
        ]
        waits: set[str] = set()
        for dep in task.spec.deps:
            if is_pattern(dep):
                waits.update(known[i] for i in IdIndex(known).match(dep))
            else:
                waits.add(dep)
        found[task.spec.id] = waits - {task.spec.id}
    return found


def play(changes: Iterable[Change], dependencies: Mapping[str, set[str]]) -> dict[str, Played]:
    """Return what each task has become.

    Raises
    ------
    AssertionError
        If the log says something that may not happen.
    """
    tasks = {task_id: Played() for task_id in dependencies}
    for change in changes:
        task = tasks[change.task_id]
        told = f"{change.task_id}: {task} -> {change}"
        _check(change, task, told)
        if change.state is TaskState.SUBMITTED:
            waits = dependencies[change.task_id]
            early = {dep for dep in waits if tasks[dep].state is not TaskState.COMPLETED}
            assert not early, f"{told}: {early} have not completed"
        if change.state is TaskState.DEP_FAILED:
            causes = (TaskState.FAILED, TaskState.DEP_FAILED)
            assert any(tasks[d].state in causes for d in dependencies[change.task_id]), told
        if task.state in ACTIVE and change.state not in ACTIVE:
            task.ended.append(change.attempt)
        task.state = change.state
        task.attempt = max(task.attempt, change.attempt)  # a failed dependency has no number
        task.reason, task.exit_code = change.reason, change.exit_code
    return tasks


def _check(change: Change, task: Played, told: str) -> None:
    if change.state is TaskState.SUBMITTED:
        given_back = task.state is TaskState.SUBMITTED and change.attempt == task.attempt
        assert given_back or may(task.state, change.state), told
        assert given_back or change.attempt == task.attempt + 1, told
    elif change.state is TaskState.DEP_FAILED:
        assert may(task.state, change.state), told
    elif change.reason is Reason.CANCELLED and change.attempt < task.attempt:
        # A claim was given back, and what waited was ended with the run.
        assert task.state is TaskState.SUBMITTED, told
        task.attempt = change.attempt
    else:
        assert may(task.state, change.state), told
        assert change.attempt == task.attempt, told
    if change.state in (TaskState.SUBMITTED, TaskState.RUNNING):
        assert change.attempt not in task.ended, f"{told}: it had ended"
    if change.state is TaskState.PENDING and task.state in TERMINAL:
        assert change.reason is None, told  # a repetition, asked for by a person


def disagreements(played: Mapping[str, Played], tasks: Sequence[TaskRecord]) -> list[str]:
    """Return where a log and the tasks as they stand disagree."""
    found: list[str] = []
    for task in tasks:
        log = played[task.spec.id]
        given_back = (
            log.state is TaskState.SUBMITTED
            and task.state is TaskState.PENDING
            and task.attempt == log.attempt - 1
        )
        if not given_back and (log.state, log.attempt) != (task.state, task.attempt):
            found.append(f"{task.spec.id}: {task.state} {task.attempt}, but the log says {log}")
    return found
