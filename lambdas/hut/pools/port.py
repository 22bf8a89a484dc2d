"""The pool port: a queue of tasks, the workers that ask for them, and who has which.

The run's store holds the truth of tasks. An attempt is claimed there, then put into its pool under the
name of its job; a worker leases it, runs it and reports. What a pool keeps may be made anew from
the store, but for who runs what. Time is passed in, and every call may come twice:

=========  ======================================================================================
operation  what protects it
=========  ======================================================================================
enqueue    the name is not known to the pool
withdraw   it waits: it is gone at once. A worker has it: the worker is told until it says it knows
join       a worker of the same name on the same host is taken for dead: what it had is lost
turn       a report counts if its worker holds the lease in its epoch. It is recorded in the run's
           store first, then the lease ends; the worker repeats it until it is answered
leave      the worker is known: what it still has is lost
expire     the worker was not heard of for `worker_timeout_s`, compared with what is stored then
=========  ======================================================================================

A lease ends when each of its tasks was reported. What its item took of its worker is given back
exactly once, also if recording fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from hut.model.scheduler import Scheduler
from hut.scheduling.matching import Target

__all__ = [
    "Answer",
    "Heard",
    "How",
    "Joined",
    "LeaseState",
    "Lost",
    "Order",
    "Pool",
    "PoolState",
    "Queued",
    "Report",
    "Started",
    "Turn",
    "WorkerSpec",
    "WorkerState",
    "worker_target",
]


class How(StrEnum):
    """How a task ended, in the words of its worker."""

    EXIT = "exit"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    NOT_STARTED = "not_started"
    """The command could not be started, by its own fault: no such folder, say."""
    RETURNED = "returned"
    """Given back before it was started: the worker drains. It waits again in its old place."""
    ERROR = "error"
    """The worker could not run it, by no fault of the task: its disk is full, say. A loss."""


class Order(NamedTuple):
    """A task as a worker gets it.

    Attributes
    ----------
    lease, epoch
        What it is reported under.
    part : int
        Which of the lease's tasks this is.
    run, task : str
        Ids.
    script : str
        What to run; empty if `url` says where it is.
    url : str
        Where to fetch the script, without further permission.
    shell : {"bash", "sh"}
        What runs it; a worker without bash takes sh. What is for ``sh`` is asked to end by INT before
        TERM, as lines of a task file are.
    private : bool
        The script holds values people gave: it must not show in the list of processes.
    folder : str
        Where the command runs, for messages; the script goes there by itself.
    time_limit, grace : float
        Seconds until it is stopped, and from TERM to KILL.
    takes : mapping of str to int
        What it uses up of the worker's numbers.
    output_file, error_file : str or None
        Absolute paths people asked for, instead of the log.
    log : str
        On one machine: path of the log's files without their ending. Empty: the worker's own log.
    """

    lease: str
    epoch: int
    run: str
    task: str
    attempt: int
    script: str
    part: int = 0
    url: str = ""
    shell: Literal["bash", "sh"] = "sh"
    private: bool = True
    folder: str = ""
    time_limit: float = 3600.0
    grace: float = 5.0
    takes: Mapping[str, int] = {}
    output_file: str | None = None
    error_file: str | None = None
    log: str = ""


class Queued(NamedTuple):
    """What is leased as one: a task, or some of one run that want the same.

    Attributes
    ----------
    name : str
        Of the job: `port.job_name` of the attempt, or the name of the bundle.
    priority : int
        The highest first.
    arrival : str
        Of two with the same priority the lesser first. It is the place of the task, not of this
        attempt, so that one that is queued again comes back to it.
    wanted : mapping
        Properties its worker must have.
    orders : tuple of Order
        Its tasks; `Order.epoch` is filled in when they are leased.
    """

    name: str
    run_id: str
    priority: int
    arrival: str
    wanted: Mapping[str, str]
    orders: tuple[Order, ...]

    @property
    def rank(self) -> tuple[int, str, str]:
        """What the queue is sorted by."""
        return (-self.priority, self.arrival, self.name)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """A worker that joins.

    Attributes
    ----------
    name : str
        As people call it; two that live at once have different ones.
    slots : int
        Tasks it runs at once.
    max_inflight : int
        Tasks it takes at most, those included that it has not started; 0 is no bound.
    holding : tuple of (str, int)
        Leases, with their epochs, it still has from an earlier time in this pool.
    """

    name: str
    properties: Mapping[str, str] = field(default_factory=dict)
    slots: int = 1
    max_inflight: int = 0
    host: str = ""
    pid: int = 0
    version: str = ""
    holding: tuple[tuple[str, int], ...] = ()


class Started(NamedTuple):
    """A worker has started a task, as process `pid`; `log` names its log where that is its own."""

    lease: str
    epoch: int
    at: float
    part: int = 0
    pid: int = 0
    log: str | None = None


class Report(NamedTuple):
    """A worker has a task no more.

    Attributes
    ----------
    started_at : float or None
        None if it never was.
    said : str
        For people: why it was not started, what the worker's error is.
    log : str or None
        Name of its log, where that is the worker's own.
    """

    lease: str
    epoch: int
    how: How
    ended_at: float
    part: int = 0
    exit_code: int | None = None
    signal: int | None = None
    started_at: float | None = None
    pid: int = 0
    said: str = ""
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a worker says and asks at once.

    Attributes
    ----------
    want : int
        Tasks it would take.
    holding : tuple of str, or None
        All leases it has not reported wholly. None says nothing: a sign of life from beside its turns.
    stopping : tuple of str
        Leases it has been told to cancel, and is about to.
    wait_s : float
        How long the answer may take while there is no news. A pool that can't wait answers at once.
    """

    want: int = 0
    starts: tuple[Started, ...] = ()
    reports: tuple[Report, ...] = ()
    holding: tuple[str, ...] | None = None
    stopping: tuple[str, ...] = ()
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker is told.

    Attributes
    ----------
    tasks : tuple of Order
        New ones, and such as an earlier answer told that did not arrive.
    refused : tuple of str
        Leases of its turn that are not its own (any more): what it runs of them is to be killed.
        All other reports are recorded.
    cancel : tuple of str
        Leases to stop.
    draining : bool
        It gets nothing new.
    gone : bool
        The pool does not know it: it kills what it has, and joins anew.
    ring : bool
        Since it asked last, something came that it may want.
    """

    tasks: tuple[Order, ...] = ()
    refused: tuple[str, ...] = ()
    cancel: tuple[str, ...] = ()
    draining: bool = False
    gone: bool = False
    ring: bool = False


class Heard(NamedTuple):
    """What of a turn counts, to be recorded in the run's store; items by name, `worker` for people."""

    worker: str
    items: Mapping[str, Queued]
    starts: Sequence[Started]
    reports: Sequence[Report]


