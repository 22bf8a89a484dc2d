"""Why a task waits at its backend, in sentences for people. Pure.

The backend's own words are quoted as they are; around them stands what a person needs to judge them:
how long, where, what the queue gets its machines from, and what to do next.
"""

from __future__ import annotations

from collections.abc import Iterator

from hut.model.quantities import format_span
from hut.model.records import Refusal, RunRecord, TaskRecord
from hut.model.waiting import ENABLED, VALID, Pool, Queue, Waiting

__all__ = ["of_a_job", "of_a_refusal", "refusal_of", "without_job"]

_FORGOTTEN_SECONDS = 150.0
"""Below that, a job that is not known may just not be seen yet."""


def refusal_of(run: RunRecord, task: TaskRecord) -> Refusal | None:
    """Return what keeps a ready task from becoming a job, if a backend refuses those of its kind."""
    goes_to = task.backend, task.spec.partition
    return next((each for each in run.refusals if (each.backend, each.partition) == goes_to), None)


def of_a_job(task: TaskRecord, waiting: Waiting, now: float) -> tuple[str, tuple[str, ...]]:
    """Return why a task waits whose job the backend was asked for: a sentence, and details."""
    name, at = task.spec.id, task.submitted_at
    since = now if at is None else at
    span = format_span(now - since)
    details = [*_told(waiting), *_queue(waiting.queue, waiting.cpus), *_unasked(waiting)]
    if not waiting.known:
        if now - since < _FORGOTTEN_SECONDS:
            sentence = (
                f"{name} was submitted {span} ago; {waiting.service} does not know its job "
                f"{task.handle} yet."
            )
            return sentence, tuple(_unasked(waiting))
        sentence = (
            f"{name} was submitted {span} ago, but {waiting.service} does not know its job "
            f"{task.handle} any more: jobs are forgotten some days after their end."
        )
        lost = "The next sweep records the attempt as lost, and the task is tried again."
        return sentence, (lost, *_unasked(waiting))
    if not waiting.status:
        sentence = (
            f"{name} was submitted to {task.backend} {span} ago and waits there for a machine "
            f"(job {task.handle})."
        )
        return sentence, (*details, *_bound(task, now), *_next(waiting))
    where = f" in queue {waiting.queue.name}" if waiting.queue is not None else ""
    meaning = (waiting.meaning or "has waited {span}").replace("{span}", span)
    sentence = f"{name} {meaning}: its job {task.handle} is {waiting.status}{where}."
    return sentence, (*details, *_bound(task, now), *_next(waiting))


def without_job(task: TaskRecord, waiting: Waiting) -> tuple[str, tuple[str, ...]]:
    """Return why a task is not taken that could be, where nothing is asked for it but waited: a pool."""
    sentence = f"{task.spec.id} is ready and waits for a worker of pool {task.backend}."
    return sentence, (*_told(waiting), *_next(waiting))


def of_a_refusal(
    task: TaskRecord, refusal: Refusal, waiting: Waiting | None, now: float
) -> tuple[str, tuple[str, ...]]:
    """Return why a ready task has no job, and details; `waiting` is what the backend says of its queue."""
    name = task.spec.id
    service = refusal.backend if waiting is None else waiting.service
    said = refusal.said or "no reason was given"
    since = refusal.since if task.wanted_at is None else task.wanted_at
    details = [
        f"{service} says: {said}",
        f"It said so last {format_span(now - refusal.at)} ago; Hut tries again {_again(refusal, now)}.",
    ]
    steps: tuple[str, ...] = ()
    if waiting is not None:
        details += [*_queue(waiting.queue, waiting.cpus), *_unasked(waiting)]
        steps = tuple(_next(waiting))
    sentence = (
        f"{name} is ready, but {service} has not taken its job for {format_span(now - since)}."
    )
    steps = steps or ("Next: mend what it says; the task is submitted by itself then.",)
    return sentence, (*details, *_bound(task, now), *steps)


def _again(refusal: Refusal, now: float) -> str:
    left = refusal.again_at - now
    return f"in {format_span(left)}" if left > 0 else "by itself"


def _told(waiting: Waiting) -> Iterator[str]:
    if waiting.said:
        yield f"{waiting.service} says: {waiting.said}"
    if waiting.position == 1:
        yield "It is the next one in its queue."
    elif waiting.position is not None:
        yield f"It is number {waiting.position} in its queue."
    if waiting.before:
        yield (
            f"The job at the head of the queue holds it up: {waiting.head}. Of that one "
            f"{waiting.service} says: {waiting.before}"
        )


def _queue(queue: Queue | None, cpus: int) -> Iterator[str]:
    """Tell of a queue what is wrong with it, and of each of its pools how it stands."""
    if queue is None:
        return
    if queue.state != ENABLED:
        yield f"Queue {queue.name} is {queue.state}: it takes no new jobs, those it has go on."
    if queue.status != VALID:
        yield f"Queue {queue.name} is {queue.status}{_because(queue.said)}"
    if not queue.pools:
        yield f"Queue {queue.name} has no compute environment to get machines from."
    for pool in queue.pools:
        yield _pool(pool, cpus)


def _pool(pool: Pool, cpus: int) -> str:
    kind = f" ({pool.kind})" if pool.kind else ""
    told = f"Compute environment {pool.name}{kind} is {pool.state} and {pool.status}"
    if pool.status != VALID:
        return told + _because(pool.said)
    if pool.state != ENABLED:
        return f"{told}: it gets no new machines."
    if pool.most_cpus is None:
        return f"{told}."
    if cpus > pool.most_cpus:
        return (
            f"{told}, but too small: the task asks for {cpus:,} vCPUs, it may have "
            f"{pool.most_cpus:,}."
        )
    if pool.cpus is None:
        return f"{told}; it may have {pool.most_cpus:,} vCPUs."
    return f"{told}; it has or wants {pool.cpus:,} of at most {pool.most_cpus:,} vCPUs."


def _because(said: str) -> str:
    return f": {said}" if said else "."


def _unasked(waiting: Waiting) -> Iterator[str]:
    for gap in waiting.unasked:
        yield f"{waiting.service}: {gap}."


def _bound(task: TaskRecord, now: float) -> Iterator[str]:
    """Tell when the wait ends by itself."""
    most = task.spec.max_queue_time
    since = task.submitted_at if task.wanted_at is None else task.wanted_at
    if most is None or since is None:
        return
    left = since + most - now
    ends = f"in {format_span(left)}" if left > 0 else "with the next look at it"
    yield f"Its max_queue_time of {format_span(most)} ends the wait {ends}."


def _next(waiting: Waiting) -> Iterator[str]:
    for step in waiting.advice:
        yield f"Next: {step}"
