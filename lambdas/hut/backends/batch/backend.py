"""Runs attempts as jobs of AWS Batch: the edge that calls it, CloudWatch Logs and S3.

What is asked of them, and what their answers mean, is decided in the pure modules beside this one.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from hut.backends.batch.arrays import group, plan_array, table_key
from hut.backends.batch.definitions import JobDefinitions, Kind
from hut.backends.batch.images import Images, KnownImages
from hut.backends.batch.jobs import PlannedJob, plan_job, script_key
from hut.backends.batch.logs import JobLogs
from hut.backends.batch.markers import Damaged, Markers, NoFile, nonce_of, nonce_of_array
from hut.backends.batch.options import BatchOptions
from hut.backends.batch.outcomes import (
    OUR_REASON,
    job_from_detail,
    launch_failed,
    needs_log,
    not_fetched,
    told_by_log,
    unsatisfiable,
    with_limit,
)
from hut.backends.batch.pace import Pace
from hut.backends.batch.prices import estimate
from hut.backends.batch.queues import SERVICE, JobQueues
from hut.backends.batch.refusals import (
    is_gone,
    is_throttled,
    may_have_happened,
    names_definition,
    refused,
)
from hut.backends.batch.remarks import remarks_on, with_remark
from hut.backends.batch.resources import Unsatisfiable, requirements, unreadable
from hut.backends.batch.script import EXIT_NOT_FETCHED, StoredScript, resolve, task_script
from hut.backends.batch.templates import AWSLOGS, UnusableDefinition
from hut.backends.port import ArrayRequest, Job, JobRequest, LogPage, SubmitResult, parent_of
from hut.model.problems import InvalidInput, Problem
from hut.model.records import Outcome, RunRecord
from hut.model.waiting import Queue, Waiting
from hut.model.workflow import TaskSpec
from hut.scheduling.pacing import Place, Turn

__all__ = ["BatchBackend", "Clients"]

_DESCRIBED_AT_ONCE = 100
_LONGEST_REASON = 1024
_URL_SECONDS = 7 * 86400
_AT_A_TIME = 8
_PAUSES = (0.5, 1.0)
_THROTTLED_TIMES = 3  # a submission that was throttled so often is left to a later call
_IN_LINE = "others submit as many jobs as AWS Batch takes"

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Clients:
    """Clients of boto3, which any number of threads may use at once.

    Attributes
    ----------
    batch, logs, s3 : client
    submit : client or None
        For SubmitJob only; one that repeats nothing by itself (``total_max_attempts`` of 1), because
        SubmitJob has no token that would keep a repetition from making a second job. None: `batch`.
    bucket : str
        For scripts that are too large for a job.
    """

    batch: Any
    logs: Any
    s3: Any
    bucket: str
    submit: Any = None


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
        self._submit_client = clients.submit or clients.batch
        self._s3 = clients.s3
        self._bucket = clients.bucket
        self._pace = pace or Pace(sleep=sleep)
        self._images = images or KnownImages()
        self._sleep = sleep
        self._logs = JobLogs(clients.logs, options.log_group)
        self._definitions = JobDefinitions(clients.batch, options)

    @property
    def name(self) -> str:
        """What workflows call it."""
        return self.options.name

    def place(self) -> Place:
        """Say whether to claim for it now, or to come again when fewer jobs are submitted."""
        return self._pace.place()

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        """Submit each attempt as a job, in order.

        Job definitions are looked up or registered first, each once, and scripts stored. What AWS
        says of one attempt does not hold up the others. What there is no turn for within some
        seconds is not submitted.
        """
        options = self._fitted()
        if isinstance(options, SubmitResult):
            return [options] * len(requests)
        planned = [self._plan(options, request) for request in requests]
        kinds = {job.kind for job in planned if isinstance(job, PlannedJob)}
        definitions = {kind: self._definition(kind) for kind in sorted(kinds)}
        prepared = [_with_definition(job, definitions) for job in planned]
        keyed = [
            (script_key(request), job) for request, job in zip(requests, prepared, strict=True)
        ]
        ready = _each(self._store_script, keyed)
        names = [request.name for request in requests]
        return self._submit_in_turns(list(zip(names, ready, strict=True)))

    def arrays(self, requests: Sequence[JobRequest]) -> list[list[int]]:
        """Return which requests may become arrays: groups of at least two places in `requests`."""
        options = self._fitted()
        if isinstance(options, SubmitResult):
            return []
        return group(options, requests, self._images.can_fetch)

    def submit_array(self, array: ArrayRequest) -> SubmitResult:
        """Submit attempts of one shape as one array: one call of SubmitJob."""
        options = self._fitted()
        if isinstance(options, SubmitResult):
            return options
        try:
            planned = plan_array(options, array)
            if planned is None:
                planned = plan_array(options, array, self._stored(table_key(array)))
        except (ClientError, BotoCoreError) as error:
            return SubmitResult(None, None, f"the table can't be stored: {error}")
        assert planned is not None  # noqa: S101 - a stored table always fits
        prepared = _with_definition(planned, {planned.kind: self._definition(planned.kind)})
        ready = self._store_script((table_key(array), prepared))
        return self._submit_in_turns([(array.name, ready)])[0]

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
        self._stop(self._batch.terminate_job, dict.fromkeys(handles, reason))

    def cancel(self, reasons: Mapping[str, str]) -> None:
        """End jobs that wait, each with a reason of its own; those that start or run are left alone.

        So says CancelJob of AWS Batch, also of the children of an array; a job that waits in a queue
        may stay there until its turn comes. All jobs are tried before an error is raised.
        """
        self._stop(self._batch.cancel_job, reasons)

    def waiting(self, spec: TaskSpec, handle: str | None) -> Waiting:
        """Return why a task waits, in Batch's words; a call that fails leaves a gap that is named."""
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
        return JobQueues(self._submit_client).waiting(queue, handle, cpus)

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
        answers = _each(lambda jobs: self._batch.describe_jobs(jobs=jobs), some)
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

    def find(self, names: Sequence[str]) -> Mapping[str, Sequence[Job]]:
        """Return the jobs that exist under names, oldest first; names without any are left out.

        A call of ListJobs for each name and queue (it takes one name at a time): for a few lost
        claims, not for whole runs.
        """
        queues = dict.fromkeys(self.options.queues.values())
        handles = _each(self._named, [(queue, name) for queue in queues for name in names])
        jobs = self.describe([handle for some in handles for handle in some])
        found: defaultdict[str, list[Job]] = defaultdict(list)
        for job in sorted(jobs.values(), key=lambda job: (job.created_at or 0.0, job.handle)):
            found[job.name].append(job)
        return dict(found)

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
        nonces = nonce_of(run, spec, attempt), nonce_of_array(job.name) if in_array else ""
        for pause in (*_PAUSES, 0.0):  # CloudWatch takes a moment to show what it was sent
            markers = self._logs.tail(job.log, Markers(*nonces))
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
        ValueError
            If the cursor is none of this log, or older than a day.
        """
        return self._logs.read(log, cursor, limit)

    def remarks(self, tasks: Sequence[TaskSpec]) -> list[Problem]:
        """Return what of tasks this backend will pass over, as warnings.

        If Batch can't be asked about the job definition, that is the warning.
        """
        if self.options.jobs.definition is None:
            return []
        options = self._fitted()
        if isinstance(options, SubmitResult):
            about = f"backend {self.name!r} has no usable job definition: {options.detail}"
            return [Problem(about)] if tasks else []
        return remarks_on(options, tasks)

    def why_no_log(self) -> str | None:
        """Say why nothing can be read of what jobs print; None where it can, or nobody knows."""
        options = self._fitted()
        if isinstance(options, SubmitResult) or options.template is None:
            return None
        return None if options.template.log_driver == AWSLOGS else unreadable(options.template)

    def read_generated(self, run: RunRecord, spec: TaskSpec, attempt: int, log: str) -> str | None:
        """Return the content of the file a task generated, or None if the log does not hold it (yet).

        Raises
        ------
        InvalidInput
            If the job found no such file, or what is in the log can't be used.
        """
        for pause in (*_PAUSES, 0.0):
            markers = Markers(nonce_of(run, spec, attempt))
            for line in self._logs.all_lines(log):
                markers.feed(line)
            try:
                content = markers.content()
                if content is not None:
                    return content.decode("utf-8")
            except NoFile as error:
                raise _unusable(spec, f"can't be read: {error}") from None
            except Damaged as error:
                raise _unusable(spec, str(error)) from None
            except UnicodeDecodeError as error:
                raise _unusable(spec, f"is not UTF-8 text ({error})") from None
            self._sleep(pause)
        return None

    def _stop(self, call: Callable[..., object], reasons: Mapping[str, str]) -> None:
        def end(handle: str) -> ClientError | None:
            reason = f"{OUR_REASON}{reasons[handle].removeprefix(OUR_REASON)}"
            try:
                call(jobId=handle, reason=reason[:_LONGEST_REASON])
            except ClientError as error:
                return None if is_gone(error) else error
            return None

        for error in _each(end, list(reasons)):
            if error is not None:
                raise error

    def _fitted(self) -> BatchOptions | SubmitResult:
        """Return the options with the job definition that is configured, or why there is none."""
        try:
            return self._definitions.fitted()
        except UnusableDefinition as error:
            return SubmitResult(None, launch_failed(str(error)), str(error))
        except (ClientError, BotoCoreError) as error:
            return refused(error)

    def _plan(self, options: BatchOptions, request: JobRequest) -> PlannedJob | SubmitResult:
        try:
            job = plan_job(options, request)
            if job is None:
                job = plan_job(options, request, self._stored(script_key(request)))
            assert job is not None  # noqa: S101 - a stored script always fits
        except Unsatisfiable as error:
            return SubmitResult(None, unsatisfiable(str(error)), str(error))
        except (ClientError, BotoCoreError) as error:
            return SubmitResult(None, None, f"the script can't be stored: {error}")
        return job

    def _definition(self, kind: Kind) -> str | SubmitResult:
        try:
            return self._definitions.arn(kind)
        except UnusableDefinition as error:
            return SubmitResult(None, launch_failed(str(error)), str(error))
        except (ClientError, BotoCoreError) as error:
            return refused(error)

    def _stored(self, key: str) -> StoredScript:
        url = self._s3.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=_URL_SECONDS
        )
        place = f"s3://{self._bucket}/{key}" if self.options.job_role_arn else None
        return StoredScript(url, place)

    def _store_script(
        self, pair: tuple[str, PlannedJob | SubmitResult]
    ) -> PlannedJob | SubmitResult:
        """Store the script or the table of a job under a key, if it does not carry it itself."""
        key, job = pair
        if isinstance(job, SubmitResult) or job.upload is None:
            return job
        try:
            self._s3.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=job.upload,
                ContentType="text/x-shellscript; charset=utf-8",
            )
        except (ClientError, BotoCoreError) as error:
            return SubmitResult(None, None, f"the script could not be stored: {error}")
        return job

    def _submit_in_turns(
        self, pairs: Sequence[tuple[str, PlannedJob | SubmitResult]]
    ) -> list[SubmitResult]:
        """Submit when it is time to; a submission that was throttled stands in line again."""
        results = {n: job for n, (_, job) in enumerate(pairs) if isinstance(job, SubmitResult)}
        waiting = [number for number in range(len(pairs)) if number not in results]
        throttled: Counter[int] = Counter()
        until = self._pace.latest()
        while waiting:
            turn = self._pace.take(len(waiting), until)
            if not isinstance(turn, Turn):
                late = SubmitResult(None, None, _IN_LINE, again_at=turn)
                results.update(dict.fromkeys(waiting, late))
                break
            called, waiting = waiting[: turn.calls], waiting[turn.calls :]
            numbered = [(turn, place, pairs[number]) for place, number in enumerate(called)]
            for number, result in zip(called, _each(self._submit_at, numbered), strict=True):
                throttled[number] += result is None
                if result is not None:
                    results[number] = result
                elif throttled[number] < _THROTTLED_TIMES:
                    waiting.append(number)
                else:
                    results[number] = SubmitResult(None, None, "throttled by AWS Batch")
        return [results[number] for number in range(len(pairs))]

    def _submit_at(
        self, call: tuple[Turn, int, tuple[str, PlannedJob | SubmitResult]]
    ) -> SubmitResult | None:
        """Submit a job at its place in a turn; None if the call was throttled."""
        turn, place, (name, job) = call
        assert isinstance(job, PlannedJob)  # noqa: S101 - the others have their results
        self._pace.wait(turn, place)
        try:
            return self._call(job.parameters)
        except ClientError as error:
            if is_throttled(error):
                self._pace.throttled()
                return None
            if names_definition(error):
                return self._submit_anew(job)
            return self._after(error, name)
        except BotoCoreError as error:
            return self._after(error, name)

    def _call(self, parameters: Mapping[str, Any]) -> SubmitResult:
        answer = self._submit_client.submit_job(**parameters)
        return SubmitResult(str(answer["jobId"]))

    def _submit_anew(self, job: PlannedJob) -> SubmitResult:
        """Submit a job once more after its definition was looked up again."""
        self._definitions.forget(job.parameters["jobDefinition"])
        definition = self._definition(job.kind)
        if isinstance(definition, SubmitResult):
            return definition
        turn = self._pace.take(1)
        if not isinstance(turn, Turn):
            return SubmitResult(None, None, _IN_LINE, again_at=turn)
        self._pace.wait(turn, 0)
        try:
            return self._call({**job.parameters, "jobDefinition": definition})
        except (ClientError, BotoCoreError) as error:
            return refused(error)

    def _after(self, error: ClientError | BotoCoreError, name: str) -> SubmitResult:
        """Return the result of a call without an answer: the job may exist all the same."""
        if not may_have_happened(error):
            return refused(error)
        for pause in _PAUSES:
            self._sleep(pause)
            try:
                jobs = self.find([name]).get(name)
            except (ClientError, BotoCoreError):
                continue
            if jobs:
                return SubmitResult(jobs[0].handle, detail="found after an error of the call")
        return refused(error)._replace(is_unknown=True)

    def _named(self, place: tuple[str, str]) -> list[str]:
        queue, name = place
        pages = self._batch.get_paginator("list_jobs").paginate(
            jobQueue=queue, filters=[{"name": "JOB_NAME", "values": [name]}]
        )
        summaries = (job for page in pages for job in page["jobSummaryList"])
        # The filter does not tell capitals from small letters.
        return [job["jobId"] for job in summaries if job["jobName"] == name]


def _each(call: Callable[[_Item], _Answer], items: Sequence[_Item]) -> list[_Answer]:
    """Return what `call` returns for each item, in order; a few of the calls are made at a time."""
    if len(items) < 2:
        return [call(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(_AT_A_TIME, len(items))) as pool:
        return list(pool.map(call, items))


def _with_definition(
    job: PlannedJob | SubmitResult,
    definitions: Mapping[Kind, str | SubmitResult],
) -> PlannedJob | SubmitResult:
    if isinstance(job, SubmitResult):
        return job
    definition = definitions[job.kind]
    if isinstance(definition, SubmitResult):
        return definition
    return replace(job, parameters={**job.parameters, "jobDefinition": definition})


def _unusable(spec: TaskSpec, message: str) -> InvalidInput:
    assert spec.generates_source is not None  # noqa: S101 - the caller asks for it
    return InvalidInput([Problem(message)], source=resolve(spec, spec.generates_source))
