"""For each word Batch has about a job that waits, what a person may do."""

import pytest

from hut.backends.batch.advice import MEANINGS, advise
from hut.model.waiting import Pool, Queue

FIT = Pool("fit", most_cpus=16)
OFF = Pool("off", state="DISABLED", most_cpus=16)
BROKEN = Pool("broken", status="INVALID", said="CLIENT_ERROR - no role")
AGAIN = "then let it look again:"
UPDATE = "aws batch update-compute-environment --compute-environment"


def queue(*pools, **more):
    return Queue("hut-ec2", pools=pools or (FIT,), **more)


def advice(said="", before="", status="RUNNABLE", at=None, cpus=1):
    return advise(status, said, before, at or queue(), cpus)


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill ...", "instance types"),
        ("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) ...", "hut:max_vcpus"),
        ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job ...", "`memory`"),
        ("MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS - Batch service role ...", "AWSBatchServiceRole"),
        ("MISCONFIGURATION:EC2_INSTANCE_CONFIGURATION_UNSUPPORTED - Your ...", "launch template"),
        ("UNDETERMINED - Batch job is blocked, root cause is undetermined.", "quota"),
        ("", "Give it some minutes"),
    ],
)  # fmt: skip
def test_each_reason_has_a_step(said, step):
    (found,) = advice(said)
    assert step in found
    assert found[0].isupper()
    assert found.endswith(".")


def test_words_that_are_not_known_have_none():
    assert advice("SOMETHING_NEW - who knows") == ()


def test_what_holds_the_head_of_the_queue_holds_those_behind_it():
    (found,) = advice(before="MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - x")
    assert found.startswith("Cancel the job at the head of the queue, or mend it: ask for less")
    assert advice(before="SOMETHING_NEW") == ()


@pytest.mark.parametrize(
    ("at", "steps"),
    [
        (queue(OFF), [f"Let it have machines: {UPDATE} off --state ENABLED"]),
        (
            queue(BROKEN, OFF),
            [
                f"Mend what AWS Batch says of broken, {AGAIN} {UPDATE} broken --state ENABLED",
                f"Let it have machines: {UPDATE} off --state ENABLED",
            ],
        ),
    ],
)
def test_environments_that_are_of_no_use_are_to_be_mended(at, steps):
    said = "ACTION_REQUIRED - CE(s) associated with the job queue are invalid."
    assert list(advice(said, at=at)) == steps


def test_one_environment_that_works_is_enough():
    assert advice("", at=queue(BROKEN, FIT)) == advice("")


@pytest.mark.parametrize(
    ("pools", "cpus", "most"),
    [((FIT,), 17, 16), ((FIT, Pool("small", most_cpus=4), OFF), 64, 16)],
)
def test_a_task_that_asks_for_too_much(pools, cpus, most):
    (found,) = advice(at=queue(*pools), cpus=cpus)
    assert found.startswith(f"Ask for at most {most} `cpus`")
    assert not advice(at=queue(Pool("unbound")), cpus=cpus)[0].startswith("Ask for at most")
    assert advice(at=queue(FIT), cpus=16) == advice()


def test_a_disabled_queue_matters_to_tasks_without_a_job():
    at = queue(state="DISABLED")
    (found,) = advise("", "", "", at, 1)
    assert found == (
        "Let it take jobs: aws batch update-job-queue --job-queue hut-ec2 --state ENABLED"
    )
    assert advice(at=at) == advice()


@pytest.mark.parametrize("status", ["STARTING", "RUNNING", "SUCCEEDED"])
def test_what_goes_on_needs_nobody(status):
    assert advice(status=status) == ()
    assert MEANINGS[status]


def test_without_its_queue_the_reason_is_enough():
    assert advise("RUNNABLE", "UNDETERMINED - x", "", None, 1) == advice("UNDETERMINED - x")
    assert advise("", "", "", None, 1) == ()
