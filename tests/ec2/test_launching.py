"""From an attempt to the input of its execution: which instances are tried, with which parameters."""

from __future__ import annotations

import base64
import json
import re

import botocore.session
import pytest
from botocore.validate import validate_parameters
from hypothesis import given
from hypothesis import strategies as st

from hut.backends.ec2.launching import (
    LARGEST_INPUT,
    LONGEST_LIMIT,
    input_of,
    plan_launch,
    types_of,
    user_data,
)
from hut.backends.hosts import IdleHost
from hut.backends.port import Unsatisfiable, job_name
from hut.model.quantities import Gres
from hut.model.records import RunSettings
from hut.model.workflow import Resources, TaskSpec
from hut.store.port import AttemptKey
from infra.task_machine import definition
from tests.ec2.plain_ec2 import SUBNETS, options, request_of, run_of
from tests.fuzz.hostile import TEXTS

TRUE = TaskSpec("t", "true")
GPU = Resources(gres=(Gres("gpu", 2),))
NOW = 1_700_000_000.5
EC2 = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances")


def planned_of(spec=TRUE, run=None, attempt=1, **changes):
    request = request_of(spec, run, attempt=attempt)
    return plan_launch(options(**changes), request, "bucket", NOW)


def values_of(spec=TRUE, **changes):
    return json.loads(input_of(planned_of(spec, **changes), None))


def order_of(**changes):
    return [
        (each["InstanceType"], SUBNETS.index(each["SubnetId"]), "InstanceMarketOptions" in each)
        for each in values_of(**changes)["launches"]
    ]


TWO = {"default": ["c5.xlarge", "m5.xlarge"]}


@pytest.mark.parametrize(
    ("spot", "order"),
    [
        (
            "never",
            [
                ("c5.xlarge", 0, False),
                ("c5.xlarge", 1, False),
                ("m5.xlarge", 0, False),
                ("m5.xlarge", 1, False),
            ],
        ),
        (
            "only",
            [
                ("c5.xlarge", 0, True),
                ("c5.xlarge", 1, True),
                ("m5.xlarge", 0, True),
                ("m5.xlarge", 1, True),
            ],
        ),
        (
            "prefer",
            [
                ("c5.xlarge", 0, True),
                ("c5.xlarge", 1, True),
                ("m5.xlarge", 0, True),
                ("m5.xlarge", 1, True),
                ("c5.xlarge", 0, False),
                ("c5.xlarge", 1, False),
                ("m5.xlarge", 0, False),
                ("m5.xlarge", 1, False),
            ],
        ),
    ],
)
def test_the_order_of_tries(spot, order):
    assert order_of(instance_types=TWO, subnet_ids=SUBNETS[:2], spot=spot) == order


