"""What the commands ask of a target: one interface, whether runs run here or in AWS.

Everything that comes back is a document of the contract (see `hut.views`), so a command prints the
same for every target.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from hut.model.run_options import NO_OPTIONS, RunOptions
from hutctl.pace import Pace

if TYPE_CHECKING:
    from hut.store.registry import TaskRegistry

__all__ = [
    "Attended",
    "Client",
    "Display",
    "Document",
    "LogPart",
    "Progress",
    "Running",
    "Submitted",
    "Unreachable",
    "WorkflowFile",
]

Document = dict[str, Any]


class Unreachable(Exception):  # noqa: N818 - says what it is
    """The target can't be reached, or nothing there does the work."""


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """What a person submits.

    Attributes
    ----------
    text, filename : str
        Content, and the name it came under (``-`` for stdin).
    folder : str
        Absolute; relative paths of tasks start here.
    name : str or None
        Name of the run, instead of the file's.
    pool : str or None
        The pool whose workers run the tasks.
    options : RunOptions
        What is asked of the run as a whole.
    """

    text: str
    filename: str
    folder: str
    name: str | None = None
    max_concurrent: int | None = None
    env_vars: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    backend: str | None = None
    idempotency_key: str | None = None
    pool: str | None = None
    options: RunOptions = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Submitted:
    """A run that was stored (or was there already), with what is odd about its file."""

    run: Document
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Running:
    """A task that runs now, and since when (seconds since the epoch)."""

    task_id: str
    attempt: int
    since: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands.

    Attributes
    ----------
    changes : sequence of Document
        What happened since the last time.
    running : sequence of Running
        The first few of what runs.
    queued : bool
        Submitted tasks wait in a queue elsewhere, maybe for minutes, so they are worth a word.
    """

    run: Document
    changes: Sequence[Document]
    running: Sequence[Running]
    queued: bool = False


class Display(Protocol):
    """Shows a person how a run goes."""

    def show(self, progress: Progress) -> None:
        """Take note of progress; called a few times a second."""

    def close(self) -> None:
        """Leave the terminal as it was."""


@dataclass(frozen=True, slots=True)
class Attended:
    """How following a run ended.

    Attributes
    ----------
    interrupted : bool
        A person pressed Ctrl-C. A local run was cancelled for it; one elsewhere goes on.
    """

    run: Document
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class LogPart:
    """A piece of a log.

    Attributes
    ----------
    attempt : int
        Whose log it is; 0 if nothing ran yet.
    ended : bool
        Nothing more will come.
    merged : bool
        What went to stdout and what went to stderr is one log there.
    """

    attempt: int
    content: bytes
    ended: bool
    merged: bool = False


class Client(Protocol):
    """A target. Runs and tasks are named by their full ids, but for `find_run`."""

    def pace(self) -> Pace:
        """Return how often to look whether something has changed."""

    def plan(self, file: WorkflowFile, *, scripts: bool) -> Document:
        """Return what would run."""

    def submit(self, file: WorkflowFile) -> Submitted:
        """Store a run."""

    def attend(self, run_id: str, display: Display) -> Attended:
        """See a run through to its end, working on it where that is this side's business."""

    def watch(self, run_id: str, display: Display) -> Attended:
        """Follow a run without working on it."""

    def detach(self, run_id: str) -> None:
        """Let the run go on without this process."""

    def find_run(self, reference: str) -> Document:
        """Return the run that an id, the beginning of one, or ``last`` means."""

    def list_runs(
        self,
        *,
        limit: int,
        states: Collection[str] | None = None,
        workflow: str | None = None,
        owner: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> list[Document]:
        """Return runs, newest first."""

    def list_tasks(
        self,
        run_id: str,
        *,
        states: Collection[str] | None = None,
        match: str | None = None,
        where: Sequence[str] = (),
        tags: Sequence[str] = (),
    ) -> Iterator[Document]:
        """Yield tasks in document order; `where` and `tags` as `hut.searching` reads them."""

    def get_task(self, run_id: str, task_id: str) -> Document:
        """Return a task."""

    def script(self, run_id: str, task_id: str) -> str:
        """Return the script of a task's latest attempt, or of its first if it has none."""

    def why(self, run_id: str, task_id: str) -> Document:
        """Say why a task is where it is."""

    def read_log(
        self, run_id: str, task_id: str, kind: str, *, attempt: int | None, offset: int
    ) -> LogPart:
        """Return what a task printed (``out``) or complained (``err``), from a byte on."""

    def list_failures(self, run_id: str, *, final: bool) -> Iterator[Document]:
        """Yield failed attempts, or only those of tasks that are failed now."""

    def list_jobs(self, *, limit: int) -> list[Document]:
        """Return what is submitted or runs now, of all runs."""

    def list_audit(self, *, limit: int, filters: Mapping[str, str | None]) -> list[Document]:
        """Return who changed what, newest first; `filters` as ``GET /audit`` takes them."""

    def list_backends(self, folder: str) -> list[Document]:
        """Return the backends there are, those included on which tasks can't run."""

    def list_environments(self, folder: str) -> list[Document]:
        """Return what workflows of a folder may name as environments; what hides another says so."""

    def list_pools(self) -> list[Document]:
        """Return the pools there are, each with its workers."""

    def show_pool(self, name: str) -> Document:
        """Return a pool with its workers."""

    def drain_pool(self, name: str, worker: str | None, *, draining: bool) -> Document:
        """Give a pool's workers, or one of them, nothing new, or again; return the pool."""

    def cancel(self, run_id: str) -> Document:
        """Stop a run; return it when it has ended."""

    def retry(self, run_id: str, *, everything: bool) -> int:
        """Make tasks pending again; return how many."""

    def registry(self) -> TaskRegistry:
        """Return the registry of task programs' definitions."""

    def read_document(self, run_id: str, task_id: str) -> bytes | None:
        """Return the output document of a task's latest attempt; None if it has none."""

    def find_keyed(self, key: str) -> Document | None:
        """Return the run that was submitted under an idempotency key."""

    def add_tasks(self, run_id: str, file: WorkflowFile, *, key: str) -> Submitted:
        """Let tasks join an open or held run, all or none, once under a key; return the run.

        Of `file` its text and its name count: an array of tasks, or an object with ``tasks``.
        """

    def release(self, run_id: str) -> Document:
        """Let the tasks of a held run be started."""

    def close(self, run_id: str) -> Document:
        """Take no more tasks into an open run, so that it ends when those it has do."""

    def diagnose(self) -> list[tuple[str, bool, str]]:
        """Return checks of the target: what, whether it is well, and what was found."""
