"""What must hold at each step of a simulated history, whatever goes wrong.

It looks at what the table was told and what jobs do, of Batch and on instances, never at what the code
says of itself. The state of each task is followed through the change log, which each transition is
written to in the same transaction; the run's counts, the caps and the jobs are held against that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hut.model.records import Change
from hut.model.states import ACTIVE, TERMINAL, Reason, TaskState
from hut.store.dynamodb.log import LOG, changes_of
from hut.store.dynamodb.values import load_item
from tests.simulation.batch_job import SimulatedJob
from tests.simulation.bundles import BundledTask
from tests.simulation.dynamodb import Change as Written
from tests.simulation.hosts import SimulatedAttempt
from tests.simulation.workflows import Planned

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["Violation", "Watch"]


_Job = SimulatedJob | SimulatedAttempt | BundledTask


class Violation(AssertionError):  # noqa: N818 - says what it is
    """Something happened that must never happen."""


@dataclass(slots=True)
class _Task:
    """A task as the change log tells it."""

    id: str
    state: TaskState = TaskState.PENDING
    attempt: int = 0
    was_free: bool = False
    ended: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Run:
    """A run as the table tells it."""

    planned: Planned | None
    tasks: dict[int, _Task] = field(default_factory=dict)
    by_id: dict[str, _Task] = field(default_factory=dict)
    generation: int = 0
    began_at: float = 0.0
    stopped: bool = False
    stopped_at: float = 0.0
    ended: bool = False
    total: int = 0
    cost: float = 0.0
    counts: Counter[TaskState] = field(default_factory=Counter)


class Watch:
    """Looks at every change; raises `Violation` at the first that must not be.

    Attributes
    ----------
    runs : dict of str to _Run
        By id.
    most_on : Counter of str
        By backend the most tasks that had a place at once.
    succeeded : set of tuple
        Run, position and attempt of what has ended with exit code 0.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.runs: dict[str, _Run] = {}
        self.most_on: Counter[str] = Counter()
        self.succeeded: set[tuple[str, int, int]] = set()
        self._on: Counter[str] = Counter()
        self._running: dict[tuple[str, int], _Job] = {}

    # What the table was told ---------------------------------------------------------------------

    def wrote(self, changes: Sequence[Written]) -> None:
        """Look at what one call wrote."""
        metas = [load_item(c.new) for c in changes if c.new and c.new["sk"].get("S") == "META"]
        for meta in metas:
            self._began(meta)
        for change in changes:
            if change.old is not None and change.key["pk"]["S"].endswith("#A"):
                where = change.key["sk"]["S"]
                self.expect(change.old == change.new, f"the ended attempt {where} has changed")
            if change.new is not None and change.new.get("kind", {}).get("S") == LOG:
                item = load_item(change.new)
                run = self.runs[item["run"]]
                for entry in changes_of(item):
                    self._moved(item["run"], run, entry)
        for meta in metas:
            self._count(meta)

    def _began(self, meta: dict[str, Any]) -> None:
        run = self.runs.get(meta["id"])
        if run is None:
            planned = self._world.people.plan_of(meta["workflow"])
            run = self.runs[meta["id"]] = _Run(planned, total=meta["total"])
        self.expect(meta["generation"] in (run.generation, run.generation + 1), "a lost generation")
        if meta["generation"] > run.generation:
            self.expect(run.ended, f"run {meta['id']} was repeated before it had ended")
            run.generation, run.began_at = meta["generation"], self._world.agenda.now
            run.stopped, run.ended = False, False
            for task in run.tasks.values():
                task.was_free = False
        self.expect(not run.ended or meta.get("ended") is not None, "an ended run goes on")

    def _moved(self, run_id: str, run: _Run, entry: Change) -> None:
        task = run.tasks.get(entry.position)
        if task is None:
            task = run.tasks[entry.position] = _Task(entry.task_id)
            if (withdrawn := run.by_id.get(entry.task_id)) is not None:  # its attempts go on
                task.attempt, task.ended = withdrawn.attempt, withdrawn.ended
            run.by_id[entry.task_id] = task
        who = f"task {entry.task_id} of {run_id}, attempt {entry.attempt}"
        before, task.state = task.state, entry.state
        run.counts[before] -= before is not TaskState.PENDING
        run.counts[entry.state] += entry.state is not TaskState.PENDING
        backend = run.planned.backends[entry.task_id] if run.planned else "batch"
        self._on[backend] += (entry.state in ACTIVE) - (before in ACTIVE)
        self.expect(not run.ended, f"{who}: {entry.state} after the run's end")
        if entry.state is TaskState.SUBMITTED:
            self.expect(before is TaskState.PENDING, f"{who}: claimed while {before}")
            self.expect(entry.attempt == task.attempt + 1, f"{who}: claimed after {task.attempt}")
            self.expect(not run.stopped, f"{who}: claimed in a stopped run")
            most = run.planned.max_cost if run.planned else None
            self.expect(
                most is None or run.cost < most, f"{who}: claimed with {run.cost} of {most} spent"
            )
            self._check_dependencies(run, entry.task_id, f"{who}: claimed")
            task.was_free = True
        elif entry.state is TaskState.RUNNING:
            self.expect(before is TaskState.SUBMITTED, f"{who}: runs after {before}")
        elif entry.state is TaskState.COMPLETED:
            self.expect(before in ACTIVE, f"{who}: completed after {before}")
            if backend == "ec2" or (run.planned and run.planned.bundles):
                key = run_id, entry.position, entry.attempt
                self.expect(key in self.succeeded, f"{who}: completed, but it did not succeed")
        elif before in TERMINAL:  # pending again
            self.expect(run.generation > 0, f"{who}: {entry.state} after {before}")
            self.expect(entry.reason is None, f"{who}: ended twice")
        if before in ACTIVE or entry.state is TaskState.SUBMITTED:
            given_back = entry.state is TaskState.PENDING and entry.reason is None
            was_ended = entry.attempt in task.ended and not given_back
            self.expect(not was_ended, f"{who}: {entry.state} after its end")
        ends_attempt = before in ACTIVE and (entry.state in TERMINAL or entry.reason is not None)
        if ends_attempt:
            code = self._world.bundles.ended.get((run_id, entry.position, entry.attempt))
            told = entry.state is TaskState.COMPLETED if code == 0 else entry.reason is Reason.EXIT
            self.expect(code is None or told, f"{who}: {entry.reason}, its log has the code {code}")
            self.expect(entry.attempt == task.attempt, f"{who}: the end of another attempt")
            task.ended.add(entry.attempt)
        task.attempt = entry.attempt

    def _count(self, meta: dict[str, Any]) -> None:
        run, run_id = self.runs[meta["id"]], meta["id"]
        if meta["total"] < run.total:  # generated tasks are withdrawn
            for position in [p for p in run.tasks if p >= meta["total"]]:
                gone = run.tasks.pop(position)
                run.counts[gone.state] -= gone.state is not TaskState.PENDING
        run.total, run.cost = meta["total"], float(meta.get("cost", 0.0))
        was_over = run.stopped or run.ended
        run.stopped = run.stopped or bool(meta.get("stop"))
        run.ended = meta.get("ended") is not None
        if not was_over:
            run.stopped_at = self._world.agenda.now
        others = sum(n for state, n in run.counts.items() if state is not TaskState.PENDING)
        for state in TaskState:
            told = meta[f"n_{state}"]
            own = run.total - others if state is TaskState.PENDING else run.counts[state]
            self.expect(told == own, f"run {run_id} counts {told} {state}, the log says {own}")
        active = sum(run.counts[state] for state in ACTIVE)
        most = run.planned.max_concurrent if run.planned else None
        self.expect(most is None or active <= most, f"run {run_id}: {active} active, cap {most}")
        for backend, cap in (("batch", self._world.cap), ("ec2", self._world.most_instances)):
            # Of tasks that share a job, one has its place.
            shares = any(each.planned and each.planned.bundles for each in self.runs.values())
            on = self._world.store.active_on(backend) if shares and cap else self._on[backend]
            self.most_on[backend] = max(self.most_on[backend], on)
            self.expect(cap is None or on <= cap, f"{on} active on {backend}, cap {cap}")
        if run.ended:
            left = {state: run.counts[state] for state in ACTIVE if run.counts[state]}
            self.expect(not left, f"run {run_id} has ended with tasks that are active: {left}")

    def _check_dependencies(self, run: _Run, task_id: str, what: str) -> None:
        if run.planned is None:
            return
        for dep in run.planned.deps[task_id]:
            task = run.by_id.get(dep)
            state = None if task is None else task.state
            self.expect(state is TaskState.COMPLETED, f"{what} while {dep} is {state}")

    # What Batch's jobs do ------------------------------------------------------------------------

    def job_changed(self, job: _Job) -> None:
        """Look at a job whose state has changed."""
        found = self._world.task_of(job)
        if found is None:
            return
        run_id, position, attempt, task_id = found
        run = self.runs[run_id]
        where = f"job {job.handle} ({job.name}) of {task_id}, attempt {attempt}"
        now = self._running.get((run_id, position))
        if job.state == "RUNNING":
            self.expect(now is None, f"{where} runs beside {now and now.handle}")
            self._running[run_id, position] = job
            self._check_dependencies(run, task_id, f"{where} runs")
            self._world.history.note("jobs", f"{where} runs")
            if isinstance(job, SimulatedAttempt):
                self._world.instance_watch.ran(job)
        elif job.state in ("SUCCEEDED", "FAILED"):
            self._world.history.note("jobs", f"{where} {job.state} {job.reason or ''}")
            if job.state == "SUCCEEDED":
                self.succeeded.add((run_id, position, attempt))
            if now is job:
                del self._running[run_id, position]

    # At the end ----------------------------------------------------------------------------------

    def expect(self, holds: bool, what: str) -> None:
        """Raise `Violation` unless something holds."""
        if not holds:
            raise Violation(what)
