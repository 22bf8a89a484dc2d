"""The store port: what the control plane asks of whatever keeps its state.

The operations are those of the domain, not of a database. Every change is conditional on what the
store holds at that moment, so each operation may be called twice, late, or by two callers at once:

===================  ===========================================================================
operation            what protects it
===================  ===========================================================================
create_run           the run id must be new; an idempotency key is taken together with it
claim                task is pending, waits for nothing, its time has come; caps counted with it
release_claims       task is submitted under the same attempt and epoch
record_started       task is submitted under the same attempt and epoch
record_ended         task is active under the same attempt and epoch; first writer wins
append (in an end)   stored together with the end of its generator, or not at all
cancel_run           run has not ended; pending tasks only, active ones end through record_ended
add_tasks            run is open or held, neither stopped nor ended, and has the tasks that the new
                     ones were planned against; its key is taken together with them
release_run          run is held; nothing of a held run is claimed
close_run            run is open, and all of it has been sent
settle               run has not ended, can't get more tasks, and every task has
reset_tasks          run has ended; tasks that ended without success (or all)
===================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hut.lifecycle.retry import Spent
from hut.lifecycle.task import Next
from hut.model.records import Attempt, Change, Outcome, RunRecord, RunSettings, TaskRecord
from hut.model.states import Reason, RunState, TaskState
from hut.model.workflow import EMPTY, TaskSpec
from hut.planning.graph import Graph
from hut.planning.plan import Extension
from hut.scheduling.room import NO_CAPS, Caps

__all__ = [
    "AttemptKey",
    "Claim",
    "ClaimRequest",
    "Dependency",
    "End",
    "IdempotencyConflict",
    "NewRun",
    "RunClosed",
    "RunExists",
    "RunFilter",
    "StaleExtension",
    "Start",
    "Store",
    "StoreError",
    "TaskExists",
    "TaskFilter",
    "TryAgain",
    "UnknownRun",
    "UnusableStore",
    "claim_of",
]


class StoreError(Exception):
    """The store can't do what was asked; the message says why."""


class UnusableStore(StoreError):  # noqa: N818 - says what it is
    """What is stored may not be worked on by this Hut; the message says what to do."""


class UnknownRun(StoreError):  # noqa: N818 - named after what it says
    """There is no such run."""


class RunExists(StoreError):  # noqa: N818
    """A run with this id exists already."""


class IdempotencyConflict(StoreError):  # noqa: N818
    """The idempotency key was used before, with another body."""


class RunClosed(StoreError):  # noqa: N818
    """No task can be added to the run: it is closed, was stopped or has ended; the message says which."""


class StaleExtension(StoreError):  # noqa: N818
    """The run has other tasks than those the new ones were planned against; plan them again."""


class TaskExists(StoreError):  # noqa: N818
    """A new task has the id of one that the run has already."""


class TryAgain(StoreError):  # noqa: N818
    """Others are at it just now; the same call may succeed in a moment."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to create; an open or held one may begin without tasks.

    Attributes
    ----------
    idempotency_key, body_digest : str or None
        The same key with the same digest gives the run that exists; with another digest it is an
        `IdempotencyConflict`.
    """

    id: str
    workflow: str
    owner: str
    created_at: float
    settings: RunSettings
    tasks: Sequence[TaskSpec]
    graph: Graph
    idempotency_key: str | None = None
    body_digest: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """A wish for tasks to run.

    Attributes
    ----------
    at_most : int
        How many tasks the caller wants.
    backend : str
        Tasks of this backend only.
    caps : Caps
        Bounds on active tasks, counted in the same transaction. Where several runs want a place of a
        backend that is bounded, a store behind a control plane gives each no more than its share
        (`hut.scheduling.shares`); an engine on one machine has one run and slots of its own.
    share : int
        How many tasks may share one place of a backend that is bounded, because one job runs them.
    """

    run_id: str
    epoch: int
    now: float
    at_most: int
    backend: str = "local"
    caps: Caps = NO_CAPS
    share: int = 1


class AttemptKey(NamedTuple):
    """Names one attempt; `epoch` tells a claim that was given back from the one that followed."""

    position: int
    attempt: int
    epoch: int


class Claim(NamedTuple):
    """A task that now belongs to the caller: nobody else will start this attempt.

    Attributes
    ----------
    wanted_at : float or None
        When this attempt was claimed first, if that claim was given back.
    begins : bool
        It takes a place of its backend; those behind it that don't share it.
    """

    key: AttemptKey
    spec: TaskSpec
    spent: Spent
    wanted_at: float | None = None
    begins: bool = True


def claim_of(task: TaskRecord) -> Claim:
    """Return the claim that the latest attempt of a task came from."""
    key = AttemptKey(task.position, task.attempt, task.epoch)
    return Claim(key, task.spec, Spent(task.retries_used, task.losses))


class Start(NamedTuple):
    """An attempt runs."""

    key: AttemptKey
    at: float
    handle: str | None = None
    log: str | None = None


