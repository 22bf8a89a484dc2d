"""Batch: queues with a scheduling policy, what their jobs must say, and in which order they start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testbed.running import TestBed
from tests.testbed_checks.making import Maker, wait_for


@pytest.fixture
def held(bed: TestBed) -> Iterator[None]:
    """No job starts."""
    bed.hook("batch/slots", {"jobs": 0})
    yield
    bed.hook("batch/slots", {"jobs": 8})


@pytest.fixture
def fair(make: Maker) -> str:
    """A queue with a policy."""
    return make_fair(make)[0]


def make_fair(make: Maker) -> tuple[str, str]:
    batch, name = make.bed.client("batch"), make.name("fair")
    policy = batch.create_scheduling_policy(name=name, fairsharePolicy={"shareDecaySeconds": 600})
    batch.create_compute_environment(computeEnvironmentName=name, type="UNMANAGED")
    queue = batch.create_job_queue(
        jobQueueName=name,
        priority=1,
        schedulingPolicyArn=policy["arn"],
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}],
    )
    return str(queue["jobQueueArn"]), str(policy["arn"])


def share(name: str, priority: int = 0) -> dict[str, Any]:
    return {"shareIdentifier": name, "schedulingPriorityOverride": priority}


def refused(make: Maker, queue: str, **more: Any) -> str:
    with pytest.raises(ClientError) as caught:
        make.submit(queue, make.definition("true"), **more)
    assert caught.value.response["Error"]["Code"] == "ClientException"
    return str(caught.value)


def test_a_policy_is_made_described_and_deleted(make: Maker) -> None:
    batch = make.bed.client("batch")
    queue, arn = make_fair(make)
    [found] = batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"]
    assert found["fairsharePolicy"] == {"shareDecaySeconds": 600}
    assert {"arn": arn} in batch.list_scheduling_policies()["schedulingPolicies"]
    batch.update_scheduling_policy(arn=arn, fairsharePolicy={"shareDecaySeconds": 900})
    [found] = batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"]
    assert found["fairsharePolicy"] == {"shareDecaySeconds": 900}
    [described] = batch.describe_job_queues(jobQueues=[queue])["jobQueues"]
    assert described["schedulingPolicyArn"] == arn
    with pytest.raises(ClientError, match="JobQueue relationship"):
        batch.delete_scheduling_policy(arn=arn)
    batch.update_job_queue(jobQueue=queue, state="DISABLED")
    batch.delete_job_queue(jobQueue=queue)
    batch.delete_scheduling_policy(arn=arn)
    assert not batch.describe_scheduling_policies(arns=[arn])["schedulingPolicies"]


def test_a_queue_without_a_policy_gets_none_later(make: Maker) -> None:
    _, arn = make_fair(make)
    with pytest.raises(ClientError, match="can't be added"):
        make.bed.client("batch").update_job_queue(
            jobQueue=make.batch_queue(), schedulingPolicyArn=arn
        )


def test_a_share_is_needed_with_a_policy_and_refused_without(make: Maker, fair: str) -> None:
    assert "must have shareIdentifier" in refused(make, fair)
    plain = make.batch_queue()
    assert "can only be submitted to" in refused(make, plain, shareIdentifier="a")
    assert "can only be submitted to" in refused(make, plain, schedulingPriorityOverride=1)
    job = make.ended(make.submit(fair, make.definition("true"), **share("a", 7)))
    assert (job["status"], job["shareIdentifier"]) == ("SUCCEEDED", "a")
    assert job["schedulingPriority"] == 7


@pytest.mark.parametrize("name", ["user/alice", "a-b", ""])
def test_shares_are_letters_and_digits(make: Maker, fair: str, name: str) -> None:
    assert "valid pattern" in refused(make, fair, **share(name))


@pytest.mark.parametrize("priority", [-1, 10_000])
def test_priorities_have_bounds(make: Maker, fair: str, priority: int) -> None:
    assert "between 0 and 9999" in refused(make, fair, **share("a", priority))


@pytest.mark.usefixtures("held")
def test_jobs_of_a_share_start_by_priority_and_shares_take_turns(make: Maker, fair: str) -> None:
    definition = make.definition("true")
    wanted = [("a", 1), ("a", 5), ("a", 5), ("b", 0), ("a", 9)]
    jobs = [make.submit(fair, definition, **share(*each)) for each in wanted]
    for job_id in jobs:
        make.in_state(job_id, "RUNNABLE")
    make.bed.hook("batch/slots", {"jobs": 1})
    ended = [make.ended(job_id) for job_id in jobs]
    order = sorted(range(5), key=lambda n: ended[n]["startedAt"])
    assert [wanted[n] for n in order if wanted[n][0] == "a"] == [
        ("a", 9),
        ("a", 5),
        ("a", 5),
        ("a", 1),
    ]
    assert order.index(1) < order.index(2)


@pytest.mark.usefixtures("held")
def test_a_share_that_has_nothing_comes_before_one_that_has(make: Maker, fair: str) -> None:
    slow = make.definition("sleep", "60")
    large = [make.submit(fair, slow, **share("large", 9)) for _ in range(3)]
    small = make.submit(fair, slow, **share("small"))
    for job_id in (*large, small):
        make.in_state(job_id, "RUNNABLE")
    make.bed.hook("batch/slots", {"jobs": 2})
    make.in_state(small, "RUNNING")
    states = wait_for(
        lambda: (
            found
            if "RUNNING" in (found := [make.job(job_id)["status"] for job_id in large])
            else None
        )
    )
    assert sorted(states) == ["RUNNABLE", "RUNNABLE", "RUNNING"]
    for job_id in (*large, small):
        make.bed.client("batch").terminate_job(jobId=job_id, reason="done")


def test_arrays_hand_their_share_down(make: Maker, fair: str) -> None:
    parent = make.submit(
        fair, make.definition("true"), arrayProperties={"size": 2}, **share("a", 3)
    )
    make.ended(parent)
    assert make.job(f"{parent}:1")["shareIdentifier"] == "a"
