"""What the store keeps: runs, tasks and attempts as plain immutable records.

Times are seconds since the epoch (UTC). A task record shows its latest attempt; `Attempt` records
are written once, when an attempt has ended, and never change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from hut.model.run_options import Recording, RetryOrder
from hut.model.states import Reason, RunState, TaskState
from hut.model.workflow import EMPTY, TaskSpec

__all__ = [
    "Attempt",
    "Change",
    "Outcome",
    "Refusal",
    "RunRecord",
    "RunSettings",
    "TaskRecord",
]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What holds for all tasks of a run, fixed when it is submitted.

    Attributes
    ----------
    base_dir : str
        Folder that relative ``working_dir`` values start from; the tasks' default folder.
    environments : mapping
        For each environment the tasks use: variables and init lines, as they were at submit.
    time_limit : float or None
        Seconds the run may take.
    config_version : int or None
        Version of the control plane's configuration that held at submit, if there was one.
    backends : mapping
        What that version chose for backends, but for their caps.
    uses : tuple of str
        The backends its tasks go to; empty where that is not known, because tasks generate others.
    shell : "sh" or None
        What runs the commands: ``sh``, as for lines of a task file, or bash where there is one.
    task_variables : bool
        Tasks find their id, tags and resources in the ``TASK_*`` variables of HyperShell too.
    bundle : int or None
        Tasks that one job of a backend runs; `hut.model.workflow.BY_ITSELF` (0) leaves the number to
        Hut, None is a job for each task.
    bundle_slots : int or None
        How many of them at a time; None leaves it to the backend.
    bundle_wait : float or None
        Seconds after which a bundle goes on its way though it is not full.
    open : bool
        Whether tasks could be added when it began; whether they can now is said by its record.
    held : bool
        It began with none of its tasks allowed to run: more are sent first.
    retry_order : str
        Whether a failed task that is tried again keeps its place (``document``), goes before new
        ones of its priority (``eager``) or behind them (``lazy``).
    sites : mapping
        The backends by which tasks that ask for properties were and will be placed, as
        `hut.scheduling.placing.plain_sites` writes them; ``given`` says that somebody named one.
    record : str
        With ``failures`` an attempt that succeeds leaves no record and no entry in the log of
        changes; that its task has completed is counted and told all the same.
    definitions : mapping
        For each ``NAME@VERSION`` that tasks stand for, the definition as it was at submit.
    """

    base_dir: str = ""
    env_vars: Mapping[str, str] = EMPTY
    environment: str | None = None
    environments: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    backend: str = "local"
    max_concurrent: int | None = None
    max_cost: float | None = None
    time_limit: float | None = None
    tags: Mapping[str, str] = EMPTY
    description: str | None = None
    notify: object = None
    config_version: int | None = None
    backends: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    definitions: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    shell: Literal["sh"] | None = None
    task_variables: bool = False
    bundle: int | None = None
    bundle_slots: int | None = None
    bundle_wait: float | None = None
    open: bool = False
    held: bool = False
    retry_order: RetryOrder = "document"
    record: Recording = "all"
    sites: Mapping[str, object] = field(default_factory=dict)

    def may_use(self, backend: str) -> bool:
        """Say whether tasks of the run may go to a backend."""
        return not self.uses or backend in self.uses