class End(NamedTuple):
    """An attempt has ended.

    Attributes
    ----------
    next : Next
        What the task becomes, as `hut.lifecycle.task.after_end` decided.
    adds : Extension or None
        Tasks that join the run in the same write.
    cost : float or None
        Estimate in dollars; the run adds it up.
    work : float or None
        Seconds it took, where the run is to know how long its tasks take.
    """

    key: AttemptKey
    outcome: Outcome
    next: Next
    at: float
    started_at: float | None = None
    handle: str | None = None
    adds: Extension | None = None
    log: str | None = None
    cost: float | None = None
    work: float | None = None


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """Which tasks to list, page by page.

    Attributes
    ----------
    match : str or None
        Pattern on the id, as in ``deps``.
    after : int
        Position behind which the page starts; -1 is the beginning.
    """

    states: Collection[TaskState] | None = None
    match: str | None = None
    after: int = -1
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list, newest first.

    Attributes
    ----------
    before : tuple of float and str, or None
        ``(created_at, id)`` of the last run of the previous page.
    tags : mapping
        Tags a run has, among others.
    """

    states: Collection[RunState] | None = None
    workflow: str | None = None
    owner: str | None = None
    before: tuple[float, str] | None = None
    limit: int = 50
    tags: Mapping[str, str] = EMPTY

    def has_tags(self, run: RunRecord) -> bool:
        """Say whether a run has the tags."""
        return self.tags.items() <= run.settings.tags.items()


class Dependency(NamedTuple):
    """A task that another one waits for."""

    task_id: str
    state: TaskState


class Store(Protocol):
    """See the module's docstring for what protects each operation."""

    def batch(self) -> AbstractContextManager[None]:
        """Let the calls inside be written together where that saves something."""

    def create_run(self, new: NewRun) -> RunRecord:
        """Store a run with all its tasks, or nothing of it."""

    def begin_epoch(self, run_id: str, now: float) -> RunRecord:
        """Note that an engine takes the run up; claims of earlier epochs can be told apart."""

    def claim(self, request: ClaimRequest) -> list[Claim]:
        """Take ready tasks: higher priority first, then as the run orders its retries, then document order."""

    def release_claims(self, run_id: str, keys: Sequence[AttemptKey]) -> int:
        """Give claims back whose attempts never started. The attempt does not count."""

    def record_started(self, run_id: str, starts: Sequence[Start]) -> None:
        """Note that attempts run."""

    def record_ended(self, run_id: str, ends: Sequence[End]) -> list[bool]:
        """Note how attempts ended; say for each end whether it was the first to be told."""

    def add_tasks(
        self, run_id: str, adds: Extension, *, key: str, now: float, digest: str = ""
    ) -> bool:
        """Let tasks join an open or a held run, all of them or none.

        They may depend on tasks the run has, whether those have ended or not; behind one that has
        failed they are ``dep_failed`` at once.

        Parameters
        ----------
        adds
            The tasks; ``adds.graph.first`` is the number of tasks the run had when they were planned.
        key, digest
            The same key with the same digest adds nothing the second time; with another digest it is
            an `IdempotencyConflict`. Keys of different runs have nothing to do with each other.

        Returns
        -------
        bool
            Whether they joined now; False if they had before, whatever became of the run since.

        Raises
        ------
        RunClosed
            If the run is neither open nor held, was stopped or has ended.
        StaleExtension
            If others joined since they were planned.
        TaskExists
            If the run has a task with one of their ids, or two of them have the same.
        TryAgain
            If others join it just now, or the run is not all stored yet.
        """

    def has_added(self, run_id: str, key: str, digest: str = "") -> bool:
        """Say whether tasks joined a run under a key.

        Raises
        ------
        IdempotencyConflict
            If they did with another digest.
        """

    def release_run(self, run_id: str, now: float) -> RunRecord:
        """Let the tasks of a held run be claimed; one that is not held stays as it is.

        Raises
        ------
        RunClosed
            If it was stopped or has ended while it was held.
        """

    def close_run(self, run_id: str, now: float) -> RunRecord:
        """Take no more tasks into an open run: it ends when those it has do (`settle`).

        One that is not open stays as it is.

        Raises
        ------
        StoreError
            If it is held: what was sent of it is not all.
        """

    def settle(self, run_id: str, now: float) -> RunRecord:
        """Do what follows from ended tasks and end the run if all of them have."""

    def cancel_run(self, run_id: str, reason: Reason, now: float) -> RunRecord:
        """Stop the run: pending tasks end at once, no attempt starts any more."""

    def reset_tasks(self, run_id: str, now: float, *, everything: bool = False) -> int:
        """Make tasks that did not complete (or all) pending again; return how many."""

    def get_run(self, run_id: str) -> RunRecord:
        """Return a run by its full id."""

    def run_of_key(self, key: str) -> str | None:
        """Return the id of the run that was created under an idempotency key."""

    def find_runs(self, prefix: str, limit: int = 10) -> list[RunRecord]:
        """Return runs whose id begins with `prefix`, newest first."""

    def list_runs(self, query: RunFilter) -> list[RunRecord]:
        """Return a page of runs, newest first."""

    def list_tasks(self, run_id: str, query: TaskFilter) -> list[TaskRecord]:
        """Return a page of tasks in document order."""

    def get_task(self, run_id: str, task_id: str) -> TaskRecord | None:
        """Return a task by its id."""

    def get_tasks(self, run_id: str, positions: Collection[int]) -> dict[int, TaskRecord]:
        """Return tasks by their positions; those that don't exist are left out."""

    def task_ids(self, run_id: str) -> list[str]:
        """Return the ids of all tasks in document order."""

    def find_positions(self, run_id: str, ids: Collection[str]) -> dict[str, int]:
        """Return the positions of those of `ids` that are tasks of the run; cheap for a few."""

    def list_attempts(self, run_id: str, positions: Sequence[int]) -> dict[int, list[Attempt]]:
        """Return the ended attempts of tasks, oldest first; tasks without any are left out."""

    def open_dependencies(
        self, run_id: str, position: int, limit: int
    ) -> tuple[list[Dependency], int]:
        """Return dependencies of a task that have not completed, the first few, and their number."""

    def next_retry(self, run_id: str, now: float) -> float | None:
        """Return when the next delayed retry may start, if one waits."""

    def changes(self, run_id: str, cursor: int, limit: int = 1000) -> tuple[list[Change], int]:
        """Return transitions behind `cursor` (0: from the start) and the cursor to go on from."""
