"""Plays a run's log of changes by the rules of the life cycle: the states follow from the log alone.

Where the log of a store does not say all, a rule here says what is taken for granted:

- SQLite does not tell that a claim was given back: ``submitted`` may follow ``submitted`` under the
  same number, and a task that the log leaves ``submitted`` may be ``pending`` with one attempt less.
- When everything is repeated, tasks that others generated are withdrawn, and no log tells it. It
  follows from the repetition of their generator. What they are called when they are gone is in the
  log of DynamoDB only; changes of tasks that a run does not have any more are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hut.lifecycle.task import may
from hut.model.records import Change, TaskRecord
from hut.model.states import ACTIVE, TERMINAL, Reason, TaskState
from hut.planning.patterns import IdIndex, is_pattern

__all__ = ["Played", "dependencies_of", "disagreements", "generators_of", "play"]


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
    for task in tasks:
        known = [
            other.spec.id
            for other in tasks
            # Tasks of one generator join together; what joined later was not there yet.
            if other.position <= task.position or other.generated_by == task.generated_by
        ]
        waits: set[str] = set()
        for dep in task.spec.deps:
            if is_pattern(dep):
                waits.update(known[i] for i in IdIndex(known).match(dep))
            else:
                waits.add(dep)
        found[task.spec.id] = waits - {task.spec.id}
    return found


def generators_of(tasks: Sequence[TaskRecord]) -> dict[str, str]:
    """Return the id of the task that generated each one which was generated."""
    ids = {task.position: task.spec.id for task in tasks}
    return {task.spec.id: ids[task.generated_by] for task in tasks if task.generated_by is not None}


def play(
    changes: Iterable[Change],
    dependencies: Mapping[str, Iterable[str]],
    generated_by: Mapping[str, str],
) -> dict[str, Played]:
    """Return what each task has become.

    Raises
    ------
    AssertionError
        If the log says something that may not happen.
    """
    tasks = {task_id: Played() for task_id in dependencies}
    for change in changes:
        if change.task_id not in tasks:
            continue
        task = tasks[change.task_id]
        told = f"{change.task_id}: {task} -> {change}"
        _check(change, task, told)
        waits = [tasks[dep].state for dep in dependencies[change.task_id]]
        if change.state is TaskState.SUBMITTED:
            assert all(state is TaskState.COMPLETED for state in waits), f"{told}: {waits}"
        if change.state is TaskState.DEP_FAILED:
            assert {TaskState.FAILED, TaskState.DEP_FAILED} & set(waits), f"{told}: {waits}"
        if task.state is TaskState.COMPLETED and change.state is TaskState.PENDING:
            for name in _withdrawn(change.task_id, generated_by):
                tasks[name] = Played(attempt=tasks[name].attempt, ended=tasks[name].ended)
        if _is_given_back(change, task):
            task.attempt -= 1
        elif task.state in ACTIVE and change.state not in ACTIVE:
            task.ended.append(change.attempt)
        task.state = change.state
        task.attempt = max(task.attempt, change.attempt)  # a failed dependency tells no number
        task.reason, task.exit_code = change.reason, change.exit_code
    return tasks


def _is_given_back(change: Change, task: Played) -> bool:
    """DynamoDB tells of it; SQLite does not, unless what waited was ended with its run."""
    return task.state is TaskState.SUBMITTED and change.attempt == task.attempt - 1


def _check(change: Change, task: Played, told: str) -> None:
    after = change.state
    if after is TaskState.SUBMITTED:
        again = task.state is TaskState.SUBMITTED and change.attempt == task.attempt
        assert again or may(task.state, after), told
        assert again or change.attempt == task.attempt + 1, told
    elif after is TaskState.DEP_FAILED:
        assert may(task.state, after), told
    elif _is_given_back(change, task):
        assert after is TaskState.PENDING or change.reason is Reason.CANCELLED, told
    else:
        assert may(task.state, after), told
        assert change.attempt == task.attempt, told
    if after in ACTIVE:
        assert change.attempt not in task.ended, f"{told}: it had ended"
    if after is TaskState.PENDING and task.state in TERMINAL:
        assert change.reason is None, told  # a repetition, which a person asked for


def _withdrawn(task_id: str, generated_by: Mapping[str, str]) -> set[str]:
    """Return what a task generated, and what that generated."""
    found = {name for name, generator in generated_by.items() if generator == task_id}
    return found.union(*(_withdrawn(name, generated_by) for name in found))


def disagreements(
    played: Mapping[str, Played], states: Mapping[str, tuple[TaskState, int]]
) -> list[str]:
    """Return where a log, and states and numbers of attempts as they stand, disagree."""
    found: list[str] = []
    for task_id, (state, attempt) in states.items():
        log = played[task_id]
        given_back = (
            log.state is TaskState.SUBMITTED
            and state is TaskState.PENDING
            and attempt == log.attempt - 1
        )
        if not given_back and (log.state, log.attempt) != (state, attempt):
            found.append(f"{task_id}: {state} {attempt}, but the log says {log}")
    return found
