"""Ready tasks of one shape become one array job: SubmitJob is called once for up to 10,000. Pure.

The children of an array have everything in common but the number they find in
``AWS_BATCH_JOB_ARRAY_INDEX``. What makes them different tasks (variables, paths, the command) stands
in a table: in the launcher itself where Batch's 8,192 characters suffice, line by line or as numbers
that follow the child's (see `numbering`), else in S3, as parts of equal width, of which each child
fetches its own. An image that can't fetch anything gets arrays small enough for the first kinds.
"""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hut.backends.batch.jobs import (
    LARGEST_OVERRIDES,
    PlannedJob,
    environment_of,
    length_of,
    parameters_of,
    seconds_of,
)
from hut.backends.batch.numbering import numbered
from hut.backends.batch.options import BatchOptions
from hut.backends.batch.priorities import scheduling_of
from hut.backends.batch.resources import (
    Placement,
    Unsatisfiable,
    check_definition,
    image_of,
    place,
    requirements,
)
from hut.backends.bundle_script import Member, common_ends, members_of
from hut.backends.launcher import (
    FIRST,
    FROM_FILE,
    StoredScript,
    fetch_part,
    head_of,
    is_plain,
    launcher_body,
)
from hut.backends.markers import nonce_of_child
from hut.backends.port import ArrayRequest, JobRequest
from hut.backends.tags import job_tags
from hut.model.workflow import TaskSpec

__all__ = ["LARGEST_ARRAY", "Shape", "group", "plan_array", "shape_of", "table_key"]

LARGEST_ARRAY = 10_000
"""Children an array may have (quotas of AWS Batch)."""

_LEAST_WIDTH = 512
_MOST_LINES = 400  # more never fit
_CASE = "case $_n in\n"
_FROM_PARTS = '"$_s" -c "$0$_z$1"'
# What a shell itself heeds while it sets variables: children share these, or are of other shapes.
_SHELLS_OWN = frozenset({"BASH_ENV", "ENV", "HOME", "IFS", "LANG", "LC_ALL", "PATH", "PS4"})


class Shape(NamedTuple):
    """What the children of an array have in common."""

    placement: Placement
    resources: tuple[tuple[str, str], ...]
    seconds: int
    image: str
    scheduling: tuple[tuple[str, Any], ...]
    kind: tuple[Any, ...]
    variables: tuple[tuple[str, str | None], ...]
    size: int

    def requirements(self) -> list[dict[str, str]]:
        """Return the resources as SubmitJob takes them."""
        return [{"type": kind, "value": value} for kind, value in self.resources]

    def empty(self) -> list[str]:
        """Return the names of variables without a value."""
        return [name for name, text in self.variables if text == ""]


def shape_of(options: BatchOptions, request: JobRequest) -> Shape | None:
    """Return the shape of an attempt's job, or None if it can't be a child of an array.

    Tasks whose shape can't be satisfied are submitted by themselves, where that is told.
    """
    spec = request.claim.spec
    try:
        placement = place(options, spec)
        resources = requirements(spec.resources, placement.platform)
        variables = environment_of(request.run, spec, request.claim.key.attempt)
        check_definition(options, spec, variables)
    except Unsatisfiable:
        return None
    if "\n" in head_of(spec):
        return None
    size = len(spec.command) + sum(map(len, variables.values()))
    return Shape(
        placement,
        tuple((entry["type"], entry["value"]) for entry in resources),
        seconds_of(spec),
        image_of(options, spec),
        tuple(scheduling_of(options, request.run, spec).items()),
        _kind(spec),
        # Values may differ, but not whether there is one, nor what the shell itself heeds.
        tuple(
            (name, text if name in _SHELLS_OWN else "" if not text else None)
            for name, text in sorted(variables.items())
        ),
        # Parts of a table have one width: a long script must not make thousands of others as long.
        max(size, _LEAST_WIDTH).bit_length(),
    )


def group(
    options: BatchOptions, requests: Sequence[JobRequest], can_fetch: Callable[[str], bool]
) -> list[list[int]]:
    """Return which requests become arrays, as places in `requests`; what is left stands alone.

    Parameters
    ----------
    requests
        Of one run.
    can_fetch
        Says whether an image can fetch a table from S3.
    """
    shapes: defaultdict[Shape, list[int]] = defaultdict(list)
    for index, request in enumerate(requests):
        shape = shape_of(options, request)
        if shape is not None:
            shapes[shape].append(index)
    groups: list[list[int]] = []
    for shape, alike in shapes.items():
        for start in range(0, len(alike), LARGEST_ARRAY):
            some = alike[start : start + LARGEST_ARRAY]
            if len(some) < 2:
                continue
            chosen = [requests[at] for at in some]
            if can_fetch(shape.image) or plan_array(options, ArrayRequest("", chosen)) is not None:
                groups.append(some)
            else:
                groups.extend(_small_enough(shape, chosen, some))
    return [some for some in groups if len(some) > 1]


