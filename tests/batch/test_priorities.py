"""What a job tells the scheduling policy of its queue."""

from __future__ import annotations

import re

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from hut.backends.batch.arrays import plan_array, shape_of
from hut.backends.batch.jobs import plan_job
from hut.backends.batch.priorities import batch_priority, scheduling_of, share_identifier
from hut.backends.batch.refusals import refused
from hut.backends.port import ArrayRequest
from hut.model.workflow import TaskSpec
from tests.batch.plain_batch import options, request_of, run_of


def refusal(text: str) -> ClientError:
    answer = {"Error": {"Code": "ClientException", "Message": text}}
    return ClientError(answer, "SubmitJob")  # type: ignore[arg-type]


TASK = TaskSpec("t", "true", priority=7)
RUN = run_of(owner="user/alice", workflow="nightly")


def test_a_queue_without_a_policy_is_told_nothing() -> None:
    assert scheduling_of(options(), RUN, TASK) == {}
    assert scheduling_of(options(scheduling_policies=["ec2"]), RUN, TASK) == {}


def test_a_queue_with_a_policy_is_told_share_and_priority() -> None:
    told = scheduling_of(options(scheduling_policies=["fargate"]), RUN, TASK)
    assert told == {
        "shareIdentifier": share_identifier("user/alice"),
        "schedulingPriorityOverride": 5007,
    }
    elsewhere = TASK._replace(partition="ec2")
    assert scheduling_of(options(scheduling_policies=["fargate"]), RUN, elsewhere) == {}
    assert scheduling_of(options(scheduling_policies=["ec2"]), RUN, elsewhere) == told


def test_workflows_may_have_the_shares() -> None:
    chosen = options(scheduling_policies=["fargate"], share_by="workflow")
    assert scheduling_of(chosen, RUN, TASK)["shareIdentifier"] == "nightly"


def test_it_is_a_part_of_the_job() -> None:
    planned = plan_job(options(scheduling_policies=["fargate"]), request_of(TASK, RUN))
    assert planned is not None
    assert planned.parameters["schedulingPriorityOverride"] == 5007
    planned = plan_job(options(), request_of(TASK, RUN))
    assert planned is not None
    assert "shareIdentifier" not in planned.parameters


def test_tasks_of_different_priority_share_an_array_only_where_it_does_not_matter() -> None:
    one, other = request_of(TASK, RUN), request_of(TASK._replace(priority=8), RUN)
    assert shape_of(options(), one) == shape_of(options(), other)
    fair = options(scheduling_policies=["fargate"])
    assert shape_of(fair, one) == shape_of(fair, one)
    assert shape_of(fair, one) != shape_of(fair, other)


def test_an_array_takes_a_share_too() -> None:
    fair = options(scheduling_policies=["fargate"])
    array = ArrayRequest("hut-run-a00000000", [request_of(TASK, RUN)] * 2)
    planned = plan_array(fair, array)
    assert planned is not None
    assert planned.parameters["schedulingPriorityOverride"] == 5007


@pytest.mark.parametrize(
    ("priority", "told"),
    [(0, 5000), (-5000, 0), (-5001, 0), (4999, 9999), (5000, 9999), (2**31 - 1, 9999)],
)
def test_priorities_keep_their_order_within_batchs_bounds(priority: int, told: int) -> None:
    assert batch_priority(priority) == told


@given(st.text(max_size=600), st.text(max_size=600))
def test_shares_are_of_letters_and_digits_and_tell_names_apart(one: str, two: str) -> None:
    shares = [share_identifier(name) for name in (one, two)]
    assert all(re.fullmatch("[A-Za-z0-9]{1,255}", share) for share in shares)
    assert (shares[0] == shares[1]) is (one == two)


def test_a_share_can_be_known_by_its_name() -> None:
    assert share_identifier("nightly2") == "nightly2"
    assert share_identifier("user/alice").startswith("useralice")


def test_more_shares_than_a_queue_may_have_is_over_when_others_end() -> None:
    said = "Job queue has the maximum of 500 active share identifiers"
    passing = "The number of share identifiers exceeds the limit"
    for text in (said, passing):
        assert refused(refusal(text))[:2] == (None, None)
    missing = (
        "Job submitted to job queue with fair share scheduling policy must have shareIdentifier"
    )
    result = refused(refusal(missing))
    assert result.outcome is not None
    assert missing in result.outcome.message
