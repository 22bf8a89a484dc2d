"""What a control plane asks of a pool beside the port: where an item is, by its name, and what waits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hut.pools.port import Pool, Queued, WorkerState

__all__ = ["ControlledPool", "PoolJob", "Waits"]


@dataclass(frozen=True, slots=True)
class PoolJob:
    """Where something is that was put into a pool.

    Attributes
    ----------
    tasks : int
        How many it had in the beginning.
    left : tuple of int
        While it waits, or a worker has it: its tasks that were not reported yet.
    started : tuple of int
        Those among them that run.
    worker : str
        Who has it, for people; empty if nobody does.
    at : float
        When it was put in.
    ended : mapping of int to (str, float)
        Its tasks that were withdrawn while they waited: why, and when.
    """

    name: str
    run: str
    tasks: int
    left: tuple[int, ...]
    started: tuple[int, ...] = ()
    worker: str = ""
    at: float = 0.0
    ended: Mapping[int, tuple[str, float]] = field(default_factory=dict)


class Waits(NamedTuple):
    """Something that waits for a worker: without its tasks, with their number and since when."""

    item: Queued
    tasks: int
    since: float


class ControlledPool(Pool, Protocol):
    """A pool whose items are asked for by others than its workers."""

    def jobs(self, names: Collection[str]) -> Mapping[str, PoolJob]:
        """Return where items are; those that were never put in are left out."""

    def waiting(self, most: int) -> Sequence[Waits]:
        """Return what waits, in order, so many at most."""

    def workers(self) -> tuple[bool, Sequence[WorkerState]]:
        """Return whether the pool is draining, and its workers."""

    def withdraw_tasks(
        self, wanted: Mapping[str, Collection[int] | None], now: float, reason: str
    ) -> Mapping[str, Queued]:
        """Cancel some tasks of items, or (None) all; return what only waited, by the items' names.

        Of an item that a worker has, only the whole can be stopped: single tasks of it go on.
        """
