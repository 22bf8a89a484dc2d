"""Queues and resource requirements: at least what was asked for, or never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.backends.batch.options import Platform
from hut.backends.batch.resources import (
    _FARGATE_SIZES,
    Placement,
    Unsatisfiable,
    place,
    requirements,
)
from hut.model.quantities import parse_gres
from hut.model.workflow import Resources, TaskSpec
from tests.batch.plain_batch import QUEUES, options

# As the API reference of AWS Batch lists them (ResourceRequirement, type VCPU).
DOCUMENTED = {
    1: "2048, 3072, 4096, 5120, 6144, 7168, 8192",
    2: "4096, 5120, 6144, 7168, 8192, 9216, 10240, 11264, 12288, 13312, 14336, 15360, 16384",
    4: "8192, 9216, 10240, 11264, 12288, 13312, 14336, 15360, 16384, 17408, 18432, 19456, 20480, "
    "21504, 22528, 23552, 24576, 25600, 26624, 27648, 28672, 29696, 30720",
    8: "16384, 20480, 24576, 28672, 32768, 36864, 40960, 45056, 49152, 53248, 57344, 61440",
    16: "32768, 40960, 49152, 57344, 65536, 73728, 81920, 90112, 98304, 106496, 114688, 122880",
    32: "61440, 122880, 249856",
}


def asked(platform, **wish):
    return {
        entry["type"]: int(entry["value"]) for entry in requirements(Resources(**wish), platform)
    }


def test_the_sizes_of_fargate_are_the_documented_ones():
    assert dict(_FARGATE_SIZES) == {
        cpus: tuple(map(int, amounts.split(", "))) for cpus, amounts in DOCUMENTED.items()
    }


@pytest.mark.parametrize(
    ("cpus", "memory", "given"),
    [
        (1, 1, (1, 2048)),
        (1, 4096, (1, 4096)),
        (1, 4097, (1, 5120)),
        (1, 8193, (2, 9216)),
        (2, 512, (2, 4096)),
        (3, 4096, (4, 8192)),
        (5, 61440, (8, 61440)),
        (1, 61441, (16, 65536)),
        (17, 1, (32, 61440)),
        (1, 122881, (32, 249856)),
    ],
)
def test_fargate_gives_the_smallest_size_that_is_enough(cpus, memory, given):
    assert asked(Platform.FARGATE, cpus=cpus, memory=memory) == dict(
        zip(("VCPU", "MEMORY"), given, strict=True)
    )


@given(st.integers(1, 32), st.integers(1, 249856))
def test_whatever_fits_fargate_gets_a_documented_size(cpus, memory):
    found = asked(Platform.FARGATE, cpus=cpus, memory=memory)
    assert found["VCPU"] >= cpus
    assert found["MEMORY"] >= memory
    assert str(found["MEMORY"]) in DOCUMENTED[found["VCPU"]].split(", ")


@pytest.mark.parametrize("wish", [{"cpus": 33}, {"memory": 249857}])
def test_more_than_fargate_has_is_refused(wish):
    with pytest.raises(Unsatisfiable, match=r"more than Fargate has .32 with 249,856 MiB.*EC2"):
        asked(Platform.FARGATE, **wish)


def test_ec2_gets_what_was_asked_for():
    wish = {"cpus": 33, "memory": 5000, "gres": parse_gres("gpu:a100:2,gpu:1")}
    assert asked(Platform.EC2, **wish) == {"VCPU": 33, "MEMORY": 5000, "GPU": 3}
    assert asked(Platform.EC2, memory=1) == {"VCPU": 1, "MEMORY": 4}


def test_gpus_on_fargate_and_other_generic_resources_are_refused():
    with pytest.raises(Unsatisfiable, match="Fargate has no GPUs"):
        asked(Platform.FARGATE, gres=parse_gres("gpu"))
    with pytest.raises(Unsatisfiable, match="no generic resource 'fpga'; only gpu"):
        asked(Platform.EC2, gres=parse_gres("gpu:1,fpga:1"))


def test_the_partition_names_the_queue():
    assert place(options(), TaskSpec("t", "true")) == Placement(QUEUES["fargate"], Platform.FARGATE)
    assert place(options(), TaskSpec("t", "true", partition="ec2")) == Placement(
        QUEUES["ec2"], Platform.EC2
    )


def test_the_partition_may_have_its_processor():
    arm = options(cpu_architecture={"fargate": "ARM64"})
    assert place(arm, TaskSpec("t", "true")).architecture == "ARM64"
    assert place(options(), TaskSpec("t", "true")).architecture == "X86_64"


def test_an_unknown_partition_is_refused_with_the_known_ones():
    with pytest.raises(Unsatisfiable, match="'batch' has no partition 'ec3'; known: ec2, fargate"):
        place(options(), TaskSpec("t", "true", partition="ec3"))
