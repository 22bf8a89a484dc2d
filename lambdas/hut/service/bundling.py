"""What is told of bundles becomes what is told of their tasks.

A task of a bundle ends when the bundle's log says so, while it runs; what is told by the log counts only
with the nonce that was stored before the job was submitted. The last task, and whatever has no end by
then, ends with the job: the last one stands for the job's place and for what it cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hut.backends.bundle_markers import block_log, outcome_without_end
from hut.backends.port import (
    NOTHING_SAID,
    BundleReport,
    Job,
    JobName,
    JobState,
    RemoteBackend,
    bundled_handle,
    place_in_bundle,
)
from hut.lifecycle.attempt import lost
from hut.model.records import TaskRecord
from hut.model.states import ACTIVE, TaskState
from hut.service.surroundings import Surroundings
from hut.store.events import Bundle
from hut.store.port import AttemptKey

__all__ = ["Bundling", "LogIncomplete", "is_attempt"]

_LOG_SECONDS = 300.0
"""How long after its end the log of a bundle that ran to its end may be incomplete."""

_CUT_SECONDS = 10.0
"""The same for one that was killed: it may have had no last words."""


class LogIncomplete(Exception):  # noqa: N818 - says what it is
    """The log of a bundle that has ended does not tell all its ends yet."""


def is_attempt(task: TaskRecord, key: AttemptKey) -> bool:
    """Say whether an attempt is the task's present one, and active."""
    return task.state in ACTIVE and (task.attempt, task.epoch) == (key.attempt, key.epoch)


class Bundling:
    """See the module's docstring."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._store = around.store

    def told(self, run_id: str, name: JobName, job: Job) -> tuple[AttemptKey, Job] | None:
        """Return the attempt that a line of a log is about; None if the line counts for nothing."""
        place = place_in_bundle(job.handle)
        bundle = self._store.bundle(run_id, name.array)
        if bundle is None or place is None or place >= len(bundle.keys):
            self._around.note.warning("a line of an unknown bundle", run=run_id)
            return None
        if job.nonce != bundle.nonce:
            self._around.note.warning("a line that no bundle wrote", run=run_id, job=job.name)
            return None
        if job.state is JobState.ENDED and place == len(bundle.keys) - 1:
            return None
        log = None if job.log is None else block_log(job.log, bundle.nonce, place)
        return bundle.keys[place], replace(job, log=log if job.state is JobState.ENDED else None)

    def tasks_of(
        self, run_id: str, name: JobName, job: Job, backends: Mapping[str, RemoteBackend]
    ) -> list[tuple[AttemptKey, Job]] | None:
        """Return what a job says of each of its tasks; None if no task wants it.

        Raises
        ------
        LogIncomplete
        """
        bundle = self._store.bundle(run_id, name.array)
        if bundle is None:
            self._around.note.warning("an unknown bundle", run=run_id)
            return None
        tasks = self._store.get_tasks(run_id, {key.position for key in bundle.keys})
        mine = {
            place: tasks[key.position]
            for place, key in enumerate(bundle.keys)
            if key.position in tasks
            and is_attempt(tasks[key.position], key)
            and tasks[key.position].handle in (None, bundled_handle(job.handle, place))
        }
        if not mine:
            return None
        if job.state is JobState.RUNNING:
            return list(self._running(bundle, mine, job))
        if job.state is not JobState.ENDED:
            return []
        backend = backends.get(next(iter(mine.values())).backend)
        return list(self._ended(bundle, mine, job, backend))

    def _running(
        self, bundle: Bundle, mine: Mapping[int, TaskRecord], job: Job
    ) -> Iterator[tuple[AttemptKey, Job]]:
        """Yield the tasks that run: they begin in their order."""
        for place in list(mine)[: bundle.slots]:
            started_at = job.started_at if place < bundle.slots else None
            handle = bundled_handle(job.handle, place)
            yield bundle.keys[place], replace(job, handle=handle, log=None, started_at=started_at)

    def _ended(
        self,
        bundle: Bundle,
        mine: Mapping[int, TaskRecord],
        job: Job,
        backend: RemoteBackend | None,
    ) -> Iterator[tuple[AttemptKey, Job]]:
        report = NOTHING_SAID
        if backend is not None:
            report = backend.report(job, bundle.nonce, len(bundle.keys))
        outcome = report.outcome or job.outcome or lost("nothing tells how its job ended")
        if not (report.is_whole or mine.keys() <= report.ends.keys()) and job.log is not None:
            patience = _LOG_SECONDS if outcome.state is TaskState.COMPLETED else _CUT_SECONDS
            now = self._around.clock()
            if report.outcome is None and now - (job.ended_at or now) < patience:
                raise LogIncomplete("the log of a bundle is not complete yet")
        costs = _costs(report, mine, None if backend is None else backend.cost(job))
        nothing_known = not report.starts and job.started_at is not None
        for place in mine:
            end = report.ends.get(place)
            has_begun = place in report.starts or (nothing_known and place < bundle.slots)
            log = None
            if has_begun and job.log is not None:
                log = block_log(job.log, bundle.nonce, place)
            of_task = replace(
                job,
                handle=bundled_handle(job.handle, place),
                log=log,
                started_at=report.starts.get(place) or (job.started_at if has_begun else None),
                usage=None,
                cost=costs.get(place),
                report=end,
            )
            if end is None:
                of_task = replace(
                    of_task, outcome=outcome_without_end(outcome, has_begun=has_begun)
                )
            else:
                of_task = replace(of_task, ended_at=end.ended_at)
            yield bundle.keys[place], of_task


def _costs(
    report: BundleReport, mine: Mapping[int, TaskRecord], total: float | None
) -> dict[int, float]:
    """Return what each task is taken to have cost: its part of the time all of them took.

    What is left, for those that ended before too, is the last one's: the sum is the job's.
    """
    if total is None:
        return {}
    spans = {place: end.ended_at - end.started_at for place, end in report.ends.items()}
    whole = sum(spans.values())
    costs = {place: total * spans.get(place, 0.0) / whole if whole else 0.0 for place in mine}
    last = max(mine)
    costs[last] = max(total - sum(cost for place, cost in costs.items() if place != last), 0.0)
    return costs
