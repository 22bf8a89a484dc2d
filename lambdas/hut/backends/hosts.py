"""What is known of instances and of the attempts that run on them: the port, and its plain data.

The state machine writes it as it goes, so everyone else can tell how far an attempt has come without
asking Step Functions, and whose an instance is. See `hut.store.dynamodb.hosts` for the items.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

__all__ = ["Host", "Hosts", "IdleHost", "JobNote", "Phase"]


class Phase(StrEnum):
    """How far the state machine has come with an attempt."""

    LAUNCHING = "launching"
    BOOTING = "booting"
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class JobNote:
    """What the state machine has noted of an attempt last; it stays for a while after the end.

    Attributes
    ----------
    name : str
        Of the attempt's job.
    backend : str
        Of which backend it is.
    phase : Phase
    since, launching_since : float or None
        When the phase began, and the first one; seconds since the epoch.
    capacity_errors : int
        How often EC2 had no instance.
    said : str
        What EC2 said last when it had none.
    instance, type, subnet : str
        Of the instance, once there is one.
    spot : bool
    command : str
        Id of the command that SSM was sent.
    token : str
        Of the state machine, while it waits for the end of the command.
    sent_at : float or None
        When the command was sent.
    """

    name: str
    backend: str
    phase: Phase
    since: float | None = None
    launching_since: float | None = None
    capacity_errors: int = 0
    said: str = ""
    instance: str = ""
    type: str = ""
    subnet: str = ""
    spot: bool = False
    command: str = ""
    token: str = ""
    sent_at: float | None = None


class Host(NamedTuple):
    """Whose an instance is.

    Attributes
    ----------
    name : str
        Of the attempt that has it, or had it last.
    backend, shape : str
        Of which backend it is, and which attempts it is alike for.
    at : float
        Since when the attempt has it.
    """

    instance: str
    name: str
    backend: str
    shape: str
    at: float


class IdleHost(NamedTuple):
    """An instance that waits for an attempt, until some time."""

    instance: str
    type: str
    spot: bool
    backend: str
    shape: str
    until: float


class Hosts(Protocol):
    """Keeps it. Every change is conditional, so of several callers who want one instance one gets it."""

    def jobs(self, names: Collection[str]) -> Mapping[str, JobNote]:
        """Return what is noted of jobs; those nothing is noted of are left out."""

    def hosts(self, instances: Collection[str]) -> Mapping[str, Host]:
        """Return whose instances are; those that are nobody's are left out."""

    def idle(self, backend: str) -> Sequence[IdleHost]:
        """Return the idle instances of a backend, those first that are idle the longest."""

    def idle_among(self, hosts: Collection[Host]) -> Mapping[str, IdleHost]:
        """Return those of some instances that are idle, by their ids."""

    def take(self, host: IdleHost, name: str, at: float) -> bool:
        """Give an idle instance to an attempt; False if somebody else has come first."""

    def give_back(self, host: IdleHost, name: str) -> None:
        """Make an instance idle again that an attempt took and has not used."""

    def evict(self, host: IdleHost) -> bool:
        """Take an instance out of the idle ones, for good; False if somebody else has come first.

        It is nobody's then, and whoever called this ends it.
        """

    def disown(self, instance: str, name: str, host: Host | None) -> bool:
        """Make an instance nobody's that was an attempt's; False if it is another attempt's by now.

        An idle instance is taken out of the idle ones by it: nobody can take it from now on.

        Parameters
        ----------
        host
            As `hosts` returned it, if it did.
        """
