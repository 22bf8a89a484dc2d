"""What a backend says of a task that waits there for a machine: plain data, in the backend's words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Pool", "Queue", "Waiting"]

ENABLED = "ENABLED"
VALID = "VALID"
INVALID = "INVALID"


@dataclass(frozen=True, slots=True)
class Pool:
    """Where jobs of a queue get their machines (a compute environment).

    Attributes
    ----------
    state, status : str
        What people made of it (``ENABLED``, ``DISABLED``), and how it is (``VALID``, ``INVALID``).
    said : str
        Why it is so.
    kind : str
        Of machines: ``EC2``, ``SPOT``, ``FARGATE``, ``FARGATE_SPOT``.
    most_cpus, cpus : int or None
        How many vCPUs it may have, and how many it wants just now; None where that is not told.
    """

    name: str
    state: str = ENABLED
    status: str = VALID
    said: str = ""
    kind: str = ""
    most_cpus: int | None = None
    cpus: int | None = None

    @property
    def usable(self) -> bool:
        """Whether jobs are placed there."""
        return self.state == ENABLED and self.status != INVALID


@dataclass(frozen=True, slots=True)
class Queue:
    """Where jobs wait.

    Attributes
    ----------
    state, status, said : str
        As of a `Pool`.
    pools : tuple of Pool
        In the order in which they are tried.
    """

    name: str
    state: str = ENABLED
    status: str = VALID
    said: str = ""
    pools: tuple[Pool, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether its jobs can start. A queue that is disabled goes on with those it has."""
        return self.status != INVALID and any(pool.usable for pool in self.pools)

    def troubles(self) -> Iterator[str]:
        """Yield what is wrong with it and its pools, a phrase each."""
        if self.state != ENABLED:
            yield f"queue {self.name} is {self.state}"
        if self.status == INVALID:
            yield _because(f"queue {self.name} is {INVALID}", self.said)
        if not self.pools:
            yield f"queue {self.name} has no compute environment"
        for pool in self.pools:
            if pool.state != ENABLED:
                yield f"compute environment {pool.name} is {pool.state}"
            if pool.status == INVALID:
                yield _because(f"compute environment {pool.name} is {INVALID}", pool.said)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a backend says when it is asked for a task that waits.

    Attributes
    ----------
    service : str
        What people call the backend.
    status, meaning : str
        Of its job, in the backend's word, and what that says of the task (``{span}`` stands for how
        long); empty if there is no job (any more).
    said : str
        The backend's own reason for it.
    known : bool
        Whether there is such a job; a task that has none yet has none to be known.
    queue : Queue or None
        None where it could not be asked for.
    position : int or None
        1 for the job that is next; None where it is not told.
    head, before : str
        The job that is next, if that is another one: how to find it, and what the backend says of it.
    cpus : int
        vCPUs the job asks for; on some machines more than the task does.
    advice : tuple of str
        What a person may do about it, in the imperative.
    unasked : tuple of str
        What could not be found out, and why.
    """

    service: str = "the backend"
    status: str = ""
    meaning: str = ""
    said: str = ""
    known: bool = True
    queue: Queue | None = None
    position: int | None = None
    head: str = ""
    before: str = ""
    cpus: int = 1
    advice: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()


def _because(phrase: str, said: str) -> str:
    return f"{phrase}: {said}" if said else phrase