def test_what_the_execution_is_told():
    values = values_of(TRUE._replace(resources=Resources(time_limit=90.5)))
    common, launches = values.pop("common"), values.pop("launches")
    assert values == {
        "name": "hut-abcdefghij-3-1-2",
        "token": "hut-abcdefghij-3-1-2",
        "run": "abcdefghij",
        "task": "t",
        "attempt": 1,
        "backend": "ec2",
        "log": "ec2/hut-abcdefghij-3-1-2",
        "startup_timeout": 600,
        "launch_timeout": 3600,
        "time_limit": 91,
        "deadline": 91 + 1800 + 10 + 180,
        "poll": 300,
        "expires": 1_700_000_000 + 3600 + 600 + 2081 + 7 * 86400,
        "parameters": {
            "Attempt": ["hut-abcdefghij-3-1-2"],
            "Payload": ["s3://bucket/scripts/abcdefghij/3-1-2.json"],
            "Region": ["us-east-1"],
            "ExecutionTimeout": [str(91 + 1800 + 10)],
        },
        "idle": None,
        "host": None,
    }
    assert launches == [{"InstanceType": "c5.xlarge", "SubnetId": SUBNETS[0]}]
    assert common["MetadataOptions"]["HttpTokens"] == "required"
    assert common["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert common["SecurityGroupIds"] == ["sg-0123456789abcdef0"]
    assert common["BlockDeviceMappings"][0]["Ebs"]["DeleteOnTermination"] is True


def test_the_state_machine_asks_for_nothing_else():
    asked = set(re.findall(r"\$job\.(\w+)", json.dumps(definition())))
    assert len(asked) > 10
    assert asked <= set(values_of())


@pytest.mark.parametrize(
    ("ami", "types", "image"),
    [
        ("al2023", ["c5.xlarge"], "x86_64"),
        ("al2023", ["c7g.large"], "arm64"),
        ("ami-0123456789abcdef0", ["c7g.large"], "ami-0123456789abcdef0"),
        ("resolve:ssm:golden", ["c5.large"], "resolve:ssm:golden"),
    ],
)
def test_the_image_of_the_system(ami, types, image):
    found = values_of(ami=ami, instance_types={"default": types})["common"]["ImageId"]
    start = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-"
    assert found == (f"{start}{image}" if ami == "al2023" else image)


def test_user_data_sets_the_timer_before_anybody_comes():
    text = base64.b64decode(values_of()["common"]["UserData"]).decode()
    scheduled = "/run/systemd/shutdown/scheduled"  # an agent that was faster has set its own
    assert text == user_data(options())
    assert text == f"#!/bin/sh\n[ -e {scheduled} ] || shutdown -h +50\n"
    short = options(startup_timeout_seconds=30, idle_terminate_seconds=61)
    assert user_data(short).endswith("+12\n")


def test_an_idle_instance_is_handed_over():
    planned = planned_of(reuse=True)
    host = IdleHost("i-0123456789abcdef0", "c5.xlarge", True, "ec2", planned.shape, NOW + 60)
    values = json.loads(input_of(planned, host))
    assert values["host"] == {"instance": host.instance, "type": "c5.xlarge", "spot": True}
    assert values["idle"] == {"seconds": 1800, "shape": planned.shape}


SHAPES = [
    {"ami": "ami-0123456789abcdef0"},
    {"subnet_ids": SUBNETS[:2]},
    {"security_group_ids": []},
    {"instance_types": {"default": ["c5.2xlarge"]}},
    {"spot": "only"},
    {"root_volume_gib": 31},
    {"extra_tags": {"a": "b"}},
    {"idle_terminate_seconds": 60},
]


@pytest.mark.parametrize("changes", SHAPES)
def test_what_a_machine_is_made_of_is_its_shape(changes):
    assert planned_of(**changes).shape != planned_of().shape


@pytest.mark.parametrize("changes", [{"max_instances": 3}, {"prices": {"c5.large": 1}}])
def test_what_it_is_not_made_of_is_not(changes):
    assert planned_of(**changes).shape == planned_of().shape


def test_tasks_and_attempts_have_one_shape():
    other = TaskSpec("u", "false", image="x", env_vars={"A": "b"})
    assert planned_of(other, attempt=2).shape == planned_of().shape
    gpus = {"default": ["g4dn.xlarge"]}
    with_gpus = TRUE._replace(resources=GPU)
    assert planned_of(with_gpus, instance_types=gpus).shape == planned_of(instance_types=gpus).shape


PARTITIONS = {"default": ["c5.xlarge"], "gpu": ["c5.large", "g5.xlarge", "g4dn.xlarge"]}


@pytest.mark.parametrize(
    ("spec", "types"),
    [
        (TRUE, ("c5.xlarge",)),
        (TRUE._replace(partition="gpu"), ("c5.large", "g5.xlarge", "g4dn.xlarge")),
        (TRUE._replace(partition="gpu", resources=GPU), ("g5.xlarge", "g4dn.xlarge")),
    ],
)
def test_the_types_of_a_task(spec, types):
    assert types_of(options(instance_types=PARTITIONS), spec) == types


@pytest.mark.parametrize(
    ("spec", "types", "said"),
    [
        (TRUE._replace(partition="big"), PARTITIONS, "no partition 'big'; known: default, gpu"),
        (TRUE, {"gpu": "g5.xlarge"}, "no instance type for tasks without a partition; name one of"),
        (
            TRUE._replace(resources=GPU),
            PARTITIONS,
            "partition 'default' of backend 'ec2' has no GPUs",
        ),
        (
            TRUE._replace(resources=Resources(gres=(Gres("fpga", 1),))),
            PARTITIONS,
            "EC2 has no generic resource 'fpga'; only gpu",
        ),
        (
            TRUE._replace(resources=Resources(time_limit=LONGEST_LIMIT + 1)),
            PARTITIONS,
            "is more than a command on an instance may take (1-22:00:00)",
        ),
        (
            TRUE._replace(env_vars={f"V{n}": "x" * 90_000 for n in range(17)}),
            PARTITIONS,
            "its script and variables have 1,5",
        ),
    ],
)
def test_what_no_instance_can_run_is_unsatisfiable(spec, types, said):
    with pytest.raises(Unsatisfiable, match=re.escape(said)):
        planned_of(spec, instance_types=types)


def test_the_longest_limit_can_be_had():
    values = values_of(TRUE._replace(resources=Resources(time_limit=LONGEST_LIMIT)))
    assert int(values["parameters"]["ExecutionTimeout"][0]) <= 48 * 3600


def test_a_name_is_no_longer_than_an_execution_may_have():
    request = request_of(TRUE)._replace(name="x" * 81)
    with pytest.raises(Unsatisfiable, match="longer than an execution may have"):
        plan_launch(options(), request, "bucket", NOW)


def test_a_long_name_has_a_token_of_its_own():
    names = [job_name("hutlaboratory", "abcdefghij", AttemptKey(n, 10**6, 10**9)) for n in (1, 2)]
    names = [f"{name}{'0' * (60 - len(name))}" for name in names]
    tokens = {
        plan_launch(options(), request_of(TRUE)._replace(name=name), "b", NOW).values["token"]
        for name in names
    }
    assert len(tokens) == 2
    assert {len(token) for token in tokens} == {48}


# Whatever people write ----------------------------------------------------------------------------

PEOPLE = st.one_of(st.sampled_from(TEXTS), st.text(max_size=300)).filter(lambda t: "\0" not in t)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "ami": st.sampled_from(["al2023", "ami-0123456789abcdef0", "resolve:ssm:/a/b"]),
        "subnet_ids": st.lists(st.sampled_from(SUBNETS), min_size=1, max_size=3),
        "security_group_ids": st.lists(st.just("sg-01234567"), max_size=1),
        "instance_types": st.fixed_dictionaries(
            {"default": st.lists(st.sampled_from(["c5.large", "m5.large", "r5.large"]), min_size=1)}
        ),
        "spot": st.sampled_from(["never", "prefer", "only"]),
        "reuse": st.booleans(),
        "root_volume_gib": st.integers(8, 16384),
        "root_device": st.sampled_from(["/dev/xvda", "/dev/sda1"]),
        "tag_prefix": st.from_regex(r"\A[A-Za-z0-9._:/=+@-]{1,60}\Z").filter(
            lambda text: not text.lower().startswith("aws")
        ),
        "extra_tags": st.dictionaries(
            st.from_regex(r"\A[b-g][A-Za-z0-9 ._-]{0,127}\Z"),
            st.from_regex(r"\A[A-Za-z0-9 ._-]{0,256}\Z"),
            max_size=20,
        ),
        "max_instances": st.integers(1, 1000),
    },
)


