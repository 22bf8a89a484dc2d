"""The guarantee behind the events: compare what the store says with what the backends say.

One sweep at a time looks at every run that has not ended. Nothing it finds is special to it: it calls
what the events would have called, so with all events lost a run still ends, a little later.
"""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hut.backends.port import (
    BUNDLE,
    JobState,
    RemoteBackend,
    array_name,
    bundled_handle,
    child_handle,
    job_name,
    parent_of,
    parse_job_name,
    place_in_bundle,
)
from hut.faults import told
from hut.lifecycle.attempt import lost
from hut.model.records import Outcome, RunRecord, TaskRecord
from hut.model.states import ACTIVE, Reason, TaskState
from hut.scheduling.twins import leader_of
from hut.service.advancing import Advancing
from hut.service.joining import Followers
from hut.service.observing import Observing, Seen
from hut.service.queueing import Queueing
from hut.service.submitting import start_execution
from hut.service.surroundings import Surroundings
from hut.store.port import AttemptKey, TaskFilter

__all__ = ["Sweeping", "Swept"]

_START_SECONDS = 60.0
"""After which a run that is stored but not begun gets its execution (again)."""

_CLAIM_SECONDS = 100.0
"""After which a claim without a handle is looked for: its Lambda can't be alive any more.

`advance` has 60 s, and clocks may differ. A sweep may claim for longer, but there is one at a time:
what it claimed is looked at by a later one. Less than the time between two sweeps, so that the second
one after a fault finds every claim.
"""

_LIMIT_SLACK = 60.0
"""Seconds the state machine is left to act on a run's time limit by itself."""

_TURN_SECONDS, _TURNS = 180.0, 3
"""A run with active tasks is looked through wholly in one of so many turns."""

_LARGE_ARRAY = 200
"""Active children from which on an array is looked at one by one only in its turn."""

_PAGE = 1000


@dataclass(slots=True)
class Swept:
    """What a sweep saw and did, for the metrics; the last three are of `pool_watching.Standing`."""

    runs: int = 0
    active: int = 0
    pending: int = 0
    ends_found: int = 0
    claims_returned: int = 0
    lost: int = 0
    started_again: int = 0
    failed: int = 0
    stuck: int = 0
    queue_timeouts: int = 0
    unwanted: int = 0
    workers: int = 0
    waiting: int = 0
    unserved: int = 0


