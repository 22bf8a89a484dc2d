"""What workers of a control plane say and ask, and what people want of pools.

A report is recorded in the run's store before its lease ends, by what records the ends of all other jobs
(`hut.service.observing`). If this dies before, the worker says it again; after, the second time changes
nothing. Ends of tasks that generate others wait for their log: they are put into the queue of events, which
tells them until they are recorded, and that counts as recorded here.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from hut.backends.port import Job, parse_job_name
from hut.backends.workers.options import WorkersOptions
from hut.backends.workers.outcomes import job_of_report, job_of_start, jobs_of_loss
from hut.backends.workers.queues import News
from hut.faults import told
from hut.pools.jobs import ControlledPool
from hut.pools.logs import stream_of
from hut.pools.port import Answer, Heard, Lost, PoolState, Turn, WorkerSpec
from hut.pools.protocol import Welcome
from hut.service.observing import Observing, Seen
from hut.service.pool_watching import Standing, lost_workers, standing_of, tell_matches
from hut.service.surroundings import Surroundings

__all__ = ["PoolBackend", "Pooling", "UnknownPool", "UnknownWorker"]

_LOOKED_FOR_EVERY = 10.0
"""Seconds between two looks for workers that are gone, beside those of the sweep."""

_KEEPALIVES = 3  # within a worker's time
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9.-]+", re.ASCII)
_LONGEST_BEGINNING = 60


class UnknownPool(LookupError):  # noqa: N818 - named after what it says
    """There is no pool of this name; the other arguments are those there are."""


class UnknownWorker(LookupError):  # noqa: N818
    """The pool has no worker of this id."""


class PoolBackend(Protocol):
    """A pool as a backend, as far as it is needed here."""

    @property
    def options(self) -> WorkersOptions:
        """What it is."""

    @property
    def pool(self) -> ControlledPool:
        """Where its tasks wait."""

    @property
    def news(self) -> News:
        """What tells the control plane of ends."""


class _Ends(NamedTuple):
    """What a turn tells of one run."""

    seen: list[Seen]
    ended: dict[str, Job]


class Pooling:
    """See the module's docstring.

    Parameters
    ----------
    around
        What use cases work with.
    pools
        Returns the pools there are by name; with True as its argument, after a look at what was
        configured a moment ago.
    new_id
        Returns letters and digits that nobody else has got.
    """

    def __init__(
        self,
        around: Surroundings,
        pools: Callable[[bool], Mapping[str, PoolBackend]],
        new_id: Callable[[], str],
    ) -> None:
        self._around = around
        self._pools = pools
        self._new_id = new_id
        self._observing = Observing(around)
        self._looked_at: dict[str, float] = {}
        self._told_at: dict[str, float] = {}

    # Workers ------------------------------------------------------------------------------------

    def join(self, pool: str, spec: WorkerSpec) -> Welcome:
        """Let a worker in; what one of its name and host had before is lost.

        Raises
        ------
        InvalidInput
            If what it advertises can't be matched.
        """
        backend, now = self._pool(pool), self._around.clock()
        named = _NOT_IN_AN_ID.sub("-", spec.name)[:_LONGEST_BEGINNING].strip("-.")
        worker = f"{named or 'worker'}-{self._new_id()}"
        joined = backend.pool.join(worker, spec, now)
        self._lose(backend, joined.lost, now)
        options = backend.options
        patience = options.scheduler.worker_timeout_s
        return Welcome(
            worker,
            patience / _KEEPALIVES,
            patience,
            joined.draining,
            options.bell,
            joined.refused,
            options.log_group,
            stream_of(pool, worker),
        )

    def turn(self, pool: str, worker: str, turn: Turn) -> Answer:
        """Record what a worker says and give it what it may have."""
        backend, now = self._pool(pool), self._around.clock()
        answer = backend.pool.turn(worker, turn, now, lambda heard: self._record(backend, heard))
        if now - self._looked_at.get(pool, 0.0) > _LOOKED_FOR_EVERY:
            self._looked_at[pool] = now
            self._expire(backend, now)
        scheduler, note = backend.options.scheduler, self._around.note
        every = scheduler.worker_match_logging_interval_s
        if 0 < every <= now - self._told_at.get(pool, 0.0):
            self._told_at[pool] = now
            tell_matches(backend.pool, scheduler, note, name=pool)
        return answer

    def leave(self, pool: str, worker: str) -> None:
        """Let a worker go; what it still has is lost."""
        backend, now = self._pool(pool), self._around.clock()
        self._lose(backend, backend.pool.leave(worker, now), now)

    def watch(self) -> Standing:
        """Look for lost workers of all pools, tell the log what waits; return how they stand.

        What is wrong with one pool keeps nothing from the others.
        """
        standing, now = Standing(), self._around.clock()
        for name, backend in self._pools(False).items():
            try:
                self._expire(backend, now)
                scheduler, note = backend.options.scheduler, self._around.note
                every = scheduler.worker_match_logging_interval_s
                found = standing_of(backend.pool, scheduler, note, name=name, every=every)
                standing.add(found)
            except Exception as error:  # noqa: BLE001 - whatever a client raises: the others go on
                standing.failed += 1
                self._around.note.warning(
                    "a pool could not be looked at", pool=name, error=told(error)
                )
        return standing

    def _expire(self, backend: PoolBackend, now: float) -> None:
        lost = backend.pool.expire(now)
        lost_workers(self._around.measure, lost)
        self._lose(backend, lost, now)

    # People -------------------------------------------------------------------------------------

    def list(self) -> list[PoolState]:
        """Return how all pools stand."""
        now = self._around.clock()
        return [backend.pool.describe(now) for backend in self._pools(False).values()]

    def show(self, pool: str) -> PoolState:
        """Return how a pool stands."""
        return self._pool(pool).pool.describe(self._around.clock())

    def drain(self, pool: str, worker: str | None, *, draining: bool) -> PoolState:
        """Give a worker, or (None) the whole pool, nothing new, or again.

        Raises
        ------
        UnknownWorker
        """
        backend, now = self._pool(pool), self._around.clock()
        if not backend.pool.drain(worker, draining, now):
            raise UnknownWorker(worker)
        return backend.pool.describe(now)

    def _pool(self, name: str) -> PoolBackend:
        for looks_anew in (False, True):
            found = self._pools(looks_anew)
            if name in found:
                return found[name]
        raise UnknownPool(name, *found)

    # Recording ----------------------------------------------------------------------------------

    def _record(self, backend: PoolBackend, heard: Heard) -> None:
        """Record starts and ends; those that can't be yet are told through the queue of events."""
        most = backend.options.scheduler.max_job_retries
        runs: dict[str, _Ends] = defaultdict(lambda: _Ends([], {}))
        over = {(report.lease, report.part) for report in heard.reports}
        for started in heard.starts:
            if (started.lease, started.part) not in over:  # the end tells when it began
                item = heard.items[started.lease]
                self._add(runs, item.run_id, job_of_start(item.name, started))
        for report in heard.reports:
            item = heard.items[report.lease]
            job = job_of_report(item.name, report, heard.worker, most)
            if job is not None:
                self._add(runs, item.run_id, job)
                runs[item.run_id].ended[job.handle] = job
        for run_id, ends in runs.items():
            observed = self._observing.observe(
                run_id, ends.seen, backend=backend.options.name, reads_logs=False
            )
            later = [job for handle, job in ends.ended.items() if handle in observed.later]
            if later:
                backend.news.tell(later)

    def _lose(self, backend: PoolBackend, lost: Sequence[Lost], now: float) -> None:
        """Record what was lost; the sweep finds what can't be recorded now: no pool has it any more."""
        most = backend.options.scheduler.max_job_retries
        runs: dict[str, _Ends] = defaultdict(lambda: _Ends([], {}))
        for loss in lost:
            for job in jobs_of_loss(loss, now, most):
                self._add(runs, loss.item.run_id, job)
        for run_id, ends in runs.items():
            self._around.note.warning("tasks of a lost worker", run=run_id, tasks=len(ends.seen))
            self._observing.observe(run_id, ends.seen, backend=backend.options.name)

    def _add(self, runs: Mapping[str, _Ends], run_id: str, job: Job) -> None:
        name = parse_job_name(job.name)
        if name is not None and name.prefix == self._around.prefix:
            runs[run_id].seen.append((name, job))
