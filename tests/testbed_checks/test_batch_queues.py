"""Batch: queues that take nothing, environments that give nothing, and what jobs say meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testbed.running import TestBed
from tests.testbed_checks.making import Maker

TOO_SMALL = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"


@pytest.fixture
def definition(make: Maker) -> str:
    return make.definition("true")


@pytest.fixture
def queue(make: Maker) -> str:
    """A queue whose environment may have four vCPUs."""
    return make.batch_queue(4)


@pytest.fixture
def held(bed: TestBed) -> Iterator[None]:
    """No job starts."""
    bed.hook("batch/slots", {"jobs": 0})
    yield
    bed.hook("batch/slots", {"jobs": 8})


def name_of(queue: str) -> str:
    return queue.rpartition("/")[2]


def asking(cpus: int) -> dict[str, Any]:
    return {"resourceRequirements": [{"type": "VCPU", "value": str(cpus)}]}


def stays(make: Maker, *ids: str) -> list[str | None]:
    """Let a job of another queue run, then return why these ones are RUNNABLE still."""
    for job_id in ids:
        make.in_state(job_id, "RUNNABLE")
    make.ended(make.submit(make.batch_queue(), make.definition("true")))
    found = [make.job(job_id) for job_id in ids]
    assert {job["status"] for job in found} == {"RUNNABLE"}
    return [job.get("statusReason") for job in found]


def test_they_are_described_as_aws_does(make: Maker, queue: str) -> None:
    batch = make.bed.client("batch")
    [found] = batch.describe_job_queues(jobQueues=[queue, "none"])["jobQueues"]
    assert (found["state"], found["status"], found["statusReason"]) == (
        "ENABLED",
        "VALID",
        "JobQueue Healthy",
    )
    [used] = found["computeEnvironmentOrder"]
    [found] = batch.describe_compute_environments(computeEnvironments=[used["computeEnvironment"]])[
        "computeEnvironments"
    ]
    assert (found["state"], found["status"]) == ("ENABLED", "VALID")
    assert found["computeResources"]["maxvCpus"] == 4
    assert found["computeResources"]["desiredvCpus"] == 0


def test_a_disabled_queue_goes_on_with_the_jobs_it_has(
    make: Maker, queue: str, definition: str, held: None
) -> None:
    job_id = make.submit(queue, definition)
    make.in_state(job_id, "RUNNABLE")
    batch = make.bed.client("batch")
    batch.update_job_queue(jobQueue=queue, state="DISABLED")
    with pytest.raises(ClientError, match="not ENABLED"):
        make.submit(queue, definition)
    make.bed.hook("batch/slots", {"jobs": 8})
    assert make.ended(job_id)["status"] == "SUCCEEDED"


def test_a_disabled_environment_starts_nothing(make: Maker, queue: str, definition: str) -> None:
    batch, name = make.bed.client("batch"), name_of(queue)
    batch.update_compute_environment(computeEnvironment=name, state="DISABLED")
    job_id = make.submit(queue, definition)
    assert stays(make, job_id) == [None]
    batch.update_compute_environment(computeEnvironment=name, state="ENABLED")
    assert make.ended(job_id)["status"] == "SUCCEEDED"


def test_an_invalid_environment_is_a_reason(make: Maker, queue: str, definition: str) -> None:
    why = "CLIENT_ERROR - Not authorized to perform sts:AssumeRole"
    broken = {"name": name_of(queue), "status": "INVALID", "statusReason": why}
    make.bed.hook("batch/environments", broken)
    [first, second] = [make.submit(queue, definition) for _ in range(2)]
    reasons = stays(make, first, second)
    assert str(reasons[0]).startswith("ACTION_REQUIRED")
    assert reasons[1] is None  # only the head of a queue is told
    batch = make.bed.client("batch")
    [found] = batch.describe_compute_environments(computeEnvironments=[name_of(queue)])[
        "computeEnvironments"
    ]
    assert (found["status"], found["statusReason"]) == ("INVALID", why)
    make.bed.hook("batch/environments", {"name": name_of(queue), "status": "VALID"})
    for job_id in (first, second):
        job = make.ended(job_id)
        assert job["statusReason"] == "Essential container in task exited"


def test_an_invalid_queue_places_nothing(make: Maker, queue: str, definition: str) -> None:
    make.bed.hook("batch/queues", {"name": name_of(queue), "status": "INVALID"})
    job_id = make.submit(queue, definition)
    assert str(stays(make, job_id)[0]).startswith("ACTION_REQUIRED")
    with pytest.raises(ValueError, match="there is no"):
        make.bed.hook("batch/queues", {"name": "none", "status": "INVALID"})


def test_a_job_that_is_too_large_blocks_its_queue(make: Maker, queue: str, definition: str) -> None:
    batch = make.bed.client("batch")
    large = make.submit(queue, definition, overrides=asking(5))
    behind = make.submit(queue, definition)
    reasons = stays(make, large, behind)
    assert str(reasons[0]).startswith(TOO_SMALL)
    assert reasons[1] is None
    front = batch.get_job_queue_snapshot(jobQueue=queue)["frontOfQueue"]["jobs"]
    assert [each["jobArn"].rpartition("/")[2] for each in front] == [large, behind]
    batch.cancel_job(jobId=large, reason="too large")
    assert make.ended(large)["statusReason"] == "too large"
    assert make.ended(behind)["status"] == "SUCCEEDED"


def test_an_environment_may_grow(make: Maker, queue: str, definition: str) -> None:
    job_id = make.submit(queue, definition, overrides=asking(5))
    assert str(stays(make, job_id)[0]).startswith(TOO_SMALL)
    make.bed.client("batch").update_compute_environment(
        computeEnvironment=name_of(queue), computeResources={"maxvCpus": 8}
    )
    assert make.ended(job_id)["status"] == "SUCCEEDED"
    make.bed.hook("batch/environments", {"name": name_of(queue), "maxvCpus": 2})
    job_id = make.submit(queue, definition, overrides=asking(5))
    assert str(stays(make, job_id)[0]).startswith(TOO_SMALL)
    make.bed.client("batch").terminate_job(jobId=job_id, reason="enough")


def test_a_job_can_be_given_a_reason(make: Maker, queue: str, definition: str, held: None) -> None:
    job_id = make.submit(queue, definition)
    make.in_state(job_id, "RUNNABLE")
    said = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - none left"
    wanted = {"jobId": job_id, "status": "RUNNABLE", "statusReason": said, "silent": True}
    make.bed.hook("batch/transition", wanted)
    assert make.job(job_id)["statusReason"] == said
    make.bed.client("batch").terminate_job(jobId=job_id, reason="enough")


def test_the_children_of_an_array_are_cancelled_one_by_one(
    make: Maker, queue: str, definition: str
) -> None:
    batch = make.bed.client("batch")
    make.bed.hook("batch/slots", {"jobs": 1})
    try:
        parent = make.submit(queue, definition, "sleep", "60", arrayProperties={"size": 3})
        make.in_state(f"{parent}:0", "RUNNING")
        for index in (0, 1):
            batch.cancel_job(jobId=f"{parent}:{index}", reason="waited too long")
        assert make.ended(f"{parent}:1")["statusReason"] == "waited too long"
        assert make.job(f"{parent}:1")["isCancelled"]
        assert make.job(f"{parent}:0")["status"] == "RUNNING"
        assert make.job(f"{parent}:2")["status"] == "RUNNABLE"
        batch.terminate_job(jobId=parent, reason="enough")
        assert make.ended(parent)["status"] == "FAILED"
    finally:
        make.bed.hook("batch/slots", {"jobs": 8})


def test_jobs_are_forgotten(make: Maker, queue: str, definition: str) -> None:
    job_id = make.submit(queue, definition)
    make.ended(job_id)
    make.bed.hook("batch/forget", {"jobId": job_id})
    assert make.bed.client("batch").describe_jobs(jobs=[job_id])["jobs"] == []
