"""Batch: compute environments, job queues and job definitions.

Compute environments have no machines here; queues keep the order of submission.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tests.testbed import batch_jobs
from tests.testbed.address import ACCOUNT, REGION
from tests.testbed.batch_jobs import jobs
from tests.testbed.batch_limits import (
    RefusedError,
    check_attempts,
    check_definition,
    check_name,
    check_resources,
)

Body = dict[str, Any]
_T = TypeVar("_T")

MOST = 100  # things in one answer

environments: dict[str, Body] = {}
queues: dict[str, Body] = {}
definitions: dict[str, list[Body]] = {}
policies: dict[str, Body] = {}


def arn_of(kind: str, name: str) -> str:
    return f"arn:aws:batch:{REGION}:{ACCOUNT}:{kind}/{name}"


def name_of(reference: str) -> str:
    return reference.rpartition("/")[2]


def create_environment(body: Body) -> Body:
    name = body.get("computeEnvironmentName")
    check_name("Compute environment name", name)
    if name in environments:
        raise RefusedError(f"Object already exists: {name}")
    resources = body.get("computeResources") or {}
    if resources.get("type") in ("EC2", "SPOT"):  # Fargate tells no such number
        resources = {"desiredvCpus": resources.get("minvCpus", 0), **resources}
    environments[name] = {
        **body,
        **({"computeResources": resources} if resources else {}),
        "computeEnvironmentArn": arn_of("compute-environment", name),
        "state": body.get("state", "ENABLED"),
        "status": "VALID",
        "statusReason": "ComputeEnvironment Healthy",
        "ecsClusterArn": f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}_Batch",
        "tags": body.get("tags") or {},
    }
    return {k: environments[name][k] for k in ("computeEnvironmentName", "computeEnvironmentArn")}


def update_environment(body: Body) -> Body:
    found = find(environments, "compute environment", body["computeEnvironment"])
    resources = {**(found.get("computeResources") or {}), **(body.get("computeResources") or {})}
    found.update({k: v for k, v in body.items() if k != "computeEnvironment"})
    if resources:
        found["computeResources"] = resources
    batch_jobs.look_again()
    return {k: found[k] for k in ("computeEnvironmentName", "computeEnvironmentArn")}


def delete_environment(body: Body) -> Body:
    name = name_of(body["computeEnvironment"])
    arn = arn_of("compute-environment", name)
    for queue in queues.values():
        used = [each["computeEnvironment"] for each in queue["computeEnvironmentOrder"]]
        if arn in used or name in used:
            raise RefusedError("Cannot delete, found existing JobQueue relationship")
    if name in environments and environments[name]["state"] != "DISABLED":
        raise RefusedError("Cannot delete, state must be DISABLED")
    environments.pop(name, None)
    return {}


def create_queue(body: Body) -> Body:
    name = body.get("jobQueueName")
    check_name("Job queue name", name)
    if name in queues:
        raise RefusedError(f"Object already exists: {name}")
    for each in body.get("computeEnvironmentOrder") or []:
        find(environments, "compute environment", each["computeEnvironment"])
    if body.get("schedulingPolicyArn"):
        find(policies, "scheduling policy", body["schedulingPolicyArn"])
    queues[name] = {
        **body,
        "jobQueueArn": arn_of("job-queue", name),
        "state": body.get("state", "ENABLED"),
        "status": "VALID",
        "statusReason": "JobQueue Healthy",
        "priority": body.get("priority", 1),
        "computeEnvironmentOrder": body.get("computeEnvironmentOrder") or [],
        "tags": body.get("tags") or {},
    }
    return {k: queues[name][k] for k in ("jobQueueName", "jobQueueArn")}


def update_queue(body: Body) -> Body:
    found = find(queues, "job queue", body["jobQueue"])
    if body.get("schedulingPolicyArn"):
        find(policies, "scheduling policy", body["schedulingPolicyArn"])
        if not found.get("schedulingPolicyArn"):
            raise RefusedError("A scheduling policy can't be added to a job queue without one")
    found.update({k: v for k, v in body.items() if k != "jobQueue"})
    batch_jobs.look_again()
    return {k: found[k] for k in ("jobQueueName", "jobQueueArn")}


def delete_queue(body: Body) -> Body:
    name = name_of(body["jobQueue"])
    if name in queues and queues[name]["state"] != "DISABLED":
        raise RefusedError("Cannot delete, state must be DISABLED")
    queues.pop(name, None)
    for job in list(jobs.values()):
        if job.queue == name:
            batch_jobs.stop(job, "Job queue deleted")
    return {}


def create_policy(body: Body) -> Body:
    name = body.get("name")
    check_name("Scheduling policy name", name)
    if name in policies:
        raise RefusedError(f"Object already exists: {name}")
    policies[name] = {
        **body,
        "arn": arn_of("scheduling-policy", name),
        "fairsharePolicy": body.get("fairsharePolicy") or {},
        "tags": body.get("tags") or {},
    }
    return {k: policies[name][k] for k in ("name", "arn")}


def update_policy(body: Body) -> Body:
    found = find(policies, "scheduling policy", body["arn"])
    found["fairsharePolicy"] = body.get("fairsharePolicy") or {}
    return {}


def delete_policy(body: Body) -> Body:
    if any(queue.get("schedulingPolicyArn") == body["arn"] for queue in queues.values()):
        raise RefusedError("Cannot delete, found existing JobQueue relationship")
    policies.pop(name_of(body["arn"]), None)
    return {}


def list_policies(body: Body) -> Body:
    return page_of([{"arn": each["arn"]} for each in policies.values()], body, "schedulingPolicies")


def register_definition(body: Body) -> Body:
    name = body.get("jobDefinitionName")
    check_name("Job definition name", name)
    if body.get("type") != "container" or not body.get("containerProperties"):
        raise RefusedError("The test bed knows only job definitions of containers")
    platforms = body.get("platformCapabilities") or ["EC2"]
    check_resources(body["containerProperties"], platforms)
    check_attempts(body)
    check_definition(body)
    revisions = definitions.setdefault(name, [])
    revision = len(revisions) + 1
    definition = {
        **body,
        "jobDefinitionArn": arn_of("job-definition", f"{name}:{revision}"),
        "revision": revision,
        "status": "ACTIVE",
        "parameters": body.get("parameters") or {},
        "tags": body.get("tags") or {},
        "platformCapabilities": platforms,
        "containerOrchestrationType": "ECS",
    }
    revisions.append(definition)
    return {k: definition[k] for k in ("jobDefinitionName", "jobDefinitionArn", "revision")}


def deregister_definition(body: Body) -> Body:
    definition = definition_of(body["jobDefinition"])
    if definition is not None:
        definition["status"] = "INACTIVE"
    return {}


def definition_of(reference: str) -> Body | None:
    """Return a revision, or the newest that is active if none is named."""
    name, _, revision = name_of(reference).partition(":")
    revisions = definitions.get(name, [])
    if revision:
        return next((each for each in revisions if str(each["revision"]) == revision), None)
    return next((each for each in reversed(revisions) if each["status"] == "ACTIVE"), None)


def describe_definitions(body: Body) -> Body:
    if body.get("jobDefinitions"):
        if len(body["jobDefinitions"]) > MOST:
            raise RefusedError(f"At most {MOST} job definitions can be described")
        found = [definition_of(each) for each in body["jobDefinitions"]]
        return {"jobDefinitions": [each for each in found if each is not None]}
    name = body.get("jobDefinitionName")
    revisions = (
        definitions.get(name, [])
        if name
        else [each for several in definitions.values() for each in several]
    )
    wanted = [each for each in revisions if each["status"] == body.get("status", each["status"])]
    return page_of(list(reversed(wanted)), body, "jobDefinitions")


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


def find(registry: dict[str, Body], kind: str, reference: str) -> Body:
    name = name_of(reference)
    if name not in registry:
        raise RefusedError(f"Object does not exist: {kind} {reference}")
    return registry[name]


def describer(registry: dict[str, Body], asked: str, answered: str) -> Callable[[Body], Body]:
    def describe(body: Body) -> Body:
        names = [name_of(each) for each in body.get(asked) or registry]
        return page_of([registry[name] for name in names if name in registry], body, answered)

    return describe
