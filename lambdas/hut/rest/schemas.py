"""The shapes of answers, for the OpenAPI document. Nothing is answered from here.

The documents themselves are made in `hut.views` and by the routes; tests hold every answer against
these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hut.model.audit import Outcome
from hut.model.states import Reason, RunState, TaskState

__all__ = [
    "Added",
    "AuditEntry",
    "Backend",
    "Change",
    "Changes",
    "Config",
    "ConfigChange",
    "ConfigVersion",
    "Definition",
    "EnvironmentDocument",
    "Failure",
    "Health",
    "Job",
    "LogPage",
    "MergedLogPage",
    "OutputDocument",
    "Plan",
    "ProblemDocument",
    "RegisteredDefinition",
    "RemovedDefinition",
    "Repeated",
    "Run",
    "Submitted",
    "Task",
    "Upload",
    "Why",
]

Time = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$",
        json_schema_extra={"format": "date-time"},
    ),
]
Texts = dict[str, str]


class Schema(BaseModel):
    """What all shapes have in common; fields may be added in later versions."""

    model_config = ConfigDict(strict=True)


class ProblemEntry(Schema):
    """One fault of an input and its place."""

    task: str | None
    field: str | None
    line: int | None
    message: str


class ProblemDocument(Schema):
    """An error, after RFC 9457."""

    type: str = Field(description="`urn:hut:problem:` and a word that stays the same.")
    title: str
    status: int
    detail: str
    instance: str | None = Field(default=None, description="The request, as the log names it.")
    errors: list[ProblemEntry]


class Health(Schema):
    """That the API answers."""

    status: Literal["ok"]
    version: str
    prefix: str = Field(description="Name prefix of this installation.")


class Refused(Schema):
    """What a backend says while it takes no jobs of a run: tasks that are ready wait for it."""

    backend: str
    partition: str | None = Field(description="As tasks name it; null is the default.")
    message: str
    since: Time
    at: Time


class Run(Schema):
    """A run."""

    id: str
    workflow: str
    state: RunState
    reason: Reason | None
    message: str
    owner: str
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    cancel_requested_at: Time | None
    total: int
    counts: dict[TaskState, int]
    cost: float | None = Field(
        description="Estimate in dollars of what ended attempts cost; null where none is known."
    )
    cost_lost: float | None = Field(description="Of it, what lost attempts cost.")
    losses: int = Field(description="Attempts that were lost: by no doing of their task.")
    backend: str
    max_concurrent: int | None
    config_version: int | None = Field(description="Configuration it was submitted under.")
    tags: Texts
    description: str | None
    open: bool = Field(description="Tasks can be added; it ends once it is closed.")
    held: bool = Field(description="Nothing of it starts: it is still being sent.")
    refusals: list[Refused]


class Submitted(Run):
    """A run that was submitted, with what is odd about its workflow."""

    warnings: list[str]


class Added(Schema):
    """Tasks that joined a run."""

    added: int = Field(description="How many; 0 if they had joined under the same key before.")
    run: Run
    warnings: list[str]


class AttemptEntry(Schema):
    """An attempt to run a task."""

    attempt: int
    state: TaskState
    reason: Reason | None
    message: str
    exit_code: int | None
    submitted_at: Time | None
    started_at: Time | None
    ended_at: Time | None
    backend: str
    job_id: str | None
    cost: float | None = Field(description="Estimate in dollars, once it has ended.")
    reports: list[dict[str, Any]] | None = Field(
        default=None, description="Error reports of a failed task of a program: the first 50 KB."
    )


class Spec(Schema):
    """What the workflow says of a task, in the workflow file's fields and units."""

    command: str
    cpus: int
    memory: str
    time_limit: str
    retries: int
    priority: int
    max_queue_time: str | None = None
    gres: str | None = None
    retry_delay: float | None = None
    retry_backoff: float | None = None
    retry_on: list[int | str] | None = None
    working_dir: str | None = None
    partition: str | None = None
    image: str | None = None
    environment: str | None = None
    output_file: str | None = None
    error_file: str | None = None
    generates_source: str | None = None
    group: str | None = None
    dedupe: bool | None = None
    task: str | None = None
    input: Any = None
    env_vars: Texts | None = None
    properties: Texts | None = None
    tags: Texts | None = None


class Task(Spec):
    """A task of a run with its attempts; `deps` stand as they were written."""

    id: str
    name: str
    state: TaskState
    reason: Reason | None
    message: str
    exit_code: int | None
    attempt: int = Field(description="Number of the latest attempt; 0 before the first.")
    attempts: list[AttemptEntry]
    backend: str
    job_id: str | None
    created_at: Time
    submitted_at: Time | None
    started_at: Time | None
    ended_at: Time | None
    deps: list[str]


