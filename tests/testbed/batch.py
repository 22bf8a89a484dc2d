"""Batch: its API, written anew (the emulator's own marks jobs as done without running them).

One account, one region. Multi-node jobs, ECS and EKS properties, and consumable resources are not
modelled; of compute environments only how they stand and how large they may be, of scheduling
policies only that shares have the same number of jobs and jobs of a share go by priority.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from ministack.services import batch as emulated

from tests.testbed import batch_jobs, batch_queues
from tests.testbed.batch_jobs import ORDER, Job, jobs, lock, now
from tests.testbed.batch_limits import (
    RefusedError,
    check_resources,
    check_share,
    check_submission,
    check_variables,
)
from tests.testbed.batch_registry import (
    MOST,
    arn_of,
    create_environment,
    create_policy,
    create_queue,
    definition_of,
    definitions,
    delete_environment,
    delete_policy,
    delete_queue,
    deregister_definition,
    describe_definitions,
    describer,
    environments,
    find,
    list_policies,
    name_of,
    page_of,
    policies,
    queues,
    register_definition,
    update_environment,
    update_policy,
    update_queue,
)
from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset, replace, settings

Body = dict[str, Any]

_DEFAULT_LOG_GROUP = "/aws/batch/job"
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


def install() -> None:
    for operation, function in _OPERATIONS.items():
        emulated._DISPATCH[f"/v1/{operation}"] = _answer(function)
    handle = replace(emulated, "handle_request", None)

    async def handle_tags_too(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        if path.startswith("/v1/tags/"):
            return _tags(method, unquote(path.removeprefix("/v1/tags/")), body, query)
        return await handle(method, path, headers, body, query)

    emulated.handle_request = handle_tags_too
    for registry in (environments, queues, definitions, policies):
        on_reset.append(registry.clear)
    (settings.work / "batch").mkdir(exist_ok=True)
    batch_jobs.start(batch_queues.why_held)


def _answer(function: Callable[[Body], Any]) -> Callable[[Body], Any]:
    def answer(body: Body) -> Any:
        try:
            with lock:
                return emulated._json(200, function(body))
        except RefusedError as error:
            return emulated._json(400, {"__type": "ClientException", "message": str(error)})

    return answer


def _submit(body: Body) -> Body:
    check_submission(body)
    queue = find(queues, "job queue", body.get("jobQueue", ""))
    if queue["state"] != "ENABLED":
        raise RefusedError(f"Job queue {queue['jobQueueName']} is not ENABLED")
    check_share(body, queue)
    definition = definition_of(body.get("jobDefinition", ""))
    if definition is None or definition["status"] != "ACTIVE":
        raise RefusedError(f"JobDefinition {body.get('jobDefinition')} is not found or not ACTIVE.")
    for each in body.get("dependsOn") or []:
        if each.get("jobId") not in jobs:
            raise RefusedError(f"Job {each.get('jobId')} does not exist")
    document = _job_document(body, queue, definition)
    check_resources(
        {**definition["containerProperties"], **document["container"]},
        definition["platformCapabilities"],
    )
    check_variables(document["container"])
    options = (document["container"].get("logConfiguration") or {}).get("options") or {}
    group = options.get("awslogs-group", _DEFAULT_LOG_GROUP)
    makes = group == _DEFAULT_LOG_GROUP or options.get("awslogs-create-group") == "true"
    job = Job(document, group, makes, queue["jobQueueName"])
    for index in range((body.get("arrayProperties") or {}).get("size", 0)):
        child = _child_document(document, index)
        job.children.append(Job(child, group, makes, queue["jobQueueName"], parent=job))
    batch_jobs.add(job)
    return {k: document[k] for k in ("jobArn", "jobName", "jobId")}


def _job_document(body: Body, queue: Body, definition: Body) -> Body:
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
    job_id = str(uuid.uuid4())
    document = {
        "jobId": job_id,
        "jobArn": arn_of("job", job_id),
        "jobName": body["jobName"],
        "jobQueue": queue["jobQueueArn"],
        "jobDefinition": definition["jobDefinitionArn"],
        "status": "SUBMITTED",
        "createdAt": now(),
        "attempts": [],
        "dependsOn": body.get("dependsOn") or [],
        "parameters": parameters,
        "retryStrategy": body.get("retryStrategy")
        or definition.get("retryStrategy")
        or {"attempts": 1, "evaluateOnExit": []},
        "timeout": body.get("timeout") or definition.get("timeout") or {},
        "tags": {
            **(definition["tags"] if body.get("propagateTags") else {}),
            **body.get("tags", {}),
        },
        "propagateTags": bool(body.get("propagateTags") or definition.get("propagateTags")),
        "platformCapabilities": definition["platformCapabilities"],
        "eksAttempts": [],
        "isCancelled": False,
        "isTerminated": False,
        "container": {
            **{key: own[key] for key in _RECORDED if key in own},
            "command": [_filled_in(word, parameters) for word in command],
            "environment": [{"name": k, "value": v} for k, v in environment.items()],
            "resourceRequirements": list(resources.values()),
            "networkInterfaces": [],
        },
    }
    if body.get("shareIdentifier") is not None:
        document["shareIdentifier"] = body["shareIdentifier"]
        document["schedulingPriority"] = body.get("schedulingPriorityOverride", 0)
    if body.get("arrayProperties"):
        size = body["arrayProperties"]["size"]
        summary = dict.fromkeys(ORDER, 0) | {"SUBMITTED": size}
        document["arrayProperties"] = {"size": size, "statusSummary": summary}
    if not document["timeout"]:
        del document["timeout"]
    return document


def _child_document(parent: Body, index: int) -> Body:
    """Return the document of an array's child; what never changes is the parent's."""
    return {
        **parent,
        "jobId": f"{parent['jobId']}:{index}",
        "jobArn": f"{parent['jobArn']}:{index}",
        "arrayProperties": {"index": index},
        "attempts": [],
        "tags": dict(parent["tags"]),
        "container": dict(parent["container"]),
    }


def _filled_in(word: str, parameters: dict[str, str]) -> str:
    return parameters.get(word.removeprefix("Ref::"), word) if word.startswith("Ref::") else word


def _describe_jobs(body: Body) -> Body:
    wanted = body.get("jobs") or []
    if len(wanted) > MOST:
        raise RefusedError(f"At most {MOST} jobs can be described, not {len(wanted)}")
    ids = [each.rpartition("/")[2] for each in wanted]
    return {"jobs": [copy.deepcopy(jobs[each].document) for each in ids if each in jobs]}


def _list_jobs(body: Body) -> Body:
    given = [key for key in ("jobQueue", "arrayJobId", "multiNodeJobId") if body.get(key)]
    if len(given) != 1:
        raise RefusedError("Exactly one of jobQueue, arrayJobId, multiNodeJobId is needed")
    filters = body.get("filters") or []
    if len(filters) > 1 or (filters and "jobQueue" not in given):
        raise RefusedError("ListJobs takes one filter, together with a job queue")
    found: Iterable[Job]
    if body.get("jobQueue"):
        name = find(queues, "job queue", body["jobQueue"])["jobQueueName"]
        found = [job for job in jobs.values() if job.queue == name and job.parent is None]
    else:
        found = jobs[body["arrayJobId"]].children if body.get("arrayJobId") in jobs else []
    if filters:
        found = [job for job in found if _passes(job, filters[0])]
    else:
        status = body.get("jobStatus", "RUNNING")
        found = [job for job in found if job.status == status]
    newest_first = sorted(found, key=lambda job: -job.document["createdAt"])
    return page_of(newest_first, body, "jobSummaryList", _summary)


def _passes(job: Job, rule: Body) -> bool:
    """Apply a filter of ListJobs; names are compared without regard to case."""
    created, values = job.document["createdAt"], rule["values"]
    match rule["name"]:
        case "JOB_NAME":
            return any(_is_like(job.document["jobName"], value) for value in values)
        case "JOB_DEFINITION":
            return any(_is_like(name_of(job.document["jobDefinition"]), value) for value in values)
        case "BEFORE_CREATED_AT":
            return bool(created < int(values[0]))
        case "AFTER_CREATED_AT":
            return bool(created > int(values[0]))
    raise RefusedError(f"Unknown filter {rule['name']}")


def _is_like(text: str, wanted: str) -> bool:
    text, wanted = text.lower(), wanted.lower()
    return text.startswith(wanted[:-1]) if wanted.endswith("*") else text == wanted


def _summary(job: Job) -> Body:
    document = job.document
    shown = [
        "jobArn",
        "jobId",
        "jobName",
        "createdAt",
        "status",
        "statusReason",
        "startedAt",
        "stoppedAt",
    ]
    summary = {key: document[key] for key in shown if document.get(key) is not None}
    summary["jobDefinition"] = document["jobDefinition"]
    container = {k: v for k, v in document["container"].items() if k in ("exitCode", "reason")}
    if container:
        summary["container"] = container
    if "arrayProperties" in document:
        keys = ("size", "index")
        shape = {k: v for k, v in document["arrayProperties"].items() if k in keys}
        summary["arrayProperties"] = shape
    return summary


def _end(*, cancel: bool) -> Callable[[Body], Body]:
    def end(body: Body) -> Body:
        if not body.get("reason"):
            raise RefusedError("reason is required")
        job = jobs.get(body.get("jobId", ""))
        if job is not None:  # AWS answers 200 for jobs it does not know (any more)
            batch_jobs.stop(job, body["reason"], cancel=cancel)
        return {}

    return end


def _tags(method: str, arn: str, body: bytes, query: dict[str, list[str]]) -> Any:
    every = [
        *environments.values(),
        *queues.values(),
        *policies.values(),
        *(each for revisions in definitions.values() for each in revisions),
        *(job.document for job in jobs.values()),
    ]
    arns = ("arn", "computeEnvironmentArn", "jobQueueArn", "jobDefinitionArn", "jobArn")
    found = next((each for each in every if arn in (each.get(key) for key in arns)), None)
    if found is None:
        return emulated._json(404, {"__type": "ClientException", "message": f"no {arn}"})
    if method == "POST":
        found["tags"].update(json.loads(body)["tags"])
    elif method == "DELETE":
        for key in query.get("tagKeys", []):
            found["tags"].pop(key, None)
    return emulated._json(200, {"tags": found["tags"]} if method == "GET" else {})


_OPERATIONS: dict[str, Callable[[Body], Any]] = {
    "createcomputeenvironment": create_environment,
    "updatecomputeenvironment": update_environment,
    "deletecomputeenvironment": delete_environment,
    "describecomputeenvironments": describer(
        environments, "computeEnvironments", "computeEnvironments"
    ),
    "createjobqueue": create_queue,
    "updatejobqueue": update_queue,
    "deletejobqueue": delete_queue,
    "getjobqueuesnapshot": batch_queues.snapshot,
    "describejobqueues": describer(queues, "jobQueues", "jobQueues"),
    "createschedulingpolicy": create_policy,
    "updateschedulingpolicy": update_policy,
    "deleteschedulingpolicy": delete_policy,
    "describeschedulingpolicies": describer(policies, "arns", "schedulingPolicies"),
    "listschedulingpolicies": list_policies,
    "registerjobdefinition": register_definition,
    "deregisterjobdefinition": deregister_definition,
    "describejobdefinitions": describe_definitions,
    "submitjob": _submit,
    "terminatejob": _end(cancel=False),
    "canceljob": _end(cancel=True),
    "describejobs": _describe_jobs,
    "listjobs": _list_jobs,
}


@hook("POST", "batch/transition")
def _transition(body: Body) -> Body:
    """Force a job into a state: {"jobId", "status", "statusReason", "reason", "exitCode"}."""
    if body["status"] not in ORDER:
        raise ValueError(f"{body['status']} is none of {ORDER}")
    if body["jobId"] not in jobs:
        raise ValueError(f"there is no job {body['jobId']}")
    batch_jobs.force(jobs[body["jobId"]], body)
    return copy.deepcopy(jobs[body["jobId"]].document)


@hook("POST", "batch/slots")
def _slots(body: Body) -> Body:
    """Change how many jobs run at the same time; with 0 all stay RUNNABLE."""
    batch_jobs.set_slots(int(body["jobs"]))
    return {}


@hook("POST", "batch/timeouts")
def _timeouts(body: Body) -> Body:
    """Multiply the time limits of jobs that start from now on."""
    batch_jobs.scale_timeouts(float(body["scale"]))
    return {}


@hook("GET", "batch/jobs")
def _all_jobs(_: Body) -> Body:
    """Return all jobs, and how many have not ended."""
    return _find_jobs({})


@hook("POST", "batch/jobs")
def _find_jobs(body: Body) -> Body:
    """Return jobs: {"name": what their names begin with, "active": whether only these}."""
    with lock:
        found = [
            copy.deepcopy(job.document)
            for job in jobs.values()
            if job.document["jobName"].startswith(body.get("name", ""))
            and not (body.get("active") and job.ended)
        ]
        return {"jobs": found, "active": sum(not job.ended for job in jobs.values())}
