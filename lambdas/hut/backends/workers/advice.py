"""Why a task of a pool waits, for people who ask: which worker lacks what, and how many are before it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from hut.backends.port import parent_of
from hut.backends.workers.options import WorkersOptions
from hut.model.problems import Problem
from hut.model.waiting import Waiting
from hut.model.workflow import TaskSpec
from hut.pools.jobs import PoolJob, Waits
from hut.pools.port import WorkerState
from hut.scheduling.matching import mismatches, shortfall

__all__ = ["MOST_BEFORE", "SERVICE", "SHOWN", "remarks_on", "waiting_for", "waiting_without_job"]

SERVICE = "the pool"

MOST_BEFORE = 1000
"""Items before a task that are counted."""

SHOWN = 10
"""Workers of which each is said what it lacks."""


def waiting_for(
    options: WorkersOptions,
    spec: TaskSpec,
    handle: str,
    job: PoolJob | None,
    workers: Sequence[WorkerState],
    queue: Sequence[Waits],
    *,
    draining: bool,
) -> Waiting:
    """Return what there is to say of a task that was put into the pool."""
    if job is None:
        return Waiting(SERVICE, known=False)
    if job.worker:
        index = int(handle.partition(":")[2] or 0)
        runs = index in job.started
        what = "has been given to" if not runs else "runs on"
        meaning = f"{what} worker {job.worker}" + ("" if runs else ", where it waits for a slot")
        return Waiting(SERVICE, "leased", meaning)
    before = 0
    for number, waits in enumerate(queue, 1):
        if waits.item.name == parent_of(handle):
            position: int | None = number
            break
        before += waits.tasks
    else:
        position = None
    meaning = "has waited {span} for a worker"
    if position is not None and before:
        meaning += f", with {before:,} {'task' if before == 1 else 'tasks'} before it"
    said, advice = _said(options, spec, workers, draining=draining)
    return Waiting(SERVICE, "waiting", meaning, said=said, position=position, advice=advice)


def waiting_without_job(
    options: WorkersOptions,
    spec: TaskSpec,
    workers: Sequence[WorkerState],
    *,
    draining: bool,
) -> Waiting:
    """Return what there is to say of a task that is not in the pool yet."""
    said, advice = _said(options, spec, workers, draining=draining)
    return Waiting(SERVICE, said=said, advice=advice)


def _said(
    options: WorkersOptions, spec: TaskSpec, workers: Sequence[WorkerState], *, draining: bool
) -> tuple[str, tuple[str, ...]]:
    """Return why no worker has taken it yet, and what a person may do."""
    name = options.name
    if draining:
        return f"{name} is draining: it gives nothing out", (f"hutctl pool resume {name}",)
    if not workers:
        advice = f"start a worker: hutctl worker --pool {name} --slots N"
        return f"{name} has no worker", (advice,)
    sentences = [_of_worker(options, spec, worker) for worker in workers[:SHOWN]]
    if len(workers) > SHOWN:
        sentences.append(f"and {len(workers) - SHOWN:,} other workers")
    could = any(
        not mismatches(options.scheduler, spec.properties, worker.target, ever=True)
        for worker in workers
    )
    if could:
        return "; ".join(sentences), ()
    wanted = " ".join(f"--property {key}={value}" for key, value in spec.properties.items())
    return "; ".join(sentences), (f"start a worker that has what it asks for: {wanted}",)


def _of_worker(options: WorkersOptions, spec: TaskSpec, worker: WorkerState) -> str:
    target, name = worker.target, f"worker {worker.spec.name}"
    lacks = mismatches(options.scheduler, spec.properties, target)
    if lacks:
        return f"{name} lacks " + " and ".join(map(shortfall, lacks))
    if target.draining:
        return f"{name} is draining"
    if not target.has_room:
        return f"{name} has {target.inflight:,} of at most {target.max_inflight:,} tasks"
    return f"{name} could run it and has {target.inflight:,} tasks"


def remarks_on(options: WorkersOptions, tasks: Sequence[TaskSpec]) -> list[Problem]:
    """Return a warning for what tasks ask for and workers do not look at; alike ones share it."""
    boxed = [task.id for task in tasks if task.image is not None]
    if not boxed:
        return []
    others = len(boxed) - 1
    also = f" (also in {others:,} other {'task' if others == 1 else 'tasks'})" if others else ""
    message = f"workers of {options.name!r} run processes of their machine, no containers{also}"
    return [Problem(message, task=boxed[0], field="image")]
