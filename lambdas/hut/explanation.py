"""Why a task is where it is, in sentences for people. Pure: facts in, words out.

A pending task waits for something that can be named: dependencies, a cap, a delay, an engine. A
failed one has a reason, and one that was never run has a root cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hut.lifecycle.retry import MOST_LOSSES
from hut.model.quantities import format_seconds, format_span
from hut.model.records import Attempt, RunRecord, TaskRecord
from hut.model.states import INFRASTRUCTURE_REASONS, Reason, TaskState
from hut.model.waiting import Waiting
from hut.scheduling.matching import lacks
from hut.scheduling.placing import UNPLACED, sites_of, waits_for_target
from hut.waiting import of_a_job, of_a_refusal, refusal_of, without_job

__all__ = ["Explanation", "Facts", "explain"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What an explanation is made from.

    Attributes
    ----------
    attempts : sequence of Attempt
        Ended attempts of the task.
    waits_for : sequence of (str, TaskState)
        The first few dependencies that have not completed; `waits_count` of them in all.
    cause : TaskRecord or None
        For ``dep_failed``: the task whose failure is the root cause.
    slots : int or None
        How many tasks the machine runs at once; None where nothing bounds it.
    driven : bool
        Whether something works on the run.
    waiting : Waiting or None
        What the backend says of a task that waits there, if it was asked.
    where : str
        The machine that the task runs on, in the backend's words; empty where that is not told.
    leader : tuple of str and TaskRecord, or None
        Run and task of the identical attempt that the task's attempt follows.
    """

    run: RunRecord
    task: TaskRecord
    now: float
    attempts: Sequence[Attempt] = ()
    waits_for: Sequence[tuple[str, TaskState]] = ()
    waits_count: int = 0
    cause: TaskRecord | None = None
    slots: int | None = None
    driven: bool = True
    waiting: Waiting | None = None
    where: str = ""
    leader: tuple[str, TaskRecord] | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer to "why".

    Attributes
    ----------
    sentence : str
        The answer.
    details : tuple of str
        What else helps, a sentence each.
    waiting_for : tuple of str
        Ids of tasks that have to end first, the first few.
    cause : str or None
        Id of the task that is the root cause.
    """

    sentence: str
    details: tuple[str, ...] = ()
    waiting_for: tuple[str, ...] = ()
    cause: str | None = None


def explain(facts: Facts) -> Explanation:
    """Say why the task is in its state."""
    state = facts.task.state
    if state is TaskState.PENDING:
        return _pending(facts)
    if state is TaskState.DEP_FAILED:
        return _dep_failed(facts)
    if state is TaskState.FAILED:
        return _failed(facts)
    task = facts.task
    name = task.spec.id
    if state is TaskState.COMPLETED:
        again = f" on attempt {task.attempt}" if task.attempt > 1 else ""
        said = (f"{task.message[:1].upper()}{task.message[1:]}.",) if task.message else ()
        return Explanation(f"{name} completed{again}{_took(task)}.", said + _earlier(facts))
    if state is TaskState.SUBMITTED and facts.leader is not None:
        return _follows(facts, *facts.leader)
    if state is TaskState.SUBMITTED:
        running = facts.run.counts[TaskState.RUNNING]
        if facts.slots is not None and running >= facts.slots:
            sentence = f"{name} is among the next and waits for a free slot{_taken(facts)}."
        elif task.handle is not None and facts.waiting is not None:
            sentence, details = of_a_job(task, facts.waiting, facts.now)
            return Explanation(sentence, details + _earlier(facts))
        elif task.handle is not None:
            since = (
                ""
                if task.submitted_at is None
                else f" {format_span(facts.now - task.submitted_at)} ago"
            )
            sentence = (
                f"{name} was submitted to {task.backend}{since} and waits there for a machine "
                f"(job {task.handle})."
            )
        elif facts.waiting is not None:
            sentence, details = without_job(task, facts.waiting)
            return Explanation(sentence, details + _not_driven(facts) + _earlier(facts))
        else:
            sentence = f"{name} is claimed and about to start."
        return Explanation(sentence, _not_driven(facts) + _earlier(facts))
    since = "" if task.started_at is None else f" for {format_span(facts.now - task.started_at)}"
    limit = format_seconds(task.spec.resources.time_limit)
    sentence = f"{name} is running{since} (attempt {task.attempt}, time limit {limit})."
    where = (f"It runs on {facts.where}.",) if facts.where else ()
    return Explanation(sentence, where + _not_driven(facts) + _earlier(facts))


def _follows(facts: Facts, run_id: str, leader: TaskRecord) -> Explanation:
    sentence = (
        f"{facts.task.spec.id} joined the identical task {leader.spec.id} of run {run_id} "
        f"({leader.state}): it does not run by itself, and ends as that one does."
    )
    more = f"What it waits for: hutctl why {run_id} {leader.spec.id}"
    return Explanation(sentence, (more, *_not_driven(facts), *_earlier(facts)))


def _pending(facts: Facts) -> Explanation:
    task, name = facts.task, facts.task.spec.id
    details = _not_driven(facts) + _earlier(facts)
    if facts.waits_count:
        shown = ", ".join(f"{task_id} ({state})" for task_id, state in facts.waits_for)
        more = facts.waits_count - len(facts.waits_for)
        tail = f" and {more:,} more" if more > 0 else ""
        noun = "task" if facts.waits_count == 1 else "tasks"
        sentence = f"{name} waits for {facts.waits_count:,} {noun}: {shown}{tail}."
        ids = tuple(task_id for task_id, _ in facts.waits_for)
        return Explanation(sentence, details, waiting_for=ids)
    if task.not_before > facts.now:
        wait = format_span(task.not_before - facts.now)
        used, most = task.retries_used, task.spec.retry.retries
        sentence = f"{name} waits {wait} before retry {used} of {most}."
        return Explanation(sentence, details)
    if (target := _without_target(facts)) is not None:
        sentence, told = target
        return Explanation(sentence, told + details)
    active = facts.run.active
    cap = facts.run.settings.max_concurrent
    if cap is not None and active >= cap:
        sentence = f"{name} is ready, but the run's max_concurrent of {cap} is reached."
    elif facts.slots is not None and active >= facts.slots:
        sentence = f"{name} is ready and waits for a free slot{_taken(facts)}."
    elif (refusal := refusal_of(facts.run, task)) is not None:
        sentence, told = of_a_refusal(task, refusal, facts.waiting, facts.now)
        details = told + details
    elif facts.waiting is not None:
        sentence, told = without_job(task, facts.waiting)
        details = told + details
    else:
        sentence = f"{name} is ready to start."
    return Explanation(sentence, details)


def _without_target(facts: Facts) -> tuple[str, tuple[str, ...]] | None:
    """Tell of a task that no target can ever run what each of them lacks."""
    run, task = facts.run, facts.task
    if not run.settings.sites or not task.spec.properties:
        return None
    unplaced = task.backend == UNPLACED
    site = sites_of(run.settings.sites).get(run.settings.backend if unplaced else task.backend)
    if site is None or not (unplaced or site.has_partitions):
        return None
    if not waits_for_target(task.spec, site):
        return None
    offered = site.partition(task.spec.partition)
    told = lacks(site.scheduler, task.spec.properties, offered.labelled(), ever=True)
    refusal = refusal_of(run, task)
    now = () if refusal is None else (f"Said last, of what is configured now: {refusal.said}",)
    step = "Next: say under 'properties' or 'targets' of a backend what it offers; the task starts then."
    sentence = (
        f"{task.spec.id} waits for a target: none of scheduler {site.scheduler.name!r} could run it "
        "when it was submitted."
    )
    return sentence, (*(f"{line}." for line in told), *now, step)


def _taken(facts: Facts) -> str:
    """Tell how many slots are taken; claims ahead of need take none."""
    assert facts.slots is not None  # noqa: S101 - the callers looked
    return f": {min(facts.run.active, facts.slots)} of {facts.slots} are taken"


def _dep_failed(facts: Facts) -> Explanation:
    name, cause = facts.task.spec.id, facts.cause
    if cause is None:
        return Explanation(f"{name} was not run, because a task it depends on failed.")
    sentence = f"{name} was not run, because {cause.spec.id} failed: {_verdict(cause)}."
    details = (f"Mend {cause.spec.id}, then: hutctl retry {facts.run.id}",)
    return Explanation(sentence, details, cause=cause.spec.id)


def _failed(facts: Facts) -> Explanation:
    task, name = facts.task, facts.task.spec.id
    if task.reason is Reason.CANCELLED and task.attempt == 0:
        return Explanation(f"{name} was cancelled before it started.")
    details: list[str] = list(_earlier(facts))
    policy = task.spec.retry
    if task.reason in INFRASTRUCTURE_REASONS and task.losses >= MOST_LOSSES:
        details.append("It was lost too often; each loss was followed by a new attempt.")
    elif task.reason is Reason.CANCELLED or task.reason in INFRASTRUCTURE_REASONS:
        pass
    elif task.retries_used >= policy.retries > 0:
        used = f"All {policy.retries} retries are" if policy.retries > 1 else "Its one retry is"
        details.append(f"{used} used.")
    elif policy.retries and policy.on:
        wanted = ", ".join(str(entry) for entry in sorted(policy.on, key=str))
        details.append(f"It is not retried: retry_on names only {wanted}.")
    if task.spec.env_vars or task.spec.environment or task.reason is Reason.LAUNCH_FAILED:
        details.append(f"What ran: hutctl script {facts.run.id} {name}")
    number = f" (attempt {task.attempt})" if task.attempt > 1 else ""
    return Explanation(f"{name} failed{_took(task)}: {_verdict(task)}{number}.", tuple(details))


def _verdict(task: TaskRecord) -> str:
    return task.message or str(task.reason or "no reason is known")


def _earlier(facts: Facts) -> tuple[str, ...]:
    """Tell of attempts before the one the task record shows."""
    shown = facts.task.attempt if facts.task.state is not TaskState.PENDING else None
    return tuple(
        f"Attempt {attempt.number}: {attempt.outcome.message or attempt.outcome.state}."
        for attempt in facts.attempts
        if attempt.number != shown
    )[-10:]


def _not_driven(facts: Facts) -> tuple[str, ...]:
    if facts.driven:
        return ()
    return (f"Nothing works on this run; take it up with: hutctl resume {facts.run.id}",)


def _took(task: TaskRecord) -> str:
    if task.started_at is None or task.ended_at is None:
        return ""
    return f" after {format_span(task.ended_at - task.started_at)}"