def plan_array(
    options: BatchOptions, array: ArrayRequest, stored: StoredScript | None = None
) -> PlannedJob | None:
    """Return the job of an array, or None if its table does not fit and is not said to be stored.

    Parameters
    ----------
    array
        Attempts of one shape.
    stored
        Where the table will be, if it does not fit into the job.
    """
    first = array.requests[0]
    run, spec = first.run, first.claim.spec
    shape = shape_of(options, first)
    assert shape is not None  # noqa: S101 - `group` put them together by it
    common, children = _children(array.requests)
    resources, empty = shape.requirements(), shape.empty()
    begin = _begin(array.name)
    environment = [{"name": name, "value": text} for name, text in common.items() if text]
    upload = None
    if stored is None:
        prefix, suffix = common_ends([child.script for child in children])
        body = launcher_body(spec, empty=empty, run=_FROM_PARTS, plain=is_plain(run))
        ends = [prefix, suffix]
        texts = [f"{begin}{table}{body}" for table in _inline(children, len(prefix), len(suffix))]
    else:
        upload, width = _parts(children)
        fetch = fetch_part(stored, width)
        body = launcher_body(spec, empty=empty, fetch=fetch, run=FROM_FILE, plain=is_plain(run))
        texts, ends = [f"{begin}{body}"], ["hut"]
    for text in texts:
        overrides: dict[str, Any] = {
            "command": ["/bin/sh", "-c", text, *ends],
            "environment": environment,
        }
        if stored is not None or length_of(overrides, resources) <= LARGEST_OVERRIDES:
            break
    else:
        return None
    overrides["resourceRequirements"] = resources
    parameters = parameters_of(options, first, shape.placement, overrides)
    parameters |= {
        "jobName": array.name,
        "arrayProperties": {"size": len(children)},
        "tags": job_tags(run),
    }
    return PlannedJob(shape.placement, shape.image, parameters, upload)


def table_key(array: ArrayRequest) -> str:
    """Return the S3 key of an array's table."""
    return f"scripts/{array.requests[0].run.id}/{array.name.rpartition('-')[2]}.table"


def _kind(spec: TaskSpec) -> tuple[Any, ...]:
    """Return what the text of the launcher depends on, beside its head and the variables."""
    output, error = spec.output_file, spec.error_file
    limit = spec.resources.time_limit
    return (
        output is not None,
        error is not None,
        output is not None and output == error,
        spec.generates_source is not None,
        limit if seconds_of(spec) > limit else None,
    )


def _children(requests: Sequence[JobRequest]) -> tuple[dict[str, str], list[Member]]:
    """Return the variables all children have in common, and what is each child's own."""
    run = requests[0].run
    variables = [
        environment_of(run, request.claim.spec, request.claim.key.attempt) for request in requests
    ]
    return members_of(run, requests, variables)


def _begin(name: str) -> str:
    """Return what a child's launcher begins with: its number, and the mark of its lines."""
    mark = nonce_of_child(name, "$(printf %06x $_n)")
    return f"_n=$AWS_BATCH_JOB_ARRAY_INDEX\n_m=::hut:{mark}:\n{FIRST}"


def _inline(children: Sequence[Member], prefix: int, suffix: int) -> Iterator[str]:
    """Yield what may set a child's head, and the middle of its script, from its number."""
    settings = [_setting(child, prefix, suffix) for child in children]
    if len(settings) <= _MOST_LINES:
        lines = "".join(f"{index}) {text};;\n" for index, text in enumerate(settings))
        yield f"{_CASE}{lines}esac\n"
    command = numbered(settings)
    if command is not None:
        yield f'eval "$({command})"\n'


def _setting(child: Member, prefix: int, suffix: int) -> str:
    middle = child.script[prefix : len(child.script) - suffix]
    return f"{child.head} _z={shlex.quote(middle)}\n{_exported(child)}"


def _exported(child: Member) -> str:
    return f"export {child.exports}"


def _parts(children: Sequence[Member]) -> tuple[bytes, int]:
    """Return the table as parts of equal width, and that width: a head, a script, line ends."""
    parts = [
        f"#hut {index} {child.head}\n{_exported(child)}\n{child.script}".encode()
        for index, child in enumerate(children)
    ]
    width = max(map(len, parts)) + 1
    return b"".join(part.ljust(width, b"\n") for part in parts), width


def _small_enough(
    shape: Shape, requests: Sequence[JobRequest], places: Sequence[int]
) -> list[list[int]]:
    """Return groups whose tables fit into their jobs."""
    common, children = _children(requests)
    prefix, suffix = common_ends([child.script for child in children])
    body = launcher_body(requests[0].claim.spec, empty=shape.empty(), run=_FROM_PARTS)
    environment = [{"name": name, "value": text} for name, text in common.items() if text]
    frame = f"{_begin('')}{_CASE}esac\n{body}"
    command = ["/bin/sh", "-c", frame, prefix, suffix]
    overrides = {"command": command, "environment": environment}
    rest = LARGEST_OVERRIDES - length_of(overrides, shape.requirements())
    groups: list[list[int]] = [[]]
    left = rest
    for at, child in zip(places, children, strict=True):
        line = f"{at}) {_setting(child, len(prefix), len(suffix))};;\n"
        needed = len(json.dumps(line)) - 2
        if needed > left or len(groups[-1]) == _MOST_LINES:
            groups.append([])
            left = rest
        if needed <= left:
            groups[-1].append(at)
            left -= needed
    return groups