class PlannedTask(Spec):
    """A task of a plan."""

    id: str
    name: str
    level: int = Field(description="Length of the longest chain of dependencies before it.")
    deps: list[str]
    backend: str
    script: str | None = Field(default=None, description="Only where scripts were asked for.")


class Plan(Schema):
    """What a workflow would run."""

    workflow: str
    total: int = Field(description="Number of tasks, those left out included.")
    levels: int
    max_concurrent: int | None
    backend: str
    config_version: int | None = Field(description="Configuration that counts now.")
    cost: float | None
    deps_expanded: bool = Field(description="False where patterns are too many to expand.")
    warnings: list[ProblemEntry]
    scripts_left_out: bool = Field(description="Scripts were asked for, but do not fit.")
    truncated: bool = Field(description="Tasks at the end are left out, because they do not fit.")
    tasks: list[PlannedTask]


class Change(Schema):
    """One transition of a task."""

    at: Time
    task: str
    attempt: int
    state: TaskState
    reason: Reason | None
    exit_code: int | None


class Running(Schema):
    """A task that runs."""

    task_id: str
    attempt: int
    since: Time


class Changes(Schema):
    """What happened in a run since a cursor.

    A run that has ended and an empty list of changes mean that there is nothing more to come.
    """

    run: Run
    changes: list[Change]
    cursor: int = Field(description="Where to go on.")
    running: list[Running] = Field(description="The first ten tasks that run.")


class Why(Schema):
    """Why a task is where it is."""

    task: str
    state: TaskState
    reason: Reason | None
    why: str
    details: list[str]
    waiting_for: list[str]
    cause: str | None
    reports: list[dict[str, Any]] | None = Field(
        default=None, description="Error reports of the latest attempt of a task of a program."
    )


class Definition(Schema):
    """A task of a program that is registered."""

    name: str
    version: str
    registered_by: str
    registered_at: Time
    definition: dict[str, Any] = Field(description="As the program said it.")


class RegisteredDefinition(Schema):
    """A definition that was registered."""

    name: str
    version: str
    changed: bool = Field(description="False if the same was registered before.")


class RemovedDefinition(Schema):
    """A definition that was removed."""

    name: str
    version: str


class OutputDocument(Schema):
    """What a task of a program wrote; one of `content` and `url` is null."""

    attempt: int
    content: str | None = Field(description="The JSON document as it was written.")
    url: str | None = Field(description="Where a large one can be read for some minutes.")


class LogPage(Schema):
    """A piece of an attempt's log."""

    attempt: int = Field(description="0 if nothing ran yet.")
    content: str
    cursor: str | None = Field(description="Where to go on; null is the start.")
    ended: bool = Field(description="There is nothing more to come.")


class MergedLogPage(LogPage):
    """A piece of a log that holds output and errors."""

    merged: Literal[True]


class Upload(Schema):
    """Leave to upload a file; its id is then submitted as `upload`."""

    id: str
    method: Literal["PUT"]
    url: str
    headers: Texts
    expires_at: Time


class Repeated(Schema):
    """A run whose tasks are repeated."""

    repeated: int
    run: Run


class Failure(AttemptEntry):
    """A failed attempt."""

    task: str
    command: str
    tags: Texts
    group: str | None
    cpus: int
    memory: str
    time_limit: str
    final: bool = Field(description="It is the last of a task that is failed now.")


class AuditEntry(Schema):
    """Something a person changed, or tried to."""

    id: str = Field(description="The request, as the log names it.")
    at: Time
    action: str
    who: str
    source_ip: str
    user_agent: str
    run: str | None
    detail: dict[str, str | int]
    outcome: Outcome | None = Field(
        description="Null if it is not known: it may have been done or not."
    )
    ended_at: Time | None


class Job(Schema):
    """An active attempt."""

    job_id: str | None
    run: str
    task: str
    attempt: int
    state: Literal["submitted", "running"]
    backend: str
    submitted_at: Time | None
    started_at: Time | None


class ConfigVersion(Schema):
    """A version of the configuration; number 0 and nulls where nothing was ever applied."""

    version: int
    applied_at: Time | None
    applied_by: str | None
    message: str
    digest: str | None = Field(description="SHA-256 of the content.")


class Config(ConfigVersion):
    """A version with its content: entries of `hut.yaml` as they were written."""

    backends: list[dict[str, Any]]
    environments: list[dict[str, Any]]
    settings: dict[str, Any]
    schedulers: list[dict[str, Any]] | None = Field(None, description="Left out if there are none.")


