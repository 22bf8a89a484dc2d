"""Batch: the life of jobs. A job is a child process; an image's contents are not modelled.

States, their order and the words of reasons are AWS's ("Job states", "Job timeouts", "Automated
job retries", "Array jobs" in the Batch user guide). Ours: a number of slots instead of compute
environments, SIGKILL a moment after SIGTERM instead of 30 seconds.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.testbed import events
from tests.testbed.batch_container import Container
from tests.testbed.patching import on_reset, settings

ORDER = ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"]
ENDED = ("SUCCEEDED", "FAILED")
_EXITED = "Essential container in task exited"
_TIMED_OUT = "Job attempt duration exceeded timeout"


@dataclass(eq=False)
class Job:
    """A job, or the parent of an array.

    Attributes
    ----------
    document
        What DescribeJobs answers.
    log_group
        Where its output goes.
    stop_reason
        Why somebody wants it to end.
    """

    document: dict[str, Any]
    log_group: str
    make_log_group: bool
    queue: str
    parent: Job | None = None
    children: list[Job] = field(default_factory=list)
    stop_reason: str | None = None
    container: Container | None = None

    @property
    def id(self) -> str:
        return str(self.document["jobId"])

    @property
    def status(self) -> str:
        return str(self.document["status"])

    @property
    def ended(self) -> bool:
        return self.status in ENDED


jobs: dict[str, Job] = {}
lock = threading.RLock()
_changed = threading.Condition(lock)
_new: deque[Job] = deque()
_pending: list[Job] = []
_runnable: deque[Job] = deque()
_held: dict[str, deque[Job]] = {}  # by queue, behind the job that can't be placed
_running: set[Job] = set()
_scale = {"timeout": 1.0}


def now() -> int:
    return int(time.time() * 1000)


def start(why_held: Callable[[Job], str | None]) -> None:
    """Start to move jobs along.

    Parameters
    ----------
    why_held
        Says why a job that is next can't be placed, or None.
    """
    threading.Thread(
        target=_move_along, args=(why_held,), daemon=True, name="testbed-batch"
    ).start()
    on_reset.append(_forget)


def add(job: Job) -> None:
    """Take in a job (and the children of an array)."""
    with lock:
        for each in (job, *job.children):
            jobs[each.id] = each
        _new.append(job)  # AWS sends no event for the submission itself
        _changed.notify_all()


def stop(job: Job, reason: str, *, cancel: bool = False) -> None:
    """Terminate a job, or cancel it: a job that starts or runs is not cancelled."""
    with lock:
        if job.ended or (cancel and job.status in ("STARTING", "RUNNING")):
            return
        job.document["isCancelled" if cancel else "isTerminated"] = True
        job.stop_reason = job.stop_reason or reason
        for child in job.children:
            stop(child, reason, cancel=cancel)
        if job.container is not None:
            job.container.stop(settings.grace)
        elif not job.children and job.status != "STARTING":
            _set(job, "FAILED", reason)
        _changed.notify_all()


def force(job: Job, wanted: dict[str, Any]) -> None:
    """Put a job into a state as if AWS had done so; an end kills its process."""
    with lock:
        if job.ended:
            raise ValueError(f"{job.id} has ended as {job.status}")
        if wanted["status"] in ENDED and job.status in ("STARTING", "RUNNING"):
            found = {key: wanted[key] for key in ("exitCode", "reason") if key in wanted}
            _note_attempt(job, found, wanted.get("statusReason") or _EXITED)
        reason = wanted.get("statusReason") or (_EXITED if wanted["status"] in ENDED else None)
        _set(job, wanted["status"], reason, silent=bool(wanted.get("silent")))
        container = job.container
    if container is not None and job.ended:
        container.kill()


def look_again() -> None:
    """Look anew whether jobs that are held can be placed: a queue or an environment has changed."""
    with lock:
        for queue in list(_held):
            _release(queue)
        _changed.notify_all()


def set_slots(number: int) -> None:
    """Change how many jobs may run at the same time."""
    with lock:
        settings.jobs = number
        _changed.notify_all()


def scale_timeouts(factor: float) -> None:
    """Make the time limits of jobs that start from now on shorter (AWS's least is a minute)."""
    _scale["timeout"] = factor


def kill_all() -> None:
    """Leave no process behind."""
    with lock:
        containers = [job.container for job in jobs.values() if job.container is not None]
    for container in containers:
        container.kill()


def _forget() -> None:
    with lock:
        kill_all()
        for each in (_new, _pending, _runnable, _held, jobs):
            each.clear()
        _scale["timeout"] = 1.0


def _move_along(why_held: Callable[[Job], str | None]) -> None:
    while True:
        with lock:
            while _new:
                _admit(_new.popleft())
            for job in [each for each in _pending if each.ended or _is_free(each)]:
                _pending.remove(job)
                if not job.ended:
                    _make_runnable(job)
            for queue in [queue for queue, held in _held.items() if held[0].ended]:
                _release(queue)
            while _runnable and (_runnable[0].ended or len(_running) < settings.jobs):
                job = _take()
                if not job.ended and not _hold(job, why_held):
                    _running.add(job)
                    _set(job, "STARTING")
                    threading.Thread(target=_run, args=(job,), daemon=True).start()
            if not _new:
                _changed.wait()


def _admit(job: Job) -> None:
    if job.ended:
        return
    if job.document.get("dependsOn"):
        _set(job, "PENDING")
        _pending.append(job)
    else:
        _make_runnable(job)


def _make_runnable(job: Job) -> None:
    for each in job.children or [job]:
        if not each.ended:
            _set(each, "RUNNABLE")
            _runnable.append(each)


def _take() -> Job:
    """Take the job that is next: the first, or of its queue's policy the first of the least share."""
    first = _runnable[0]
    share = first.document.get("shareIdentifier")
    if first.ended or share is None:
        return _runnable.popleft()
    having = Counter(j.document["shareIdentifier"] for j in _running if j.queue == first.queue)
    rivals = [job for job in _runnable if job.queue == first.queue and not job.ended]
    best = min(
        rivals,
        key=lambda job: (
            having[job.document["shareIdentifier"]],
            -job.document["schedulingPriority"],
        ),
    )
    _runnable.remove(best)
    return best


def _hold(job: Job, why_held: Callable[[Job], str | None]) -> bool:
    """Keep back a job that can't be placed, and all behind it in its queue; say if it is one."""
    if job.queue in _held:
        _held[job.queue].append(job)
        return True
    why = why_held(job)
    if why is None:
        return False
    _held[job.queue] = deque([job])
    if why:
        job.document["statusReason"] = why
    return True


def _release(queue: str) -> None:
    """Let the jobs of a queue be placed, in their order, before all others."""
    held = _held.pop(queue)
    if not held[0].ended:
        held[0].document.pop("statusReason", None)
    _runnable.extendleft(reversed(held))


def _is_free(job: Job) -> bool:
    """Say whether all dependencies succeeded; fail the job if one did not."""
    needed = [jobs.get(each.get("jobId", "")) for each in job.document["dependsOn"]]
    if any(each is not None and each.status == "FAILED" for each in needed):
        _set(job, "FAILED", "Dependent Job failed")
    return job.ended or all(each is None or each.ended for each in needed)


def _run(job: Job) -> None:
    """Run one attempt of a job in a thread of its own."""
    number = len(job.document["attempts"]) + 1
    stream = f"{_log_prefix(job)}/default/{uuid.uuid4().hex}"
    container = Container(job.document, job.log_group, stream, number)
    problem = container.start(make_group=job.make_log_group)
    with lock:
        if problem is None and not job.ended:
            job.container = container
            job.document["container"].pop("exitCode", None)
            job.document["container"].pop("reason", None)
            job.document["container"]["logStreamName"] = stream
            _set(job, "RUNNING", startedAt=now())
        if job.stop_reason is not None or job.ended:
            container.stop(0 if job.ended else settings.grace)
    if problem is None:
        limit = job.document.get("timeout", {}).get("attemptDurationSeconds")
        container.wait(None if limit is None else limit * _scale["timeout"], settings.grace)
    with lock:
        job.container = None
        _running.discard(job)
        if not job.ended:
            _finish(job, container, problem)
        _changed.notify_all()


def _log_prefix(job: Job) -> str:
    definition = job.document["jobDefinition"].rpartition("/")[2].partition(":")[0]
    configuration = job.document["container"].get("logConfiguration") or {}
    return str((configuration.get("options") or {}).get("awslogs-stream-prefix") or definition)


def _finish(job: Job, container: Container, problem: str | None) -> None:
    """Note how an attempt ended; end the job or let it be tried again."""
    if problem is not None:
        found: dict[str, Any] = {"reason": problem}
        reason = "Task failed to start"
    else:
        found = {"exitCode": container.exit_code}
        reason = _TIMED_OUT if container.timed_out else _EXITED
    reason = job.stop_reason or reason
    _note_attempt(job, found, reason)
    if container.exit_code == 0 and job.stop_reason is None and not container.timed_out:
        _set(job, "SUCCEEDED", reason)
    elif job.stop_reason is None and not container.timed_out and _tries_again(job, reason):
        _set(job, "RUNNABLE", reason)
        _runnable.append(job)
    else:
        _set(job, "FAILED", reason)


def _note_attempt(job: Job, found: dict[str, Any], reason: str) -> None:
    described = job.document["container"]
    described.update(found)
    if "logStreamName" in described:
        found = {**found, "logStreamName": described["logStreamName"]}
    attempt = {
        "container": {**found, "networkInterfaces": []},
        "startedAt": job.document.get("startedAt"),
        "stoppedAt": now(),
        "statusReason": reason,
    }
    job.document["attempts"].append({k: v for k, v in attempt.items() if v is not None})


def _tries_again(job: Job, status_reason: str) -> bool:
    strategy = job.document["retryStrategy"]
    if len(job.document["attempts"]) >= int(strategy.get("attempts", 1)):
        return False
    container = job.document["container"]
    seen = {
        "onExitCode": str(container.get("exitCode", "")),
        "onReason": container.get("reason", ""),
        "onStatusReason": status_reason,
    }
    for rule in strategy.get("evaluateOnExit", []):
        patterns = {key: rule[key] for key in seen if key in rule}
        if all(_matches(seen[key], pattern) for key, pattern in patterns.items()):
            return str(rule["action"]).upper() == "RETRY"
    return True


def _matches(text: str, pattern: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def _set(
    job: Job, status: str, reason: str | None = None, *, silent: bool = False, **more: Any
) -> None:
    before = job.status
    job.document.update(more, status=status)
    if reason is not None:
        job.document["statusReason"] = reason
    if status in ENDED:
        job.document["stoppedAt"] = now()
    if not silent:
        _report(job)
    if job.parent is not None:
        _sum_up(job.parent, before, status)
    _changed.notify_all()


def _sum_up(parent: Job, before: str, after: str) -> None:
    """Count a child of an array in another state; end the array with the last of them."""
    summary = parent.document["arrayProperties"]["statusSummary"]
    summary[before] -= 1
    summary[after] += 1
    if parent.status == "SUBMITTED" and after == "RUNNABLE":
        _set(parent, "PENDING")
    if not parent.ended and summary["SUCCEEDED"] + summary["FAILED"] == len(parent.children):
        reason = "Array Child Job failed" if summary["FAILED"] else None
        reason = parent.stop_reason or reason
        _set(parent, "FAILED" if summary["FAILED"] else "SUCCEEDED", reason)


def _report(job: Job) -> None:
    detail = job.document
    events.emit("aws.batch", "Batch Job State Change", detail, [detail["jobArn"]])
