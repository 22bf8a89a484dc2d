"""What the jobs of an AWS Batch backend have in common: their definition and what belongs to it.

How people write it, and what is wrong with what they wrote: `hut.model.job_settings_reading`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from hut.model.workflow import EMPTY

__all__ = [
    "DEFAULT_LOG_GROUP",
    "Architecture",
    "DefinitionMode",
    "EfsVolume",
    "HostVolume",
    "JobSettings",
    "Platform",
    "Price",
    "Ulimit",
]


DEFAULT_LOG_GROUP = "/aws/batch/job"
"""Where AWS Batch lets containers write if nobody says anything else."""


class Platform(StrEnum):
    """What the machines of a queue are, as ``platformCapabilities`` spells it."""

    EC2 = "EC2"
    FARGATE = "FARGATE"


class DefinitionMode(StrEnum):
    """What becomes of a job definition that is given.

    ``locked``: jobs are submitted against it as it is. ``revisions``: it is a template; an image that
    differs from its own gets a revision of its own.
    """

    LOCKED = "locked"
    REVISIONS = "revisions"


class Architecture(StrEnum):
    """The processor of a Fargate job."""

    X86_64 = "X86_64"
    ARM64 = "ARM64"


class Ulimit(NamedTuple):
    """A limit of the kernel on a container's processes; -1 is none."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class EfsVolume:
    """A file system of Amazon EFS, mounted in every container.

    Attributes
    ----------
    file_system : str
        Its id.
    mount : str
        Folder in the container.
    path : str
        Folder of the file system that is mounted; ``/`` with an access point, which has its own.
    iam : bool
        Whether it is mounted with the permissions of the job's role.
    """

    file_system: str
    mount: str
    path: str = "/"
    access_point: str | None = None
    iam: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class HostVolume:
    """A folder of the EC2 host, mounted in every container on it."""

    source: str
    mount: str
    read_only: bool = False


class Price(NamedTuple):
    """Dollars for an hour of one vCPU, of one GiB of memory and of one GPU."""

    vcpu_hour: float
    gib_hour: float
    gpu_hour: float | None = None

    def times(self, factor: float) -> Price:
        """Return a part of the price, to a millionth of a dollar."""
        gpu = None if self.gpu_hour is None else round(self.gpu_hour * factor, 6)
        return Price(round(self.vcpu_hour * factor, 6), round(self.gib_hour * factor, 6), gpu)


@dataclass(frozen=True, slots=True)
class JobSettings:
    """See the module's docstring.

    Attributes
    ----------
    definition : str or None
        A job definition that exists: name, ``name:revision`` or ARN. None: Hut registers its own.
    retry_attempts : int or None
        How often Batch itself tries a job; None: as the definition says, once for Hut's own.
    secrets : mapping of str to str
        ARN of a secret or parameter for each variable of the container. Never a value.
    shared_memory : int or None
        MiB of ``/dev/shm``, on EC2.
    architectures : mapping of str to Architecture
        By partition, where it is not X86_64; Fargate only.
    ephemeral_storage : int or None
        GiB of disk, on Fargate.
    prices : mapping of str to Price
        By partition; where none is given, a list price stands in for Fargate, and nothing for EC2.
    """

    definition: str | None = None
    mode: DefinitionMode = DefinitionMode.LOCKED
    retry_attempts: int | None = None
    secrets: Mapping[str, str] = EMPTY
    shared_memory: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    volumes: tuple[EfsVolume | HostVolume, ...] = ()
    architectures: Mapping[str, Architecture] = field(default_factory=dict)
    ephemeral_storage: int | None = None
    prices: Mapping[str, Price] = field(default_factory=dict)

    @property
    def locked(self) -> bool:
        """Whether a definition is given that is used as it is."""
        return self.definition is not None and self.mode is DefinitionMode.LOCKED

    def architecture(self, partition: str) -> Architecture:
        """Return the processor that jobs of a partition run on, where Hut has a say in it."""
        return self.architectures.get(partition, Architecture.X86_64)