class Difference(Schema):
    """One thing that differs between two versions."""

    change: Literal["added", "removed", "changed"]
    path: str = Field(description="Dotted, with names of entries: `backends.gpu.max_concurrent`.")
    old: Any
    new: Any


class ConfigChange(ConfigVersion):
    """What a change did; with `dry_run`, the version it would make."""

    changed: bool = Field(description="Without a difference there is no new version.")
    notes: list[str] = Field(description="What is left out, or perhaps not as meant.")
    differences: list[Difference]


class Ec2Details(Schema):
    """What the instances of an EC2 backend are made of."""

    region: str
    instance_types: dict[str, list[str]] = Field(description="By `partition`, in this order.")
    ami: str
    spot: Literal["never", "prefer", "only"]
    reuse: bool
    max_instances: int
    subnet_ids: list[str]
    security_group_ids: list[str]
    instance_profile_arn: str
    state_machine: str = Field(description="ARN of the one that runs each task.")
    document: str = Field(description="The SSM document it sends.")
    launch_template: str


class Backend(Schema):
    """A backend."""

    name: str
    type: str
    origin: Literal["stack", "configuration"]
    refined: bool = Field(
        description="The stack's own, with an entry of the configuration upon it."
    )
    default: bool = Field(description="Runs that name none use it.")
    can_run: bool
    problem: str | None = Field(description="Why it can't run tasks.")
    max_concurrent: int | None
    active: int | None = Field(
        description="Tasks of all runs that became active since there is a cap, and still are; "
        "null where there is none."
    )
    default_image: str | None
    default_queue: str | None = Field(description="The `partition` of tasks that name none.")
    queues: list[str] = Field(description="What a task may name as `partition`.")
    ec2: Ec2Details | None = Field(description="Of backends of type ec2 that can run tasks.")
    configured: dict[str, Any] | None = Field(description="Its entry in the configuration.")


class EnvironmentDocument(Schema):
    """An environment."""

    name: str
    variables: Texts
    extra_init: str


WORKFLOW: dict[str, Any] = {
    "title": "Workflow",
    "description": "A workflow file; every field is described in docs/workflow-files.md.",
    "anyOf": [
        {"type": "array", "items": {"$ref": "#/components/schemas/WorkflowTask"}},
        {
            "type": "object",
            "required": ["tasks"],
            "properties": {
                "tasks": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/WorkflowTask"},
                }
            },
        },
    ],
}

WORKFLOW_TASK: dict[str, Any] = {
    "title": "WorkflowTask",
    "type": "object",
    "required": ["id", "command"],
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,200}$"},
        "command": {"type": "string"},
        "deps": {"type": "array", "items": {"type": "string"}},
    },
}

GATEWAY_MESSAGE: dict[str, Any] = {
    "title": "GatewayMessage",
    "description": "What API Gateway says by itself of a request that it does not hand on.",
    "type": "object",
    "properties": {"message": {"type": ["string", "null"]}, "Message": {"type": "string"}},
    "additionalProperties": False,
}

CONFIG_BODIES: dict[str, dict[str, Any]] = {
    "ConfigBody": {
        "title": "ConfigBody",
        "description": "As in `hut.yaml`; docs/configuration.md describes every field.",
        "type": "object",
        "properties": {
            "message": {"type": "string", "maxLength": 500},
            "backends": {"type": "array", "items": {"$ref": "#/components/schemas/BackendBody"}},
            "environments": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/EnvironmentBody"},
            },
            "schedulers": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/SchedulerBody"},
            },
            "settings": {
                "type": "object",
                "properties": {"default_backend": {"type": "string"}},
            },
        },
    },
    "BackendBody": {
        "title": "BackendBody",
        "type": "object",
        "required": ["type"],
        "properties": {
            "name": {"type": "string"},
            "type": {"type": "string"},
            "max_concurrent": {"type": "integer", "minimum": 1},
            "default_image": {"type": "string"},
            "aws": {"type": "object"},
            "scheduler": {"type": "string"},
            "properties": {"type": "object", "additionalProperties": {"type": "string"}},
            "targets": {"type": "object", "additionalProperties": {"type": "object"}},
        },
    },
    "SchedulerBody": {
        "title": "SchedulerBody",
        "type": "object",
        "required": ["name", "simple"],
        "properties": {
            "name": {"type": "string"},
            "simple": {
                "type": "object",
                "properties": {
                    "supported_platform_properties": {
                        "type": "object",
                        "additionalProperties": {
                            "enum": ["minimum", "exact", "priority", "ignore"],
                        },
                    },
                },
            },
        },
    },
    "EnvironmentBody": {
        "title": "EnvironmentBody",
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "variables": {"type": "object", "additionalProperties": {"type": "string"}},
            "extra_init": {"type": "string"},
        },
    },
}
