"""Jobs that wait for a machine: which have waited too long, which will never get one.

A task with ``max_queue_time`` waits so long at most, counted from its first claim: from when it was
ready and had room. What it waits for before that (dependencies, caps, a retry's delay) does not
count; being refused by the backend again and again does. Jobs are cancelled, not terminated: one
that starts between the look and the call goes on and is not failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hut.backends.port import Job, RemoteBackend, SubmitResult, parent_of
from hut.faults import told
from hut.lifecycle.attempt import queue_timeout
from hut.model.quantities import format_span
from hut.model.records import Outcome, Refusal, RunRecord, TaskRecord
from hut.model.states import Reason, TaskState
from hut.model.waiting import Queue
from hut.service.surroundings import Surroundings
from hut.store.events import Destination
from hut.store.port import Claim

__all__ = [
    "STUCK_SECONDS",
    "Queueing",
    "destination_of",
    "is_blocked",
    "next_try",
    "note_refusal",
    "refused_too_long",
]

STUCK_SECONDS = 900.0
"""After which a job that waits is looked at more closely."""

_BLOCKED = ("MISCONFIGURATION:", "ACTION_REQUIRED", "UNDETERMINED")
"""How reasons begin that AWS Batch gives a job which blocks its queue and needs a person.

Not ``CAPACITY:``, which passes. ("Jobs stuck in a RUNNABLE status" in the AWS Batch user guide.)
"""

_AT_ONCE = 80  # jobs cancelled between two looks at the time
_SOONEST_TRY, _LATEST_TRY = 15.0, 120.0  # seconds until a refused job is tried again
_SLACK = 3.0  # seconds a message may come early
_MOST_SAID = 500  # characters of the backend's words in a reason


def is_blocked(said: str) -> bool:
    """Say whether a backend's reason means that a job waits for a person, not for a machine."""
    return said.startswith(_BLOCKED)


def destination_of(backend: str, claim: Claim) -> Destination:
    """Return where a claim's job goes."""
    return backend, claim.spec.partition


def note_refusal(
    refusals: dict[Destination, Refusal],
    backend: str,
    claim: Claim,
    result: SubmitResult,
    now: float,
) -> None:
    """Add what a backend said that did not take a job, once for each destination."""
    since = now if claim.wanted_at is None else claim.wanted_at
    goes_to = destination_of(backend, claim)
    before = refusals.get(goes_to)
    if before is not None:
        since = min(since, before.since)
    refusals[goes_to] = Refusal(*goes_to, result.detail, since, now)


def refused_too_long(claim: Claim, result: SubmitResult, now: float) -> Outcome | None:
    """Return how an attempt ends that a backend has refused for longer than its task may wait."""
    most = claim.spec.max_queue_time
    if most is None or claim.wanted_at is None or now - claim.wanted_at < most:
        return None
    said = result.detail[:_MOST_SAID] or "nothing"
    return queue_timeout(
        f"waited {format_span(now - claim.wanted_at)} for its job to be taken; max_queue_time is "
        f"{format_span(most)} (said last: {said})"
    )


def next_try(run: RunRecord, refusals: Iterable[Refusal], now: float) -> tuple[float, bool]:
    """Return when refused jobs are tried again, and whether a message must be left for it.

    The longer they are refused, the rarer. A try leaves no message if one is under way: else each
    try of the sweep would begin another series of them.
    """
    refusals = list(refusals)
    backends = {refusal.backend for refusal in refusals}
    for refusal in run.refusals:
        if refusal.backend in backends and refusal.again_at - _SLACK > now:
            return refusal.again_at, False
    since = min(refusal.since for refusal in refusals)
    return now + min(max((now - since) / 10, _SOONEST_TRY), _LATEST_TRY), True


