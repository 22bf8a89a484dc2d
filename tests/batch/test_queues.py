"""Queues and environments as Batch describes them, and what is said where it does not answer."""

import boto3
import pytest
from botocore.stub import Stubber

from hut.backends.batch import BatchBackend, Clients
from hut.backends.batch.options import Platform
from hut.model.waiting import Pool, Queue, Waiting
from hut.model.workflow import Resources, TaskSpec
from tests.batch.plain_batch import options

ARN = "arn:aws:batch:us-east-1:000000000000"
QUEUE = f"{ARN}:job-queue/hut-ec2"
JOB = f"{ARN}:job/j1"
TRUE = TaskSpec("t", "true", partition="ec2")


def environment(name, order=None, **more):
    if order is not None:
        return {"order": order, "computeEnvironment": f"{ARN}:compute-environment/{name}"}
    return {
        "computeEnvironmentName": name,
        "computeEnvironmentArn": f"{ARN}:compute-environment/{name}",
        "ecsClusterArn": "arn:cluster",
        "state": "ENABLED",
        "status": "VALID",
        "statusReason": "ComputeEnvironment Healthy",
        "computeResources": {
            "type": "EC2", "maxvCpus": 16, "desiredvCpus": 4, "subnets": ["s"]
        },
        **more,
    }  # fmt: skip


def queue(*order, **more):
    return {
        "jobQueueName": "hut-ec2",
        "jobQueueArn": QUEUE,
        "state": "ENABLED",
        "status": "VALID",
        "statusReason": "JobQueue Healthy",
        "priority": 1,
        "computeEnvironmentOrder": list(order or [environment("one", 1)]),
        **more,
    }


def job(status="RUNNABLE", **more):
    return {
        "jobId": "j1", "jobArn": JOB, "jobName": "n", "jobQueue": QUEUE, "status": status,
        "jobDefinition": "d", "startedAt": 0, **more,
    }  # fmt: skip


ONE = Pool("one", "ENABLED", "VALID", "ComputeEnvironment Healthy", "EC2", 16, 4)
HEALTHY = Queue("hut-ec2", "ENABLED", "VALID", "JobQueue Healthy", (ONE,))


