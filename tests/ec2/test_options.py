"""What an entry of HUT_BACKENDS may say of an EC2 backend, and what is told of one that can't be."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hut.backends.ec2 import Spot, read_options
from hut.backends.ec2.types import Processor, cpus_of, has_gpus, processor_of
from hut.model.problems import InvalidInput
from tests.ec2.plain_ec2 import ENTRY, SUBNETS, options


def problems_of(**changes):
    with pytest.raises(InvalidInput) as caught:
        read_options({**ENTRY, **changes}, place="HUT_BACKENDS[1]")
    places = [problem.field.partition(".") for problem in caught.value.problems]
    assert {place for place, _, _ in places} == {"HUT_BACKENDS[1]"}
    found = zip(places, caught.value.problems, strict=True)
    return [f"{field}: {problem.message}" for (_, _, field), problem in found]


def test_the_least_there_is_has_the_seeds_defaults():
    found = options()
    assert found.ami == "al2023"
    assert found.max_instances == found.cap == 20
    assert (found.idle_terminate_seconds, found.startup_timeout_seconds) == (1800, 600)
    assert found.spot is Spot.NEVER
    assert not found.reuse
    assert found.default_image is None
    assert (found.root_volume_gib, found.root_device, found.tag_prefix) == (30, "/dev/xvda", "hut")
    assert found.region == "us-east-1"
    assert found.partitions == (found.default_partition,) == ("default",)


def test_null_is_the_same_as_nothing():
    without = (*ENTRY, "max_concurrent")
    more = ["ami", "default_image", "max_instances", "spot", "reuse", "extra_tags", "prices"]
    assert options(**dict.fromkeys([*more, *(k for k in without if k not in ENTRY)])) == options()


def test_a_type_may_stand_alone_or_in_a_list_without_repetitions():
    types = {"default": "c5.xlarge", "gpu": ["g5.xlarge", "g4dn.xlarge", "g5.xlarge"]}
    assert options(instance_types=types).instance_types == {
        "default": ("c5.xlarge",),
        "gpu": ("g5.xlarge", "g4dn.xlarge"),
    }


@pytest.mark.parametrize(
    ("instances", "tasks", "cap"), [(20, None, 20), (20, 5, 5), (3, 5, 3), (1, None, 1)]
)
def test_the_smaller_bound_counts(instances, tasks, cap):
    assert options(max_instances=instances, max_concurrent=tasks).cap == cap


@pytest.mark.parametrize(
    "ami",
    [
        "ami-0123456789abcdef0",
        "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/ami-id",
        "resolve:ssm:golden:3",
    ],
)
def test_images_of_all_kinds(ami):
    assert options(ami=ami).ami == ami


FAULTS = [
    ({"machine": "hut"}, "machine: must be the ARN of a state machine, not 'hut'"),
    ({"machine": None}, "machine: must be the ARN of a state machine"),
    ({"launch_template": "hut"}, "must be an id such as lt-0123456789abcdef0, not 'hut'"),
    ({"instance_profile_arn": "hut"}, "must be the ARN of an instance profile, not 'hut'"),
    ({"subnet_ids": "subnet-01234567"}, "subnet_ids: must be an array of ids"),
    ({"subnet_ids": []}, "subnet_ids: name at least one subnet"),
    ({"subnet_ids": ["a; b"]}, "'a; b' is no id such as subnet-0123456789abcdef0"),
    ({"security_group_ids": [7]}, "7 is no id such as sg-0123456789abcdef0"),
    ({"instance_types": {}}, 'must be an object such as {"default": ["c5.xlarge"]}'),
    ({"instance_types": {"x": []}}, "instance_types.x: must be an instance type or an array"),
    ({"instance_types": {"x": ["c5"]}}, "instance_types.x: 'c5' is no instance type such as"),
    ({"instance_types": {"x": ["c5.large", "c7g.large"]}}, "c7g.large and c5.large need different"),
    ({"ami": "newest"}, "ami: must be the id of an image (ami-...), al2023, or resolve:ssm:"),
    ({"max_instances": 0}, "max_instances: 0 is no whole number from 1 to 100,000"),
    ({"max_instances": True}, "max_instances: True is no whole number"),
    ({"max_concurrent": 0}, "max_concurrent: 0 is no whole number"),
    ({"startup_timeout_seconds": 5}, "startup_timeout_seconds: 5 is no whole number from 30 to"),
    ({"idle_terminate_seconds": 1.5}, "idle_terminate_seconds: 1.5 is no whole number from 60"),
    ({"launch_timeout_seconds": "1h"}, "launch_timeout_seconds: '1h' is no whole number"),
    ({"spot": "always"}, "spot: 'always' is none of never, prefer, only"),
    ({"reuse": "yes"}, "reuse: 'yes' is neither true nor false"),
    ({"root_volume_gib": 4}, "root_volume_gib: 4 is no whole number from 8 to 16,384"),
    ({"root_device": "xvda"}, "root_device: must be the name of a device such as /dev/xvda"),
    ({"tag_prefix": "aws"}, "tag_prefix: 'aws' can't begin the keys of tags"),
    ({"tag_prefix": "a$b"}, "tag_prefix: 'a$b' can't begin the keys of tags"),
    ({"extra_tags": []}, "extra_tags: must be an object of texts"),
    ({"extra_tags": {"aws:x": "y"}}, "extra_tags.aws:x: is no key of a tag"),
    ({"extra_tags": {"hut": "y"}}, "is for Hut itself"),
    ({"extra_tags": {"x": 7}}, "extra_tags.x: must be a text of at most 256"),
    ({"extra_tags": {str(n): "" for n in range(21)}}, "21 tags; 20 are allowed"),
    ({"prices": {"c5.xlarge": "cheap"}}, "prices.c5.xlarge: 'cheap' is no price in dollars"),
    ({"log_group": ""}, "log_group: must be a text that is not empty"),
    ({"instance_type": "x"}, "unknown; did you mean 'instance_types'?"),
    (
        {"subnet_ids": [f"subnet-{n:08x}" for n in range(40)], "spot": "prefer"},
        "80 ways to launch an instance (1 types in 40 subnets, as spot and on demand); 60 are",
    ),
]


@pytest.mark.parametrize(("changes", "said"), FAULTS)
def test_a_fault_is_named_with_its_place(changes, said):
    (problem,) = problems_of(**changes)
    assert said in problem


def test_all_faults_are_told_at_once():
    everything = {key: value for changes, _ in FAULTS[:2] for key, value in changes.items()}
    assert len(problems_of(**everything, spot="x", reuse=1, prices=[], ami="")) == 5


def test_a_prefix_that_would_break_names_is_refused():
    with pytest.raises(InvalidInput, match="is no prefix"):
        read_options(ENTRY, prefix="hut-")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*ENTRY, "spot", "prices", "extra_tags", "ami"]), JSON))
def test_whatever_the_fields_are_it_is_options_or_problems(changes):
    try:
        found = read_options({**ENTRY, **changes})
    except InvalidInput as error:
        places = [each.field or "" for each in error.problems]
    else:
        places = []
        assert found.cap >= 1
        json.dumps(found.instance_types)
    assert all(place.startswith("backend.") for place in places)


@pytest.mark.parametrize(
    ("name", "processor", "gpus", "cpus"),
    [
        ("c5.xlarge", Processor.X86_64, False, 4),
        ("c7g.large", Processor.ARM64, False, 2),
        ("c7gn.16xlarge", Processor.ARM64, False, 64),
        ("a1.medium", Processor.ARM64, False, 1),
        ("im4gn.2xlarge", Processor.ARM64, False, 8),
        ("x2gd.medium", Processor.ARM64, False, 1),
        ("g4dn.xlarge", Processor.X86_64, True, 4),
        ("g4ad.xlarge", Processor.X86_64, False, 4),
        ("g5g.xlarge", Processor.ARM64, True, 4),
        ("gr6.4xlarge", Processor.X86_64, True, 16),
        ("p5.48xlarge", Processor.X86_64, True, 192),
        ("p6-b200.48xlarge", Processor.X86_64, True, 192),
        ("m7i-flex.large", Processor.X86_64, False, 2),
        ("u-6tb1.56xlarge", Processor.X86_64, False, 224),
        ("u7i-12tb.224xlarge", Processor.X86_64, False, 896),
        ("t3.micro", Processor.X86_64, False, 2),
        ("t2.micro", Processor.X86_64, False, None),
        ("t4g.small", Processor.ARM64, False, 2),
        ("m5.metal", Processor.X86_64, False, None),
    ],
)
def test_what_a_types_name_says(name, processor, gpus, cpus):
    assert (processor_of(name), has_gpus(name), cpus_of(name)) == (processor, gpus, cpus)


def test_subnets_keep_their_order():
    assert options(subnet_ids=SUBNETS[::-1]).subnet_ids == tuple(SUBNETS[::-1])
