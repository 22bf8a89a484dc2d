"""Runs attempts on EC2 instances of their own: the edge that calls Step Functions, EC2, Logs and S3.

Each attempt is an execution of the deployment's state machine, named after its job; that name is the
handle. What is asked of the services, and what their answers mean, is decided in the pure modules beside
this one; how far an attempt is, its state machine notes in the table (`hut.backends.hosts`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from botocore.exceptions import BotoCoreError, ClientError

from hut.backends.calls import each
from hut.backends.ec2.advice import SERVICE, instance_of, remarks_on, waiting_for
from hut.backends.ec2.bundling import group_bundles, limits_of
from hut.backends.ec2.executions import Executions
from hut.backends.ec2.instances import Instances
from hut.backends.ec2.launching import types_of
from hut.backends.ec2.options import Ec2Options
from hut.backends.ec2.outcomes import (
    ended_as_noted,
    job_from_execution,
    log_stream,
    needs_log,
    not_started,
    with_limit,
    with_note,
)
from hut.backends.ec2.prices import estimate
from hut.backends.ec2.submitting import LAUNCHES_PER_SECOND, Ec2Clients, LaunchSubmitter
from hut.backends.ec2.tidying import Tidying
from hut.backends.errors import said_by
from hut.backends.hosts import Hosts, Phase
from hut.backends.job_logs import JobLogs
from hut.backends.launcher import resolve, task_script
from hut.backends.markers import Markers, nonce_of
from hut.backends.pace import Pace
from hut.backends.port import (
    NOTHING_SAID,
    ArrayRequest,
    BundleReport,
    BundleRequest,
    BundleShape,
    Job,
    JobRequest,
    JobState,
    LogPage,
    SubmitResult,
    Unsatisfiable,
    parent_of,
)
from hut.backends.stopping import stop_reason
from hut.lifecycle.task_program import OWN_ENDS, Left
from hut.model.problems import Problem
from hut.model.records import Outcome, RunRecord
from hut.model.waiting import Queue, Waiting
from hut.model.workflow import TaskSpec
from hut.scheduling.bundles import Limits
from hut.scheduling.pacing import Place

__all__ = ["Ec2Backend", "Nudge"]

SEEN_AFTER = 100.0
"""Seconds after which a sweep holds an execution against the store: its handle is noted by then."""

_STOPPED = "Hut.Cancelled"
_LONGEST_REASON = 2000
_FEW = 10  # executions that are described one by one
_FOUND_AT_ONCE = 50  # between two looks at the time
_PAUSES = (0.5, 1.0)


class Nudge(StrEnum):
    """What became of news of an instance.

    Attributes
    ----------
    NOBODY
        The instance is no attempt's, or none of Hut's.
    NOT_YET
        Its state machine does not wait for news yet: it looks by itself before it does, but what ended
        within a moment may be missed. For news of a command it is worth to come again a moment later.
    TAKEN
        The state machine looks now.
    OVER
        The state machine has looked by itself, or has ended.
    """

    NOBODY = "nobody"
    NOT_YET = "not_yet"
    TAKEN = "taken"
    OVER = "over"


class Ec2Backend:
    """A backend on EC2; implements `hut.backends.port.RemoteBackend`.

    Parameters
    ----------
    options
        What it is made of.
    clients
        What it calls.
    hosts
        What is known of instances.
    pace
        Keeps launches below the account's limit; by default knows of this backend only.
    active
        Returns how many attempts the backend has, those that are being submitted included; only asked
        where instances are reused.
    clock, sleep
        Replaced in tests.
    """

    def __init__(
        self,
        options: Ec2Options,
        clients: Ec2Clients,
        *,
        hosts: Hosts,
        pace: Pace | None = None,
        active: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.options = options
        self._hosts = hosts
        self._clock = clock
        self._sleep = sleep
        self._pace = pace or Pace(most=LAUNCHES_PER_SECOND, clock=clock, sleep=sleep)
        self._executions = Executions(clients.states, options.machine)
        self._logs = JobLogs(clients.logs, options.log_group)
        instances = Instances(clients.ec2, options.prefix)
        self._tidying = Tidying(self._executions, instances, hosts, options.name, clock)
        self._submitter = LaunchSubmitter(
            options,
            clients,
            hosts=hosts,
            pace=self._pace,
            active=active,
            clock=clock,
            sleep=sleep,
        )

    @property
    def name(self) -> str:
        """What workflows call it."""
        return self.options.name

    def place(self) -> Place:
        """Say whether to claim for it now, or to come again when fewer instances are launched."""
        return self._pace.place()

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        """Submit each attempt as a job, in order: see `LaunchSubmitter.submit`."""
        return self._submitter.submit(requests)

    def arrays(self, requests: Sequence[JobRequest]) -> list[list[int]]:  # noqa: ARG002
        """Return nothing: there are no arrays of instances."""
        return []

    def submit_array(self, array: ArrayRequest) -> SubmitResult:  # noqa: ARG002
        """Take none: `arrays` makes none."""
        return SubmitResult(None, None, f"{SERVICE} has no array jobs")

    def bundle_limits(self) -> Limits:
        """Return what is asked of bundles: an instance that boots for a minute should have work."""
        return limits_of(self.options)

    def bundles(self, requests: Sequence[JobRequest], size: int) -> list[BundleShape]:
        """Return which requests share instances."""
        return group_bundles(self.options, requests, size)

    def submit_bundle(self, bundle: BundleRequest) -> SubmitResult:
        """Start one execution for attempts of one shape."""
        return self._submitter.submit_bundle(bundle)

    def report(self, job: Job, nonce: str, size: int) -> BundleReport:
        """Return what a bundle's log says of its tasks, and of the job's end."""
        if job.log is None:
            return NOTHING_SAID
        outcome = job.outcome
        report = self._logs.bundle(job.log, nonce).report(size)
        if outcome is not None and needs_log(outcome):
            markers = self._logs.tail(job.log, Markers(nonce))
            if markers.not_started:
                return replace(report, outcome=not_started(outcome, markers.not_started))
        return report

    def script(self, run: RunRecord, spec: TaskSpec, attempt: int) -> str:
        """Return the script an attempt runs, with its variables, so that it can be read and tried."""
        return task_script(run, spec, attempt, exports=True)

    def terminate(self, handles: Sequence[str], reason: str, *, wholly: bool = False) -> None:  # noqa: ARG002
        """End jobs that wait or run, and their instances; those that have ended are left alone.

        First the executions are stopped, so that none launches anything any more; `reason` comes back
        as the cause of their end. An instance that EC2 does not show yet is ended by whoever hears
        of that end (`end_instances`), or by the sweep. All are tried before an error is raised.
        """
        self._stop(dict.fromkeys(map(parent_of, handles), reason))

    def cancel(self, reasons: Mapping[str, str]) -> None:
        """End jobs that wait for an instance, each with a reason of its own; others are left alone.

        One whose instance boots has its machine, and `startup_timeout_seconds` to come up. One that
        gets its instance between the look at what is noted and the stop ends with the others. All jobs
        are tried before an error is raised.
        """
        notes = self._hosts.jobs(list(reasons))
        placed = {name for name, note in notes.items() if note.phase is not Phase.LAUNCHING}
        self._stop({name: reason for name, reason in reasons.items() if name not in placed})

    def end_instances(self, names: Sequence[str]) -> int:
        """End the instances of attempts whose executions ended without doing it; return how many.

        For whoever is told of such an end: `hut.backends.ec2.outcomes.left_open`. What it can't do
        raises; it is to be called again then, so before the message is acknowledged.
        """
        return self._tidying.end_instances(names)

    def nudge(self, instance: str) -> Nudge:
        """Let the state machine that waits for an instance, or for its command, look at it now."""
        host = self._hosts.hosts([instance]).get(instance)
        if host is None:
            return Nudge.NOBODY
        note = self._hosts.jobs([host.name]).get(host.name)
        if note is None or not note.token:
            return Nudge.NOT_YET
        return Nudge.TAKEN if self._executions.nudge(note.token) else Nudge.OVER

    def tidy(self, has_time: Callable[[], bool] = lambda: True) -> list[Job]:
        """End instances that no execution needs; return the jobs that have run for a while.

        It is done for the whole deployment, whichever of its backends is asked: they share a state
        machine and a tag.
        """
        running = self._executions.running()
        self._tidying.tidy(running, has_time)
        now = self._clock()
        old = {name: began for name, began in running.items() if now - began > SEEN_AFTER}
        notes = self._hosts.jobs(list(old))
        return [with_note(_unended(name, at), notes.get(name)) for name, at in old.items()]

    def waiting(self, spec: TaskSpec, handle: str | None) -> Waiting:
        """Return how far a task's job is; a call that fails leaves a gap that is named."""
        handle = None if handle is None else parent_of(handle)
        if handle is None:
            try:
                types_of(self.options, spec)
            except Unsatisfiable as error:
                return Waiting(SERVICE, unasked=(str(error),))
            return Waiting(SERVICE)
        try:
            note = self._hosts.jobs([handle]).get(handle)
            known = note is not None or bool(self._executions.describe([handle]))
        except (ClientError, BotoCoreError) as error:
            return Waiting(SERVICE, unasked=(f"its job could not be looked at: {said_by(error)}",))
        return waiting_for(self.options, note, self._clock(), known=known)

    def where(self, handle: str) -> str:
        """Say which instance a job runs on, as its state machine has noted it."""
        handle = parent_of(handle)
        note = self._hosts.jobs([handle]).get(handle)
        return "" if note is None or not note.instance else instance_of(note)

    def queues(self) -> Sequence[Queue]:
        """Return nothing: there are no queues."""
        return ()

    def describe(self, handles: Sequence[str]) -> dict[str, Job]:
        """Return what Step Functions knows of jobs; it forgets those that ended 90 days ago."""
        names = list(dict.fromkeys(handles))
        running = self._executions.running() if len(names) > _FEW else {}
        jobs = {name: _unended(name, running[name]) for name in names if name in running}
        rest = [name for name in names if name not in jobs]
        for name, detail in self._executions.describe(rest).items():
            jobs[name] = job_from_execution(detail)
        notes = self._hosts.jobs(list(jobs))
        return {
            name: ended_as_noted(with_note(job, notes.get(name)), notes.get(name))
            for name, job in jobs.items()
        }

    def quiet(self, children: Mapping[str, tuple[int, int]]) -> set[str]:  # noqa: ARG002
        """Return nothing: there are no arrays."""
        return set()

    def running(self, array: str) -> Sequence[Job]:  # noqa: ARG002
        """Return nothing: there are no arrays."""
        return ()

    def find(
        self, names: Sequence[str], has_time: Callable[[], bool] = lambda: True
    ) -> Mapping[str, Sequence[Job]]:
        """Return the jobs that exist under names: one each, or none.

        Names that there was no time to look for are left out.
        """
        found: dict[str, list[Job]] = {}
        for start in range(0, len(names), _FOUND_AT_ONCE):
            if not has_time():
                break
            some = names[start : start + _FOUND_AT_ONCE]
            jobs = self.describe(some)
            found |= {name: [jobs[name]] if name in jobs else [] for name in some}
        return found

    def outcome(self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> Outcome | None:
        """Return how a job ended, with what its notes and its log add; None if it has not ended."""
        job = self._as_noted(job)
        if job.outcome is None:
            return None
        outcome = with_limit(job.outcome, spec)
        if job.log is None or not needs_log(outcome):
            return outcome
        for pause in (*_PAUSES, 0.0):  # CloudWatch takes a moment to show what it was sent
            markers = self._logs.tail(job.log, Markers(nonce_of(run, spec, attempt)))
            if markers.not_started:
                return not_started(outcome, markers.not_started)
            self._sleep(pause)
        return outcome

    def cost(self, job: Job) -> float | None:
        """Return an estimate in dollars of what a job cost; None if there can't be one."""
        return estimate(self.options, self._as_noted(job).usage)

    def read_log(self, log: str, cursor: str | None, limit: int) -> LogPage:
        """Return a page of a log, at most `limit` lines, from `cursor` (None: the start) on.

        Raises
        ------
        UnknownCursor
        """
        return self._logs.read(log, cursor, limit)

    def remarks(self, tasks: Sequence[TaskSpec]) -> list[Problem]:
        """Return what tasks ask for and their instances may not have, as warnings."""
        return remarks_on(self.options, tasks)

    def why_no_log(self) -> str | None:
        """Return nothing: what tasks print is always sent to CloudWatch Logs."""
        return None

    def read_generated(self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> str | None:
        """Return the content of the file a task generated, or None if the log does not hold it (yet).

        Raises
        ------
        InvalidInput
            If the job found no such file, or what is in the log can't be used.
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

    def _stop(self, reasons: Mapping[str, str]) -> None:
        """Stop executions and end what they launched; the first error is raised in the end.

        One that could not be stopped keeps its instance: it would only launch another.
        """

        def stop(name: str) -> ClientError | BotoCoreError | None:
            try:
                self._executions.stop(name, _STOPPED, stop_reason(reasons[name], _LONGEST_REASON))
            except (ClientError, BotoCoreError) as error:
                return error
            return None

        names = list(reasons)
        errors = each(stop, names)
        stopped = [name for name, error in zip(names, errors, strict=True) if error is None]
        if stopped:
            self._tidying.end_instances(stopped)
        for error in errors:
            if error is not None:
                raise error

    def _as_noted(self, job: Job) -> Job:
        """Return a job that ended without a document with what was noted of it before."""
        if job.state is not JobState.ENDED or job.usage is not None:
            return job
        return ended_as_noted(job, self._hosts.jobs([job.name]).get(job.name))


def _unended(name: str, began: float) -> Job:
    return Job(name, name, JobState.WAITING, log=log_stream(name), created_at=began)
