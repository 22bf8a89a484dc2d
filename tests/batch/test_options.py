"""The entry of a Batch backend: what is right is read, what is wrong is told with its place."""

import json

import pytest

from hut.backends.batch import BatchOptions, Platform, read_backends, read_options
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


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "backend.name: must be a text"),
        ({"default_image": None}, "backend.default_image: must be a text"),
        ({"queues": {}}, "backend.queues: name at least one"),
        ({"queues": []}, "backend.queues: must be an object"),
        ({"queues": {"ec2": 1}}, "backend.queues.ec2: must be a text"),
        ({"default_queue": "gpu"}, "'gpu' is not one of the queues: ec2, fargate"),
        ({"platforms": {"ec2": "EC2"}}, "backend.platforms.fargate: is missing"),
        ({"platforms": {"gpu": "EC2"}}, "backend.platforms.gpu: there is no such queue"),
        ({"platforms": {"ec2": "EKS"}}, "'EKS' is neither EC2 nor FARGATE"),
        ({"execution_role_arn": None}, "Fargate needs one"),
        ({"max_concurrent": 0}, "backend.max_concurrent: 0 is neither"),
        ({"max_concurrent": True}, "backend.max_concurrent: True is neither"),
        ({"log_grop": "x"}, "backend.log_grop: unknown; did you mean 'log_group'?"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(change, told):
    with pytest.raises(ValueError, match=r".") as caught:
        read_options({**ENTRY, **change})
    assert told in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "My", "a-b", "a_b"])
def test_a_prefix_that_would_not_be_found_again_in_names_is_refused(prefix):
    with pytest.raises(ValueError, match="small letters and digits"):
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


def test_the_batch_backends_of_an_installation_are_read():
    other = {"name": "big", "type": "ec2", "whatever": 1}
    found = read_backends(json.dumps([ENTRY, other, {**ENTRY, "name": "b2"}]), prefix="p")
    assert [(options.name, options.prefix) for options in found] == [("batch", "p"), ("b2", "p")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "HUT_BACKENDS is not JSON"),
        ("{}", "not a JSON array"),
        ("[1]", r"HUT_BACKENDS\[0\] is not an object"),
        (json.dumps([ENTRY, ENTRY]), r"HUT_BACKENDS\[1\].name: there are two"),
        (json.dumps([{**ENTRY, "name": 1}]), r"HUT_BACKENDS\[0\].name: must be a text"),
    ],
)
def test_a_faulty_list_of_backends_is_told(text, told):
    with pytest.raises(ValueError, match=told):
        read_backends(text)
