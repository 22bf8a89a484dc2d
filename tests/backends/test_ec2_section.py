"""What a file may say of an EC2 backend is what a deployment takes of it, value by value."""

import json

import pytest

from hut.backends.ec2.options import read_options
from hut.backends.ec2.refining import FROZEN, LIVE
from hut.model.configuration_reading import read_configuration
from hut.model.ec2_section import Ec2Backend
from hut.model.problems import InvalidInput

STACK = {
    "name": "ec2",
    "type": "ec2",
    "machine": "arn:aws:states:eu-west-1:123456789012:stateMachine:hut-ec2-task",
    "document": "hut-task",
    "launch_template": "lt-0123456789abcdef0",
    "instance_profile_arn": "arn:aws:iam::123456789012:instance-profile/hut",
    "subnet_ids": ["subnet-0123abcd"],
    "security_group_ids": ["sg-0123abcd"],
    "instance_types": {"default": ["c5.xlarge"]},
    "log_group": "/hut/jobs",
}
VALUES = {
    "ami": ["al2023", "ami-0123abcd", "resolve:ssm:/a/b:3", "ami-xyz", "", "ubuntu", 3],
    "subnet_ids": [["subnet-0123abcd"], [], ["subnet-xyz"], [1]],
    "security_group_ids": [["sg-0123abcd"], [], ["sg"], "sg-0123abcd"],
    "instance_types": [
        {"default": "c5.xlarge"},
        {"default": ["m7g.large"]},
        {},
        {"default": []},
        {"default": ["c5"]},
        {"default": 5},
    ],
    "default_image": ["debian", "", 5],
    "max_instances": [1, 100_000, 0, 100_001, True, 1.5],
    "max_concurrent": [1, 100_000, 0, 100_001, "3"],
    "idle_terminate_seconds": [60, 86_400, 59, 86_401],
    "startup_timeout_seconds": [30, 86_400, 29, 86_401],
    "launch_timeout_seconds": [30, 604_800, 29, 604_801],
    "spot": ["never", "prefer", "only", "always", True],
    "reuse": [True, False, "yes", 1],
    "root_volume_gib": [8, 16_384, 7, 16_385],
    "root_device": ["/dev/xvda", "xvda", "/dev/"],
    "tag_prefix": ["lab", "aws", "AWS:x", "x" * 60, "x" * 61, "{}"],
    "extra_tags": [{"a": "b c"}, {"k" * 128: "v" * 256}, {"k" * 129: ""}, {"k": "v" * 257}]
    + [{"aws:a": ""}, {"hut": ""}, {"hut:x": ""}, {"": "x"}, {"a": "{"}, {"huts": ""}]
    + [{str(n): "" for n in range(count)} for count in (20, 21)],
    "prices": [
        {"c5.xlarge": 0.17},
        {"c5.xlarge": 1},
        {"c5.xlarge": -1},
        {"c5.xlarge": 0},
        {"c5.xlarge": "1"},
        {"c5.xlarge": 10000},
    ],
}


def test_every_field_is_tried():
    assert VALUES.keys() == {*FROZEN, *LIVE}
    assert VALUES.keys() < Ec2Backend.model_fields.keys()


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, some in VALUES.items() for value in some]
)
def test_both_take_the_same(field, value):
    entry = {"name": "e", "type": "ec2", field: value}

    def takes(read):
        try:
            read()
        except InvalidInput as error:
            assert all(field in str(problem.field) for problem in error.problems)  # noqa: PT017
            return False
        return True

    text = json.dumps({"backends": [entry]})
    deployment = takes(lambda: read_options({**STACK, field: value}))
    assert takes(lambda: read_configuration(text, filename="hut.json")) == deployment
