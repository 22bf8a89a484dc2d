"""A model of a run: what any store must make of a sequence of calls, in a few plain lines each.

It knows nothing of packs, pages, barriers, rows or transactions. What follows from ends is done by
`follow`, as by a store that leaves it to the reader of the stream; a store that does it at once is
modelled by following at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hut.lifecycle.run import end_of_run
from hut.model.states import ACTIVE, TERMINAL, Reason, RunState, TaskState
from hut.model.workflow import TaskSpec
from hut.planning import Extension
from hut.planning.graph import Graph
from hut.scheduling.room import Caps
from hut.store.port import AttemptKey, End, Start

__all__ = ["RunModel", "TaskModel", "Told"]


class Told(NamedTuple):
    """A transition in the change log."""

    attempt: int
    state: TaskState
    reason: Reason | None
    code: int | None


@dataclass(eq=False)
class TaskModel:
    """A task.

    Attributes
    ----------
    deps : set of int
        What it waits for.
    met : set of int
        Those whose completion has reached it.
    opened : bool
        Whether a task that joined may run: the end of its generator was followed.
    first : int
        Position of the first task that joined together with it.
    """

    spec: TaskSpec
    deps: frozenset[int]
    met: set[int] = field(default_factory=set)
    opened: bool = True
    generated_by: int | None = None
    first: int = 0
    state: TaskState = TaskState.PENDING
    reason: Reason | None = None
    code: int | None = None
    attempt: int = 0
    epoch: int = 0
    not_before: float = 0.0
    retries: int = 0
    losses: int = 0
    submitted: float | None = None
    started: float | None = None
    handle: str | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it waits for nothing but its time and room."""
        return self.state is TaskState.PENDING and self.opened and self.met >= self.deps


