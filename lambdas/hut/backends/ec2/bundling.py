"""Ready tasks of one shape share an instance, where one command runs them. Pure.

As many run at a time as the instance has vCPUs and memory for, as far as the name of its type tells:
``c`` has 2 GiB for each vCPU, ``m`` 4 and ``r`` 8 ("Instance type specifications" in the guide to
instance types). Of others nothing is taken for granted: one at a time.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hut.backends.bundle_script import gathering, may_share, members_of, parts_of
from hut.backends.ec2.launching import LONGEST_LIMIT, PlannedLaunch, plan_launch, types_of
from hut.backends.ec2.options import Ec2Options
from hut.backends.ec2.payload import image_of, parts_of_script, payload_for
from hut.backends.ec2.types import cpus_of, family_of
from hut.backends.port import BundleRequest, BundleShape, JobRequest, Unsatisfiable
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec
from hut.scheduling.bundles import Limits, longest_bundle, time_limit_of
from hut.script import attempt_variables

__all__ = ["group_bundles", "limits_of", "plan_bundle"]

_WORK = 300.0
_GIB_PER_CPU = {"c": 2, "m": 4, "r": 8}
_SERIES = re.compile(r"([a-z]+)-?[0-9]", re.ASCII)
_LARGEST = 1_000_000  # characters of commands and variables of one bundle: Linux takes 2 MiB


def limits_of(options: Ec2Options) -> Limits:
    """Return what this backend asks of bundles."""
    types = options.instance_types.get(options.default_partition) or ()
    return Limits(_WORK, LONGEST_LIMIT, _slots_of(types, TaskSpec("", "")))


def group_bundles(
    options: Ec2Options, requests: Sequence[JobRequest], size: int
) -> list[BundleShape]:
    """Return which requests, all of one run, share instances, at most `size` tasks each."""
    shapes: defaultdict[Any, list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        shape = _shape(options, request)
        if shape is not None:
            shapes[shape].append(place)
    found: list[BundleShape] = []
    for alike in shapes.values():
        first = requests[alike[0]]
        spec = first.claim.spec
        slots = first.run.settings.bundle_slots or _slots_of(types_of(options, spec), spec)
        most = min(size, longest_bundle(spec.resources.time_limit, slots, LONGEST_LIMIT))
        part: list[int] = []
        length = 0
        for place in alike:
            own = _length(requests[place])
            if part and (len(part) == most or length + own > _LARGEST):
                found.append(BundleShape(part, min(slots, len(part))))
                part, length = [], 0
            part.append(place)
            length += own
        found.append(BundleShape(part, min(slots, len(part))))
    return [shape for shape in found if len(shape.places) > 1]


def plan_bundle(
    options: Ec2Options, bundle: BundleRequest, bucket: str, now: float
) -> PlannedLaunch:
    """Return what starts a bundle.

    Raises
    ------
    Unsatisfiable
        If no instance of this backend can run it.
    """
    first = bundle.requests[0]
    run, spec = first.run, first.claim.spec
    variables = [
        attempt_variables(run, request.claim.spec, request.claim.key.attempt)
        for request in bundle.requests
    ]
    common, members = members_of(run, bundle.requests, variables)
    empty = [name for name, text in common.items() if not text]
    text, program = gathering(
        bundle.nonce, parts_of(bundle, members, empty=empty, handle=bundle.name)
    )
    argv = ["/bin/sh", "-c", text, *parts_of_script(program)]
    limit = time_limit_of(len(bundle.requests), spec.resources.time_limit, bundle.slots)
    whole = spec._replace(resources=replace(spec.resources, time_limit=float(limit)))
    request = first._replace(name=bundle.name, claim=first.claim._replace(spec=whole))
    payload = payload_for(options, request, argv, common)
    key = f"scripts/{run.id}/{bundle.name.rpartition('-')[2]}.json"
    return plan_launch(options, request, bucket, now, given=(key, payload))


def _shape(options: Ec2Options, request: JobRequest) -> Any:
    """Return what the tasks of a bundle have in common; None for one that goes alone."""
    spec, run = request.claim.spec, request.run
    if not may_share(spec):
        return None
    try:
        types = types_of(options, spec)
    except Unsatisfiable:
        return None  # it is submitted by itself, where that is told
    variables = attempt_variables(run, spec, request.claim.key.attempt)
    output, error = spec.output_file, spec.error_file
    files = (output is not None, error is not None, output is not None and output == error)
    return (
        types,
        spec.resources,
        image_of(options, spec),
        spec.partition,
        files,
        _of_shell(variables),
    )


# What a shell itself heeds while it sets variables, as for arrays of Batch.
_SHELLS_OWN = frozenset({"BASH_ENV", "ENV", "HOME", "IFS", "LANG", "LC_ALL", "PATH", "PS4"})


def _of_shell(variables: Mapping[str, str]) -> tuple[tuple[str, str | None], ...]:
    """Return the names of variables, with the values of those that a shell heeds."""
    return tuple(
        (name, text if name in _SHELLS_OWN else None) for name, text in sorted(variables.items())
    )


def _length(request: JobRequest) -> int:
    run: RunRecord = request.run
    variables = attempt_variables(run, request.claim.spec, request.claim.key.attempt)
    return len(request.claim.spec.command) + sum(map(len, variables.values()))


def _slots_of(types: Sequence[str], spec: TaskSpec) -> int:
    """Return how many tasks run at a time on whichever of some types an instance is of."""
    return max(min((_fit(name, spec) for name in types), default=1), 1)


def _fit(name: str, spec: TaskSpec) -> int:
    cpus, series = cpus_of(name), _SERIES.match(family_of(name))
    gib = None if series is None else _GIB_PER_CPU.get(series[1])
    if cpus is None or gib is None or spec.resources.gres:
        return 1
    # A part of the memory is the system's.
    memory = cpus * gib * 1024 * 0.95
    return min(cpus // spec.resources.cpus, int(memory // max(spec.resources.memory, 1)))
