"""How the tasks of a run that makes bundles are claimed and put together.

Of a backend with a cap, one claim of each bundle takes a place, and what belongs to it are the claims
behind it. So there, those of another shape than the first are given back, and come next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hut.backends.port import BundleShape, JobRequest, RemoteBackend
from hut.model.records import RunRecord
from hut.model.states import TaskState
from hut.model.workflow import BY_ITSELF
from hut.scheduling.bundles import Workload, bundle_size, mean_seconds, most_claimed

__all__ = ["Packed", "pack", "size_and_bound", "waits_to_be_full"]


class Packed(NamedTuple):
    """Requests as they are to be submitted.

    Attributes
    ----------
    bundles : list of tuple
        Requests that share a job, and how many of them run at a time.
    alone : list of JobRequest
    back : list of JobRequest
        To be given back.
    """

    bundles: list[tuple[list[JobRequest], int]]
    alone: list[JobRequest]
    back: list[JobRequest]


def size_and_bound(
    run: RunRecord, backend: RemoteBackend, room: int | None, now: float
) -> tuple[int, int | None]:
    """Return how many tasks a job is to have, 1 for jobs of their own, and how many more to claim.

    Parameters
    ----------
    room
        Free places of the backend; None if it has no cap.
    """
    given = run.settings.bundle
    limits = None if given is None else backend.bundle_limits()
    if given is None or limits is None:
        return 1, None
    if run.settings.bundle_slots is not None:
        limits = limits._replace(slots=run.settings.bundle_slots)
    mean = mean_seconds(run.work, run.worked, run.started_at, now)
    load = Workload(run.counts[TaskState.PENDING], room, mean)
    return bundle_size(given, limits, load), most_claimed(given, limits, load, run.active)


def waits_to_be_full(run: RunRecord) -> bool:
    """Say whether bundles of a run wait for tasks that may still be added to it."""
    given = run.settings.bundle
    return run.open and given not in (None, BY_ITSELF) and run.settings.bundle_wait is not None


def pack(
    backend: RemoteBackend, requests: Sequence[JobRequest], size: int, *, capped: bool
) -> Packed:
    """Put requests together to bundles of at most `size` tasks."""
    packed = Packed([], [], [])
    if not capped:
        shapes = backend.bundles(requests, size)
        _take(packed, requests, shapes)
        taken = {place for shape in shapes for place in shape.places}
        packed.alone.extend(r for place, r in enumerate(requests) if place not in taken)
        return packed
    placeless, groups = _by_place(requests)
    packed.back.extend(placeless)
    for group in groups:
        shapes = [shape for shape in backend.bundles(group, size) if 0 in shape.places]
        taken = set(shapes[0].places) if shapes else {0}
        _take(packed, group, shapes[:1])
        if not shapes:
            packed.alone.append(group[0])
        packed.back.extend(r for place, r in enumerate(group) if place not in taken)
    return packed


def _take(packed: Packed, requests: Sequence[JobRequest], shapes: Sequence[BundleShape]) -> None:
    for shape in shapes:
        packed.bundles.append(([requests[place] for place in shape.places], shape.slots))


def _by_place(
    requests: Sequence[JobRequest],
) -> tuple[list[JobRequest], list[list[JobRequest]]]:
    """Return requests in groups that have one place each, and before them those that have none.

    What had their place follows an identical task, and needs none of these jobs.
    """
    placeless: list[JobRequest] = []
    groups: list[list[JobRequest]] = []
    for request in requests:
        if request.claim.begins:
            groups.append([])
        (groups[-1] if groups else placeless).append(request)
    return placeless, groups
