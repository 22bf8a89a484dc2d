"""What is known of a backend's targets without anybody having to say it. Pure.

``cpu_count``, ``memory_kb``, ``memory_mb``, ``cpu_arch`` (``x86_64``, ``aarch64``), ``OSFamily`` and, of a
partition with one type only, ``instance_type``. Only what follows from the configuration is told:
nothing is asked of AWS, and what is not certain is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hut.backends.kinds import BATCH, EC2, Refinement
from hut.scheduling.matching import Target
from hut.scheduling.placing import offered

__all__ = ["advertised", "targets_of"]

_FARGATE_CPUS, _FARGATE_GIB = 16, 120
_GIB_PER_CPU = {"c": 2, "m": 4, "r": 8}  # of these series, whose names say it
_KIB, _MIB = 1024 * 1024, 1024  # of a GiB


def advertised(kind: str, options: Any) -> dict[str, dict[str, str]]:
    """Return what each target of a backend has anyway, the default one first."""
    if kind not in (BATCH, EC2):
        return {}
    names = dict.fromkeys((options.default_partition, *options.partitions))
    of_one = _of_types if kind == EC2 else _of_queue
    return {name: of_one(options, name) for name in names if name in options.partitions}


def targets_of(
    name: str, kind: str, options: Any, refinement: Refinement | Mapping[str, Any]
) -> tuple[Target, ...]:
    """Return the targets of a backend: what is known, and upon it what is configured."""
    entry = {**refinement, "name": name}
    return tuple(Target(*each) for each in offered(entry, advertised(kind, options)))


def _of_types(options: Any, partition: str) -> dict[str, str]:
    from hut.backends.ec2.types import Processor, cpus_of, processor_of

    types = options.instance_types[partition]
    found = {"OSFamily": "Linux"}
    processors = {processor_of(name) for name in types}
    if len(processors) == 1:
        found["cpu_arch"] = "aarch64" if processors == {Processor.ARM64} else "x86_64"
    if len(types) == 1:
        found["instance_type"] = types[0]
    cpus = least(cpus_of(name) for name in types)
    if cpus is not None:
        found["cpu_count"] = str(cpus)
    memory = least(_gib_of(name, cpus_of(name)) for name in types)
    return found if memory is None else found | _memory(memory)


def _gib_of(name: str, cpus: int | None) -> int | None:
    """Return the memory of a type, where its series says it: ``c5.xlarge`` has 4 times 2 GiB."""
    series, family = name[:1], name.partition(".")[0]
    if cpus is None or not family[1:2].isdigit() or family == "c5n":
        return None
    per_cpu = _GIB_PER_CPU.get(series)
    return None if per_cpu is None or int(family[1]) < 5 else cpus * per_cpu


def _of_queue(options: Any, partition: str) -> dict[str, str]:
    from hut.model.job_settings import Platform

    found = {"OSFamily": "Linux"}
    is_fargate = options.platforms.get(partition) is Platform.FARGATE
    if is_fargate or partition in options.jobs.architectures:
        is_arm = "ARM" in options.jobs.architecture(partition).upper()
        found["cpu_arch"] = "aarch64" if is_arm else "x86_64"
    if is_fargate:
        found |= {"cpu_count": str(_FARGATE_CPUS)} | _memory(_FARGATE_GIB)
    return found


def least(numbers: Iterable[int | None]) -> int | None:
    """Return the least of some numbers; None if one is not known, or there are none."""
    known = list(numbers)
    told = [number for number in known if number is not None]
    return min(told) if told and len(told) == len(known) else None


def _memory(gib: int) -> dict[str, str]:
    return {"memory_kb": str(gib * _KIB), "memory_mb": str(gib * _MIB)}
