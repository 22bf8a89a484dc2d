"""The backend port: what the control plane asks of a service that runs tasks as jobs.

It is for services that are told to start something and report its end later (AWS Batch). The local
backend, which the engine drives process by process, is not behind this port.

A job is submitted under a name that was stored before: an attempt's own (`job_name`), or that of an
array or a bundle of attempts of the same shape (`array_name`): the service runs the children of an array
as jobs, a bundle is one job that runs its tasks itself. Submitting is not idempotent on
the service's side, so what a crash leaves open is healed by `find`: the job that exists under the
name is adopted, a second one is terminated.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from hut.lifecycle.task_program import Left
from hut.model.problems import Problem
from hut.model.records import Outcome, RunRecord
from hut.model.waiting import Queue, Waiting
from hut.model.workflow import TaskSpec
from hut.scheduling.bundles import Limits
from hut.scheduling.pacing import Place
from hut.store.port import AttemptKey, Claim

__all__ = [
    "BUNDLE",
    "NOTHING_SAID",
    "ArrayRequest",
    "BundleReport",
    "BundleRequest",
    "BundleShape",
    "Job",
    "JobName",
    "JobRequest",
    "JobState",
    "LogPage",
    "RemoteBackend",
    "SubmitResult",
    "TaskReport",
    "UnknownCursor",
    "Unsatisfiable",
    "Usage",
    "array_name",
    "bundled_handle",
    "child_handle",
    "job_name",
    "parent_of",
    "parse_job_name",
    "place_in_bundle",
]

BUNDLE = "bundle"
"""How the ids of bundles begin; those of arrays are hexadecimal digits alone."""

_NAME = re.compile(
    r"([a-z0-9]+)-([a-z0-9]+)-"
    rf"(?:([0-9]+)-([0-9]+)-([0-9]+)|a([0-9a-f]{{8,32}})|({BUNDLE}[0-9a-f]{{8,32}}))",
    re.ASCII,
)


class JobName(NamedTuple):
    """What a job's name says: whose attempt it is, or which array or bundle.

    Attributes
    ----------
    key : AttemptKey or None
        None for an array and a bundle: which child is which attempt was stored under its id.
    array : str
        Id of the array or the bundle; empty for a job of its own.
    """

    prefix: str
    run_id: str
    key: AttemptKey | None
    array: str = ""

    @property
    def is_bundle(self) -> bool:
        """Whether the job runs several tasks itself."""
        return self.array.startswith(BUNDLE)


def job_name(prefix: str, run_id: str, key: AttemptKey) -> str:
    """Return the name an attempt's job has: letters, digits and dashes, below 128 characters."""
    return f"{prefix}-{run_id}-{key.position}-{key.attempt}-{key.epoch}"


def array_name(prefix: str, run_id: str, array: str) -> str:
    """Return the name an array and its children have, or a bundle.

    Parameters
    ----------
    array
        8 to 32 hexadecimal digits, behind `BUNDLE` for a bundle.
    """
    return f"{prefix}-{run_id}-{array if array.startswith(BUNDLE) else f'a{array}'}"


def parse_job_name(name: str) -> JobName | None:
    """Return what `job_name` or `array_name` put into a name, or None if it is none of ours."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    prefix, run_id, *numbers, array, bundle = match.groups()
    if array is not None or bundle is not None:
        return JobName(prefix, run_id, None, array or bundle)
    return JobName(prefix, run_id, AttemptKey(*map(int, numbers)))


def child_handle(parent: str, index: int) -> str:
    """Return the handle of an array's child."""
    return f"{parent}:{index}"


def bundled_handle(job: str, index: int) -> str:
    """Return the handle of a task in a bundle; no service has a job of that name."""
    return f"{job}#{index}"


def place_in_bundle(handle: str) -> int | None:
    """Return which task of its bundle a handle is of; None for one that is in none."""
    _, mark, index = handle.partition("#")
    return int(index) if mark else None


def parent_of(handle: str) -> str:
    """Return the handle of the array or the bundle a task belongs to; a job of its own is its own."""
    return handle.partition("#")[0].partition(":")[0]


