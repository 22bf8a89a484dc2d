"""Batch: which jobs their queue can't place, why, and what stands at a queue's front.

The reasons are AWS's ("Jobs stuck in a RUNNABLE status" in the Batch user guide), given to the job at
the head of a queue only; those behind it wait without one. A disabled queue takes no new jobs and goes
on with those it has; a disabled or invalid environment gets none. Ours: machines are not modelled, so
there are no reasons for capacity but those a hook gives to a job.
"""

from __future__ import annotations

from typing import Any

from tests.testbed import batch_jobs
from tests.testbed.batch_jobs import Job, jobs, lock, now
from tests.testbed.batch_registry import environments, find, name_of, queues
from tests.testbed.hooks import hook

Body = dict[str, Any]

INVALID = "ACTION_REQUIRED - CE(s) associated with the job queue are invalid."
TOO_SMALL = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) associated with the job queue cannot "
    "meet the CPU requirement of the job."
)
_FRONT = 100  # jobs of a snapshot
_STATES = ("state", "status", "statusReason")


def why_held(job: Job) -> str | None:
    """Return why a job that is next can't be placed, maybe without words; None if it can."""
    queue = queues.get(job.queue)
    if queue is None:
        return None
    order = [name_of(each["computeEnvironment"]) for each in queue["computeEnvironmentOrder"]]
    known = [environments[name] for name in order if name in environments]
    if queue["status"] == "INVALID" or any(each["status"] == "INVALID" for each in known):
        usable = [each for each in known if each["status"] != "INVALID"]
        if queue["status"] == "INVALID" or not usable:
            return INVALID
    usable = [each for each in known if each["status"] != "INVALID" and each["state"] == "ENABLED"]
    if known and not usable:
        return ""
    asked = {
        each["type"]: each["value"] for each in job.document["container"]["resourceRequirements"]
    }
    most = [(each.get("computeResources") or {}).get("maxvCpus") for each in usable]
    if most and all(each is not None and float(asked["VCPU"]) > each for each in most):
        return TOO_SMALL
    return None


def snapshot(body: Body) -> Body:
    """Answer GetJobQueueSnapshot: the first jobs that are RUNNABLE, in the order of submission."""
    name = find(queues, "job queue", body.get("jobQueue", ""))["jobQueueName"]
    waiting = [job for job in jobs.values() if job.queue == name and job.status == "RUNNABLE"]
    waiting.sort(key=lambda job: job.document["createdAt"])
    front = [
        {"jobArn": job.document["jobArn"], "earliestTimeAtPosition": job.document["createdAt"]}
        for job in waiting[:_FRONT]
    ]
    return {"frontOfQueue": {"jobs": front, "lastUpdatedAt": now()}}


@hook("POST", "batch/queues")
def _set_queue(body: Body) -> Body:
    """Change how a queue stands: {"name", "state", "status", "statusReason"}."""
    return _change(queues, body)


@hook("POST", "batch/environments")
def _set_environment(body: Body) -> Body:
    """Change how an environment stands: as a queue, and {"maxvCpus"}."""
    with lock:
        if "maxvCpus" in body:
            resources = environments[name_of(body["name"])].setdefault("computeResources", {})
            resources["maxvCpus"] = body["maxvCpus"]
        return _change(environments, body)


@hook("POST", "batch/forget")
def _forget(body: Body) -> Body:
    """Forget a job, as AWS does some days after its end: {"jobId"}."""
    with lock:
        if not jobs[body["jobId"]].ended:
            raise ValueError(f"{body['jobId']} has not ended")
        del jobs[body["jobId"]]
    return {}


def _change(registry: dict[str, Body], body: Body) -> Body:
    name = name_of(body["name"])
    if name not in registry:
        raise ValueError(f"there is no {name}; there are {', '.join(registry)}")
    with lock:
        registry[name].update({key: body[key] for key in _STATES if key in body})
        batch_jobs.look_again()
    return {}
