"""Tasks on workers of a pool: the edge that calls the pool, SQS and CloudWatch Logs.

Nothing starts a task here: it is put into the pool, and a worker comes for it. A bundle is what Batch's
arrays are to the rest of the control plane: its tasks are children of one job, kept in the run's store
before it is put into the pool. What it means when a worker reports is in `hut.service.pooling`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from hut.backends.launcher import resolve, task_script
from hut.backends.markers import nonce_of
from hut.backends.port import (
    NOTHING_SAID,
    ArrayRequest,
    BundleReport,
    BundleRequest,
    BundleShape,
    Job,
    JobRequest,
    LogPage,
    SubmitResult,
    Unsatisfiable,
    parent_of,
)
from hut.backends.workers.advice import (
    MOST_BEFORE,
    remarks_on,
    waiting_for,
    waiting_without_job,
)
from hut.backends.workers.attempt_logs import AttemptLogs
from hut.backends.workers.options import WorkersOptions
from hut.backends.workers.orders import bundles, item_of
from hut.backends.workers.outcomes import (
    jobs_of_loss,
    jobs_of_withdrawal,
    task_job,
    whole_job,
    with_limit,
)
from hut.backends.workers.queues import Bell, News
from hut.lifecycle.attempt import unsatisfiable
from hut.lifecycle.task_program import OWN_ENDS, Left
from hut.model.problems import Problem
from hut.model.records import Outcome, RunRecord
from hut.model.waiting import Queue, Waiting
from hut.model.workflow import TaskSpec
from hut.pools.jobs import ControlledPool
from hut.pools.port import Queued, WorkerState
from hut.scheduling.pacing import Place

__all__ = ["WorkersBackend"]

_SLOTS_KNOWN = 5.0  # seconds
_SEEN_AFTER = 100.0  # seconds after which a sweep holds what waits against the store
_LOOKED_AT = 1000  # items of a queue that a sweep looks at
_PAUSES = (0.5, 1.0)


class WorkersBackend:
    """A pool as a backend; implements `hut.backends.port.RemoteBackend`.

    Parameters
    ----------
    options
        What it is.
    pool
        Where its tasks wait.
    logs
        A client of CloudWatch Logs.
    bell, news
        Queues: what rings for workers, and what the control plane is told ends by.
    clock, sleep
        Replaced in tests.
    """

    def __init__(
        self,
        options: WorkersOptions,
        pool: ControlledPool,
        *,
        logs: Any,
        bell: Bell,
        news: News,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.options = options
        self.pool = pool
        self._logs = AttemptLogs(logs, options.log_group)
        self._bell = bell
        self.news = news
        self._clock = clock
        self._sleep = sleep
        self._slots = (0, float("-inf"))

    @property
    def name(self) -> str:
        """What workflows call it."""
        return self.options.name

    def place(self) -> Place:
        """Say that there is room: a queue has no end."""
        return Place(has_room=True)

    # Submitting -----------------------------------------------------------------------------------

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        """Put each attempt into the pool by itself."""
        results: dict[str, SubmitResult] = {}
        items: list[Queued] = []
        for request in requests:
            try:
                items.append(item_of(self.options, request.name, [request]))
                results[request.name] = SubmitResult(request.name)
            except Unsatisfiable as error:
                results[request.name] = SubmitResult(None, unsatisfiable(str(error)), str(error))
        self._enqueue(items)
        return [results[request.name] for request in requests]

    def arrays(self, requests: Sequence[JobRequest]) -> list[list[int]]:
        """Return which requests, all of one run, go to one worker together."""
        return bundles(self.options, requests, self._known_slots()) if len(requests) > 1 else []

    def submit_array(self, array: ArrayRequest) -> SubmitResult:
        """Put attempts into the pool as one."""
        try:
            item = item_of(self.options, array.name, array.requests)
        except Unsatisfiable as error:
            return SubmitResult(None, unsatisfiable(str(error)), str(error))
        self._enqueue([item])
        return SubmitResult(array.name)

    def bundle_limits(self) -> None:
        """Return nothing: what goes to one worker together is an array here."""
        return

    def bundles(self, requests: Sequence[JobRequest], size: int) -> list[BundleShape]:  # noqa: ARG002
        """Return nothing, as `bundle_limits`."""
        return []

    def submit_bundle(self, bundle: BundleRequest) -> SubmitResult:  # noqa: ARG002
        """Take none: `bundles` makes none."""
        return SubmitResult(None, None, "a pool has no jobs that run several tasks")

    def report(self, job: Job, nonce: str, size: int) -> BundleReport:  # noqa: ARG002
        """Return nothing, as `bundle_limits`."""
        return NOTHING_SAID

    def _enqueue(self, items: Sequence[Queued]) -> None:
        if items:
            self.pool.enqueue(items, self._clock())
            self._bell.ring(len(items))

    def _known_slots(self) -> int:
        """Return how many tasks the pool's workers run at once, as it was a moment ago."""
        slots, at = self._slots
        now = self._clock()
        if now - at > _SLOTS_KNOWN:
            slots = sum(worker.spec.slots for worker in self.pool.workers()[1])
            self._slots = slots, now
        return slots

    def script(self, run: RunRecord, spec: TaskSpec, attempt: int) -> str:
        """Return the script an attempt runs, with its variables."""
        return task_script(run, spec, attempt, exports=True)

    # Ending ---------------------------------------------------------------------------------------

    def terminate(self, handles: Sequence[str], reason: str, *, wholly: bool = False) -> None:
        """End jobs: what waits is taken out of the queue, workers are told to stop the rest.

        Of a bundle that a worker has, single tasks go on to their end. That what waited has ended is
        told through the queue of events; should that fail, the pool still knows it.
        """
        wanted: dict[str, set[int] | None] = {}
        for handle in handles:
            name, _, index = handle.partition(":")
            if wholly or not index:
                wanted[name] = None
            elif (some := wanted.setdefault(name, set())) is not None:
                some.add(int(index))
        self._withdraw(wanted, reason)

    def cancel(self, reasons: Mapping[str, str]) -> None:
        """End jobs that wait, each with a reason of its own; those a worker has are left alone."""
        jobs = self.pool.jobs({parent_of(handle) for handle in reasons})
        for handle, reason in reasons.items():
            name, _, index = handle.partition(":")
            job = jobs.get(name)
            if job is not None and not job.worker:
                self._withdraw({name: {int(index or 0)}}, reason)

    def _withdraw(self, wanted: Mapping[str, set[int] | None], reason: str) -> None:
        now = self._clock()
        gone = self.pool.withdraw_tasks(wanted, now, reason)
        for name, item in gone.items():
            indices = [order.part for order in item.orders]
            self.news.tell(jobs_of_withdrawal(name, indices, reason, now))

    # Looking --------------------------------------------------------------------------------------

    def waiting(self, spec: TaskSpec, handle: str | None) -> Waiting:
        """Return why a task waits: what each worker lacks for it, and its place in the queue."""
        draining, workers = self.pool.workers()
        if handle is None:
            return waiting_without_job(self.options, spec, workers, draining=draining)
        name = parent_of(handle)
        job = self.pool.jobs([name]).get(name)
        queue = self.pool.waiting(MOST_BEFORE) if job is not None and not job.worker else ()
        return waiting_for(self.options, spec, handle, job, workers, queue, draining=draining)

    def where(self, handle: str) -> str:
        """Say which worker a job runs on."""
        name = parent_of(handle)
        job = self.pool.jobs([name]).get(name)
        if job is None or not job.worker:
            return ""
        return _named(job.worker, self.pool.workers()[1])

    def queues(self) -> Sequence[Queue]:
        """Return nothing: a pool gets its machines from nowhere, they come by themselves."""
        return ()

    def describe(self, handles: Sequence[str]) -> dict[str, Job]:
        """Return where jobs are; those no worker has any more, and that do not wait, are left out."""
        jobs = self.pool.jobs({parent_of(handle) for handle in handles})
        found: dict[str, Job] = {}
        for handle in handles:
            name, _, index = handle.partition(":")
            if name in jobs and (job := task_job(jobs[name], int(index or 0))) is not None:
                found[handle] = job
        return found

    def quiet(self, children: Mapping[str, tuple[int, int]]) -> set[str]:
        """Return the bundles of which nothing is to be learned."""
        return {
            name
            for name, job in self.pool.jobs(list(children)).items()
            if not job.ended and (len(job.left), len(job.started)) == children[name]
        }

    def running(self, array: str) -> Sequence[Job]:  # noqa: ARG002
        """Return nothing: that a task runs is recorded before the pool notes it."""
        return ()

    def find(
        self, names: Sequence[str], has_time: Callable[[], bool] = lambda: True
    ) -> Mapping[str, Sequence[Job]]:
        """Return the jobs that exist under names: one each, or none."""
        if not has_time():
            return {}
        jobs = self.pool.jobs(names)
        return {name: [whole_job(jobs[name])] if name in jobs else [] for name in names}

    def tidy(self, has_time: Callable[[], bool] = lambda: True) -> list[Job]:
        """Remove workers that are gone; return what was lost with them, and what has waited long."""
        now = self._clock()
        most = self.options.scheduler.max_job_retries
        found = [job for loss in self.pool.expire(now) for job in jobs_of_loss(loss, now, most)]
        if not has_time():
            return found
        old = [w.item.name for w in self.pool.waiting(_LOOKED_AT) if now - w.since > _SEEN_AFTER]
        for job in self.pool.jobs(old).values():
            children = (task_job(job, index) for index in (*job.left[:1], *job.ended))
            found += [child for child in children if child is not None]
        return found

    # Afterwards -----------------------------------------------------------------------------------

    def outcome(self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> Outcome | None:  # noqa: ARG002
        """Return how a job ended; None if it has not."""
        return None if job.outcome is None else with_limit(job.outcome, spec)

    def cost(self, job: Job) -> float | None:  # noqa: ARG002
        """Return nothing: what a worker's machine costs is its owner's to know."""
        return None

    def read_log(self, log: str, cursor: str | None, limit: int) -> LogPage:
        """Return a page of an attempt's output, from `cursor` (None: the start) on.

        Raises
        ------
        UnknownCursor
        """
        return self._logs.read(log, cursor, limit)

    def remarks(self, tasks: Sequence[TaskSpec]) -> list[Problem]:
        """Return what of tasks workers will pass over."""
        return remarks_on(self.options, tasks)

    def why_no_log(self) -> str | None:
        """Return nothing: workers send what tasks print to CloudWatch Logs."""
        return None

    def read_generated(self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> str | None:
        """Return the content of the file a task generated, or None if the log does not hold it (yet).

        Raises
        ------
        InvalidInput
            If the task found no such file, or what is in the log can't be used.
        """
        if job.log is None:
            return None
        source = resolve(spec, spec.generates_source or "")
        for pause in (*_PAUSES, 0.0):
            text = self._logs.generated(job.log, nonce_of(run, spec, attempt), source)
            if text is not None:
                return text
            self._sleep(pause)
        return None

    def read_left(
        self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job
    ) -> tuple[Left, bool]:
        """Return what a task program left, and whether its log tells of both files (yet)."""
        if job.log is None:
            return Left(), False
        for pause in (*_PAUSES, 0.0):
            left, whole = self._logs.left(job.log, nonce_of(run, spec, attempt))
            if whole or job.outcome is None or job.outcome.reason not in OWN_ENDS:
                break
            self._sleep(pause)
        return left, whole


def _named(worker: str, workers: Iterable[WorkerState]) -> str:
    """Return how people are told of a worker."""
    for state in workers:
        if state.spec.name == worker:
            host = f" on {state.spec.host}" if state.spec.host else ""
            return f"worker {worker}{host}"
    return f"worker {worker}"
