"""What the name of an instance type says of it. Pure.

"Amazon EC2 instance type naming conventions" in the guide to instance types: family, generation,
attributes, a dot, the size. Nothing here is a list of all types: a new one is taken as its name reads.
"""

from __future__ import annotations

import re
from enum import StrEnum

__all__ = ["Processor", "cpus_of", "family_of", "has_gpus", "processor_of"]


class Processor(StrEnum):
    """As the names of Amazon Linux images have it."""

    X86_64 = "x86_64"
    ARM64 = "arm64"


_NAME = re.compile(r"(?P<series>[a-z]+)-?(?P<generation>[0-9]+)(?P<attributes>[a-z]*)", re.ASCII)
_SIZE = re.compile(r"(?P<times>[0-9]*)xlarge", re.ASCII)
_GPUS = frozenset({"g", "gr", "p"})
_SMALL = {"medium": 1, "large": 2}
_BURSTING = ("nano", "micro", "small", "medium", "large")  # of series t, with two vCPUs each


def family_of(name: str) -> str:
    """Return what stands before the dot."""
    return name.partition(".")[0]


def processor_of(name: str) -> Processor:
    """Return which processor a type has: the attribute ``g`` is for Graviton, as is ``a1``."""
    match = _NAME.match(family_of(name))
    if match is None:
        return Processor.X86_64
    is_arm = "g" in match["attributes"] or family_of(name) == "a1"
    return Processor.ARM64 if is_arm else Processor.X86_64


def has_gpus(name: str) -> bool:
    """Say whether a type is of a series with GPUs of NVIDIA: those are what containers are given.

    ``g4ad`` has GPUs of AMD.
    """
    match = _NAME.match(family_of(name))
    return match is not None and match["series"] in _GPUS and family_of(name) != "g4ad"


def cpus_of(name: str) -> int | None:
    """Return how many vCPUs a type has, or None if its size does not say so."""
    size = name.partition(".")[2]
    match = _SIZE.fullmatch(size)
    if match is not None:
        return 4 * int(match["times"] or 1)
    bursts = re.match(r"t[0-9]", name) is not None and not name.startswith("t2")
    if bursts and size in _BURSTING:
        return 2
    return _SMALL.get(size)
