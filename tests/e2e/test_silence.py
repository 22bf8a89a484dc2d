"""Silence is impossible: whatever a task waits for in Batch, `why` says it, and waits can be ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.remote_hut import RemoteHut, until

MISFIT = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement is too high."


@pytest.fixture(autouse=True)
def healthy(hut: RemoteHut) -> Iterator[None]:
    """What a test breaks of queues and environments is whole again afterwards."""
    yield
    for name in (queue_of(hut), queue_of(hut, "ec2")):
        hut.bed.hook("batch/queues", {"name": name, "state": "ENABLED", "status": "VALID"})
        stands = {"state": "ENABLED", "status": "VALID", "maxvCpus": 256}
        hut.bed.hook("batch/environments", {"name": environment_of(hut, name), **stands})


def queue_of(hut: RemoteHut, partition: str = "fargate") -> str:
    return f"{hut.deployment.prefix}-{partition}"


def environment_of(hut: RemoteHut, queue: str) -> str:
    batch = hut.bed.client("batch")
    [found] = batch.describe_job_queues(jobQueues=[queue])["jobQueues"]
    return str(found["computeEnvironmentOrder"][0]["computeEnvironment"].rpartition("/")[2])


def waits(hut: RemoteHut, run: str, task: str = "a") -> dict[str, Any]:
    """Return a task's job once it is RUNNABLE and noted."""
    hut.reached(run, task, "submitted", seconds=120)  # the first run after a deployment is slow
    until(lambda: hut.task(run, task)["job_id"], "its job is noted")
    until(lambda: hut.job(run, task)["status"] == "RUNNABLE", "it is queued")
    return hut.job(run, task)


def why(hut: RemoteHut, run: str, task: str = "a") -> str:
    said = hut("why", run, task).stdout
    print(said)  # to be read with -s
    return said


def test_a_job_stuck_in_its_queue_is_explained_in_batchs_words(hut: RemoteHut) -> None:
    hut.bed.hook("batch/slots", {"jobs": 0})
    run = hut.start([{"id": "a", "command": "true"}])
    job = waits(hut, run)
    hut.force(job, "RUNNABLE", statusReason=MISFIT, silent=True)
    said = why(hut, run)
    assert f"its job {job['jobId']} is RUNNABLE in queue {queue_of(hut)}" in said
    assert f"AWS Batch says: {MISFIT}" in said
    assert "is ENABLED and VALID; it may have 256 vCPUs" in said
    assert "Next: Ask for less" in said
    hut.bed.hook("batch/slots", {"jobs": 8})
    assert hut.ended(run)["state"] == "completed"


def test_a_job_that_just_waits_says_that_nothing_is_wrong(hut: RemoteHut) -> None:
    hut.bed.hook("batch/slots", {"jobs": 0})
    run = hut.start([{"id": "a", "command": "true"}])
    waits(hut, run)
    said = why(hut, run)
    assert "It is the next one in its queue." in said
    assert "Next: Give it some minutes" in said


def test_a_task_that_asks_for_too_much_and_one_behind_it(hut: RemoteHut) -> None:
    queue = queue_of(hut, "ec2")
    hut.bed.hook("batch/environments", {"name": environment_of(hut, queue), "maxvCpus": 16})
    tasks = [
        {"id": "large", "command": "true", "cpus": 64, "partition": "ec2", "priority": 9},
        {"id": "behind", "command": "true", "partition": "ec2", "deps": ["before"]},
        {"id": "before", "command": "true"},
    ]
    run = hut.start(tasks)
    waits(hut, run, "large")
    waits(hut, run, "behind")
    said = why(hut, run, "large")
    assert "AWS Batch says: MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE" in said
    assert "too small: the task asks for 64 vCPUs, it may have 16." in said
    assert "Next: Ask for at most 16 `cpus`" in said
    said = why(hut, run, "behind")
    assert "It is number 2 in its queue." in said
    large = hut.task(run, "large")["job_id"]
    assert f"The job at the head of the queue holds it up: job {large}, named hut-{run}-0-" in said
    assert "Of that one AWS Batch says: MISCONFIGURATION" in said


def test_an_environment_that_is_disabled_or_invalid_is_named(hut: RemoteHut) -> None:
    environment = environment_of(hut, queue_of(hut))
    broken = "CLIENT_ERROR - Not authorized to perform sts:AssumeRole"
    hut.bed.hook(
        "batch/environments", {"name": environment, "status": "INVALID", "statusReason": broken}
    )
    run = hut.start([{"id": "a", "command": "true"}])
    waits(hut, run)
    said = why(hut, run)
    assert "AWS Batch says: ACTION_REQUIRED" in said
    assert f"{environment} (FARGATE) is ENABLED and INVALID: {broken}" in said
    assert f"Next: Mend what AWS Batch says of {environment}" in said
    hut.bed.hook(
        "batch/environments", {"name": environment, "status": "VALID", "state": "DISABLED"}
    )
    said = why(hut, run)
    assert f"{environment} (FARGATE) is DISABLED and VALID: it gets no new machines." in said
    assert f"--compute-environment {environment} --state ENABLED" in said
    hut.bed.client("batch").update_compute_environment(
        computeEnvironment=environment, state="ENABLED"
    )
    assert hut.ended(run)["state"] == "completed"


