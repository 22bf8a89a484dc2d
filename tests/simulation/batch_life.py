"""Simulated AWS Batch: the life of jobs, in virtual time.

States, their order and the words of reasons are those of the test bed's model
(`tests.testbed.batch_jobs`), which the tests compare this one with. Instead of processes there is a
`Fate` for each attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.simulation.batch_job import ENDED, SimulatedJob, milliseconds
from tests.simulation.batch_line import Lines
from tests.simulation.fates import KILLED_AFTER, Fate, marked_lines
from tests.simulation.logs import SimulatedLogs

__all__ = ["JobLife"]

_ADMITTED_AFTER = 0.5  # seconds
_EXITED = "Essential container in task exited"
_TIMED_OUT = "Job attempt duration exceeded timeout"
_NO_GROUP = (
    "ResourceInitializationError: failed to validate logger args: failed to create Cloudwatch log "
    "stream: ResourceNotFoundException: The specified log group does not exist: {}"
)


class JobLife:
    """Moves jobs along.

    Parameters
    ----------
    clock, at
        Seconds since the epoch; `at` calls something at a time.
    logs
        Where what jobs print goes.
    fate
        What becomes of each attempt, asked when it becomes RUNNABLE.
    why_held
        Says for a queue and vCPUs why no job can be placed there.
    report
        Called at each change that AWS sends an event for.

    Attributes
    ----------
    slots
        How many jobs are live at once; None: as many as there are.
    changed
        Called at each change, the submission included.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        at: Callable[[float, Callable[[], object]], object],
        *,
        logs: SimulatedLogs,
        fate: Callable[[SimulatedJob], Fate],
        why_held: Callable[[str, float], str | None],
        report: Callable[[SimulatedJob], object],
        new_id: Callable[[], str],
    ) -> None:
        self._clock = clock
        self._at = at
        self._logs = logs
        self._fate = fate
        self._report = report
        self._new_id = new_id
        self.slots: int | None = None
        self.lines = Lines(why_held)
        self.live = 0
        self.changed: list[Callable[[SimulatedJob], object]] = []

    def add(self, job: SimulatedJob) -> None:
        """Take in a job, or an array with its children; AWS sends no event for that."""
        for each in (job, *job.children):
            for see in self.changed:
                see(each)
        self._later(_ADMITTED_AFTER, self._admit, job)

    def stop(self, job: SimulatedJob, reason: str, *, cancel: bool = False) -> None:
        """Terminate a job, or cancel it: a job that starts or runs is not cancelled."""
        if job.has_ended or (cancel and job.is_live):
            return
        if cancel:
            job.is_cancelled = True
        else:
            job.is_terminated = True
        is_first = job.stop_reason is None
        job.stop_reason = job.stop_reason or reason
        for child in job.children:
            self.stop(child, reason, cancel=cancel)
        if job.children or job.state == "STARTING":
            return
        if job.state == "RUNNING":
            if is_first and not job.is_timed_out:
                self._later(min(job.fate.stops, KILLED_AFTER), self._kill, job, job.tries)
        elif cancel and job.state == "RUNNABLE" and job.fate.cancels:
            self._later(job.fate.cancels, self._end_waiting, job)
        else:
            self._end_waiting(job)

    def reclaim(self, job: SimulatedJob, reason: str) -> None:
        """Take away the machine of a job that starts or runs."""
        if job.is_live:
            self._finish(job, {}, reason)

    def place(self) -> None:
        """Start what may start."""
        while self.slots is None or self.live < self.slots:
            job = self.lines.take()
            if job is None:
                return
            if job.stop_reason is not None:  # cancelled, and now its turn has come
                self._end_waiting(job)
                continue
            self.live += 1
            self.lines.count(job, 1)
            self._set(job, "STARTING")
            self._later(job.fate.starts, self._launch, job, job.tries)

    # One step after the other -----------------------------------------------------------------------

    def _later(self, seconds: float, step: Callable[..., object], *given: Any) -> None:
        self._at(self._clock() + seconds, partial(step, *given))

    def _admit(self, job: SimulatedJob) -> None:
        for each in job.children or [job]:
            if not each.has_ended:
                self._wait(each)

    def _wait(self, job: SimulatedJob, reason: str | None = None) -> None:
        job.tries += 1
        job.fate = self._fate(job)
        self._set(job, "RUNNABLE", reason)
        self._later(job.fate.waits, self._stand_in_line, job, job.tries)

    def _stand_in_line(self, job: SimulatedJob, tries: int) -> None:
        if job.state == "RUNNABLE" and job.tries == tries:
            self.lines.add(job)
            self.place()

    def _end_waiting(self, job: SimulatedJob) -> None:
        if not job.has_ended and not job.is_live:
            self._set(job, "FAILED", job.stop_reason)
            if self.lines.leave(job):
                self.place()

    def _launch(self, job: SimulatedJob, tries: int) -> None:
        if job.state != "STARTING" or job.tries != tries:
            return
        fate, submission = job.fate, job.submission
        stream = f"{submission.log_prefix}/default/{self._new_id()}"
        if not self._logs.open(submission.log_group, stream, make_group=submission.makes_group):
            self._finish(job, {"reason": _NO_GROUP.format(submission.log_group)})
        elif not fate.is_launched:
            self._finish(job, {"reason": fate.reason})
        else:
            job.found = {"logStreamName": stream}
            job.started = self._clock()
            job.is_timed_out = False
            if fate.lines:
                self._logs.write(submission.log_group, stream, fate.lines)
            self._set(job, "RUNNING")
            if job.stop_reason is not None:
                self._later(min(fate.stops, KILLED_AFTER), self._kill, job, tries)
            if submission.limit is not None and fate.runs > submission.limit:
                self._later(submission.limit, self._time_out, job, tries)
            self._later(fate.runs, self._exit, job, tries)

    def _time_out(self, job: SimulatedJob, tries: int) -> None:
        if job.state == "RUNNING" and job.tries == tries:
            job.is_timed_out = True
            self._later(min(job.fate.stops, KILLED_AFTER), self._kill, job, tries)

    def _kill(self, job: SimulatedJob, tries: int) -> None:
        if job.state == "RUNNING" and job.tries == tries:
            self._finish(job, {"exitCode": job.fate.stopped_code})

    def _exit(self, job: SimulatedJob, tries: int) -> None:
        """Let a container end by itself."""
        if job.state != "RUNNING" or job.tries != tries:
            return
        fate, group = job.fate, job.submission.log_group
        if fate.marks or fate.generated is not None:
            stream = job.found["logStreamName"]
            self._logs.write(group, stream, marked_lines(fate, job.nonce))
        code = {} if fate.exit_code is None else {"exitCode": fate.exit_code}
        found = {**code, **({"reason": fate.reason} if fate.reason else {})}
        self._finish(job, found, fate.status_reason)

    def _finish(self, job: SimulatedJob, found: dict[str, Any], reason: str = "") -> None:
        """Note how an attempt ended; end the job or let it be tried again."""
        if not reason:
            is_launched = job.state == "RUNNING"
            ended = _TIMED_OUT if job.is_timed_out else _EXITED
            reason = ended if is_launched else "Task failed to start"
        reason = job.stop_reason or reason
        self._note_attempt(job, found, reason)
        self.live -= 1
        self.lines.count(job, -1)
        is_own = job.stop_reason is None and not job.is_timed_out
        if is_own and found.get("exitCode") == 0:
            self._set(job, "SUCCEEDED", reason)
        elif is_own and _tries_again(job, reason):
            self._wait(job, reason)
        else:
            self._set(job, "FAILED", reason)
        self.place()

    def _note_attempt(self, job: SimulatedJob, found: dict[str, Any], reason: str) -> None:
        job.found = {**job.found, **found}
        if "logStreamName" in job.found:
            found = {**found, "logStreamName": job.found["logStreamName"]}
        attempt: dict[str, Any] = {"container": {**found, "networkInterfaces": []}}
        if job.started is not None:
            attempt["startedAt"] = milliseconds(job.started)
        attempt["stoppedAt"] = milliseconds(self._clock())
        attempt["statusReason"] = reason
        job.attempts.append(attempt)

    def _set(self, job: SimulatedJob, state: str, reason: str | None = None) -> None:
        before, job.state = job.state, state
        if reason is not None:
            job.reason = reason
        if state in ENDED:
            job.ended = self._clock()
            if job.fate.kept is not None and not job.children:
                self._later(job.fate.kept, setattr, job, "is_forgotten", True)
        for see in self.changed:
            see(job)
        self._report(job)
        if job.parent is not None:
            self._sum_up(job.parent, before, state)

    def _sum_up(self, parent: SimulatedJob, before: str, after: str) -> None:
        """Count a child of an array in another state; end the array with the last of them."""
        summary = parent.summary
        assert summary is not None
        summary[before] -= 1
        summary[after] += 1
        if parent.state == "SUBMITTED" and after == "RUNNABLE":
            self._set(parent, "PENDING")
        failed = summary["FAILED"]
        if not parent.has_ended and summary["SUCCEEDED"] + failed == len(parent.children):
            reason = parent.stop_reason or ("Array Child Job failed" if failed else None)
            self._set(parent, "FAILED" if failed else "SUCCEEDED", reason)


def _tries_again(job: SimulatedJob, status_reason: str) -> bool:
    strategy = job.submission.retry
    if len(job.attempts) >= int(strategy.get("attempts", 1)):
        return False
    seen = {
        "onExitCode": str(job.found.get("exitCode", "")),
        "onReason": job.found.get("reason", ""),
        "onStatusReason": status_reason,
    }
    for rule in strategy.get("evaluateOnExit", []):
        patterns = {key: rule[key] for key in seen if key in rule}
        if all(_matches(seen[key], pattern) for key, pattern in patterns.items()):
            return str(rule["action"]).upper() == "RETRY"
    return True


def _matches(text: str, pattern: str) -> bool:
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