@given(ENTRIES, PEOPLE, PEOPLE, st.dictionaries(PEOPLE, PEOPLE, max_size=40))
def test_every_try_is_a_valid_call_of_run_instances(changes, workflow, owner, tags):
    run = run_of(workflow=workflow, owner=owner, settings=RunSettings(tags=tags))
    planned = planned_of(TRUE, run, **changes)
    text = input_of(planned, None)
    assert len(text.encode()) < LARGEST_INPUT
    values = json.loads(text)
    calls = [
        {**values["common"], **launch, "ClientToken": f"{values['token']}-{number}"}
        for number, launch in enumerate(values["launches"])
    ]
    assert len({json.dumps(call, sort_keys=True) for call in calls}) == len(calls)
    for call in calls:
        validate_parameters(call, EC2.input_shape)
        assert len(call["ClientToken"]) <= 64
        assert len(base64.b64decode(call["UserData"])) < 16 * 1024
        for specification in call["TagSpecifications"]:
            keys = [tag["Key"] for tag in specification["Tags"]]
            assert len(set(keys)) == len(keys) <= 50
            assert {"hut", "hut:attempt", "hut:backend", "Name"} <= set(keys)
            for tag in specification["Tags"]:
                assert re.fullmatch(r"[A-Za-z0-9 _.:/=+@-]{1,128}", tag["Key"])
                assert not tag["Key"].lower().startswith("aws:")
                assert re.fullmatch(r"[A-Za-z0-9 _.:/=+@-]{0,256}", tag["Value"])
            told = {tag["Key"]: tag["Value"] for tag in specification["Tags"]}
            assert told["hut"] == "hut"
            assert told["hut:attempt"] == values["name"]
