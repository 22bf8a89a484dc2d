"""What AWS Batch's words about a job that waits mean, and what a person may do about it. Pure.

The reasons are those of "Jobs stuck in a RUNNABLE status" in the AWS Batch user guide; only the job at
the head of a queue is given one. Reasons that are not known are told as they are, without advice.
"""

from __future__ import annotations

from collections.abc import Mapping

from hut.model.waiting import ENABLED, INVALID, Pool, Queue

__all__ = ["MEANINGS", "advise"]

_TOLD = "Hut is told of it in a moment, or finds it in its next sweep"

MEANINGS: Mapping[str, str] = {
    "SUBMITTED": "was handed to AWS Batch {span} ago, which has not looked at it yet",
    "PENDING": "has waited {span} for AWS Batch to look at what it depends on",
    "RUNNABLE": "has waited {span} for a machine",
    "STARTING": "has got a machine, where its image is pulled and its container started",
    "RUNNING": f"runs by now; {_TOLD}",
    "SUCCEEDED": f"has ended by now; {_TOLD}",
    "FAILED": f"has ended by now; {_TOLD}",
}
"""What each status of a job says of its task; ``{span}`` is how long ago it was submitted."""

_BY_REASON: Mapping[str, str] = {
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY": (
        "Wait until EC2 has such instances again, let the environment have other instance types "
        "(of Hut's own: hut:instance_types), or use another `partition`."
    ),
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE": (
        "Ask for fewer `cpus`, or raise maxvCpus of the compute environment (of Hut's own: "
        "hut:max_vcpus)."
    ),
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT": (
        "Ask for less with `cpus`, `memory` or `gres`, or let the compute environment have larger "
        "instance types (of Hut's own: hut:instance_types)."
    ),
    "MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS": (
        "Give the service role of the compute environment what AWS's policy AWSBatchServiceRole "
        "allows, or let it use Batch's service-linked role."
    ),
    "MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED": (
        "Choose instance types that the environment's zones and launch template support (of Hut's "
        "own: hut:instance_types)."
    ),
    "UNDETERMINED": (
        "Look whether the environment's machines start at all: the account's quota of vCPUs, a way "
        "from its subnets to the internet or to ECS, and for EC2 its ECS cluster and launch "
        "template."
    ),
}
_NO_REASON = (
    "Give it some minutes: machines start when they are needed. If it stays so, look at the account's "
    "quota of vCPUs and at the environment's way to the internet or to ECS."
)
_UPDATE = "aws batch update-compute-environment --compute-environment"


def advise(status: str, said: str, before: str, queue: Queue | None, cpus: int) -> tuple[str, ...]:
    """Return what a person may do about a job that waits, in the imperative, the surest first.

    Parameters
    ----------
    status, said
        Of the job; empty for a task that has none.
    before
        What Batch says of the job at the queue's head.
    cpus
        vCPUs the job asks for.
    """
    steps = list(_mend(queue, cpus, new=not status)) if queue is not None else []
    if status in ("", "RUNNABLE") and not steps:
        reason = said or before
        known = [advice for begin, advice in _BY_REASON.items() if reason.startswith(begin)]
        if known and not said:
            mend = known[0][0].lower() + known[0][1:]
            steps.append(f"Cancel the job at the head of the queue, or mend it: {mend}")
        elif known:
            steps += known
        elif status and not reason:
            steps.append(_NO_REASON)
    return tuple(steps)


def _mend(queue: Queue, cpus: int, *, new: bool) -> list[str]:
    """Return what mends a queue that can't serve a job; a pool that works is enough for one."""
    steps = []
    if new and queue.state != ENABLED:
        steps.append(
            f"Let it take jobs: aws batch update-job-queue --job-queue {queue.name} --state ENABLED"
        )
    usable = [pool for pool in queue.pools if pool.usable]
    if not usable:
        steps += map(_mend_pool, queue.pools)
    elif all(too_small(pool, cpus) for pool in usable):
        most = max(pool.most_cpus or 0 for pool in usable)
        steps.append(
            f"Ask for at most {most:,} `cpus`, or raise maxvCpus of the compute environment (of "
            "Hut's own: hut:max_vcpus)."
        )
    return steps


def _mend_pool(pool: Pool) -> str:
    if pool.status == INVALID:
        return (
            f"Mend what AWS Batch says of {pool.name}, then let it look again: "
            f"{_UPDATE} {pool.name} --state ENABLED"
        )
    return f"Let it have machines: {_UPDATE} {pool.name} --state ENABLED"


def too_small(pool: Pool, cpus: int) -> bool:
    """Say whether a job can never fit into a pool."""
    return pool.most_cpus is not None and cpus > pool.most_cpus
