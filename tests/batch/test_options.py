"""The entry of a Batch backend: what is right is read, what is wrong is told with its place."""

import pytest

from hut.backends.batch import BatchOptions, Platform, read_options
from hut.backends.batch.options import ShareBy
from hut.model.problems import InvalidInput
from tests.batch.plain_batch import ENTRY, QUEUES


def test_an_entry_becomes_options():
    assert read_options(ENTRY, prefix="team1") == BatchOptions(
        name="batch",
        queues=QUEUES,
        default_queue="fargate",
        platforms={"ec2": Platform.EC2, "fargate": Platform.FARGATE},
        default_image="debian:stable-slim",
        log_group="/hut/jobs",
        job_role_arn="arn:aws:iam::111122223333:role/job",
        execution_role_arn="arn:aws:iam::111122223333:role/execution",
        max_concurrent=None,
        prefix="team1",
    )


def test_queues_with_scheduling_policies_are_named():
    read = read_options({**ENTRY, "scheduling_policies": ["ec2"], "share_by": "workflow"})
    assert read.scheduling_policies == {"ec2"}
    assert read.share_by is ShareBy.WORKFLOW


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"name": ""}, "name", "must be a text"),
        ({"default_image": None}, "default_image", "without job_definition there must be one"),
        ({"queues": {}}, "queues", "name at least one"),
        ({"queues": []}, "queues", "must be an object"),
        ({"queues": {"ec2": 1}}, "queues.ec2", "must be a text"),
        ({"default_queue": "gpu"}, "default_queue", "'gpu' is not one of the queues: ec2, fargate"),
        ({"platforms": {"ec2": "EC2"}}, "platforms.fargate", "is missing"),
        ({"platforms": {"gpu": "EC2"}}, "platforms.gpu", "there is no such queue"),
        ({"platforms": {"ec2": "EKS"}}, "platforms.ec2", "'EKS' is neither EC2 nor FARGATE"),
        ({"execution_role_arn": None}, "execution_role_arn", "Fargate needs one"),
        ({"max_concurrent": 0}, "max_concurrent", "0 is neither"),
        ({"max_concurrent": True}, "max_concurrent", "True is neither"),
        ({"scheduling_policies": ["gpu"]}, "scheduling_policies", "there is no queue 'gpu'"),
        ({"scheduling_policies": "ec2"}, "scheduling_policies", "must be an array"),
        ({"scheduling_policies": [1]}, "scheduling_policies", "must be an array"),
        ({"share_by": "team"}, "share_by", "'team' is neither owner nor workflow"),
        ({"log_grop": "x"}, "log_grop", "unknown; did you mean 'log_group'?"),
        ({"retry_attempts": 11}, "retry_attempts", "11 is not a whole number from 1 to 10"),
        ({"prices": {"gpu": {}}}, "prices.gpu", "there is no such queue"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change, field, told):
    with pytest.raises(InvalidInput) as caught:
        read_options({**ENTRY, **change})
    found = {problem.field: problem.message for problem in caught.value.problems}
    assert told in found[f"backend.{field}"]


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(InvalidInput) as caught:
        read_options(
            {
                **ENTRY,
                "name": 1,
                "platforms": {"ec2": "EKS"},
                "secrets": {"A": "x", "B": "y"},
                "retry_attempts": 0,
            }
        )
    assert [problem.field for problem in caught.value.problems] == [
        f"backend.{field}"
        for field in (
            "name",
            "platforms.ec2",
            "platforms.fargate",
            "retry_attempts",
            "secrets.A",
            "secrets.B",
        )
    ]


def test_a_job_definition_brings_what_is_left_out():
    options = read_options(
        {
            **ENTRY,
            "job_definition": "mine:3",
            "default_image": None,
            "platforms": {},
            "execution_role_arn": None,
        }
    )
    assert (options.jobs.definition, options.jobs.locked) == ("mine:3", True)
    assert (options.default_image, options.platforms) == (None, {})


@pytest.mark.parametrize("prefix", ["", "My", "a-b", "a_b"])
def test_a_prefix_that_would_not_be_found_again_in_names_is_refused(prefix):
    with pytest.raises(InvalidInput, match="small letters and digits"):
        read_options(ENTRY, prefix=prefix)


def test_ec2_alone_needs_no_execution_role():
    read_options(
        {
            **ENTRY,
            "queues": {"ec2": "q"},
            "platforms": {"ec2": "EC2"},
            "default_queue": "ec2",
            "execution_role_arn": None,
        }
    )
