"""What the REST API needs of the rest of the control plane. Built elsewhere, used here.

The routes know the store port, the use cases and these protocols; which adapters stand behind them
is decided where a `Services` is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hut.backends.port import RemoteBackend
from hut.control import Control
from hut.lifecycle.task_program import Report
from hut.model.audit import Act, ActFilter, Ended, Recorded
from hut.model.records import RunRecord
from hut.planning import Plan
from hut.service.ports import DocumentKind
from hut.store.port import Store
from hut.store.registry import TaskRegistry
from hut.submission import Setting, Submission

if TYPE_CHECKING:
    from hut.service.configuring import Configuring  # costs pydantic; few functions answer requests
    from hut.service.pooling import Pooling

__all__ = [
    "AuditRecord",
    "Busy",
    "Cancel",
    "ReadDocuments",
    "Retry",
    "Services",
    "Submit",
    "TooLarge",
    "UnknownUpload",
    "UploadTicket",
    "Uploads",
]


class UnknownUpload(LookupError):  # noqa: N818 - named after what it says
    """There is no such upload of this owner; the argument is its id."""


class TooLarge(ValueError):  # noqa: N818
    """An upload holds more than can be read; the message says how much is allowed."""


class Busy(Exception):  # noqa: N818
    """A service behind this one has no room just now; the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class UploadTicket:
    """Leave to upload one file.

    Attributes
    ----------
    id : str
        What a submission names as ``upload``: letters, digits, ``_`` and ``-``.
    url : str
        Where to PUT the content.
    headers : mapping of str to str
        Headers the PUT must carry.
    expires_at : float
        Seconds since the epoch.
    """

    id: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    expires_at: float = 0.0


class Uploads(Protocol):
    """Files that are too large for a request's body."""

    def ticket(self, owner: str) -> UploadTicket:
        """Return leave to upload a file that only `owner` can submit."""

    def read(self, owner: str, upload_id: str, /) -> str:
        """Return the text of an upload.

        Raises
        ------
        UnknownUpload
            If `owner` has uploaded nothing under this id.
        TooLarge
            If it is larger than can be planned.
        MalformedDocument
            If it is not UTF-8 text.
        """


class Submit(Protocol):
    """The use case behind ``POST /runs``."""

    def __call__(self, submission: Submission, setting: Setting, /) -> tuple[RunRecord, Plan, bool]:
        """Store a run and start it; the last value says whether it is new.

        Raises
        ------
        InvalidInput
            With every problem of the input.
        IdempotencyConflict
            If the key was used with another body.
        """


class Cancel(Protocol):
    """The use case behind ``POST /runs/{run}/cancel``; a run that has ended is left alone."""

    def __call__(self, run_id: str, /) -> RunRecord:
        """Stop a run and return it as it stands then."""


class Retry(Protocol):
    """The use case behind ``POST /runs/{run}/retry``."""

    def __call__(self, run_id: str, everything: bool, /) -> tuple[int, RunRecord]:
        """Repeat what did not complete, or everything; return how many tasks, and the run.

        Raises
        ------
        StoreError
            If the run has not ended.
        """


class AuditRecord(Protocol):
    """Who did what; see `hut.model.audit`. What was noted once stays as it is."""

    def begin(self, act: Act, /) -> None:
        """Note what is about to be done; if that can't be noted, it must not be done."""

    def end(self, act: Act, ended: Ended, /) -> None:
        """Note what became of it."""

    def acts(self, query: ActFilter, now: float, /) -> tuple[list[Recorded], str | None]:
        """Return a page of acts, newest first, and where the list goes on, if it may."""


class ReadDocuments(Protocol):
    """What attempts of task programs wrote, by run, position and number of the attempt."""

    def read(self, run_id: str, position: int, attempt: int, kind: DocumentKind) -> bytes | None:
        """Return a document; None if there is none."""

    def reports(self, run_id: str, position: int, attempt: int) -> list[Report]:
        """Return the error reports of an attempt."""

    def url(self, run_id: str, position: int, attempt: int, kind: DocumentKind) -> str:
        """Return an address from which anybody can read a document for some minutes."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a request may need.

    Attributes
    ----------
    configuring : Configuring
        The control plane's configuration: which backends and environments it knows.
    active_on : callable
        Returns how many tasks of all runs are active on a backend that has a cap.
    backend : callable
        Returns a backend by its name, or None.
    registry : TaskRegistry
        Tasks of task programs.
    documents : ReadDocuments
        What task programs wrote.
    pooling : callable
        Returns the use cases of pools of workers, as of this request.
    clock : callable
        Seconds since the epoch.
    version, prefix : str
        What ``GET /health`` tells of this installation.
    """

    control: Control
    store: Store
    submit: Submit
    cancel: Cancel
    retry: Retry
    backend: Callable[[str], RemoteBackend | None]
    uploads: Uploads
    audit: AuditRecord
    configuring: Configuring
    registry: TaskRegistry
    documents: ReadDocuments
    active_on: Callable[[str], int]
    pooling: Callable[[], Pooling]
    clock: Callable[[], float]
    version: str
    prefix: str
