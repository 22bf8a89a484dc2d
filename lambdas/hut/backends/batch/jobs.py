"""From a claimed attempt to the parameters of SubmitJob. Pure.

Two limits shape it. Amazon ECS, which Batch uses to run containers, refuses overrides of more than
8,192 characters, JSON and what Batch adds included, and the job fails ("Container Overrides length
must be at most 8192"). Batch refuses jobs of more than 30 KiB; what passes the first limit is far
below. So a script that is too large goes to S3, and takes the variables along if it must.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hut.backends.batch.definitions import Kind
from hut.backends.batch.options import BatchOptions
from hut.backends.batch.priorities import scheduling_of
from hut.backends.batch.resources import (
    Placement,
    Unsatisfiable,
    check_definition,
    image_of,
    place,
    requirements,
)
from hut.backends.launcher import (
    SHORTEST_BATCH_LIMIT,
    StoredScript,
    launcher,
    task_script,
)
from hut.backends.port import JobRequest
from hut.backends.tags import job_tags
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec
from hut.script import attempt_variables, variables_of

__all__ = [
    "LARGEST_OVERRIDES",
    "STARTS_ARE_TOLD",
    "PlannedJob",
    "environment_of",
    "length_of",
    "parameters_of",
    "plan_job",
    "script_key",
    "seconds_of",
]

LARGEST_OVERRIDES = 8192 - 1024
"""Characters of overrides this module makes; Batch adds its own variables (AWS_BATCH_JOB_ID, ...)."""

STARTS_ARE_TOLD: Mapping[str, str] = {"hutStarts": "told"}
"""Parameter of a job whose start is to be told by an event; the rule in ``infra`` looks for it."""

_RESERVED = "AWS_BATCH"
_BACKSTOP_SECONDS = 120


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that is ready but for its definition.

    Attributes
    ----------
    parameters : dict
        Of SubmitJob, without ``jobDefinition``.
    upload : bytes or None
        Content of the script, or of an array's table, to be stored before the submit.
    """

    placement: Placement
    image: str
    parameters: dict[str, Any]
    upload: bytes | None = None

    @property
    def kind(self) -> Kind:
        """What its definition depends on."""
        return Kind(self.image, self.placement.platform, self.placement.architecture)


def plan_job(
    options: BatchOptions, request: JobRequest, stored: StoredScript | None = None
) -> PlannedJob | None:
    """Return the job of an attempt, or None if its script is too large and not said to be stored.

    Parameters
    ----------
    stored
        Where the script will be, if it does not fit.

    Raises
    ------
    Unsatisfiable
        If this attempt can never be a job of this backend.
    """
    run, spec, attempt = request.run, request.claim.spec, request.claim.key.attempt
    placement = place(options, spec)
    resources = requirements(spec.resources, placement.platform)
    variables = environment_of(run, spec, attempt)
    check_definition(options, spec, variables)
    upload = None
    if stored is None:
        script = task_script(run, spec, attempt, exports=False)
        overrides = _overrides(request, variables, None, script)
        if length_of(overrides, resources) > LARGEST_OVERRIDES:
            return None
    else:
        upload = task_script(run, spec, attempt, exports=False)
        overrides = _overrides(request, variables, stored)
        if length_of(overrides, resources) > LARGEST_OVERRIDES:
            upload = task_script(run, spec, attempt, exports=True)
            overrides = _overrides(request, {}, stored)
        if length_of(overrides, resources) > LARGEST_OVERRIDES:
            raise Unsatisfiable("the job is too large for AWS Batch; use shorter paths")
    overrides["resourceRequirements"] = resources
    parameters = parameters_of(options, request, placement, overrides)
    parameters |= {"jobName": request.name, "tags": job_tags(run, spec)}
    content = None if upload is None else upload.encode()
    return PlannedJob(placement, image_of(options, spec), parameters, content)


def parameters_of(
    options: BatchOptions, request: JobRequest, placement: Placement, overrides: dict[str, Any]
) -> dict[str, Any]:
    """Return the parameters of SubmitJob that do not tell one attempt of a shape from another."""
    parameters: dict[str, Any] = {
        "jobQueue": placement.queue,
        "containerOverrides": overrides,
        "timeout": {"attemptDurationSeconds": seconds_of(request.claim.spec)},
        "propagateTags": True,  # to the ECS task: what Fargate costs is billed by its tags
        **scheduling_of(options, request.run, request.claim.spec),
    }
    if request.starts:
        # Events of a job tell its parameters, so a rule can let through the starts that are wanted.
        parameters["parameters"] = dict(STARTS_ARE_TOLD)
    if options.template is not None and options.jobs.retry_attempts is not None:
        parameters["retryStrategy"] = {"attempts": options.jobs.retry_attempts}
    return parameters


def seconds_of(spec: TaskSpec) -> int:
    """Return the time limit Batch is told: the task's, or a backstop where the script has a shorter."""
    limit = spec.resources.time_limit
    return math.ceil(limit) if limit >= SHORTEST_BATCH_LIMIT else _BACKSTOP_SECONDS


def environment_of(run: RunRecord, spec: TaskSpec, attempt: int) -> dict[str, str]:
    """Return the variables of an attempt.

    Raises
    ------
    Unsatisfiable
        If one has a name that Batch keeps for itself.
    """
    for name in variables_of(run, spec):
        if name.startswith(_RESERVED):
            raise Unsatisfiable(
                f"variable {name}: AWS Batch keeps names that begin with {_RESERVED} for itself; "
                "use another name"
            )
    return attempt_variables(run, spec, attempt)


def script_key(request: JobRequest) -> str:
    """Return the S3 key of an attempt's script."""
    key = request.claim.key
    return f"scripts/{request.run.id}/{key.position}-{key.attempt}-{key.epoch}.sh"


def _overrides(
    request: JobRequest,
    variables: Mapping[str, str],
    stored: StoredScript | None,
    script: str = "hut",  # with a stored script, what the shell calls itself in its messages
) -> dict[str, Any]:
    claim = request.claim
    empty = [name for name, text in variables.items() if not text]
    text = launcher(request.run, claim.spec, claim.key.attempt, empty=empty, stored=stored)
    overrides: dict[str, Any] = {"command": ["/bin/sh", "-c", text, script]}
    if environment := [{"name": name, "value": text} for name, text in variables.items() if text]:
        overrides["environment"] = environment
    return overrides


def length_of(overrides: Mapping[str, Any], resources: object) -> int:
    """Return the characters of overrides as Batch counts them."""
    return len(json.dumps({**overrides, "resourceRequirements": resources}))
