"""From what a task asks for to what Batch is told: the queue and its resource requirements. Pure.

What can't be had anywhere is an `Unsatisfiable`, never a job that waits for ever.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from hut.backends.batch.options import BatchOptions, Platform
from hut.backends.batch.templates import AWSLOGS, Template
from hut.backends.port import Unsatisfiable
from hut.model.job_settings import Architecture
from hut.model.workflow import Resources, TaskSpec

__all__ = [
    "Placement",
    "Unsatisfiable",
    "check_definition",
    "image_of",
    "place",
    "requirements",
    "unreadable",
]

_LEAST_EC2_MEMORY = 4


class Placement(NamedTuple):
    """Where a task goes."""

    queue: str
    platform: Platform
    architecture: Architecture = Architecture.X86_64


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
    """Return the queue a task's ``partition`` names, and what it runs on.

    Raises
    ------
    Unsatisfiable
        If the backend has no such queue, or its job definition is for another platform.
    """
    partition = spec.partition or options.default_queue
    queue = options.queues.get(partition)
    if queue is None:
        known = ", ".join(sorted(options.queues))
        raise Unsatisfiable(
            f"backend {options.name!r} has no partition {partition!r}; known: {known}"
        )
    platform, template = options.platforms.get(partition), options.template
    if template is not None and platform not in template.platforms:
        if platform is not None:
            raise Unsatisfiable(
                f"partition {partition!r} runs on {platform}, and job definition "
                f"{template.reference!r} is for {' and '.join(template.platforms)}; "
                "use another partition"
            )
        platform = template.platforms[0]
    assert platform is not None  # noqa: S101 - without a definition, every partition says it
    return Placement(queue, platform, options.jobs.architecture(partition))


def image_of(options: BatchOptions, spec: TaskSpec) -> str:
    """Return the image a task runs in: a locked job definition has its own."""
    template = options.template
    if template is None:
        assert options.default_image is not None  # noqa: S101 - the options were read with one
        return spec.image or options.default_image
    return template.image if options.jobs.locked else spec.image or template.image


def check_definition(options: BatchOptions, spec: TaskSpec, variables: Collection[str]) -> None:
    """Check that a task gets along with what all jobs of the backend have in common.

    Raises
    ------
    Unsatisfiable
        If a variable of its is one that a secret fills, or what it generates could not be read.
    """
    template = options.template
    secrets = options.jobs.secrets.keys() if template is None else template.secrets
    for name in variables:
        if name in secrets:
            raise Unsatisfiable(
                f"variable {name}: a secret of backend {options.name!r} has this name; use another"
            )
    if template is not None and spec.generates_source and template.log_driver != AWSLOGS:
        raise Unsatisfiable(f"generates_source is read from the log, and {unreadable(template)}")


def unreadable(template: Template) -> str:
    """Say why nothing can be read of what jobs of a definition print."""
    return (
        f"job definition {template.reference!r} sends its output elsewhere: its log driver is "
        f"{template.log_driver}, and Hut reads CloudWatch Logs ({AWSLOGS}) only"
    )


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
