"""Runs attempts as jobs of AWS Batch: the edge that calls it, CloudWatch Logs and S3.

What is asked of them, and what their answers mean, is decided in the pure modules beside this one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from botocore.exceptions import ClientError

from hut.backends.batch.bundling import LIMITS
from hut.backends.batch.images import Images, KnownImages
from hut.backends.batch.options import BatchOptions
from hut.backends.batch.outcomes import (
    job_from_detail,
    needs_log,
    not_fetched,
    told_by_log,
    with_limit,
)
from hut.backends.batch.prices import estimate
from hut.backends.batch.queues import SERVICE, JobQueues
from hut.backends.batch.refusals import is_gone
from hut.backends.batch.remarks import remarks_on, with_remark
from hut.backends.batch.resources import Unsatisfiable, requirements, unreadable
from hut.backends.batch.searching import jobs_named
from hut.backends.batch.submitting import Clients, JobSubmitter
from hut.backends.batch.templates import AWSLOGS
from hut.backends.calls import each
from hut.backends.job_logs import JobLogs
from hut.backends.launcher import EXIT_NOT_FETCHED, resolve, task_script
from hut.backends.markers import Markers, nonce_of, nonce_of_child
from hut.backends.pace import Pace
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
    parent_of,
)
from hut.backends.stopping import stop_reason
from hut.lifecycle.attempt import EXIT_NOT_STARTED, launch_failed
from hut.lifecycle.task_program import OWN_ENDS, Left
from hut.model.problems import Problem
from hut.model.records import Outcome, RunRecord
from hut.model.states import Reason
from hut.model.waiting import Queue, Waiting
from hut.model.workflow import TaskSpec
from hut.scheduling.bundles import Limits
from hut.scheduling.pacing import Place

__all__ = ["BatchBackend", "Clients"]

_DESCRIBED_AT_ONCE = 100
_LONGEST_REASON = 1024
_PAUSES = (0.5, 1.0)


class BatchBackend:
    """A backend on AWS Batch; implements `hut.backends.port.RemoteBackend`.

    Parameters
    ----------
    options
        What it is made of.
    clients
        What it calls.
    pace
        Keeps SubmitJob below the account's limit; by default knows of this backend only.
    images
        What is known of images; by default what this process learns.
    sleep
        Replaced in tests.
    """

    def __init__(
        self,
        options: BatchOptions,
        clients: Clients,
        *,
        pace: Pace | None = None,
        images: Images | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.options = options
        self._batch = clients.batch
        self._impatient = clients.submit or clients.batch
        self._pace = pace or Pace(sleep=sleep)
        self._images = images or KnownImages()
        self._sleep = sleep
        self._logs = JobLogs(clients.logs, options.log_group)
        self._submitter = JobSubmitter(
            options, clients, pace=self._pace, images=self._images, find=self.find, sleep=sleep
        )

    @property
    def name(self) -> str:
        """What workflows call it."""
        return self.options.name

    def place(self) -> Place:
        """Say whether to claim for it now, or to come again when fewer jobs are submitted."""
        return self._pace.place()

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        """Submit each attempt as a job, in order: see `JobSubmitter.submit`."""
        return self._submitter.submit(requests)

    def arrays(self, requests: Sequence[JobRequest]) -> list[list[int]]:
        """Return which requests may become arrays: groups of at least two places in `requests`."""
        return self._submitter.arrays(requests)

    def submit_array(self, array: ArrayRequest) -> SubmitResult:
        """Submit attempts of one shape as one array: one call of SubmitJob."""
        return self._submitter.submit_array(array)

    def bundle_limits(self) -> Limits:
        """Return what is asked of bundles."""
        return LIMITS

    def bundles(self, requests: Sequence[JobRequest], size: int) -> list[BundleShape]:
        """Return which requests may share jobs of at most `size` tasks."""
        return self._submitter.bundles(requests, size)

    def submit_bundle(self, bundle: BundleRequest) -> SubmitResult:
        """Submit attempts of one shape as one job that runs them."""
        return self._submitter.submit_bundle(bundle)

    def report(self, job: Job, nonce: str, size: int) -> BundleReport:
        """Return what a bundle's log says of its tasks, and of the job's end.

        An image that could not fetch the bundle's program is remembered: it gets small ones.
        """
        if job.log is None:
            return NOTHING_SAID
        outcome, report = job.outcome, self._logs.bundle(job.log, nonce).report(size)
        codes = (EXIT_NOT_FETCHED, EXIT_NOT_STARTED)
        if outcome is None or outcome.reason is not Reason.EXIT or outcome.exit_code not in codes:
            return report
        markers = self._logs.tail(job.log, Markers(nonce))
        if markers.not_fetched:
            self._images.cannot_fetch(job.image or self.options.default_image or "")
            return replace(report, outcome=not_fetched())
        if markers.not_started:
            return replace(report, outcome=launch_failed(markers.not_started))
        return report

    def script(self, run: RunRecord, spec: TaskSpec, attempt: int) -> str:
        """Return the script an attempt runs, with its variables, so that it can be read and tried.

        In the job itself the variables are in the container's environment, except when they are too
        large for it.
        """
        return task_script(run, spec, attempt, exports=True)

    def terminate(self, handles: Sequence[str], reason: str, *, wholly: bool = False) -> None:
        """End jobs that wait or run; those that have ended are left alone.

        Batch sends TERM, and KILL after 30 seconds. `reason` comes back as the job's status reason.
        All jobs are tried before an error is raised. An array of which nothing is wanted any more
        is ended by one call: Batch ends its children.
        """
        if wholly:
            handles = list(dict.fromkeys(map(parent_of, handles)))
        self._stop(self._batch.terminate_job, dict.fromkeys(map(_own, handles), reason))

    def cancel(self, reasons: Mapping[str, str]) -> None:
        """End jobs that wait, each with a reason of its own; those that start or run are left alone.

        So says CancelJob of AWS Batch, also of the children of an array; a job that waits in a queue
        may stay there until its turn comes. All jobs are tried before an error is raised.
        """
        self._stop(self._batch.cancel_job, reasons)

    def waiting(self, spec: TaskSpec, handle: str | None) -> Waiting:
        """Return why a task waits, in Batch's words; a call that fails leaves a gap that is named."""
        handle = None if handle is None else _own(handle)
        partition = spec.partition or self.options.default_queue
        queue = self.options.queues.get(partition)
        if queue is None:
            return Waiting(SERVICE, unasked=(f"there is no partition {partition!r} any more",))
        cpus = spec.resources.cpus
        if (platform := self.options.platforms.get(partition)) is not None:
            with suppress(Unsatisfiable):  # then nothing was submitted, and the task says why
                asked = requirements(spec.resources, platform)
                cpus = next(int(each["value"]) for each in asked if each["type"] == "VCPU")
        # One try for each call: a person waits for the answer.
        return JobQueues(self._impatient).waiting(queue, handle, cpus)

    def where(self, handle: str) -> str:  # noqa: ARG002
        """Say nothing: Batch's machines are shared, and its own."""
        return ""

    def queues(self) -> Sequence[Queue]:
        """Return all queues that tasks may go to, with their states."""
        references = dict.fromkeys(self.options.queues.values())
        return JobQueues(self._batch).queues(list(references))

    def describe(self, handles: Sequence[str]) -> dict[str, Job]:
        """Return what Batch knows of jobs; it forgets those that ended some days ago."""
        some = [
            list(handles[start : start + _DESCRIBED_AT_ONCE])
            for start in range(0, len(handles), _DESCRIBED_AT_ONCE)
        ]
        answers = each(lambda jobs: self._batch.describe_jobs(jobs=jobs), some)
        jobs = (job_from_detail(detail) for answer in answers for detail in answer["jobs"])
        return {job.handle: job for job in jobs}

    def quiet(self, children: Mapping[str, tuple[int, int]]) -> set[str]:
        """Return the arrays whose children have not moved: Batch counts them in their parents."""
        arrays = list(children)
        found: set[str] = set()
        for start in range(0, len(arrays), _DESCRIBED_AT_ONCE):
            some = arrays[start : start + _DESCRIBED_AT_ONCE]
            for detail in self._batch.describe_jobs(jobs=some)["jobs"]:
                array = detail.get("arrayProperties") or {}
                counts = array.get("statusSummary") or {}
                ended = counts.get("SUCCEEDED", 0) + counts.get("FAILED", 0)
                theirs = array.get("size", 0) - ended, counts.get("RUNNING", 0)
                if theirs == children[detail["jobId"]]:
                    found.add(detail["jobId"])
        return found

    def running(self, array: str) -> list[Job]:
        """Return the children of an array that run; where their logs are, is not in the list."""
        pages = self._batch.get_paginator("list_jobs").paginate(
            arrayJobId=array, jobStatus="RUNNING"
        )
        return [job_from_detail(summary) for page in pages for summary in page["jobSummaryList"]]

    def find(
        self, names: Sequence[str], has_time: Callable[[], bool] = lambda: True
    ) -> Mapping[str, Sequence[Job]]:
        """Return the jobs that exist under names, oldest first; none for names without any.

        Names that there was no time to look for are left out. See `hut.backends.batch.searching` for
        what it takes.
        """
        queues = list(dict.fromkeys(self.options.queues.values()))
        handles = jobs_named(self._batch, queues, names, has_time)
        jobs = self.describe([handle for some in handles.values() for handle in some])
        found: dict[str, list[Job]] = {name: [] for name in handles}
        for job in sorted(jobs.values(), key=lambda job: (job.created_at or 0.0, job.handle)):
            found[job.name].append(job)
        return found

    def tidy(self, has_time: Callable[[], bool] = lambda: True) -> list[Job]:  # noqa: ARG002
        """Do nothing: machines are Batch's, and jobs of runs are looked for with their run."""
        return []

    def outcome(self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> Outcome | None:
        """Return how a job ended, with what its log adds; None if it has not ended.

        The log is read only where it may say more: `hut.backends.batch.needs_log`.
        """
        if job.outcome is None:
            return None
        outcome = with_limit(job.outcome, spec)
        told = self._told_by_log(run, spec, attempt, job, outcome)
        return with_remark(told, self.options, spec, job.image)

    def _told_by_log(
        self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job, outcome: Outcome
    ) -> Outcome:
        in_array = job.index is not None
        if job.log is None or not needs_log(outcome, spec, in_array=in_array):
            return outcome
        image = job.image or spec.image or self.options.default_image or ""
        no_fetch = in_array and outcome.exit_code == EXIT_NOT_FETCHED
        if no_fetch and not self._images.can_fetch(image):
            return not_fetched()  # thousands of siblings need not be read
        for pause in (*_PAUSES, 0.0):  # CloudWatch takes a moment to show what it was sent
            markers = self._logs.tail(job.log, Markers(_nonce(run, spec, attempt, job)))
            if no_fetch and markers.not_fetched:
                self._images.cannot_fetch(image)
            told = told_by_log(outcome, spec, markers)
            if told != outcome:
                return told
            self._sleep(pause)
        return outcome

    def cost(self, job: Job) -> float | None:
        """Return an estimate in dollars of what a job cost: see `hut.backends.batch.prices`."""
        return estimate(self.options, job.usage)

    def read_log(self, log: str, cursor: str | None, limit: int) -> LogPage:
        """Return a page of a log, at most `limit` lines, from `cursor` (None: the start) on.

        At the end of what there is, the cursor stays the same.

        Raises
        ------
        UnknownCursor
            If the cursor is none of this log, or older than a day.
        """
        return self._logs.read(log, cursor, limit)

    def remarks(self, tasks: Sequence[TaskSpec]) -> list[Problem]:
        """Return what of tasks this backend will pass over, as warnings.

        If Batch can't be asked about the job definition, that is the warning.
        """
        if self.options.jobs.definition is None:
            return []
        options = self._submitter.fitted()
        if isinstance(options, SubmitResult):
            about = f"backend {self.name!r} has no usable job definition: {options.detail}"
            return [Problem(about)] if tasks else []
        return remarks_on(options, tasks)

    def why_no_log(self) -> str | None:
        """Say why nothing can be read of what jobs print; None where it can, or nobody knows."""
        options = self._submitter.fitted()
        if isinstance(options, SubmitResult) or options.template is None:
            return None
        return None if options.template.log_driver == AWSLOGS else unreadable(options.template)

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
            text = self._logs.generated(job.log, _nonce(run, spec, attempt, job), source)
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
            left, whole = self._logs.left(job.log, _nonce(run, spec, attempt, job))
            if whole or job.outcome is None or job.outcome.reason not in OWN_ENDS:
                break
            self._sleep(pause)
        return left, whole

    def _stop(self, call: Callable[..., object], reasons: Mapping[str, str]) -> None:
        def end(handle: str) -> ClientError | None:
            try:
                call(jobId=handle, reason=stop_reason(reasons[handle], _LONGEST_REASON))
            except ClientError as error:
                return None if is_gone(error) else error
            return None

        for error in each(end, list(reasons)):
            if error is not None:
                raise error


def _own(handle: str) -> str:
    """Return the handle of the job that Batch knows: a task in a bundle has none of its own."""
    return handle.partition("#")[0]


def _nonce(run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> str:
    """Return what marks the lines of a job for an attempt."""
    if job.index is None:
        return nonce_of(run, spec, attempt)
    return nonce_of_child(job.name, job.index)
