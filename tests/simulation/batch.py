"""Simulated AWS Batch, called as its client: plain objects in virtual time.

Its semantics are those of the test bed's model (`tests.testbed.batch`), which runs processes instead;
`test_batch` tells both the same stories. It knows nothing of faults on the way to it.
"""

from __future__ import annotations

import copy
import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from tests.simulation.batch_job import SimulatedJob, add_children, document_of, new_job
from tests.simulation.batch_life import JobLife
from tests.simulation.batch_registry import MOST, BatchRegistry, arn_of, name_of, page_of
from tests.simulation.fates import Fate
from tests.simulation.logs import SimulatedLogs
from tests.simulation.refusing import refusal_of
from tests.testbed.address import ACCOUNT, REGION
from tests.testbed.batch_limits import (
    RefusedError,
    check_resources,
    check_share,
    check_submission,
    check_variables,
)

__all__ = ["SimulatedBatch"]

Body = dict[str, Any]

_FRONT = 100  # jobs of a snapshot


class SimulatedBatch:
    """See the module's docstring.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    at
        Calls something at a time.
    tell
        Takes an EventBridge event. Whoever gets one may keep it, and must not change it.
    fate
        What becomes of an attempt at a job: asked when it becomes RUNNABLE.
    logs
        Where what jobs print goes; by default logs of its own.
    list_lag
        Seconds until ListJobs and DescribeJobs know a new job.
    new_id
        Returns another id each time.

    Attributes
    ----------
    jobs : dict of str to SimulatedJob
        All jobs by their ids, children of arrays and what Batch has forgotten included.
    is_wanted : callable
        Says whether anybody listens to events of a job in its state. Those that nobody wants are not
        made: arrays have many of them.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        at: Callable[[float, Callable[[], object]], object],
        tell: Callable[[Body], object],
        *,
        fate: Callable[[SimulatedJob], Fate] = lambda _: Fate(),
        logs: SimulatedLogs | None = None,
        list_lag: Callable[[SimulatedJob], float] = lambda _: 0.0,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._clock = clock
        self._tell = tell
        self._list_lag = list_lag
        self._new_id = new_id or counted_ids()
        self.logs = logs or SimulatedLogs(clock)
        self.registry = BatchRegistry()
        self.jobs: dict[str, SimulatedJob] = {}
        self._in_queue: defaultdict[str, list[SimulatedJob]] = defaultdict(list)
        self._by_name: defaultdict[tuple[str, str], list[SimulatedJob]] = defaultdict(list)
        self._names: defaultdict[str, list[str]] = defaultdict(list)
        self._life = JobLife(
            clock,
            at,
            logs=self.logs,
            fate=fate,
            why_held=self.registry.why_held,
            report=self._report,
            new_id=self._new_id,
        )
        self.is_wanted: Callable[[SimulatedJob], bool] = lambda _: True

    # For whoever looks on ---------------------------------------------------------------------------

    @property
    def changed(self) -> list[Callable[[SimulatedJob], object]]:
        """Called with a job at each change of its state; the submission is the first."""
        return self._life.changed

    def add_queue(self, name: str, *, most_cpus: int | None = None, fair: bool = False) -> str:
        """Make a queue, whose environment has the same name and may have so many vCPUs.

        Returns
        -------
        str
            The queue's ARN.
        """
        managed = {"type": "MANAGED", "computeResources": {"type": "EC2", "maxvCpus": most_cpus}}
        kind = {"type": "UNMANAGED"} if most_cpus is None else managed
        self.create_compute_environment(computeEnvironmentName=name, **kind)
        order = [{"order": 1, "computeEnvironment": name}]
        more = {}
        if fair:
            policy = self.create_scheduling_policy(name=name, fairsharePolicy={})
            more["schedulingPolicyArn"] = policy["arn"]
        made = self.create_job_queue(
            jobQueueName=name, priority=1, computeEnvironmentOrder=order, **more
        )
        return str(made["jobQueueArn"])

    def set_slots(self, slots: int | None) -> None:
        """Change how many jobs start or run at once; None: all that may, as at the beginning."""
        self._life.slots = slots
        self._life.place()

    def stand(self, name: str, **how: str) -> None:
        """Change how a queue and its environment of the same name stand: ``status="INVALID"``."""
        for registry in (self.registry.queues, self.registry.environments):
            registry[name].update(how)
        self._look_again()

    def reclaim(self, handle: str, instance: str = "i-0123") -> None:
        """Take away the machine of a job, if it has one."""
        self._life.reclaim(self.jobs[handle], f"Host EC2 (instance {instance}) terminated.")

    def forget(self, handle: str) -> None:
        """Forget a job, or an array with its children, as AWS does some days after the end."""
        job = self.jobs[handle]
        for each in (job, *job.children):
            each.is_forgotten = True

    # Jobs -------------------------------------------------------------------------------------------

    def submit_job(self, **body: Any) -> Body:
        return self._answer("SubmitJob", self._submit, body)

    def describe_jobs(self, **body: Any) -> Body:
        return self._answer("DescribeJobs", self._describe, body)

    def list_jobs(self, **body: Any) -> Body:
        return self._answer("ListJobs", self._list, body)

    def terminate_job(self, **body: Any) -> Body:
        return self._answer("TerminateJob", lambda body: self._end(body, cancel=False), body)

    def cancel_job(self, **body: Any) -> Body:
        return self._answer("CancelJob", lambda body: self._end(body, cancel=True), body)

    def get_job_queue_snapshot(self, **body: Any) -> Body:
        return self._answer("GetJobQueueSnapshot", self._snapshot, body)

    # What stands still ------------------------------------------------------------------------------

    def register_job_definition(self, **body: Any) -> Body:
        return self._answer("RegisterJobDefinition", self.registry.register_definition, body)

    def deregister_job_definition(self, **body: Any) -> Body:
        definition = self.registry.definition_of(body["jobDefinition"])
        if definition is not None:
            definition["status"] = "INACTIVE"
        return {}

    def describe_job_definitions(self, **body: Any) -> Body:
        return self._answer("DescribeJobDefinitions", self.registry.describe_definitions, body)

    def create_job_queue(self, **body: Any) -> Body:
        return self._answer("CreateJobQueue", self.registry.create_queue, body)

    def update_job_queue(self, **body: Any) -> Body:
        found = self._answer("UpdateJobQueue", self.registry.update_queue, body)
        self._look_again()
        return found

    def describe_job_queues(self, **body: Any) -> Body:
        found = _chosen(self.registry.queues, body.get("jobQueues"))
        return self._answer("DescribeJobQueues", lambda b: page_of(found, b, "jobQueues"), body)

    def create_compute_environment(self, **body: Any) -> Body:
        return self._answer("CreateComputeEnvironment", self.registry.create_environment, body)

    def update_compute_environment(self, **body: Any) -> Body:
        found = self._answer("UpdateComputeEnvironment", self.registry.update_environment, body)
        self._look_again()
        return found

    def describe_compute_environments(self, **body: Any) -> Body:
        key = "computeEnvironments"
        found = _chosen(self.registry.environments, body.get(key))
        return self._answer("DescribeComputeEnvironments", lambda b: page_of(found, b, key), body)

    def create_scheduling_policy(self, **body: Any) -> Body:
        return self._answer("CreateSchedulingPolicy", self.registry.create_policy, body)

    def describe_scheduling_policies(self, **body: Any) -> Body:
        found = _chosen(self.registry.policies, body["arns"])
        return {"schedulingPolicies": copy.deepcopy(found)}

    # How it is done ---------------------------------------------------------------------------------

    def _answer(self, operation: str, function: Callable[[Body], Body], body: Body) -> Body:
        try:
            return function(body)
        except RefusedError as error:
            raise refusal_of(operation, "ClientException", str(error)) from None

    def _submit(self, body: Body) -> Body:
        check_submission(body)
        if body.get("dependsOn"):
            raise NotImplementedError("dependencies between jobs are not simulated")
        queue = self.registry.queue_of(body.get("jobQueue", ""))
        if queue["state"] != "ENABLED":
            raise RefusedError(f"Job queue {queue['jobQueueName']} is not ENABLED")
        check_share(body, queue)
        definition = self.registry.definition_of(body.get("jobDefinition", ""))
        if definition is None or definition["status"] != "ACTIVE":
            raise RefusedError(
                f"JobDefinition {body.get('jobDefinition')} is not found or not ACTIVE."
            )
        handle = self._new_id()
        document = document_of(body, queue, definition, arn_of("job", handle))
        check_resources(
            {**definition["containerProperties"], **document["container"]},
            definition["platformCapabilities"],
        )
        check_variables(document["container"])
        job = new_job(
            handle,
            body["jobName"],
            queue["jobQueueName"],
            document,
            self._clock(),
        )
        if body.get("arrayProperties"):
            add_children(job, body["arrayProperties"]["size"])
        self._keep(job)
        self._life.add(job)
        return {"jobArn": document["jobArn"], "jobName": job.name, "jobId": handle}

    def _keep(self, job: SimulatedJob) -> None:
        job.number = len(self.jobs)
        listed_at = job.submitted + self._list_lag(job)
        for each in (job, *job.children):
            each.listed_at = listed_at
            self.jobs[each.handle] = each
        self._in_queue[job.queue].append(job)
        name = job.name.lower()
        same = self._by_name[job.queue, name]
        if not same:
            names = self._names[job.queue]
            names.insert(bisect_left(names, name), name)
        same.append(job)

    def _describe(self, body: Body) -> Body:
        wanted = body.get("jobs") or []
        if len(wanted) > MOST:
            raise RefusedError(f"At most {MOST} jobs can be described, not {len(wanted)}")
        found = [self.jobs.get(name_of(each)) for each in wanted]
        return {"jobs": [job.document() for job in found if job is not None and self._knows(job)]}

    def _list(self, body: Body) -> Body:
        given = [key for key in ("jobQueue", "arrayJobId", "multiNodeJobId") if body.get(key)]
        if len(given) != 1:
            raise RefusedError("Exactly one of jobQueue, arrayJobId, multiNodeJobId is needed")
        filters = body.get("filters") or []
        if len(filters) > 1 or (filters and "jobQueue" not in given):
            raise RefusedError("ListJobs takes one filter, together with a job queue")
        found: Iterable[SimulatedJob]
        if body.get("jobQueue"):
            queue = self.registry.queue_of(body["jobQueue"])["jobQueueName"]
            found = self._filtered(queue, filters[0]) if filters else self._in_queue[queue]
        else:
            array = self.jobs.get(body.get("arrayJobId", ""))
            found = array.children if array is not None else []
        found = [job for job in found if self._knows(job)]
        if not filters:
            status = body.get("jobStatus", "RUNNING")
            found = [job for job in found if job.state == status]
        newest_first = sorted(found, key=lambda job: -int(job.submitted * 1000))
        return page_of(newest_first, body, "jobSummaryList", _summary)

    def _filtered(self, queue: str, rule: Body) -> Iterable[SimulatedJob]:
        """Apply a filter of ListJobs; names are compared without regard to case."""
        values, every = rule["values"], self._in_queue[queue]
        match rule["name"]:
            case "JOB_NAME":
                return self._named(queue, values)
            case "JOB_DEFINITION":
                return [job for job in every if _is_like(_definition_of(job), values)]
            case "BEFORE_CREATED_AT":
                return [job for job in every if int(job.submitted * 1000) < int(values[0])]
            case "AFTER_CREATED_AT":
                return [job for job in every if int(job.submitted * 1000) > int(values[0])]
        raise RefusedError(f"Unknown filter {rule['name']}")

    def _named(self, queue: str, values: Iterable[str]) -> Iterable[SimulatedJob]:
        names, found = self._names[queue], dict[str, None]()
        for value in values:
            wanted = value.lower()
            at = bisect_left(names, wanted.removesuffix("*"))
            while at < len(names) and _is_like(names[at], [wanted]):
                found[names[at]] = None
                at += 1
        of_names = [self._by_name[queue, name] for name in found]
        if len(of_names) == 1:
            return of_names[0]
        # In the order of submission, as without an index.
        return sorted(itertools.chain(*of_names), key=lambda job: job.number)

    def _end(self, body: Body, *, cancel: bool) -> Body:
        if not body.get("reason"):
            raise RefusedError("reason is required")
        job = self.jobs.get(body.get("jobId", ""))
        if job is not None:  # AWS answers 200 for jobs it does not know (any more)
            self._life.stop(job, body["reason"], cancel=cancel)
        return {}

    def _snapshot(self, body: Body) -> Body:
        """Answer with the first jobs that are RUNNABLE, in the order of submission."""
        queue = self.registry.queue_of(body.get("jobQueue", ""))["jobQueueName"]
        of_queue = (each for job in self._in_queue[queue] for each in job.children or (job,))
        waiting = (job for job in of_queue if job.state == "RUNNABLE")
        front = [
            {
                "jobArn": job.document()["jobArn"],
                "earliestTimeAtPosition": int(job.submitted * 1000),
            }
            for job in itertools.islice(waiting, _FRONT)
        ]
        return {"frontOfQueue": {"jobs": front, "lastUpdatedAt": int(self._clock() * 1000)}}

    def _knows(self, job: SimulatedJob) -> bool:
        return not job.is_forgotten and job.listed_at <= self._clock()

    def _look_again(self) -> None:
        self._life.lines.release()
        self._life.place()

    def _report(self, job: SimulatedJob) -> None:
        if not self.is_wanted(job):
            return
        detail = job.document()
        self._tell(
            {
                "version": "0",
                "id": self._new_id(),
                "detail-type": "Batch Job State Change",
                "source": "aws.batch",
                "account": ACCOUNT,
                "time": _written(int(self._clock())),
                "region": REGION,
                "resources": [detail["jobArn"]],
                "detail": detail,
            }
        )


@lru_cache(maxsize=16)
def _written(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def counted_ids() -> Callable[[], str]:
    """Return what returns ids of the shape of UUIDs, in order."""
    numbers = itertools.count(1)
    return lambda: f"00000000-0000-4000-8000-{next(numbers):012x}"


def _definition_of(job: SimulatedJob) -> str:
    return name_of(job.submission.document["jobDefinition"])


def _is_like(text: str, values: Iterable[str]) -> bool:
    text = text.lower()
    return any(
        text.startswith(value[:-1]) if value.endswith("*") else text == value
        for value in map(str.lower, values)
    )


def _summary(job: SimulatedJob) -> Body:
    document = job.document()
    shown = (
        "jobArn",
        "jobId",
        "jobName",
        "createdAt",
        "status",
        "statusReason",
        "startedAt",
        "stoppedAt",
        "jobDefinition",
    )
    summary = {key: document[key] for key in shown if document.get(key) is not None}
    container = {k: v for k, v in job.found.items() if k in ("exitCode", "reason")}
    if container:
        summary["container"] = container
    if "arrayProperties" in document:
        keys = ("size", "index")
        shape = {k: v for k, v in document["arrayProperties"].items() if k in keys}
        summary["arrayProperties"] = shape
    return summary


def _chosen(registry: dict[str, Body], references: Iterable[str] | None) -> list[Body]:
    names = [name_of(each) for each in references or registry]
    return [registry[name] for name in names if name in registry]
