"""Submits planned jobs: definitions first, scripts and tables stored, then SubmitJob at its pace.

SubmitJob has no token that would make a repetition harmless. So it is called once, and a call without
an answer is looked for under the job's name; what can't be found is left to the sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hut.backends.batch.arrays import group, plan_array, table_key
from hut.backends.batch.bundling import group_bundles, plan_bundle, program_key
from hut.backends.batch.definitions import JobDefinitions, Kind
from hut.backends.batch.images import Images
from hut.backends.batch.jobs import PlannedJob, plan_job, script_key
from hut.backends.batch.options import BatchOptions
from hut.backends.batch.refusals import names_definition, refused
from hut.backends.batch.resources import Unsatisfiable
from hut.backends.batch.templates import UnusableDefinition
from hut.backends.calls import each
from hut.backends.errors import is_throttled, may_have_happened
from hut.backends.launcher import StoredScript
from hut.backends.pace import Pace, submit_in_turns
from hut.backends.port import (
    ArrayRequest,
    BundleRequest,
    BundleShape,
    Job,
    JobRequest,
    SubmitResult,
)
from hut.lifecycle.attempt import launch_failed, unsatisfiable
from hut.scheduling.pacing import Turn

__all__ = ["Clients", "JobSubmitter"]

_URL_SECONDS = 7 * 86400
_PAUSES = (0.5, 1.0)
_IN_LINE = "others submit as many jobs as AWS Batch takes"


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


class JobSubmitter:
    """Submits jobs and arrays of one backend.

    Parameters
    ----------
    options
        What the backend is made of.
    clients
        What is called.
    pace
        Keeps SubmitJob below the account's limit.
    images
        What is known of images.
    find
        Returns the jobs that exist under names.
    sleep
        Replaced in tests.
    """

    def __init__(
        self,
        options: BatchOptions,
        clients: Clients,
        *,
        pace: Pace,
        images: Images,
        find: Callable[[Sequence[str]], Mapping[str, Sequence[Job]]],
        sleep: Callable[[float], object],
    ) -> None:
        self._options = options
        self._submit_client = clients.submit or clients.batch
        self._s3 = clients.s3
        self._bucket = clients.bucket
        self._pace = pace
        self._images = images
        self._find = find
        self._sleep = sleep
        self._definitions = JobDefinitions(clients.batch, options)

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        """Submit each attempt as a job, in order.

        Job definitions are looked up or registered first, each once, and scripts stored. What AWS
        says of one attempt does not hold up the others. What there is no turn for within some
        seconds is not submitted.
        """
        options = self.fitted()
        if isinstance(options, SubmitResult):
            return [options] * len(requests)
        planned = [self._plan(options, request) for request in requests]
        kinds = {job.kind for job in planned if isinstance(job, PlannedJob)}
        definitions = {kind: self._definition(kind) for kind in sorted(kinds)}
        prepared = [_with_definition(job, definitions) for job in planned]
        keyed = [
            (script_key(request), job) for request, job in zip(requests, prepared, strict=True)
        ]
        ready = each(self._store_script, keyed)
        names = [request.name for request in requests]
        return self._submit_in_turns(list(zip(names, ready, strict=True)))

    def arrays(self, requests: Sequence[JobRequest]) -> list[list[int]]:
        """Return which requests may become arrays: groups of at least two places in `requests`."""
        options = self.fitted()
        if isinstance(options, SubmitResult):
            return []
        return group(options, requests, self._images.can_fetch)

    def submit_array(self, array: ArrayRequest) -> SubmitResult:
        """Submit attempts of one shape as one array: one call of SubmitJob."""
        options = self.fitted()
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

    def bundles(self, requests: Sequence[JobRequest], size: int) -> list[BundleShape]:
        """Return which requests may share jobs of at most `size` tasks."""
        options = self.fitted()
        if isinstance(options, SubmitResult):
            return []
        return group_bundles(options, requests, size, self._images.can_fetch)

    def submit_bundle(self, bundle: BundleRequest) -> SubmitResult:
        """Submit attempts of one shape as one job that runs them."""
        options = self.fitted()
        if isinstance(options, SubmitResult):
            return options
        try:
            planned = plan_bundle(options, bundle)
            if planned is None:
                planned = plan_bundle(options, bundle, self._stored(program_key(bundle)))
        except (ClientError, BotoCoreError) as error:
            return SubmitResult(None, None, f"the program can't be stored: {error}")
        assert planned is not None  # noqa: S101 - a stored program always fits
        prepared = _with_definition(planned, {planned.kind: self._definition(planned.kind)})
        ready = self._store_script((program_key(bundle), prepared))
        return self._submit_in_turns([(bundle.name, ready)])[0]

    def fitted(self) -> BatchOptions | SubmitResult:
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
        place = f"s3://{self._bucket}/{key}" if self._options.job_role_arn else None
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
        ready = {
            n: (name, job) for n, (name, job) in enumerate(pairs) if isinstance(job, PlannedJob)
        }
        results |= submit_in_turns(
            self._pace,
            list(ready),
            lambda number: self._submit_one(*ready[number]),
            late=_IN_LINE,
            throttled="throttled by AWS Batch",
        )
        return [results[number] for number in range(len(pairs))]

    def _submit_one(self, name: str, job: PlannedJob) -> SubmitResult | None:
        """Submit a job; None if the call was throttled."""
        try:
            return self._call(job.parameters)
        except ClientError as error:
            if is_throttled(error):
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
                jobs = self._find([name]).get(name)
            except (ClientError, BotoCoreError):
                continue
            if jobs:
                return SubmitResult(jobs[0].handle, detail="found after an error of the call")
        return refused(error)._replace(is_unknown=True)


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