def test_a_queue_that_takes_no_jobs_is_told_of_a_task_that_has_none(hut: RemoteHut) -> None:
    batch, queue = hut.bed.client("batch"), queue_of(hut)
    batch.update_job_queue(jobQueue=queue, state="DISABLED")
    run = hut.start([{"id": "a", "command": "true"}])
    until(lambda: hut.show(run)["refusals"], "its job was refused")
    hut.reached(run, "a", "pending")
    said = why(hut, run)
    assert "a is ready, but AWS Batch has not taken its job for" in said
    assert f"AWS Batch says: Job queue {queue} is not ENABLED" in said
    assert f"Queue {queue} is DISABLED: it takes no new jobs" in said
    assert f"aws batch update-job-queue --job-queue {queue} --state ENABLED" in said
    assert f"Job queue {queue} is not ENABLED" in hut("show", run).stdout
    batch.update_job_queue(jobQueue=queue, state="ENABLED")
    assert hut.ended(run, 60)["state"] == "completed"
    assert hut.show(run)["refusals"] == []


def test_a_definition_that_is_gone_is_made_anew(hut: RemoteHut) -> None:
    batch = hut.bed.client("batch")
    assert hut.run([{"id": "a", "command": "true"}])["state"] == "completed"
    for found in batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]:
        batch.deregister_job_definition(jobDefinition=found["jobDefinitionArn"])
    assert hut.run([{"id": "a", "command": "true"}])["state"] == "completed"


def test_a_job_that_batch_has_forgotten(hut: RemoteHut) -> None:
    hut.bed.hook("events/lose", {"source": "aws.batch", "share": 1})
    run = hut.start([{"id": "a", "command": "true"}])
    until(lambda: hut.task(run, "a")["job_id"], "its job is noted")
    until(lambda: hut.job(run, "a")["status"] == "SUCCEEDED", "it has run")
    job = hut.job(run, "a")
    hut.bed.hook("batch/forget", {"jobId": job["jobId"]})
    assert f"AWS Batch does not know its job {job['jobId']} yet." in why(hut, run)
    # It is not lost after all, so nobody has to wait until it would be.
    told = {"Source": "aws.batch", "DetailType": "Batch Job State Change"}
    hut.bed.hook("events/put", {"Entries": [{**told, "Detail": json.dumps(job)}]})
    assert hut.ended(run)["state"] == "completed"


def test_what_batch_does_not_tell_is_a_gap_with_a_name(hut: RemoteHut) -> None:
    hut.bed.hook("batch/slots", {"jobs": 0})
    run = hut.start([{"id": "a", "command": "true"}])
    waits(hut, run)
    for operation in ("DescribeJobs", "DescribeJobQueues"):
        fault = {"service": "batch", "operation": operation, "status": 403, "times": 1}
        hut.bed.hook("faults", {**fault, "code": "AccessDeniedException", "message": "not allowed"})
    said = why(hut, run)
    assert "waits there for a machine (job" in said
    assert "AWS Batch: its job could not be asked for: not allowed." in said
    assert "AWS Batch: its queue could not be asked for: not allowed." in said


def test_a_wait_ends_at_max_queue_time(hut: RemoteHut) -> None:
    hut.bed.hook("batch/slots", {"jobs": 0})
    tasks = [
        {"id": "a", "command": "true", "max_queue_time": "2s"},
        {"id": "b", "command": "true", "max_queue_time": "1h"},
    ]
    run = hut.start(tasks)
    job = waits(hut, run, "a")
    waits(hut, run, "b")
    hut.force(job, "RUNNABLE", statusReason=MISFIT, silent=True)
    assert "Its max_queue_time of 1h ends the wait in 59m" in why(hut, run, "b")
    until(lambda: hut.sweep()["queue_timeouts"], "the wait was too long")
    task = hut.reached(run, "a", "failed")
    assert task["reason"] == "queue_timeout"
    assert f"in queue {queue_of(hut)} for a machine; max_queue_time is 2.0s" in task["message"]
    assert MISFIT in task["message"]
    assert hut.task(run, "b")["state"] == "submitted"
    said = why(hut, run, "a")
    assert "a failed: waited" in said
    hut.bed.hook("batch/slots", {"jobs": 8})
    assert hut.ended(run)["state"] == "failed"
    assert hut.task(run, "b")["state"] == "completed"


def test_a_queue_that_takes_no_jobs_for_too_long(hut: RemoteHut) -> None:
    queue = queue_of(hut)
    hut.bed.client("batch").update_job_queue(jobQueue=queue, state="DISABLED")
    run = hut.start([{"id": "a", "command": "true", "max_queue_time": "5s"}])
    assert hut.ended(run, 60)["state"] == "failed"
    task = hut.task(run, "a")
    assert (task["reason"], task["job_id"]) == ("queue_timeout", None)
    assert "for its job to be taken; max_queue_time is 5.0s" in task["message"]
    assert f"Job queue {queue} is not ENABLED" in task["message"]