@pytest.fixture
def stub():
    batch = boto3.client("batch", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(batch) as stubber:
        platforms = {"ec2": "EC2", "also": "EC2"}
        queues = {"ec2": QUEUE, "also": QUEUE}
        made = options(queues=queues, platforms=platforms, default_queue="ec2")
        backend = BatchBackend(made, Clients(None, None, None, "b", batch))
        backend._batch = batch
        yield backend, stubber
        stubber.assert_no_pending_responses()


def expect_job(stubber, *jobs, asked="j1"):
    stubber.add_response("describe_jobs", {"jobs": list(jobs)}, {"jobs": [asked]})


def expect_queue(stubber, *queues, environments=()):
    stubber.add_response("describe_job_queues", {"jobQueues": list(queues)}, {"jobQueues": [QUEUE]})
    if queues:
        names = [
            each["computeEnvironment"]
            for found in queues
            for each in found["computeEnvironmentOrder"]
        ]
        stubber.add_response(
            "describe_compute_environments",
            {"computeEnvironments": list(environments or [environment("one")])},
            {"computeEnvironments": names},
        )


def expect_front(stubber, *ids):
    jobs = [{"jobArn": f"{ARN}:job/{job_id}", "earliestTimeAtPosition": 1} for job_id in ids]
    stubber.add_response(
        "get_job_queue_snapshot", {"frontOfQueue": {"jobs": jobs}}, {"jobQueue": QUEUE}
    )


def test_a_job_with_batchs_own_reason(stub):
    backend, stubber = stub
    expect_job(stubber, job(statusReason="MISCONFIGURATION:X - y"))
    expect_queue(stubber, queue())
    assert backend.waiting(TRUE, "j1") == Waiting(
        "AWS Batch",
        "RUNNABLE",
        "has waited {span} for a machine",
        "MISCONFIGURATION:X - y",
        queue=HEALTHY,
    )


def test_a_job_behind_another_one_tells_its_place_and_what_holds_the_first(stub):
    backend, stubber = stub
    expect_job(stubber, job())
    expect_queue(stubber, queue())
    expect_front(stubber, "head", "second", "j1")
    expect_job(stubber, {**job(statusReason="ACTION_REQUIRED - z"), "jobId": "head"}, asked="head")
    found = backend.waiting(TRUE, "j1")
    assert (found.position, found.before) == (3, "ACTION_REQUIRED - z")
    assert found.head == "job head, named n"


def test_the_first_job_is_next(stub):
    backend, stubber = stub
    expect_job(stubber, job())
    expect_queue(stubber, queue())
    expect_front(stubber, "j1", "other")
    found = backend.waiting(TRUE, "j1")
    assert (found.position, found.before) == (1, "")
    assert found.advice[0].startswith("Give it some minutes")


def test_a_job_far_behind_has_no_place(stub):
    backend, stubber = stub
    expect_job(stubber, job())
    expect_queue(stubber, queue())
    expect_front(stubber, "head")
    expect_job(stubber, asked="head")  # it is gone meanwhile
    found = backend.waiting(TRUE, "j1")
    assert (found.position, found.before) == (None, "")


def test_a_job_that_is_forgotten(stub):
    backend, stubber = stub
    expect_job(stubber)
    expect_queue(stubber, queue())
    assert backend.waiting(TRUE, "j1") == Waiting("AWS Batch", known=False, queue=HEALTHY)


def test_a_task_without_a_job_is_told_of_its_queue(stub):
    backend, stubber = stub
    expect_queue(stubber, queue(state="DISABLED"))
    found = backend.waiting(TRUE, None)
    assert (found.status, found.known, found.queue.state) == ("", True, "DISABLED")
    assert "update-job-queue" in found.advice[0]


def test_on_fargate_a_size_that_has_the_memory_counts(stub):
    backend, stubber = stub
    backend.options.platforms["ec2"] = Platform.FARGATE
    expect_queue(stubber, queue())
    asked = TRUE._replace(resources=Resources(1, 100 * 1024))
    assert backend.waiting(asked, None).cpus == 16


def test_a_queue_that_is_gone(stub):
    backend, stubber = stub
    expect_queue(stubber)
    assert backend.waiting(TRUE, None) == Waiting(
        "AWS Batch", unasked=("there is no queue hut-ec2",)
    )


def test_a_partition_that_is_gone(stub):
    backend, _ = stub
    found = backend.waiting(TRUE._replace(partition="old"), None)
    assert "no partition 'old' any more" in found.unasked[0]


def test_calls_that_fail_leave_gaps_with_a_name(stub):
    backend, stubber = stub
    stubber.add_client_error("describe_jobs", "TooManyRequestsException", "slow down", 429)
    stubber.add_client_error("describe_job_queues", "AccessDeniedException", "not authorized")
    found = backend.waiting(TRUE, "j1")
    assert found == Waiting(
        "AWS Batch",
        unasked=(
            "its job could not be asked for: slow down",
            "its queue could not be asked for: not authorized",
        ),
    )


def test_a_place_that_can_not_be_asked_for_leaves_the_rest(stub):
    backend, stubber = stub
    expect_job(stubber, job())
    expect_queue(stubber, queue())
    stubber.add_client_error("get_job_queue_snapshot", "AccessDeniedException", "no")
    found = backend.waiting(TRUE, "j1")
    assert (found.status, found.queue) == ("RUNNABLE", HEALTHY)
    assert found.unasked == ("its place could not be asked for: no",)


def test_environments_stand_in_the_order_in_which_they_are_tried(stub):
    backend, stubber = stub
    invalid = environment("two", status="INVALID", statusReason="CLIENT_ERROR - no role")
    expect_queue(
        stubber,
        queue(environment("two", 2), environment("one", 1)),
        environments=[invalid, environment("one", computeResources={"type": "FARGATE", "maxvCpus": 8, "subnets": []})],
    )  # fmt: skip
    (found,) = backend.queues()  # two partitions, one queue
    first, second = found.pools
    assert (first.name, first.kind, first.most_cpus, first.cpus) == ("one", "FARGATE", 8, None)
    assert (second.status, second.said, second.usable) == (
        "INVALID",
        "CLIENT_ERROR - no role",
        False,
    )
    assert found.usable
    assert list(found.troubles()) == ["compute environment two is INVALID: CLIENT_ERROR - no role"]


@pytest.mark.parametrize(
    ("found", "usable", "troubles"),
    [
        (HEALTHY, True, []),
        (Queue("q", "DISABLED", pools=(ONE,)), True, ["queue q is DISABLED"]),
        (Queue("q", status="INVALID", said="why", pools=(ONE,)), False, ["queue q is INVALID: why"]),
        (Queue("q", status="UPDATING", pools=(ONE,)), True, []),
        (Queue("q"), False, ["queue q has no compute environment"]),
        (
            Queue("q", pools=(Pool("e", "DISABLED", "INVALID"),)),
            False,
            ["compute environment e is DISABLED", "compute environment e is INVALID"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_queue_is_a_phrase_each(found, usable, troubles):
    assert (found.usable, list(found.troubles())) == (usable, troubles)