class Refusal(NamedTuple):
    """What a backend says while it takes no jobs of a run; gone as soon as it takes one.

    Attributes
    ----------
    backend : str
    partition : str or None
        As tasks name it; None is the backend's default.
    said : str
        The backend's own words.
    since, at : float
        When it said so first and last.
    again_at : float
        When the run is tried again by itself.
    """

    backend: str
    partition: str | None
    said: str
    since: float
    at: float
    again_at: float = 0.0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as stored.

    Attributes
    ----------
    epoch : int
        How often an engine has taken the run up. A claim carries it, so that what a dead engine
        left behind can be told from what the living one started.
    counts : mapping of TaskState to int
        Number of tasks by state; they add up to `total`.
    refusals : tuple of Refusal
        What keeps ready tasks from becoming jobs just now, one for each backend and partition.
    cost, cost_lost : float or None
        Estimate in dollars of what its attempts cost that have ended, those of earlier repetitions
        too, and of those among them that were lost; None where nothing is known of any.
    losses : int
        How many attempts were lost: by no doing of theirs.
    generation : int
        How often it was repeated.
    open : bool
        Tasks may be added, so it does not end when all of them have.
    held : bool
        Nothing of it is claimed: it is still being sent.
    opening : bool
        Tasks have joined, and it is not worked out yet which of them may run.
    twins : bool
        Whether attempts of it may follow identical ones, or be followed; known where events drive.
    work, worked : float, int
        Seconds that so many completed tasks took together; counted where tasks share jobs.
    part_since : float or None
        Since when tasks wait that make no full bundle, where such tasks do.
    """

    id: str
    workflow: str
    state: RunState
    reason: Reason | None
    message: str
    owner: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    total: int
    counts: Mapping[TaskState, int]
    settings: RunSettings
    cancel_requested_at: float | None = None
    epoch: int = 0
    refusals: tuple[Refusal, ...] = ()
    cost: float | None = None
    cost_lost: float | None = None
    losses: int = 0
    generation: int = 0
    work: float = 0.0
    worked: int = 0
    open: bool = False
    held: bool = False
    opening: bool = False
    twins: bool = False
    part_since: float | None = None

    @property
    def active(self) -> int:
        """Number of tasks that are submitted or running."""
        return self.counts[TaskState.SUBMITTED] + self.counts[TaskState.RUNNING]


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task as stored, with what is known of its latest attempt.

    Attributes
    ----------
    position : int
        0-based place in the run's document order.
    attempt : int
        Number of the latest attempt; 0 before the first.
    waiting_for : int
        Number of dependency nodes (tasks, barriers) that have not completed.
    not_before : float
        A retry may not start earlier.
    retries_used, losses : int
        Attempts repeated because the task failed, and because its machine did.
    epoch : int
        The run's epoch in which the latest attempt was claimed.
    handle : str or None
        What the backend calls the latest attempt: a process id, a job id.
    generated_by : int or None
        Position of the task that generated this one.
    cause : int or None
        For ``dep_failed``: position of the task whose failure is the root cause.
    log : str or None
        Name of the latest attempt's log, where the backend gives it one that can't be derived.
    wanted_at : float or None
        When the next or present attempt was claimed first, if it was given back since.
    """

    position: int
    spec: TaskSpec
    state: TaskState
    reason: Reason | None
    message: str
    exit_code: int | None
    attempt: int
    waiting_for: int
    not_before: float
    retries_used: int
    losses: int
    created_at: float
    submitted_at: float | None
    started_at: float | None
    ended_at: float | None
    epoch: int
    backend: str
    handle: str | None
    generated_by: int | None
    cause: int | None
    log: str | None = None
    wanted_at: float | None = None


class Outcome(NamedTuple):
    """How an attempt ended.

    Attributes
    ----------
    state : TaskState
        COMPLETED or FAILED.
    reason : Reason
        ``exit`` for a command that ended by itself, whatever its exit code.
    exit_code : int or None
        As a shell reports it: 128 + N for death by signal N; None where it is not known.
    message : str
        A sentence for people; empty for success.
    """

    state: TaskState
    reason: Reason
    exit_code: int | None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that has ended; its estimated cost is in dollars, where one is known."""

    number: int
    outcome: Outcome
    submitted_at: float | None
    started_at: float | None
    ended_at: float
    backend: str
    handle: str | None
    log: str | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One transition of a task, in the order in which the store saw them."""

    at: float
    position: int
    task_id: str
    attempt: int
    state: TaskState
    reason: Reason | None
    exit_code: int | None
