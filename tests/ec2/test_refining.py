"""What a configuration may choose of the stack's EC2 backend."""

from __future__ import annotations

import pytest

from hut.backends.ec2.refining import FROZEN, LIVE, refine
from tests.ec2.plain_ec2 import ENTRY, SUBNETS

SEED = {
    "name": "aws-ec2",
    "type": "ec2",
    "aws": {"region": "us-east-1"},
    "ami": "ami-0123456789abcdef0",
    "subnet_id": SUBNETS[1],
    "security_group_ids": ["sg-00000000000000001"],
    "instance_types": {"default": "c5.xlarge", "gpu": "g4dn.xlarge"},
    "default_image": "ghcr.io/org/image:latest",
    "max_instances": 5,
    "idle_terminate_seconds": 900,
    "startup_timeout_seconds": 300,
    "tag_prefix": "scripthut",
    "extra_tags": {"Environment": "research"},
}


def test_an_entry_of_the_seeds_era():
    found, problems, notes = refine(SEED, ENTRY)
    assert problems == []
    assert notes == []
    kept = {key: value for key, value in SEED.items() if key not in ("aws", "subnet_id")}
    assert found == {**kept, "subnet_ids": [SUBNETS[1]]}
    assert set(found) - {"name", "type"} <= {*FROZEN, *LIVE}


def test_what_has_no_use_is_noted():
    entry = {
        **SEED,
        "aws": {"profile": "me", "region": "us-east-1"},
        "ssh_user": "ubuntu",
        "log_group": "/x",
    }
    found, problems, notes = refine(entry, ENTRY)
    assert problems == []
    assert [note.split(": ")[1].split(" ")[0] for note in notes] == [
        "aws.profile",
        "ssh_user",
        "log_group",
    ]
    assert all(note.startswith("backend 'aws-ec2': ") for note in notes)
    assert not {"ssh_user", "aws", "log_group"} & set(found)


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        (
            {"instance_profile_arn": "arn:aws:iam::1:instance-profile/mine"},
            "instance_profile_arn",
            "may pass on only the role of arn:aws:iam::111122223333:instance-profile/hut-task",
        ),
        ({"aws": {"region": "eu-west-1"}}, "aws.region", "this control plane is in us-east-1"),
        ({"subnet_ids": SUBNETS}, "subnet_id", "use one of subnet_id and subnet_ids"),
        ({"instance_types": {"x": "c5"}}, "instance_types.x", "is no instance type"),
        ({"spot": "sometimes"}, "spot", "none of never, prefer, only"),
    ],
)
def test_a_choice_that_can_not_be_followed_is_a_problem_with_its_place(changes, field, said):
    _, problems, _ = refine({**SEED, **changes}, ENTRY)
    (problem,) = problems
    assert problem.field == field
    assert said in problem.message


def test_the_stacks_own_profile_may_be_named():
    entry = {**SEED, "instance_profile_arn": ENTRY["instance_profile_arn"]}
    assert refine(entry, ENTRY)[1:] == ([], [])
