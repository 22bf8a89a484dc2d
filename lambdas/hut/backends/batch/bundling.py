"""Ready tasks of one shape share a job of Batch, which runs them itself. Pure.

Which tasks have one shape is as for arrays; what the job runs is `hut.backends.bundle_script`. Its
program is in the job where Batch's 8,192 characters suffice, else in S3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from hut.backends.batch.arrays import Shape, shape_of
from hut.backends.batch.jobs import (
    LARGEST_OVERRIDES,
    PlannedJob,
    environment_of,
    length_of,
    parameters_of,
)
from hut.backends.batch.options import BatchOptions
from hut.backends.batch.resources import Placement, Unsatisfiable, requirements
from hut.backends.batch.templates import AWSLOGS
from hut.backends.bundle_script import may_share, members_of, parts_of, stored_program
from hut.backends.launcher import StoredScript
from hut.backends.port import BundleRequest, BundleShape, JobRequest
from hut.backends.tags import job_tags
from hut.model.workflow import Resources
from hut.scheduling.bundles import Limits, longest_bundle, time_limit_of

__all__ = ["LIMITS", "group_bundles", "plan_bundle", "program_key"]

LIMITS = Limits(work=60.0, longest=14 * 86400.0)
"""Fargate ends what has run for 14 days."""

_HANDLE = "${AWS_BATCH_JOB_ID:-none}"
_NONCE = "0" * 16


def group_bundles(
    options: BatchOptions,
    requests: Sequence[JobRequest],
    size: int,
    can_fetch: Callable[[str], bool],
) -> list[BundleShape]:
    """Return which requests share jobs of at most `size` tasks, as places in `requests`.

    Parameters
    ----------
    requests
        Of one run.
    can_fetch
        Says whether an image can fetch a program from S3.
    """
    template = options.template
    if template is not None and template.log_driver != AWSLOGS:
        return []  # nobody could read how its tasks ended
    shapes: defaultdict[Shape, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        shape = shape_of(options, request) if may_share(request.claim.spec) else None
        if shape is not None:
            shapes[shape._replace(size=0)].append(place)
    found: list[BundleShape] = []
    for shape, alike in shapes.items():
        first = requests[alike[0]]
        slots = _slots(shape.placement, first)
        limit = first.claim.spec.resources.time_limit
        most = min(size, longest_bundle(limit, slots, LIMITS.longest))
        fits_always = can_fetch(shape.image)
        for start in range(0, len(alike), most):
            some = alike[start : start + most]
            parts = [some] if fits_always else _small_enough(options, requests, some, slots)
            found += [BundleShape(part, min(slots, len(part))) for part in parts if len(part) > 1]
    return found


def plan_bundle(
    options: BatchOptions, bundle: BundleRequest, stored: StoredScript | None = None
) -> PlannedJob | None:
    """Return the job of a bundle, or None if its program does not fit and is not said to be stored."""
    first = bundle.requests[0]
    run, spec = first.run, first.claim.spec
    shape = shape_of(options, first)
    assert shape is not None  # noqa: S101 - `group_bundles` put them together by it
    variables = [
        environment_of(run, request.claim.spec, request.claim.key.attempt)
        for request in bundle.requests
    ]
    common, members = members_of(run, bundle.requests, variables)
    empty = [name for name, text in common.items() if not text]
    parts = parts_of(bundle, members, empty=empty, handle=_HANDLE)
    upload = None
    command = ["/bin/sh", "-c", parts.text, "hut", *parts.arguments]
    if stored is not None:
        text, upload = stored_program(bundle.nonce, parts, stored)
        command = ["/bin/sh", "-c", text, "hut"]
    resources = requirements(_times(spec.resources, bundle.slots), shape.placement.platform)
    environment = [{"name": name, "value": text} for name, text in common.items() if text]
    overrides = {"command": command, "environment": environment}
    if stored is None and length_of(overrides, resources) > LARGEST_OVERRIDES:
        return None
    overrides["resourceRequirements"] = resources
    parameters = parameters_of(options, first, shape.placement, overrides)
    limit = time_limit_of(len(bundle.requests), spec.resources.time_limit, bundle.slots)
    parameters |= {
        "jobName": bundle.name,
        "tags": job_tags(run),
        "timeout": {"attemptDurationSeconds": limit},
        # Tried again by Batch itself, it would run what has ended once more.
        "retryStrategy": {"attempts": 1},
    }
    return PlannedJob(shape.placement, shape.image, parameters, upload)


def program_key(bundle: BundleRequest) -> str:
    """Return the S3 key of a bundle's program."""
    return f"scripts/{bundle.requests[0].run.id}/{bundle.name.rpartition('-')[2]}.sh"


def _times(resources: Resources, slots: int) -> Resources:
    if slots == 1:
        return resources
    return replace(resources, cpus=resources.cpus * slots, memory=resources.memory * slots)


def _slots(placement: Placement, request: JobRequest) -> int:
    """Return how many tasks a job may run at a time: as many as are wanted and can be had.

    Tasks with GPUs go one by one: those of a container are seen by all that runs in it.
    """
    spec, slots = request.claim.spec, request.run.settings.bundle_slots or 1
    if spec.resources.gres:
        return 1
    while slots > 1:
        try:
            requirements(_times(spec.resources, slots), placement.platform)
        except Unsatisfiable:
            slots -= 1
        else:
            break
    return slots


def _small_enough(
    options: BatchOptions, requests: Sequence[JobRequest], places: list[int], slots: int
) -> Iterator[list[int]]:
    """Yield parts of a bundle whose programs fit into their jobs."""
    chosen = [requests[place] for place in places]
    trial = BundleRequest(chosen[0].name, chosen, _NONCE, min(slots, len(chosen)))
    if len(places) < 2 or plan_bundle(options, trial) is not None:
        yield places
        return
    half = (len(places) + 1) // 2
    yield from _small_enough(options, requests, places[:half], slots)
    yield from _small_enough(options, requests, places[half:], slots)
