"""What an engine lets run its attempts: the processes of this machine, or the workers of a pool."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from hut.backends.local import Finished, Launch, LocalBackend
from hut.lifecycle.attempt import judge, lost
from hut.model.records import Outcome
from hut.scheduling.room import claim_ahead
from hut.store.port import AttemptKey, Claim, End

__all__ = ["Begun", "Ended", "LocalRunner", "Runner", "usable_cores"]

_AHEAD_SECONDS = 0.4  # longer than a group, so that slots stay busy while a group is written
_MOST_AHEAD = 1024


class Begun(NamedTuple):
    """An attempt runs; `handle` is its process, or its worker and its process there."""

    key: AttemptKey
    at: float
    handle: str


class Ended(NamedTuple):
    """An attempt is over."""

    key: AttemptKey
    outcome: Outcome
    at: float
    started_at: float | None = None
    handle: str | None = None


class Runner(Protocol):
    """Runs the attempts of one run."""

    @property
    def script_place(self) -> LocalBackend | None:
        """Whose journal scripts note their end in; None: they note nothing."""

    @property
    def running(self) -> int:
        """Number of attempts that were started and have not ended."""

    @property
    def free(self) -> int:
        """How many more may be started now."""

    @property
    def is_idle(self) -> bool:
        """Whether something could run that is not there, so that writing should not wait."""

    def ahead(self, ended: int, seconds: float) -> int:
        """Return how many to claim beyond `free`.

        Parameters
        ----------
        ended
            Tasks that ended within the last `seconds`.
        """

    def start(self, claim: Claim, launch: Launch) -> Begun | None:
        """Start an attempt, or let it wait for whoever does; None: `wait` tells what became of it."""

    def wait(self, timeout: float | None) -> list[Begun | Ended]:
        """Return what happened, after waiting for up to `timeout` seconds for something."""

    def recorded(self, ends: Sequence[End]) -> None:
        """Note that ends are in the store."""

    def stop_all(self, *, force: bool = False) -> None:
        """Cancel everything that runs; with `force`, kill it now."""

    def publish_logs(self, *, empty_too: bool = False) -> None:
        """Let what running attempts have written be found under their names."""


def usable_cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalRunner:
    """Processes of this machine, so many at once. See `Runner` for what each method does.

    Parameters
    ----------
    backend
        Entered by the caller.
    """

    def __init__(self, backend: LocalBackend, slots: int) -> None:
        self.script_place: LocalBackend | None = backend
        self._backend = backend
        self._slots = slots

    @property
    def running(self) -> int:
        """Number of processes that have not ended."""
        return self._backend.running

    @property
    def free(self) -> int:
        """Slots without a process."""
        return self._slots - self._backend.running

    @property
    def is_idle(self) -> bool:
        """Whether a slot is free."""
        return self._backend.running < self._slots

    def ahead(self, ended: int, seconds: float) -> int:
        """Return how many to claim beyond the free slots, so that one write covers many."""
        return claim_ahead(ended, seconds, horizon=_AHEAD_SECONDS, most=_MOST_AHEAD)

    def start(self, claim: Claim, launch: Launch) -> Begun | None:  # noqa: ARG002
        """Start a process."""
        started = self._backend.start(launch)
        return None if started is None else Begun(launch.key, time.time(), str(started))

    def wait(self, timeout: float | None) -> list[Begun | Ended]:
        """Return what ended."""
        return [_ended(finished) for finished in self._backend.wait(timeout)]

    def recorded(self, ends: Sequence[End]) -> None:
        """Do nothing: the journal is all that is kept beside the store."""

    def stop_all(self, *, force: bool = False) -> None:
        """Cancel everything that runs; with `force`, kill it now."""
        self._backend.stop_all(force=force)

    def publish_logs(self, *, empty_too: bool = False) -> None:
        """Let what running attempts have written be found under their names."""
        self._backend.publish_logs(empty_too=empty_too)


def _ended(finished: Finished) -> Ended:
    if finished.evidence is None:
        outcome = lost("its process ended while no hutctl was there to see how")
    else:
        outcome = judge(finished.evidence)
    handle = None if finished.pid is None else str(finished.pid)
    return Ended(finished.key, outcome, finished.at, finished.started_at, handle)
