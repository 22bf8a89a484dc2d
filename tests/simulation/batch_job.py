"""Simulated AWS Batch: what a job is, from the request of SubmitJob to what DescribeJobs answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hut.backends.markers import nonce_of_child
from hut.backends.port import parse_job_name
from tests.simulation.batch_registry import name_of
from tests.simulation.fates import Fate
from tests.testbed.batch_limits import RefusedError

__all__ = [
    "ENDED",
    "SimulatedJob",
    "Submission",
    "add_children",
    "document_of",
    "milliseconds",
    "new_job",
]

ENDED = ("SUCCEEDED", "FAILED")
_ORDER = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", *ENDED)
_NOT_ASKED = Fate()
_DEFAULT_LOG_GROUP = "/aws/batch/job"
_MARK = re.compile(r"_m=::hut:([0-9a-f]{16}):")
_RECORDED = (
    "executionRoleArn",
    "ephemeralStorage",
    "image",
    "jobRoleArn",
    "linuxParameters",
    "logConfiguration",
    "mountPoints",
    "networkConfiguration",
    "runtimePlatform",
    "secrets",
    "ulimits",
    "volumes",
)


@dataclass(eq=False, slots=True)
class Submission:
    """What was submitted: a job, or all children of an array. It does not change.

    Attributes
    ----------
    document
        What DescribeJobs answers, without what jobs differ in and what changes.
    nonce
        What a child's number makes the mark of its lines from; of a job of its own, the mark.
    """

    document: dict[str, Any]
    log_group: str
    makes_group: bool
    log_prefix: str
    vcpus: float
    limit: float | None
    retry: dict[str, Any]
    nonce: Callable[[int | None], str]
    share: str | None
    priority: int


@dataclass(eq=False, slots=True)
class SimulatedJob:
    """A job, a child of an array, or the array itself; times are seconds since the epoch.

    Attributes
    ----------
    run
        Id of the run in its name; empty if the name is none of ours.
    tries
        Batch's own attempts at it that have begun to wait.
    found
        What is known of its container: ``exitCode``, ``reason``, ``logStreamName``.
    number
        Which submission it was.
    """

    handle: str
    name: str
    queue: str
    run: str
    submission: Submission
    submitted: float
    index: int | None = None
    parent: SimulatedJob | None = None
    children: list[SimulatedJob] = field(default_factory=list)
    state: str = "SUBMITTED"
    reason: str | None = None
    started: float | None = None
    ended: float | None = None
    tries: int = 0
    attempts: list[dict[str, Any]] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, int] | None = None
    tags: dict[str, str] | None = None
    stop_reason: str | None = None
    is_cancelled: bool = False
    is_terminated: bool = False
    is_timed_out: bool = False
    is_forgotten: bool = False
    listed_at: float = 0.0
    number: int = 0
    fate: Fate = _NOT_ASKED

    @property
    def is_live(self) -> bool:
        """Whether a container of it is being started or runs."""
        return self.state in ("STARTING", "RUNNING")

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED

    @property
    def variables(self) -> dict[str, str]:
        """The variables of its container, without Batch's own."""
        return {
            each["name"]: each["value"]
            for each in self.submission.document["container"]["environment"]
        }

    @property
    def nonce(self) -> str:
        """What marks the lines that its launcher prints for Hut."""
        return self.submission.nonce(self.index)

    def document(self) -> dict[str, Any]:
        """Return what DescribeJobs answers and events tell now; nobody may change what is in it."""
        base = self.submission.document
        found = {
            **base,
            "jobId": self.handle,
            "jobArn": f"{base['jobArn']}:{self.index}"
            if self.index is not None
            else base["jobArn"],
            "status": self.state,
            "createdAt": milliseconds(self.submitted),
            "attempts": self.attempts.copy(),
            "isCancelled": self.is_cancelled,
            "isTerminated": self.is_terminated,
        }
        if self.found:
            found["container"] = {**base["container"], **self.found}
        if self.reason is not None:
            found["statusReason"] = self.reason
        if self.started is not None:
            found["startedAt"] = milliseconds(self.started)
        if self.ended is not None:
            found["stoppedAt"] = milliseconds(self.ended)
        if self.tags is not None:
            found["tags"] = self.tags
        if self.index is not None:
            found["arrayProperties"] = {"index": self.index}
        elif self.summary is not None:
            size = len(self.children)
            found["arrayProperties"] = {"size": size, "statusSummary": self.summary.copy()}
        return found


