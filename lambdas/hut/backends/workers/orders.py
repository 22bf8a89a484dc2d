"""What a worker gets of an attempt, and which attempts it gets together. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

from hut.backends.launcher import copying, resolve, task_script, working_dir_of
from hut.backends.port import JobRequest, Unsatisfiable
from hut.backends.workers.options import WorkersOptions
from hut.model.scheduler import Kind, Scheduler, number_of
from hut.model.workflow import TaskSpec
from hut.pools.port import Order, Queued

__all__ = ["GRACE", "LARGEST_SCRIPT", "bundles", "item_of", "size_for"]

GRACE = 10.0
"""Seconds from TERM to KILL."""

LARGEST_SCRIPT = 1_500_000
"""Characters of a script; an answer to a worker has 5 MB at most."""

_MOST_BY_ITSELF = 100
_SHARES = 2  # bundles for each slot there is
_SLOTS = 8  # where no worker has joined yet
_LARGEST_BUNDLE = 1_000_000  # characters of commands


class _Alike(NamedTuple):
    """What attempts have in common that go together."""

    wanted: Hashable
    priority: int
    max_queue_time: float | None


def item_of(options: WorkersOptions, name: str, requests: Sequence[JobRequest]) -> Queued:
    """Return what is put into the pool for attempts of one run that go together, or for one.

    Raises
    ------
    Unsatisfiable
        If no worker can run one of them.
    """
    first = requests[0]
    spec, run = first.claim.spec, first.run
    orders = tuple(_order(options, name, index, request) for index, request in enumerate(requests))
    position = min(request.claim.key.position for request in requests)
    arrival = f"{int(run.created_at * 1000):014}.{position:07}"
    return Queued(name, run.id, spec.priority, arrival, dict(spec.properties), orders)


def _order(options: WorkersOptions, name: str, index: int, request: JobRequest) -> Order:
    run, spec, attempt = request.run, request.claim.spec, request.claim.key.attempt
    script = task_script(run, spec, attempt, exports=True)
    if spec.generates_source is not None or spec.call is not None:
        script = copying(run, spec, attempt, script)
    if len(script) > LARGEST_SCRIPT:
        raise Unsatisfiable(
            f"its script and variables have {len(script):,} characters; a worker can be given "
            f"{LARGEST_SCRIPT:,}: fetch large inputs instead of writing them into the command"
        )
    return Order(
        lease=name,
        epoch=0,
        run=run.id,
        task=spec.id,
        attempt=attempt,
        script=script,
        part=index,
        shell=run.settings.shell or "bash",
        private=True,
        folder=working_dir_of(spec),
        time_limit=spec.resources.time_limit,
        grace=GRACE,
        takes=takes_of(options.scheduler, spec.properties),
        output_file=_path(spec, spec.output_file),
        error_file=_path(spec, spec.error_file),
    )


def takes_of(scheduler: Scheduler, wanted: Mapping[str, str]) -> dict[str, int]:
    """Return what a task uses up of its worker's numbers."""
    return {
        name: number
        for name, asked in wanted.items()
        if scheduler.kind_of(name) is Kind.MINIMUM and (number := number_of(asked)) is not None
    }


def _path(spec: TaskSpec, path: str | None) -> str | None:
    return None if path is None else resolve(spec, path)


def bundles(options: WorkersOptions, requests: Sequence[JobRequest], slots: int) -> list[list[int]]:
    """Return which attempts, all of one run, go together: their places, at least two each.

    What uses up numbers of its worker goes alone: it is given back when it ends, not with others. So
    does what generates tasks and what a task program runs, whose end waits for its log.

    Parameters
    ----------
    slots
        Tasks that the workers there are run at once; 0 if there are none.
    """
    alike: dict[_Alike, list[int]] = {}
    for place, request in enumerate(requests):
        spec = request.claim.spec
        told_by_log = spec.generates_source is not None or spec.call is not None
        if not told_by_log and not takes_of(options.scheduler, spec.properties):
            wanted = frozenset(spec.properties.items())
            key = _Alike(wanted, spec.priority, spec.max_queue_time)
            alike.setdefault(key, []).append(place)
    given = requests[0].run.settings.bundle or options.bundle if requests else None
    found: list[list[int]] = []
    for places in alike.values():
        size = given or size_for(len(places), slots)
        found += [chunk for chunk in _chunks(requests, places, size) if len(chunk) > 1]
    return found


def size_for(number: int, slots: int) -> int:
    """Return how many of some tasks go together, so that every slot gets some of them, and again."""
    return max(1, min(_MOST_BY_ITSELF, number // (_SHARES * (slots or _SLOTS))))


def _chunks(requests: Sequence[JobRequest], places: Sequence[int], size: int) -> list[list[int]]:
    chunks: list[list[int]] = [[]]
    room = _LARGEST_BUNDLE
    for place in places:
        length = len(requests[place].claim.spec.command)
        if len(chunks[-1]) == size or (chunks[-1] and length > room):
            chunks.append([])
            room = _LARGEST_BUNDLE
        chunks[-1].append(place)
        room -= length
    return chunks
