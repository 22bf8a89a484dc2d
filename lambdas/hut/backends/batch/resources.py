"""From what a task asks for to what Batch is told: the queue and its resource requirements. Pure.

What can't be had anywhere is an `Unsatisfiable`, never a job that waits for ever.
"""

from __future__ import annotations

from typing import NamedTuple

from hut.backends.batch.options import BatchOptions, Platform
from hut.model.workflow import Resources, TaskSpec

__all__ = ["Placement", "Unsatisfiable", "place", "requirements"]

_LEAST_EC2_MEMORY = 4


class Unsatisfiable(ValueError):  # noqa: N818 - named after the reason it becomes
    """A task asks for what this backend can never give; the message says what, and what it has."""


class Placement(NamedTuple):
    """Where a task goes."""

    queue: str
    platform: Platform


def _steps(least: int, most: int, by: int) -> tuple[int, ...]:
    return tuple(gib * 1024 for gib in range(least, most + 1, by))


# vCPUs and the MiB they can be had with: ResourceRequirement in the API reference of AWS Batch.
# Smaller sizes than one vCPU are left out: `cpus` counts from 1.
_FARGATE_SIZES: tuple[tuple[int, tuple[int, ...]], ...] = (
    (1, _steps(2, 8, 1)),
    (2, _steps(4, 16, 1)),
    (4, _steps(8, 30, 1)),
    (8, _steps(16, 60, 4)),
    (16, _steps(32, 120, 8)),
    (32, (60 * 1024, 120 * 1024, 244 * 1024)),
)


def place(options: BatchOptions, spec: TaskSpec) -> Placement:
    """Return the queue a task's ``partition`` names.

    Raises
    ------
    Unsatisfiable
        If the backend has no such queue.
    """
    partition = spec.partition or options.default_queue
    queue = options.queues.get(partition)
    if queue is None:
        known = ", ".join(sorted(options.queues))
        raise Unsatisfiable(
            f"backend {options.name!r} has no partition {partition!r}; known: {known}"
        )
    return Placement(queue, options.platforms[partition])


def requirements(resources: Resources, platform: Platform) -> list[dict[str, str]]:
    """Return ``resourceRequirements``: at least what was asked for.

    Batch can't choose the model of a GPU (the queue's instance types do), so only their number
    counts. Fargate has fixed sizes: the smallest that is large enough is taken.

    Raises
    ------
    Unsatisfiable
        For other generic resources, for GPUs on Fargate and for more than its largest size.
    """
    gpus = 0
    for gres in resources.gres:
        if gres.name != "gpu":
            raise Unsatisfiable(f"AWS Batch has no generic resource {gres.name!r}; only gpu")
        gpus += gres.count
    cpus, memory = resources.cpus, max(resources.memory, _LEAST_EC2_MEMORY)
    if platform is Platform.FARGATE:
        if gpus:
            raise Unsatisfiable("Fargate has no GPUs; use a partition that runs on EC2")
        cpus, memory = _fargate_size(cpus, resources.memory)
    asked = {"VCPU": cpus, "MEMORY": memory, "GPU": gpus}
    return [{"type": kind, "value": str(amount)} for kind, amount in asked.items() if amount]


def _fargate_size(cpus: int, memory: int) -> tuple[int, int]:
    for vcpus, amounts in _FARGATE_SIZES:
        if vcpus >= cpus:
            for amount in amounts:
                if amount >= memory:
                    return vcpus, amount
    vcpus, amounts = _FARGATE_SIZES[-1]
    raise Unsatisfiable(
        f"{cpus:,} cpus with {memory:,} MiB are more than Fargate has "
        f"({vcpus} with {amounts[-1]:,} MiB); use a partition that runs on EC2"
    )