class JobState(StrEnum):
    """How far a job has come."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


class Usage(NamedTuple):
    """What a job had of the service, and for how long.

    Attributes
    ----------
    seconds : tuple of float
        For each time the service tried it; empty if that is not known.
    cpus, memory, gpus, disk : float
        vCPUs, MiB, GPUs and GiB.
    queue, platform, architecture : str
        Where it was, in the service's words; empty where they are not told.
    machine : str
        Type of the machine that it had for itself; empty where it shared one.
    spot : bool
        Whether that was a spot instance.
    """

    seconds: tuple[float, ...] = ()
    cpus: float = 0.0
    memory: float = 0.0
    gpus: float = 0.0
    disk: float = 0.0
    queue: str = ""
    platform: str = ""
    architecture: str = ""
    machine: str = ""
    spot: bool = False


class TaskReport(NamedTuple):
    """What a bundle says of a task that has ended.

    Attributes
    ----------
    place : int
        Which task of the bundle.
    code : int
        Exit code of its launcher.
    started_at, ended_at : float
        Seconds since the epoch.
    how, said : str
        ``timeout`` or ``not-started`` and a sentence, where the launcher says so.
    """

    place: int
    code: int
    started_at: float
    ended_at: float
    how: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """What the service says of a job.

    Attributes
    ----------
    name, handle : str
        Hut's name for it and the service's.
    outcome : Outcome or None
        How it ended, judged from the service's words; None before.
    log : str or None
        Name of its log, once that is known; None too where its output goes elsewhere.
    created_at, started_at, ended_at : float or None
        Seconds since the epoch.
    detail : str
        What the service says about its status, for people.
    image : str
        The image it really has; empty where the service does not tell.
    queue, said : str
        While it waits: where, and the service's reason for it, if it gives one.
    index : int or None
        Which child of its array this is; None for a job of its own and for the array itself.
    usage : Usage or None
        What it had, once it has ended.
    most_losses : int or None
        How often a task may be lost where it was, and still be run again; None: as anywhere.
    spent : str
        What is said of a loss that is one too many.
    report : TaskReport or None
        Of a task in a bundle: what the bundle says of its end.
    nonce : str
        What marked the line of a log that tells this; empty if none did.
    cost : float or None
        Of a task in a bundle: its part of what the job is estimated to cost, in dollars.
    """

    name: str
    handle: str
    state: JobState
    outcome: Outcome | None = None
    log: str | None = None
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    detail: str = ""
    image: str = ""
    queue: str = ""
    said: str = ""
    index: int | None = None
    usage: Usage | None = None
    report: TaskReport | None = None
    nonce: str = ""
    cost: float | None = None
    most_losses: int | None = None
    spent: str = ""


class JobRequest(NamedTuple):
    """An attempt to be run as a job.

    Attributes
    ----------
    name : str
        Of the job, if it becomes one of its own.
    starts : bool
        Whether its start is to be told by an event; if not, the sweep finds it.
    """

    run: RunRecord
    claim: Claim
    name: str
    starts: bool = True


class ArrayRequest(NamedTuple):
    """Attempts of one shape to be run as the children of one array, in this order."""

    name: str
    requests: Sequence[JobRequest]


class BundleShape(NamedTuple):
    """Requests of one shape that may share one job.

    Attributes
    ----------
    places : list of int
        Which requests, in their order.
    slots : int
        How many of them the job runs at a time.
    """

    places: list[int]
    slots: int


class BundleRequest(NamedTuple):
    """Attempts of one shape to be run by one job, in this order.

    Attributes
    ----------
    name : str
        Of the job.
    nonce : str
        16 hexadecimal digits, which mark what the job says of its tasks.
    slots : int
        How many run at a time.
    """

    name: str
    requests: Sequence[JobRequest]
    nonce: str
    slots: int = 1


@dataclass(frozen=True, slots=True)
class BundleReport:
    """What is known of a bundle's tasks.

    Attributes
    ----------
    ends : mapping of int to TaskReport
        By their places.
    starts : mapping of int to float
        When tasks began, those that have ended included as far as their start was told.
    is_whole : bool
        The bundle has had its last word: no other task of it has ended.
    outcome : Outcome or None
        How the job ended, if its log knows better than the service.
    """

    ends: Mapping[int, TaskReport]
    starts: Mapping[int, float]
    is_whole: bool
    outcome: Outcome | None = None


NOTHING_SAID = BundleReport({}, {}, is_whole=False)
"""Of a job without a log."""


class SubmitResult(NamedTuple):
    """What became of a submission: a handle, or how the attempts ended without one.

    Attributes
    ----------
    handle : str or None
        The service's id of the job.
    outcome : Outcome or None
        For an attempt that can never be submitted: ``launch_failed`` or ``unsatisfiable``.
        With neither, the service was busy or broken: the claim is to be given back and tried again.
    detail : str
        What the service said.
    again_at : float or None
        With neither, when there is a place in the line for this submission, in seconds since the
        epoch; None if only the service knows.
    is_unknown : bool
        No answer came, and the job may exist: the claim is left to the sweep, which looks again when
        what is there can be seen. Given back, it would run twice.
    """

    handle: str | None
    outcome: Outcome | None = None
    detail: str = ""
    again_at: float | None = None
    is_unknown: bool = False


class LogPage(NamedTuple):
    """A piece of a log.

    Attributes
    ----------
    text : str
        Whole lines, each with its line end.
    cursor : str or None
        Where to go on; None at the beginning of a log that does not exist yet.
    """

    text: str
    cursor: str | None


class Unsatisfiable(ValueError):  # noqa: N818 - named after the reason it becomes
    """A task asks for what a backend can never give; the message says what, and what it has."""


class UnknownCursor(ValueError):  # noqa: N818 - named after what it says
    """The cursor is none of this log's, or not one any more; the message says what to do."""