class RunModel:
    """See the module's docstring.

    Parameters
    ----------
    follows_at_once : bool
        Whether what follows from an end is done with it.
    tells_returns : bool
        Whether the change log tells of claims that were given back.

    Attributes
    ----------
    attempts, told : dict
        Ended attempts and the change log, by the ids of tasks, also of those that were withdrawn.
    """

    def __init__(
        self,
        specs: Sequence[TaskSpec],
        graph: Graph,
        *,
        follows_at_once: bool,
        tells_returns: bool,
    ) -> None:
        self.tasks = [
            TaskModel(spec, frozenset(graph.dependencies(position)))
            for position, spec in enumerate(specs)
        ]
        self.follows_at_once = follows_at_once
        self.tells_returns = tells_returns
        self.attempts: dict[str, list[Told]] = {}
        self.told: dict[str, list[Told]] = {}
        self.epoch = 0
        self.state = RunState.PENDING
        self.stop: Reason | None = None
        self.ended: float | None = None

    # What is asked

    @property
    def counts(self) -> dict[TaskState, int]:
        """Number of tasks by state."""
        return {state: sum(t.state is state for t in self.tasks) for state in TaskState}

    @property
    def active(self) -> int:
        """Number of tasks that are submitted or running."""
        return sum(task.state in ACTIVE for task in self.tasks)

    def ready(self, now: float) -> list[int]:
        """Return the tasks that may be claimed, in the order in which they are."""
        if self.stop is not None:
            return []
        found = [
            position
            for position, task in enumerate(self.tasks)
            if task.is_ready and task.not_before <= now
        ]
        return sorted(found, key=lambda position: (-self.tasks[position].spec.priority, position))

    def next_retry(self, now: float) -> float | None:
        """Return when the next delayed retry may start."""
        if self.stop is not None:
            return None
        times = [
            task.not_before
            for task in self.tasks
            if task.state is TaskState.PENDING and task.not_before > now
        ]
        return min(times, default=None)

    def open_dependencies(self, position: int) -> list[int]:
        """Return the dependencies that have not completed."""
        deps = sorted(self.tasks[position].deps)
        return [dep for dep in deps if self.tasks[dep].state is not TaskState.COMPLETED]

    def is_active(self, key: AttemptKey) -> bool:
        """Say whether an attempt is the present one of its task, and has not ended."""
        task = self._at(key)
        return task is not None and task.state in ACTIVE

    def failures_before(self, position: int) -> set[int]:
        """Return the failed tasks that a task waits for, directly or not."""
        found: set[int] = set()
        rest = [position]
        while rest:
            fresh = self.tasks[rest.pop()].deps - found
            found |= fresh
            rest += fresh
        return {at for at in found if self.tasks[at].state is TaskState.FAILED}

    # What is done

    def begin_epoch(self) -> int:
        """Let an engine take the run up."""
        self.epoch += 1
        if self.state is RunState.PENDING:
            self.state = RunState.RUNNING
        return self.epoch

    def claim(self, epoch: int, now: float, at_most: int, caps: Caps) -> list[AttemptKey]:
        """Take ready tasks."""
        bounds = [cap - self.active for cap in (caps.run, caps.backend) if cap is not None]
        taken = self.ready(now)[: max(0, min([at_most, *bounds]))]
        keys = []
        for position in taken:
            task = self.tasks[position]
            task.attempt, task.epoch, task.submitted = task.attempt + 1, epoch, now
            task.reason = task.code = task.started = task.handle = None
            self._move(task, TaskState.SUBMITTED)
            keys.append(AttemptKey(position, task.attempt, epoch))
        return keys

    def release(self, keys: Iterable[AttemptKey]) -> int:
        """Give claims back."""
        released = 0
        for key in keys:
            task = self._at(key)
            if task is None or task.state is not TaskState.SUBMITTED:
                continue
            released += 1
            task.attempt, task.epoch, task.submitted = task.attempt - 1, 0, None
            if self.tells_returns:
                self._move(task, TaskState.PENDING)
            task.state = TaskState.PENDING
            self._end_if_stopped(task)
        return released

    def start(self, starts: Iterable[Start]) -> None:
        """Note that attempts run."""
        for start in starts:
            task = self._at(start.key)
            if task is not None and task.state is TaskState.SUBMITTED:
                task.started, task.handle = start.at, start.handle
                self._move(task, TaskState.RUNNING)

    def end(self, ends: Sequence[End]) -> list[bool]:
        """Note how attempts ended."""
        applied: list[int] = []
        first: list[bool] = []
        for end in ends:
            task = self._at(end.key)
            first.append(task is not None and task.state in ACTIVE)
            if task is None or not first[-1]:
                continue
            self._end(task, end)
            if end.next.state is not TaskState.PENDING:
                applied.append(end.key.position)
        if self.follows_at_once:
            self.follow(applied)
            self.end_pending()
        return first

    def _end(self, task: TaskModel, end: End) -> None:
        outcome, following = end.outcome, end.next
        record = Told(task.attempt, outcome.state, outcome.reason, outcome.exit_code)
        self.attempts.setdefault(task.spec.id, []).append(record)
        task.reason, task.code = outcome.reason, outcome.exit_code
        task.not_before = following.not_before
        task.retries, task.losses = following.retries_used, following.losses
        self._move(task, following.state, outcome.reason, outcome.exit_code)
        if following.state is TaskState.PENDING:
            self._end_if_stopped(task)
        if end.adds is not None:
            self._join(end.adds, end.key.position)

    def _join(self, adds: Extension, generator: int) -> None:
        assert adds.graph.first == len(self.tasks), "planned against the run as it is"
        first = len(self.tasks)
        for position, spec in enumerate(adds.tasks, first):
            earlier = max((told.attempt for told in self.attempts.get(spec.id, ())), default=0)
            self.tasks.append(
                TaskModel(
                    spec,
                    frozenset(adds.graph.dependencies(position)),
                    opened=False,
                    generated_by=generator,
                    first=first,
                    attempt=earlier,
                )
            )

    def follow(self, positions: Iterable[int]) -> None:
        """Do what follows from the ends of tasks."""
        rest = [position for position in positions if position < len(self.tasks)]
        seen: set[int] = set()
        while rest:
            position = rest.pop()
            task = self.tasks[position]
            if position in seen or task.state not in TERMINAL:
                continue
            seen.add(position)
            behind = [at for at, other in enumerate(self.tasks) if position in other.deps]
            if task.state is not TaskState.COMPLETED:
                rest += [at for at in behind if self._fail_behind(self.tasks[at])]
                continue
            for at in behind:
                self.tasks[at].met.add(position)
            for joined in self.tasks:
                if joined.generated_by == position:
                    joined.opened = True
                    rest += [
                        dep for dep in joined.deps if dep < joined.first
                    ]  # they may have ended

    def _fail_behind(self, task: TaskModel) -> bool:
        if task.state is not TaskState.PENDING:
            return task.state is TaskState.DEP_FAILED
        task.reason = Reason.DEPENDENCY
        self._tell(task, Told(0, TaskState.DEP_FAILED, Reason.DEPENDENCY, None))
        task.state = TaskState.DEP_FAILED
        return True

    def reopen(self) -> None:
        """Work out anew what may run, as a sweep does."""
        self.follow(range(len(self.tasks)))

    def cancel(self, reason: Reason) -> None:
        """Stop the run."""
        if self.ended is None:
            self.stop = self.stop or reason
            if self.follows_at_once:
                self.end_pending()

    def end_pending(self) -> None:
        """End what waits in a stopped run."""
        for task in self.tasks:
            if task.state is TaskState.PENDING:
                self._end_if_stopped(task)

    def _end_if_stopped(self, task: TaskModel) -> None:
        if self.stop is not None:
            task.reason, task.code, task.not_before = Reason.CANCELLED, None, 0.0
            self._move(task, TaskState.FAILED, Reason.CANCELLED)

    def settle(self, now: float) -> None:
        """End the run if all of its tasks have."""
        end = end_of_run(self.counts, stopped=self.stop)
        if end is not None and self.ended is None:
            self.state, self.ended = end.state, now

    def reset(self, *, everything: bool) -> int:
        """Begin an ended run anew; return how many tasks are repeated."""
        assert self.ended is not None, "the run has ended"
        if everything:
            self.tasks = [task for task in self.tasks if task.generated_by is None]
        again = [t for t in self.tasks if everything or t.state is not TaskState.COMPLETED]
        if not again:
            return 0
        for task in again:
            task.reason = task.code = task.submitted = task.started = task.handle = None
            task.retries = task.losses = 0
            task.not_before = 0.0
            self._move(task, TaskState.PENDING)
        for task in self.tasks:
            task.opened = True
            task.met = {dep for dep in task.deps if self.tasks[dep].state is TaskState.COMPLETED}
        self.stop = self.ended = None
        self.state = RunState.PENDING
        return len(again)

    def _at(self, key: AttemptKey) -> TaskModel | None:
        if not 0 <= key.position < len(self.tasks):
            return None
        task = self.tasks[key.position]
        return task if (task.attempt, task.epoch) == (key.attempt, key.epoch) else None

    def _move(
        self,
        task: TaskModel,
        state: TaskState,
        reason: Reason | None = None,
        code: int | None = None,
    ) -> None:
        task.state = state
        self._tell(task, Told(task.attempt, state, reason, code))

    def _tell(self, task: TaskModel, told: Told) -> None:
        self.told.setdefault(task.spec.id, []).append(told)