class Lost(NamedTuple):
    """An item that is in the pool no more, and whose tasks `left` were not reported.

    Attributes
    ----------
    worker : str
        Who had it, for people.
    why : str
        The beginning of a sentence: ``worker w1 disconnected``.
    left : tuple of int
        Which of its tasks.
    disconnected : bool
        Whether the worker is gone, or could not run this.
    """

    item: Queued
    worker: str
    why: str
    left: tuple[int, ...]
    disconnected: bool = True


class Joined(NamedTuple):
    """A worker belongs to the pool now.

    Attributes
    ----------
    refused : tuple of str
        Leases of `WorkerSpec.holding` that are others' business by now: to be killed.
    lost : tuple of Lost
        What a worker of the same name had before.
    """

    draining: bool
    refused: tuple[str, ...] = ()
    lost: tuple[Lost, ...] = ()


class LeaseState(NamedTuple):
    """A lease as people see it."""

    name: str
    run_id: str
    task: str
    tasks: int
    since: float
    cancelling: bool


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as people see it; `target` is what it is matched by."""

    id: str
    spec: WorkerSpec
    target: Target
    joined_at: float
    seen_at: float
    leases: tuple[LeaseState, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool as people see it.

    Attributes
    ----------
    queued : int
        Tasks that wait for a worker.
    """

    name: str
    draining: bool
    queued: int
    workers: tuple[WorkerState, ...] = ()


class Pool(Protocol):
    """One pool. See the module's docstring for what protects each operation."""

    @property
    def name(self) -> str:
        """How backends and workers call it."""

    @property
    def scheduler(self) -> Scheduler:
        """By which its tasks and workers are matched."""

    def enqueue(self, items: Sequence[Queued], now: float) -> None:
        """Let items wait for workers. Those that are there already stay as they are."""

    def withdraw(self, names: Sequence[str], now: float) -> list[Queued]:
        """Cancel items; return those that only waited, which are gone. Workers stop the others."""

    def join(self, worker: str, spec: WorkerSpec, now: float) -> Joined:
        """Let a worker in under an id that is new.

        Raises
        ------
        InvalidInput
            If what it advertises can't be matched: a number that is none.
        """

    def turn(self, worker: str, turn: Turn, now: float, record: Callable[[Heard], None]) -> Answer:
        """Take what a worker says, give it what it may have.

        Parameters
        ----------
        record
            Is given what counts of it before any lease ends. If it raises, so does this: nothing
            ends, and the worker says it again.
        """

    def leave(self, worker: str, now: float) -> list[Lost]:
        """Let a worker go; what it still has is lost. One that is not known is gone already."""

    def drain(self, worker: str | None, draining: bool, now: float) -> bool:
        """Give a worker, or (None) everybody, nothing new, or again; False if it is not known."""

    def expire(self, now: float) -> list[Lost]:
        """Remove workers that were not heard of for too long, and leases nobody speaks of."""

    def describe(self, now: float) -> PoolState:
        """Return how the pool stands."""


def worker_target(spec: WorkerSpec, now: float) -> Target:
    """Return what a worker that has just joined is matched by."""
    return Target(spec.name, spec.properties, max_inflight=spec.max_inflight, used_at=now)
