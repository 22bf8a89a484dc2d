"""The use cases of pools over a pool in memory, for routes; what is recorded is for other tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hut.backends.port import Job
from hut.backends.workers.options import WorkersOptions
from hut.model.scheduler import Kind, Scheduler
from hut.pools.jobs import Waits
from hut.pools.memory import MemoryPool
from hut.service.pooling import Pooling
from hut.service.surroundings import Surroundings

SCHEDULER = Scheduler("MAIN", {"cpus": Kind.MINIMUM}, worker_timeout_s=30.0)


class WatchedPool(MemoryPool):
    """A pool of which nothing is to be told to the log: that is for other tests."""

    def waiting(self, most: int) -> list[Waits]:  # noqa: ARG002
        return []


@dataclass
class FakePool:
    """A pool as a backend."""

    options: WorkersOptions
    pool: Any
    told: list[Job] = field(default_factory=list)

    @property
    def news(self) -> FakePool:
        return self

    def tell(self, jobs: Any) -> None:
        self.told += jobs


def pooling_of(store: Any, clock: Callable[[], float]) -> Pooling:
    """Return the use cases with one pool, ``gpu``."""
    bells = {"gpu": "https://sqs.eu-west-1.amazonaws.com/123456789012/hut-pool-gpu"}
    options = WorkersOptions("gpu", "/hut/jobs", bells, scheduler=SCHEDULER)
    gpu = FakePool(options, WatchedPool("gpu", SCHEDULER))
    nobody: Any = None
    around = Surroundings(
        store=store,
        backends={},
        executions=nobody,
        wakes=nobody,
        note=nobody,
        clock=clock,
        prefix="hut",
        caps={},
        documents=nobody,
        check=nobody,
    )
    numbers = count(1)
    return Pooling(around, lambda _: {"gpu": gpu}, lambda: f"n{next(numbers)}")
