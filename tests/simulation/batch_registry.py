"""Simulated AWS Batch: compute environments, job queues, scheduling policies and job definitions.

The same as in the test bed's model (`tests.testbed.batch_registry`), without its processes.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tests.testbed.address import ACCOUNT, REGION
from tests.testbed.batch_limits import (
    RefusedError,
    check_attempts,
    check_definition,
    check_name,
    check_resources,
)

__all__ = ["INVALID", "TOO_SMALL", "BatchRegistry", "arn_of", "name_of", "page_of"]

Body = dict[str, Any]
_T = TypeVar("_T")

MOST = 100  # things in one answer
INVALID = "ACTION_REQUIRED - CE(s) associated with the job queue are invalid."
TOO_SMALL = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) associated with the job queue cannot "
    "meet the CPU requirement of the job."
)


def arn_of(kind: str, name: str) -> str:
    return f"arn:aws:batch:{REGION}:{ACCOUNT}:{kind}/{name}"


def name_of(reference: str) -> str:
    return reference.rpartition("/")[2]


def page_of(
    items: Sequence[_T], body: Body, key: str, show: Callable[[_T], Any] = copy.deepcopy
) -> Body:
    """Return a page of things, each of them as `show` returns it."""
    most = min(int(body.get("maxResults") or MOST), MOST)
    try:
        first = int(base64.b64decode(body["nextToken"])) if body.get("nextToken") else 0
    except ValueError:
        raise RefusedError("Invalid nextToken") from None
    page: Body = {key: [show(each) for each in items[first : first + most]]}
    if first + most < len(items):
        page["nextToken"] = base64.b64encode(str(first + most).encode()).decode()
    return page


class BatchRegistry:
    """What stands still between jobs."""

    def __init__(self) -> None:
        self.environments: dict[str, Body] = {}
        self.queues: dict[str, Body] = {}
        self.policies: dict[str, Body] = {}
        self.definitions: dict[str, list[Body]] = {}

    # Environments, queues and policies --------------------------------------------------------------

    def create_environment(self, body: Body) -> Body:
        name = body["computeEnvironmentName"]
        check_name("Compute environment name", name)
        if name in self.environments:
            raise RefusedError(f"Object already exists: {name}")
        resources = body.get("computeResources") or {}
        if resources.get("type") in ("EC2", "SPOT"):  # Fargate tells no such number
            resources = {"desiredvCpus": resources.get("minvCpus", 0), **resources}
        self.environments[name] = {
            **body,
            **({"computeResources": resources} if resources else {}),
            "computeEnvironmentArn": arn_of("compute-environment", name),
            "state": body.get("state", "ENABLED"),
            "status": "VALID",
            "statusReason": "ComputeEnvironment Healthy",
            "ecsClusterArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}_Batch",
            "tags": body.get("tags") or {},
        }
        keys = ("computeEnvironmentName", "computeEnvironmentArn")
        return {key: self.environments[name][key] for key in keys}

    def update_environment(self, body: Body) -> Body:
        found = find(self.environments, "compute environment", body["computeEnvironment"])
        resources = {
            **(found.get("computeResources") or {}),
            **(body.get("computeResources") or {}),
        }
        found.update({k: v for k, v in body.items() if k != "computeEnvironment"})
        if resources:
            found["computeResources"] = resources
        return {k: found[k] for k in ("computeEnvironmentName", "computeEnvironmentArn")}

    def create_queue(self, body: Body) -> Body:
        name = body["jobQueueName"]
        check_name("Job queue name", name)
        if name in self.queues:
            raise RefusedError(f"Object already exists: {name}")
        for each in body.get("computeEnvironmentOrder") or []:
            find(self.environments, "compute environment", each["computeEnvironment"])
        if body.get("schedulingPolicyArn"):
            find(self.policies, "scheduling policy", body["schedulingPolicyArn"])
        self.queues[name] = {
            **body,
            "jobQueueArn": arn_of("job-queue", name),
            "state": body.get("state", "ENABLED"),
            "status": "VALID",
            "statusReason": "JobQueue Healthy",
            "priority": body.get("priority", 1),
            "computeEnvironmentOrder": body.get("computeEnvironmentOrder") or [],
            "tags": body.get("tags") or {},
        }
        return {k: self.queues[name][k] for k in ("jobQueueName", "jobQueueArn")}

    def update_queue(self, body: Body) -> Body:
        found = find(self.queues, "job queue", body["jobQueue"])
        if body.get("schedulingPolicyArn"):
            find(self.policies, "scheduling policy", body["schedulingPolicyArn"])
            if not found.get("schedulingPolicyArn"):
                raise RefusedError("A scheduling policy can't be added to a job queue without one")
        found.update({k: v for k, v in body.items() if k != "jobQueue"})
        return {k: found[k] for k in ("jobQueueName", "jobQueueArn")}

    def create_policy(self, body: Body) -> Body:
        name = body["name"]
        check_name("Scheduling policy name", name)
        if name in self.policies:
            raise RefusedError(f"Object already exists: {name}")
        self.policies[name] = {
            **body,
            "arn": arn_of("scheduling-policy", name),
            "fairsharePolicy": body.get("fairsharePolicy") or {},
            "tags": body.get("tags") or {},
        }
        return {k: self.policies[name][k] for k in ("name", "arn")}

    def queue_of(self, reference: str) -> Body:
        """Return a queue; refuse the request if there is none."""
        return find(self.queues, "job queue", reference)

    def why_held(self, queue_name: str, vcpus: float) -> str | None:
        """Return why a job that is next can't be placed, maybe without words; None if it can."""
        queue = self.queues.get(queue_name)
        if queue is None:
            return None
        order = [name_of(each["computeEnvironment"]) for each in queue["computeEnvironmentOrder"]]
        known = [self.environments[name] for name in order if name in self.environments]
        valid = [each for each in known if each["status"] != "INVALID"]
        if queue["status"] == "INVALID" or (known and not valid):
            return INVALID
        usable = [each for each in valid if each["state"] == "ENABLED"]
        if known and not usable:
            return ""
        most = [(each.get("computeResources") or {}).get("maxvCpus") for each in usable]
        if most and all(each is not None and vcpus > each for each in most):
            return TOO_SMALL
        return None

    # Job definitions --------------------------------------------------------------------------------

    def register_definition(self, body: Body) -> Body:
        name = body["jobDefinitionName"]
        check_name("Job definition name", name)
        if body.get("type") != "container" or not body.get("containerProperties"):
            raise RefusedError("The test bed knows only job definitions of containers")
        platforms = body.get("platformCapabilities") or ["EC2"]
        check_resources(body["containerProperties"], platforms)
        check_attempts(body)
        check_definition(body)
        revisions = self.definitions.setdefault(name, [])
        revision = len(revisions) + 1
        definition = {
            **copy.deepcopy(body),
            "jobDefinitionArn": arn_of("job-definition", f"{name}:{revision}"),
            "revision": revision,
            "status": "ACTIVE",
            "parameters": body.get("parameters") or {},
            "tags": dict(body.get("tags") or {}),
            "platformCapabilities": platforms,
            "containerOrchestrationType": "ECS",
        }
        revisions.append(definition)
        return {k: definition[k] for k in ("jobDefinitionName", "jobDefinitionArn", "revision")}

    def definition_of(self, reference: str) -> Body | None:
        """Return a revision, or the newest that is active if none is named."""
        name, _, revision = name_of(reference).partition(":")
        revisions = self.definitions.get(name, [])
        if revision:
            return next((each for each in revisions if str(each["revision"]) == revision), None)
        return next((each for each in reversed(revisions) if each["status"] == "ACTIVE"), None)

    def describe_definitions(self, body: Body) -> Body:
        asked = body.get("jobDefinitions")
        if asked:
            if len(asked) > MOST:
                raise RefusedError(f"At most {MOST} job definitions can be described")
            found = [self.definition_of(each) for each in asked]
            return {"jobDefinitions": [copy.deepcopy(one) for one in found if one is not None]}
        name = body.get("jobDefinitionName")
        every = [each for several in self.definitions.values() for each in several]
        revisions = self.definitions.get(name, []) if name else every
        status = body.get("status")
        wanted = [each for each in reversed(revisions) if status in (None, each["status"])]
        return page_of(wanted, body, "jobDefinitions")


def find(registry: Mapping[str, Body], kind: str, reference: str) -> Body:
    """Return a thing by its name or ARN; refuse the request if there is none."""
    name = name_of(reference)
    if name not in registry:
        raise RefusedError(f"Object does not exist: {kind} {reference}")
    return registry[name]
