"""How pools stand, for those who run them: numbers for the dashboard, and in the log what waits for what.

A worker's turn looks for lost workers and writes the log of its pool now and then, and so does each
sweep, since nobody may ask while no worker is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hut.metrics import Metric
from hut.model.scheduler import Scheduler
from hut.pools.jobs import ControlledPool, Waits
from hut.pools.port import Lost, WorkerState
from hut.scheduling.matching import mismatches
from hut.scheduling.reasons import match_status
from hut.service.ports import Measuring, Noting

__all__ = ["Standing", "lost_workers", "standing_of", "tell_matches"]

_LOOKED_AT = 1000  # items of a queue
_LINES = 10


@dataclass(slots=True)
class Standing:
    """How some pools stand together.

    Attributes
    ----------
    waiting : int
        Tasks that no worker has; of each pool those of the first thousand items are counted.
    unserved : int
        Those among them that no worker there could run, were it idle. What a pool that drains has is
        none of them: it waits because somebody wants it to.
    failed : int
        Pools that could not be looked at.
    """

    workers: int = 0
    waiting: int = 0
    unserved: int = 0
    failed: int = 0

    def add(self, other: Standing) -> None:
        """Add the numbers of another pool."""
        self.workers += other.workers
        self.waiting += other.waiting
        self.unserved += other.unserved


def standing_of(
    pool: ControlledPool, scheduler: Scheduler, note: Noting, *, name: str, every: float
) -> Standing:
    """Look at a pool; tell the log what waits in it, unless `every` is 0."""
    queue = pool.waiting(_LOOKED_AT)
    draining, workers = pool.workers()
    if every > 0:
        _tell(note, name, scheduler, queue, workers, draining=draining)
    return Standing(
        len(workers),
        sum(waits.tasks for waits in queue),
        0 if draining else _unserved(scheduler, queue, workers),
    )


def tell_matches(pool: ControlledPool, scheduler: Scheduler, note: Noting, *, name: str) -> None:
    """Tell the log what waits in a pool, and for what; nothing if nothing does."""
    queue = pool.waiting(_LOOKED_AT)
    if queue:
        draining, workers = pool.workers()
        _tell(note, name, scheduler, queue, workers, draining=draining)


def lost_workers(measure: Measuring, lost: Sequence[Lost]) -> None:
    """Count the workers whose tasks were lost because nobody heard of them any more."""
    measure(Metric.WORKERS_LOST, len({loss.worker for loss in lost if loss.disconnected}))


def _tell(
    note: Noting,
    name: str,
    scheduler: Scheduler,
    queue: Sequence[Waits],
    workers: Sequence[WorkerState],
    *,
    draining: bool,
) -> None:
    waiting = (waits.item.wanted for waits in queue for _ in range(waits.tasks))
    lines = match_status(scheduler, waiting, [worker.target for worker in workers])
    if lines:
        told = (["the pool is draining"] if draining else []) + lines[:_LINES]
        note.info("tasks wait for workers", pool=name, scheduler=scheduler.name, status=told)


def _unserved(scheduler: Scheduler, queue: Sequence[Waits], workers: Sequence[WorkerState]) -> int:
    judged: dict[frozenset[tuple[str, str]], bool] = {}
    count = 0
    for waits in queue:
        wanted = waits.item.wanted
        alike = frozenset(wanted.items())
        if alike not in judged:
            judged[alike] = all(
                mismatches(scheduler, wanted, worker.target, ever=True) for worker in workers
            )
        if judged[alike]:
            count += waits.tasks
    return count