class Sweeping:
    """See the module's docstring."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._store = around.store
        self._backends = around.backends
        self._advancing = Advancing(around)
        self._observing = Observing(around)
        self._queueing = Queueing(around)
        self._followers = Followers(around)

    def sweep(self) -> Swept:
        """Look at all runs that have not ended, as many as there is time for.

        The order is another one each time, so that no run is always the last.
        """
        swept = Swept()
        self._watch_pools(swept)
        self._tidy(swept)
        runs = self._store.active_runs()
        random.shuffle(runs)
        for run_id in runs:
            if not self._around.has_time():
                self._around.note.warning("no time for all runs", runs=len(runs), done=swept.runs)
                break
            swept.runs += 1
            try:
                self.sweep_run(run_id, swept)
            except Exception as error:  # noqa: BLE001 - one broken run must not keep the others
                swept.failed += 1
                self._around.note.warning("a run could not be swept", run=run_id, error=told(error))
        return swept

    def _watch_pools(self, swept: Swept) -> None:
        """Look for lost workers and for what waits for one."""
        try:
            pools = self._around.pools()
            if not pools:
                return
            from hut.service.pooling import Pooling  # most deployments have none

            standing = Pooling(self._around, lambda _: pools, self._around.new_array).watch()
        except Exception as error:  # noqa: BLE001 - whatever a client raises: the sweep goes on
            swept.failed += 1
            self._around.note.warning("pools could not be looked at", error=told(error))
        else:
            swept.workers, swept.waiting = standing.workers, standing.waiting
            swept.unserved = standing.unserved
            swept.failed += standing.failed

    def _tidy(self, swept: Swept) -> None:
        """Have each backend end what no job needs, and end jobs that no attempt wants.

        Jobs of runs that have ended, or that nobody knows, are found only here: no run asks for them.
        """
        for name, backend in self._backends.items():
            try:
                jobs = backend.tidy(self._around.has_time)
                by_run: dict[str, list[Seen]] = defaultdict(list)
                for job in jobs:
                    parsed = parse_job_name(job.name)
                    if parsed is not None and parsed.prefix == self._around.prefix:
                        by_run[parsed.run_id].append((parsed, job))
                for run_id, seen in by_run.items():
                    swept.unwanted += self._observing.observe(run_id, seen, backend=name).unwanted
            except Exception as error:  # noqa: BLE001 - whatever a client raises: the sweep goes on
                swept.failed += 1
                self._around.note.warning(
                    "a backend could not be tidied", backend=name, error=told(error)
                )

    def sweep_run(self, run_id: str, swept: Swept) -> None:
        """Look at one run."""
        run, now = self._store.get_run(run_id), self._around.clock()
        self._around.see(run)
        if run.ended_at is not None:
            self._advancing.tell_end(run)
            return
        if not self._store.standing(run_id).begun:
            if now - run.created_at > _START_SECONDS:
                swept.started_again += 1
                if not start_execution(self._store, self._around.executions, run):
                    run = self._give_up(run, now)
            if run.cancel_requested_at is None:
                return
        self._check_time_limit(run, now)
        if run.active and run.twins:
            for tasks in self._active_pages(run):
                self._followers.check(run, tasks)
        if run.active:
            self._check_jobs(run, swept)
        run = self._store.get_run(run_id)
        if run.counts[TaskState.PENDING] and not run.held and self._may_be_stuck(run, now):
            self._store.reopen(run_id)
        # The next sweep comes anyway: no messages for retries whose time is still to come.
        run = self._advancing.advance(run_id, wholly=run.cancel_requested_at is not None)
        swept.active += run.active
        swept.pending += run.counts[TaskState.PENDING]

    def _give_up(self, run: RunRecord, now: float) -> RunRecord:
        """Cancel a run whose execution is over, as the event would have that was lost.

        It has not begun the run. `begin_run` may just come first: then the run has its tasks, and is
        cancelled as any other.
        """
        self._around.note.warning("the execution is over", run=run.id)
        return self._store.cancel_run(run.id, Reason.CANCELLED, now)

    def _may_be_stuck(self, run: RunRecord, now: float) -> bool:
        """Say whether to look for follow-ups that were lost: it means to read all tasks.

        At once where nothing runs that could wake what waits, else every now and then.
        """
        if not run.active:
            return self._store.next_retry(run.id, now) is None
        return self._has_turn(run.id)

    def _check_time_limit(self, run: RunRecord, now: float) -> None:
        limit = run.settings.time_limit
        if limit is None or run.started_at is None or run.cancel_requested_at is not None:
            return
        if now - run.started_at > limit + _LIMIT_SLACK:
            self._store.cancel_run(run.id, Reason.TIMEOUT, now)

    # Jobs ---------------------------------------------------------------------------------------

    def _check_jobs(self, run: RunRecord, swept: Swept) -> None:
        passed_over, waited, rest = self._check_arrays(run)
        if not rest:
            return
        claims: dict[str, list[AttemptKey]] = defaultdict(list)
        for tasks in self._active(run):
            by_backend: dict[str, list[TaskRecord]] = defaultdict(list)
            now = self._around.clock()
            for task in tasks:
                handle = task.handle
                if handle is None:
                    if now - (task.submitted_at or 0.0) > _CLAIM_SECONDS:
                        claims[task.backend].append(_key(task))
                elif handle in waited or parent_of(handle) not in passed_over:
                    by_backend[task.backend].append(task)
            for name, found in by_backend.items():
                if name in self._backends:
                    self._check_tasks(run, self._backends[name], found, swept)
        for name, keys in claims.items():
            if name in self._backends:
                self._adopt(run, self._backends[name], keys, swept)

    def _active(self, run: RunRecord) -> Iterator[Sequence[TaskRecord]]:
        """Yield the active tasks of a run, page by page, but for those that follow others."""
        for tasks in self._active_pages(run):
            yield [task for task in tasks if leader_of(task.handle) is None]

    def _active_pages(self, run: RunRecord) -> Iterator[Sequence[TaskRecord]]:
        after = -1
        while True:
            query = TaskFilter(states=ACTIVE, after=after, limit=_PAGE)
            tasks = self._store.list_tasks(run.id, query)
            yield tasks
            if len(tasks) < _PAGE:
                return
            after = tasks[-1].position

    def _check_arrays(self, run: RunRecord) -> tuple[set[str], set[str], bool]:
        """Compare how many children of arrays are active, which takes a call for a hundred arrays.

        Returns
        -------
        set of str, set of str, bool
            Arrays whose children need no look; children that do all the same, because they have
            waited long; and whether there is any task to look at.
        """
        waited: set[str] = set()
        children: dict[str, dict[str, list[int]]] = defaultdict(dict)
        others = False
        for tasks in self._active(run):
            for task in tasks:
                if task.handle is None or not _is_child(task.handle):
                    others = True
                    continue
                counts = children[task.backend].setdefault(parent_of(task.handle), [0, 0])
                if self._queueing.wants(task):
                    waited.add(task.handle)
                counts[0] += 1
                counts[1] += task.state is TaskState.RUNNING
        passed_over: set[str] = set()
        for name, arrays in children.items():
            backend = self._backends.get(name)
            if backend is None:
                continue
            quiet = backend.quiet({array: (each[0], each[1]) for array, each in arrays.items()})
            for array, (active, _) in arrays.items():
                if array not in quiet and active > _LARGE_ARRAY and not self._has_turn(array):
                    self._check_running(run, backend, array)
                    quiet.add(array)
            others = others or len(quiet) < len(arrays)
            passed_over |= quiet
        return passed_over, waited, others or bool(waited)

    def _check_running(self, run: RunRecord, backend: RemoteBackend, array: str) -> None:
        """Note which children of an array run: no event tells of the starts of a large one."""
        seen = [(parse_job_name(job.name), job) for job in backend.running(array)]
        self._observing.observe(run.id, [(name, job) for name, job in seen if name is not None])

    def _has_turn(self, name: str) -> bool:
        turn = int(self._around.clock() // _TURN_SECONDS) + zlib.crc32(name.encode())
        return turn % _TURNS == 0

    def _check_tasks(
        self, run: RunRecord, backend: RemoteBackend, tasks: Sequence[TaskRecord], swept: Swept
    ) -> None:
        known = {task.handle: task for task in tasks if task.handle is not None}
        # Of tasks in a bundle, the job is asked for.
        owners = {_job_of(handle): task for handle, task in known.items()}
        jobs, now = backend.describe(list(owners)), self._around.clock()
        seen: list[Seen] = []
        told = set[str]()
        gone: list[tuple[TaskRecord, Outcome]] = []
        for handle, task in known.items():
            job = jobs.get(_job_of(handle))
            name = None if job is None else parse_job_name(job.name)
            if job is None and now - (task.submitted_at or 0.0) < _CLAIM_SECONDS:
                continue  # it was just submitted; what is asked for follows a moment later
            if job is None:
                gone.append((task, lost(f"{backend.name} does not know job {handle} any more")))
            elif name is not None and job.state is not JobState.WAITING:
                if job.handle not in told:
                    seen.append((name, job))
                told.add(job.handle)
        ended = self._observe(run, seen, swept)
        if gone:
            swept.lost += len(gone)
            ended += self._observing.record_outcomes(run, gone)
        self._follow(run, ended)
        waiting = [(owners[h], job) for h, job in jobs.items() if job.state is JobState.WAITING]
        late, stuck = self._queueing.look(run, backend, waiting)
        swept.queue_timeouts += late
        swept.stuck += stuck

    def _observe(self, run: RunRecord, seen: Sequence[Seen], swept: Swept) -> list[int]:
        """Take in what the backend says of jobs; return the positions of tasks that ended by it."""
        ended = list(self._observing.observe(run.id, seen).ended) if seen else []
        swept.ends_found += len(ended)
        return ended

    def _follow(self, run: RunRecord, ended: Sequence[int]) -> None:
        if ended:
            self._around.note.warning("ends that no event told of", run=run.id, tasks=len(ended))
            self._store.follow(run.id, ended)

    def _adopt(
        self, run: RunRecord, backend: RemoteBackend, keys: Sequence[AttemptKey], swept: Swept
    ) -> None:
        """Find the jobs of claims whose handle was never noted; give back those that have none.

        Claims that there is no time to look for are left as they are: whoever gave one back that has a
        job would let it run twice. What is found out of the others is kept, so the next sweep goes on.
        """
        handles: list[tuple[AttemptKey, str]] = []
        claims = self._adopt_arrays(run, backend, keys, handles)
        names = {job_name(self._around.prefix, run.id, key): key for key in claims}
        found = backend.find(list(names), self._around.has_time) if names else {}
        seen: list[Seen] = []
        missing: list[AttemptKey] = []
        for name, jobs in found.items():
            if not jobs:
                missing.append(names[name])
                continue
            handles.append((names[name], jobs[0].handle))  # the oldest is the attempt's job
            parsed = parse_job_name(name)
            assert parsed is not None  # noqa: S101 - written by job_name
            seen.extend((parsed, job) for job in jobs)
        self._store.note_handles(run.id, handles)
        swept.claims_returned += self._store.release_claims(run.id, missing)
        if missing:
            self._around.note.warning("claims without a job", run=run.id, tasks=len(missing))
        left = len(keys) - len(handles) - len(missing)
        if left:
            self._around.note.warning("no time to look for all claims", run=run.id, tasks=left)
        self._follow(run, self._observe(run, seen, swept))

    def _adopt_arrays(
        self,
        run: RunRecord,
        backend: RemoteBackend,
        keys: Sequence[AttemptKey],
        handles: list[tuple[AttemptKey, str]],
    ) -> list[AttemptKey]:
        """Find the arrays and bundles of claims; return the claims that are a child of none.

        A claim may stand in several: it was given back by a dispatcher whose call had no answer. The
        first array that exists gets it, what others run for it is ended when it is told of.
        """
        rest = dict.fromkeys(keys)
        arrays: dict[str, Sequence[AttemptKey]] = {}
        array_of: dict[str, str] = {}
        for array, children in self._store.arrays(run.id).items():
            if any(key in rest for key in children):
                name = array_name(self._around.prefix, run.id, array)
                arrays[name], array_of[name] = children, array
        found = backend.find(list(arrays), self._around.has_time) if arrays else {}
        for name, children in arrays.items():
            for job in found.get(name, ())[:1]:
                for index, key in enumerate(children):
                    if key in rest:
                        del rest[key]
                        if array_of[name].startswith(BUNDLE):
                            handles.append((key, bundled_handle(job.handle, index)))
                        else:
                            handles.append((key, child_handle(job.handle, index)))
        for name, children in arrays.items():
            if name not in found:  # it may be there
                for key in children:
                    rest.pop(key, None)
        return list(rest)


def _is_child(handle: str) -> bool:
    """Say whether a handle is that of an array's child, which the service knows by itself."""
    return parent_of(handle) != handle and place_in_bundle(handle) is None


def _job_of(handle: str) -> str:
    """Return the handle of the job that the service knows."""
    return handle if place_in_bundle(handle) is None else parent_of(handle)


def _key(task: TaskRecord) -> AttemptKey:
    return AttemptKey(task.position, task.attempt, task.epoch)