class RemoteBackend(Protocol):
    """A service that runs jobs. Every call may raise what the service's client raises."""

    @property
    def name(self) -> str:
        """What workflows call it."""

    def place(self) -> Place:
        """Say whether to claim for it now, or to come again: others may have too much for it."""

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        """Submit each attempt as a job, in order."""

    def arrays(self, requests: Sequence[JobRequest]) -> list[list[int]]:
        """Return which requests may become arrays: groups of at least two places in `requests`."""

    def submit_array(self, array: ArrayRequest) -> SubmitResult:
        """Submit attempts as one array; the handle is the array's, see `child_handle`."""

    def bundle_limits(self) -> Limits | None:
        """Return what is asked of jobs that run several tasks; None where there are none."""

    def bundles(self, requests: Sequence[JobRequest], size: int) -> list[BundleShape]:
        """Return which requests, all of one run, may share jobs of at most `size` tasks.

        Groups are no larger than what a job may hold and how long it may take; a task that must not
        share a job is in none.
        """

    def submit_bundle(self, bundle: BundleRequest) -> SubmitResult:
        """Submit attempts as one job that runs them; the handle is the job's: `bundled_handle`."""

    def report(self, job: Job, nonce: str, size: int) -> BundleReport:
        """Return what the log of a bundle, which may run, says of its `size` tasks and its own end."""

    def script(self, run: RunRecord, spec: TaskSpec, attempt: int) -> str:
        """Return the script an attempt runs."""

    def terminate(self, handles: Sequence[str], reason: str, *, wholly: bool = False) -> None:
        """End jobs that wait or run; those that have ended are left alone.

        Parameters
        ----------
        wholly
            Of an array that a handle is a child of, no child is wanted any more.
        """

    def cancel(self, reasons: Mapping[str, str]) -> None:
        """End jobs that wait, each with a reason of its own; those that start or run are left alone.

        A service may take its time with it: until it tells of the end, nothing has ended.
        """

    def waiting(self, spec: TaskSpec, handle: str | None) -> Waiting:
        """Return why a task waits: its job, if it has one, its queue, and what that gets machines from.

        What the service refuses to tell is named in the answer.
        """

    def where(self, handle: str) -> str:
        """Say which machine a job runs on, for people; empty where the service has no such thing."""

    def queues(self) -> Sequence[Queue]:
        """Return all queues that tasks may go to, with their states."""

    def describe(self, handles: Sequence[str]) -> dict[str, Job]:
        """Return what the service knows of jobs; those it has forgotten are left out."""

    def quiet(self, children: Mapping[str, tuple[int, int]]) -> set[str]:
        """Return the arrays of which nothing is to be learned.

        Parameters
        ----------
        children
            For each array (its handle) how many of its children are believed to have not ended, and
            how many of these to run. An array is quiet if the service counts the same.
        """

    def running(self, array: str) -> Sequence[Job]:
        """Return the children of an array that run."""

    def find(
        self, names: Sequence[str], has_time: Callable[[], bool] = lambda: True
    ) -> Mapping[str, Sequence[Job]]:
        """Return the jobs that exist under names, oldest first; none for names without any.

        Of an array, itself is returned and none of its children. Thousands of names of one run take
        few calls where few of their jobs exist. Once there is no time, the names that were not looked
        for are left out: nothing is known of their jobs.
        """

    def tidy(self, has_time: Callable[[], bool] = lambda: True) -> Sequence[Job]:
        """End machines of this backend that no job needs; return the jobs that are there.

        A sweep asks for it, whatever runs there are. Only jobs that were there for a while are
        returned: the sweep holds them against the store and ends those that nobody wants. A service
        that looks after its own machines has nothing to do.
        """

    def outcome(self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> Outcome | None:
        """Return how a job ended, with what only its log tells; None while it has not."""

    def cost(self, job: Job) -> float | None:
        """Return an estimate in dollars of what a job cost; None if there can't be one."""

    def read_log(self, log: str, cursor: str | None, limit: int) -> LogPage:
        """Return a page of a log, at most `limit` lines, from `cursor` (None: the start) on.

        Raises
        ------
        UnknownCursor
        """

    def remarks(self, tasks: Sequence[TaskSpec]) -> list[Problem]:
        """Return what of tasks this backend will pass over, as warnings."""

    def why_no_log(self) -> str | None:
        """Say why nothing can be read of what jobs print; None where it can."""

    def read_generated(self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> str | None:
        """Return the content of the file a task generated, or None if the log does not hold it."""

    def read_left(
        self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job
    ) -> tuple[Left, bool]:
        """Return what a task program left, and whether its log tells of both files (yet)."""