def new_job(
    handle: str, name: str, queue: str, document: dict[str, Any], now: float
) -> SimulatedJob:
    """Return a job that has just been submitted."""
    parsed = parse_job_name(name)
    run = "" if parsed is None else parsed.run_id
    return SimulatedJob(handle, name, queue, run, _submission(document), now)


def add_children(parent: SimulatedJob, size: int) -> None:
    """Make a job an array."""
    parent.summary = dict.fromkeys(_ORDER, 0) | {"SUBMITTED": size}
    parent.children = [
        SimulatedJob(
            f"{parent.handle}:{index}",
            parent.name,
            parent.queue,
            parent.run,
            parent.submission,
            parent.submitted,
            index,
            parent,
        )
        for index in range(size)
    ]


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def document_of(
    body: dict[str, Any], queue: dict[str, Any], definition: dict[str, Any], arn: str
) -> dict[str, Any]:
    """Return what all jobs of a submission have in common."""
    own, given = definition["containerProperties"], body.get("containerOverrides") or {}
    parameters = {**definition["parameters"], **(body.get("parameters") or {})}
    environment = {
        each["name"]: each.get("value", "")
        for each in [*(own.get("environment") or []), *(given.get("environment") or [])]
    }
    for name in environment:
        if name.startswith("AWS_BATCH"):
            raise RefusedError(f"Environment variables must not start with AWS_BATCH: {name}")
    resources = {
        each["type"]: each
        for each in [
            *(own.get("resourceRequirements") or []),
            *(given.get("resourceRequirements") or []),
        ]
    }
    command = given.get("command") or own.get("command") or []
    document = {
        "jobArn": arn,
        "jobName": body["jobName"],
        "jobQueue": queue["jobQueueArn"],
        "jobDefinition": definition["jobDefinitionArn"],
        "dependsOn": [],
        "parameters": parameters,
        "retryStrategy": body.get("retryStrategy")
        or definition.get("retryStrategy")
        or {"attempts": 1, "evaluateOnExit": []},
        "tags": {
            **(definition["tags"] if body.get("propagateTags") else {}),
            **body.get("tags", {}),
        },
        "propagateTags": bool(body.get("propagateTags") or definition.get("propagateTags")),
        "platformCapabilities": definition["platformCapabilities"],
        "eksAttempts": [],
        "container": {
            **{key: own[key] for key in _RECORDED if key in own},
            "command": [_filled_in(word, parameters) for word in command],
            "environment": [{"name": k, "value": v} for k, v in environment.items()],
            "resourceRequirements": list(resources.values()),
            "networkInterfaces": [],
        },
    }
    limit = body.get("timeout") or definition.get("timeout")
    if limit:
        document["timeout"] = limit
    if body.get("shareIdentifier") is not None:
        document["shareIdentifier"] = body["shareIdentifier"]
        document["schedulingPriority"] = body.get("schedulingPriorityOverride", 0)
    return document


def _submission(document: dict[str, Any]) -> Submission:
    container = document["container"]
    options = (container.get("logConfiguration") or {}).get("options") or {}
    group = options.get("awslogs-group", _DEFAULT_LOG_GROUP)
    definition = name_of(document["jobDefinition"]).partition(":")[0]
    vcpus = next(each for each in container["resourceRequirements"] if each["type"] == "VCPU")
    name, command = document["jobName"], container["command"]

    def nonce(index: int | None) -> str:
        """Return what the launcher puts into its marks."""
        if index is not None:
            return nonce_of_child(name, index)
        found = next(filter(None, map(_MARK.search, command)), None)
        if found is None:
            raise ValueError(f"the command of {name} marks no lines")
        return found[1]

    return Submission(
        document,
        group,
        group == _DEFAULT_LOG_GROUP or options.get("awslogs-create-group") == "true",
        str(options.get("awslogs-stream-prefix") or definition),
        float(vcpus["value"]),
        (document.get("timeout") or {}).get("attemptDurationSeconds"),
        document["retryStrategy"],
        nonce,
        document.get("shareIdentifier"),
        document.get("schedulingPriority", 0),
    )


def _filled_in(word: str, parameters: dict[str, str]) -> str:
    return parameters.get(word.removeprefix("Ref::"), word) if word.startswith("Ref::") else word
