"""What a workflow file says, after validation: plain immutable data.

`TaskSpec` is what the user asked of one task; where the task stands is in `hut.model.records`.
Objects that many tasks have in common (`Resources`, `RetryPolicy`) are shared between them, so a
workflow of 100,000 tasks stays small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from hut.model.quantities import Gres

__all__ = [
    "BY_ITSELF",
    "DEFAULT_RESOURCES",
    "DEFAULT_RETRY",
    "EMPTY",
    "Resources",
    "RetryPolicy",
    "TaskCall",
    "TaskSpec",
    "WorkflowSpec",
]


class _NoEntries(Mapping[str, str]):
    """An empty mapping that nobody can fill: one object stands for all of them."""

    def __getitem__(self, key: str) -> NoReturn:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"


EMPTY: Mapping[str, str] = _NoEntries()


@dataclass(frozen=True, slots=True)
class Resources:
    """What a task needs of the machine it runs on.

    Attributes
    ----------
    cpus : int
    memory : int
        MiB.
    gres : tuple of Gres
    time_limit : float
        Seconds.
    """

    cpus: int = 1
    memory: int = 4096
    gres: tuple[Gres, ...] = ()
    time_limit: float = 3600.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed attempt is followed by another.

    Attributes
    ----------
    retries : int
        Attempts after the first.
    delay : float
        Seconds before the first retry.
    backoff : float
        Factor on the delay for each further retry, at least 1.
    on : frozenset of int or str
        Exit codes and reasons that are retried; empty means any failure.
    """

    retries: int = 0
    delay: float = 0.0
    backoff: float = 2.0
    on: frozenset[int | str] = frozenset()


BY_ITSELF = 0
"""As the size of bundles: Hut sees to it, by how long the tasks of the run take."""

DEFAULT_RESOURCES = Resources()
DEFAULT_RETRY = RetryPolicy()


class TaskCall(NamedTuple):
    """A task of a task program that a task of the workflow stands for.

    Attributes
    ----------
    name, version : str
        Of its definition, which is kept with the run.
    input : str or None
        The input document as JSON text, references to other tasks' outputs included.
    digest : str
        Of the definition.
    """

    name: str
    version: str
    input: str | None = None
    digest: str = ""

    @property
    def label(self) -> str:
        """Name and version as people write them."""
        return f"{self.name}@{self.version}"


class TaskSpec(NamedTuple):
    """One task as the workflow describes it; dependencies as written, patterns not expanded.

    A tuple, because there may be a million of them: it is made three times as fast as a dataclass.
    `max_queue_time` is in seconds; None is no bound. `dedupe`: where an identical task is under way,
    its execution stands for this one's too (`hut.scheduling.twins`).
    """

    id: str
    command: str
    name: str = ""
    deps: tuple[str, ...] = ()
    working_dir: str | None = None
    partition: str | None = None
    resources: Resources = DEFAULT_RESOURCES
    image: str | None = None
    environment: str | None = None
    env_vars: Mapping[str, str] = EMPTY
    output_file: str | None = None
    error_file: str | None = None
    generates_source: str | None = None
    retry: RetryPolicy = DEFAULT_RETRY
    priority: int = 0
    properties: Mapping[str, str] = EMPTY
    group: str | None = None
    tags: Mapping[str, str] = EMPTY
    backend: str | None = None
    max_queue_time: float | None = None
    dedupe: bool = False
    call: TaskCall | None = None


@dataclass(frozen=True, slots=True)
class WorkflowSpec:
    """A workflow file: its tasks and what holds for all of them.

    Attributes
    ----------
    time_limit : float or None
        Seconds the whole run may take.
    notify : object
        As written; kept for the control plane.
    tags : mapping of str to str
        Of the run, not of its tasks.
    bundle : int or None
        Tasks that one job runs; `BY_ITSELF` leaves the number to Hut, None is a job for each task.
    bundle_slots : int or None
        How many of them at a time; None leaves it to the backend.
    scheduler : str or None
        Its tasks go to backends of this scheduler.
    """

    tasks: tuple[TaskSpec, ...]
    name: str | None = None
    description: str | None = None
    max_concurrent: int | None = None
    env_vars: Mapping[str, str] = EMPTY
    environment: str | None = None
    backend: str | None = None
    max_cost: float | None = None
    time_limit: float | None = None
    notify: object = None
    tags: Mapping[str, str] = EMPTY
    bundle: int | None = None
    bundle_slots: int | None = None
    scheduler: str | None = None