class Queueing:
    """Looks at jobs that wait; one for each sweep, which says each trouble once."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._queues: dict[str, dict[str, Queue] | None] = {}
        self._arrays: set[str] = set()

    def wants(self, task: TaskRecord) -> bool:
        """Say whether a child of an array has waited so long that it must be looked at.

        As far as the store knows it waits. Of an array that may be stuck one child stands for all.
        """
        since = task.submitted_at if task.wanted_at is None else task.wanted_at
        if task.state is not TaskState.SUBMITTED or task.handle is None or since is None:
            return False
        waited, most = self._around.clock() - since, task.spec.max_queue_time
        if most is not None and waited >= most:
            return True
        if waited < STUCK_SECONDS or parent_of(task.handle) in self._arrays:
            return False
        self._arrays.add(parent_of(task.handle))
        return True

    def look(
        self, run: RunRecord, backend: RemoteBackend, waiting: Sequence[tuple[TaskRecord, Job]]
    ) -> tuple[int, int]:
        """Cancel the jobs that waited too long; return how many, and how many others are stuck.

        That a job has ended, and why, is told by the backend, as of any other end.
        """
        now = self._around.clock()
        late: dict[str, str] = {}
        stuck = 0
        for task, job in waiting:
            since = _since(task, job, now)
            most = task.spec.max_queue_time
            if most is not None and now - since >= most:
                late[job.handle] = _too_late(job, now - since, most)
            elif now - since >= STUCK_SECONDS and self._is_stuck(backend, job):
                stuck += 1
        return self._cancel(run, backend, late), stuck

    def _cancel(self, run: RunRecord, backend: RemoteBackend, late: dict[str, str]) -> int:
        handles = list(late)
        done = 0
        for start in range(0, len(handles), _AT_ONCE):
            if not self._around.has_time():
                self._around.note.warning("no time for all that waited too long", run=run.id)
                break
            some = handles[start : start + _AT_ONCE]
            try:
                backend.cancel({handle: late[handle] for handle in some})
            except Exception as error:  # noqa: BLE001 - whatever a client raises: the sweep goes on
                self._around.note.warning(
                    "jobs could not be cancelled", run=run.id, error=told(error)
                )
                break
            done += len(some)
        if done:
            self._around.note.warning("jobs waited too long", run=run.id, jobs=done)
        return done

    def _is_stuck(self, backend: RemoteBackend, job: Job) -> bool:
        if is_blocked(job.said):
            self._tell_queues(backend)
            return True
        queue = (self._tell_queues(backend) or {}).get(job.queue)
        return queue is not None and not queue.usable

    def _tell_queues(self, backend: RemoteBackend) -> dict[str, Queue] | None:
        """Return the backend's queues by name, asked for and their troubles noted once a sweep."""
        name = backend.name
        if name not in self._queues:
            self._queues[name] = None
            try:
                found = backend.queues()
            except Exception as error:  # noqa: BLE001 - whatever a client raises: the sweep goes on
                self._around.note.warning(
                    "queues could not be looked at", backend=name, error=told(error)
                )
                return None
            self._queues[name] = {queue.name: queue for queue in found}
            for queue in found:
                for trouble in queue.troubles():
                    self._around.note.warning("queue trouble", backend=name, detail=trouble)
        return self._queues[name]


def _since(task: TaskRecord, job: Job, now: float) -> float:
    """Return since when a task waits: from its first claim on, also where that was given back.

    A job that the service itself tries again waits since its last try has ended.
    """
    known = (job.ended_at, task.wanted_at, task.submitted_at, job.created_at)
    return next((at for at in known if at is not None), now)


def _too_late(job: Job, waited: float, most: float) -> str:
    """Return the reason under which a job is cancelled; it comes back with the job's end."""
    where = f" in queue {job.queue}" if job.queue else ""
    said = f" (it said: {job.said[:_MOST_SAID]})" if job.said else ""
    return (
        f"{Reason.QUEUE_TIMEOUT}: waited {format_span(waited)}{where} for a machine; "
        f"max_queue_time is {format_span(most)}{said}"
    )
