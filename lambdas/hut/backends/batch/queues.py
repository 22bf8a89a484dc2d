"""Asks Batch for its queues and compute environments, and why a job waits in one.

For people (`why`) and for the sweep, never on the way of a job. Each call that fails leaves a gap in
the answer and a phrase that says so; the rest is an answer too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from hut.backends.batch.advice import MEANINGS, advise
from hut.backends.batch.outcomes import queue_name
from hut.backends.errors import said_by
from hut.model.waiting import Pool, Queue, Waiting

__all__ = ["SERVICE", "JobQueues", "pool_from_detail", "queue_from_detail"]

SERVICE = "AWS Batch"
_AT_ONCE = 100  # names in a call

_Found = TypeVar("_Found")


def pool_from_detail(detail: Mapping[str, Any]) -> Pool:
    """Return a compute environment as Batch describes it."""
    resources = detail.get("computeResources") or {}
    return Pool(
        str(detail["computeEnvironmentName"]),
        str(detail.get("state", "")),
        str(detail.get("status", "")),
        str(detail.get("statusReason") or ""),
        str(resources.get("type", "")),
        resources.get("maxvCpus"),
        resources.get("desiredvCpus"),
    )


def queue_from_detail(detail: Mapping[str, Any], pools: Mapping[str, Pool]) -> Queue:
    """Return a queue as Batch describes it.

    Parameters
    ----------
    pools
        By their names; what is not there could not be asked for and is left out.
    """
    order = sorted(detail.get("computeEnvironmentOrder") or (), key=lambda each: each["order"])
    names = [queue_name(each["computeEnvironment"]) for each in order]
    return Queue(
        str(detail["jobQueueName"]),
        str(detail.get("state", "")),
        str(detail.get("status", "")),
        str(detail.get("statusReason") or ""),
        tuple(pools[name] for name in names if name in pools),
    )


class JobQueues:
    """The queues of one backend.

    Parameters
    ----------
    client
        Of boto3, for Batch; best one that repeats little, because a person waits.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def queues(self, references: Sequence[str]) -> list[Queue]:
        """Return queues by their names or ARNs, with their environments; those that are gone are not.

        Raises
        ------
        ClientError, BotoCoreError
            If Batch does not answer.
        """
        details: list[Mapping[str, Any]] = []
        for start in range(0, len(references), _AT_ONCE):
            some = list(references[start : start + _AT_ONCE])
            details += self._client.describe_job_queues(jobQueues=some)["jobQueues"]
        names = {
            each["computeEnvironment"]: None
            for detail in details
            for each in detail.get("computeEnvironmentOrder") or ()
        }
        pools = self._pools(list(names))
        return [queue_from_detail(detail, pools) for detail in details]

    def _pools(self, references: Sequence[str]) -> dict[str, Pool]:
        found: list[Pool] = []
        for start in range(0, len(references), _AT_ONCE):
            some = list(references[start : start + _AT_ONCE])
            answer = self._client.describe_compute_environments(computeEnvironments=some)
            found += map(pool_from_detail, answer["computeEnvironments"])
        return {pool.name: pool for pool in found}

    def waiting(self, reference: str, handle: str | None, cpus: int) -> Waiting:
        """Return what Batch says of a job, of its queue, and of what stands before it there.

        Parameters
        ----------
        reference
            The queue a task without a job would go to.
        handle
            Of the job, if there is one.
        cpus
            vCPUs it asks for.
        """
        unasked: list[str] = []
        detail: Mapping[str, Any] = {}
        known = True
        if handle is not None:
            jobs = _asked(
                lambda: self._client.describe_jobs(jobs=[handle])["jobs"], "its job", unasked
            )
            known = jobs is None or bool(jobs)
            detail = jobs[0] if jobs else {}
        reference = str(detail.get("jobQueue") or reference)
        queues = _asked(lambda: self.queues([reference]), "its queue", unasked)
        status = str(detail.get("status", ""))
        position, head, before = None, "", ""
        if status == "RUNNABLE" and not detail.get("statusReason"):
            position, head, before = _asked(
                lambda: self._before(reference, str(detail.get("jobArn"))), "its place", unasked
            ) or (None, "", "")
        if queues == [] and reference:
            unasked.append(f"there is no queue {queue_name(reference)}")
        queue, said = queues[0] if queues else None, str(detail.get("statusReason") or "")
        return Waiting(
            SERVICE,
            status,
            MEANINGS.get(status, ""),
            said,
            known,
            queue,
            position,
            head,
            before,
            cpus,
            advise(status, said, before, queue, cpus) if known else (),
            tuple(unasked),
        )

    def _before(self, reference: str, arn: str) -> tuple[int | None, str, str]:
        """Return a job's place in its queue, the job at the queue's head, and what Batch says of it.

        Batch gives its reason to the job at the head only; those behind it wait for the same.
        """
        front = self._client.get_job_queue_snapshot(jobQueue=reference).get("frontOfQueue") or {}
        arns = [each["jobArn"] for each in front.get("jobs") or ()]
        position = arns.index(arn) + 1 if arn in arns else None
        if not arns or position == 1:
            return position, "", ""
        found = self._client.describe_jobs(jobs=[queue_name(arns[0])])["jobs"]
        if not found:  # it is gone meanwhile
            return position, "", ""
        head = f"job {found[0]['jobId']}, named {found[0]['jobName']}"
        return position, head, str(found[0].get("statusReason") or "")


def _asked(call: Callable[[], _Found], what: str, unasked: list[str]) -> _Found | None:
    """Return what is found, or None and a phrase on why it could not be asked for."""
    try:
        return call()
    except (ClientError, BotoCoreError) as error:
        unasked.append(f"{what} could not be asked for: {said_by(error)}")
        return None
