"""What a job costs, as far as that can be told from what Batch tells."""

import pytest

from hut.backends.batch import job_from_detail
from hut.backends.batch.prices import EC2, FARGATE, FARGATE_SPOT, estimate
from hut.backends.port import Usage
from hut.model.job_settings import Architecture, Price
from tests.batch.plain_batch import QUEUES, options

HOUR = (3600.0,)
OWN = {"vcpu_hour": 0.05, "gib_hour": 0.01}


def usage(queue="fargate", seconds=HOUR, platform="FARGATE", **more):
    fields = {"cpus": 2, "memory": 4096, "queue": QUEUES[queue], "architecture": "X86_64", **more}
    return Usage(seconds=seconds, platform=platform, **fields)


def on_ec2(**more):
    return usage("ec2", platform="EC2", **more)


@pytest.mark.parametrize(
    ("used", "dollars"),
    [
        (usage(), 2 * 0.04048 + 4 * 0.004445),
        (usage(architecture="ARM64"), 2 * 0.03238 + 4 * 0.00356),
        (usage(seconds=(1800.0,)), (2 * 0.04048 + 4 * 0.004445) / 2),
        (usage(seconds=(1.0,)), (2 * 0.04048 + 4 * 0.004445) / 60),  # a minute at least
        (usage(seconds=(1.0, 3540.0, 0.0)), (2 * 0.04048 + 4 * 0.004445) * 61 / 60),
        (usage(disk=20), 2 * 0.04048 + 4 * 0.004445),
        (usage(disk=120), 2 * 0.04048 + 4 * 0.004445 + 100 * 0.000111),
    ],
)
def test_fargate_has_list_prices(used, dollars):
    assert estimate(options(), used) == pytest.approx(dollars, abs=1e-7)


def test_a_price_of_the_partition_wins():
    assert estimate(options(prices={"fargate": OWN}), usage()) == pytest.approx(0.14)
    assert estimate(options(prices={"ec2": OWN}), on_ec2()) == pytest.approx(0.14)
    short = on_ec2(seconds=(36.0,))  # on EC2 no minute is rounded up
    assert estimate(options(prices={"ec2": OWN}), short) == pytest.approx(0.0014)
    named = on_ec2()._replace(queue="arn:aws:batch:us-east-1:1:job-queue/ec2")
    by_name = options(queues={"ec2": "ec2", "fargate": "fargate"}, prices={"ec2": OWN})
    assert estimate(by_name, named) == pytest.approx(0.14)


def test_gpus_cost_what_is_said_of_them():
    with_gpus = on_ec2(gpus=2)
    assert estimate(options(prices={"ec2": OWN}), with_gpus) is None
    priced = {**OWN, "gpu_hour": 1.0}
    assert estimate(options(prices={"ec2": priced}), with_gpus) == pytest.approx(2.14)


@pytest.mark.parametrize(
    "used",
    [
        None,
        Usage(),
        on_ec2(),
        usage(seconds=()),
        usage(cpus=0),
        usage(memory=0),
        usage(architecture="RISCV"),
    ],
)
def test_what_is_not_known_is_not_guessed(used):
    assert estimate(options(), used) is None


def test_hosts_share_out_to_their_list_prices():
    """us-east-1, on demand, per hour."""
    for cpus, memory, listed in ((2, 4, 0.085), (2, 8, 0.096), (2, 16, 0.126)):
        shared = cpus * EC2.vcpu_hour + memory * EC2.gib_hour
        assert shared == pytest.approx(listed, rel=0.05)


def test_spot_is_cheaper():
    assert FARGATE_SPOT[Architecture.X86_64] == Price(0.012144, 0.001334)
    assert FARGATE[Architecture.ARM64] < FARGATE[Architecture.X86_64]


# What Batch tells ---------------------------------------------------------------------------------

DETAIL = {
    "jobId": "j",
    "jobName": "n",
    "jobQueue": QUEUES["fargate"],
    "status": "FAILED",
    "startedAt": 70_000,
    "stoppedAt": 100_000,
    "platformCapabilities": ["FARGATE"],
    "attempts": [
        {"startedAt": 10_000, "stoppedAt": 20_000},
        {"stoppedAt": 30_000, "statusReason": "never started"},
        {"startedAt": 70_000, "stoppedAt": 100_000},
    ],
    "container": {
        "resourceRequirements": [
            {"type": "MEMORY", "value": "4096"},
            {"type": "VCPU", "value": "2.0"},
            {"type": "GPU", "value": "1"},
        ],
        "ephemeralStorage": {"sizeInGiB": 50},
        "runtimePlatform": {"cpuArchitecture": "ARM64"},
    },
}


def test_every_attempt_of_batch_counts():
    assert job_from_detail(DETAIL).usage == Usage(
        seconds=(10.0, 30.0),
        cpus=2.0,
        memory=4096.0,
        gpus=1.0,
        disk=50.0,
        queue=QUEUES["fargate"],
        platform="FARGATE",
        architecture="ARM64",
    )


def test_without_attempts_the_jobs_own_times_count():
    assert job_from_detail({**DETAIL, "attempts": []}).usage.seconds == (30.0,)
    never = {**DETAIL, "attempts": [], "startedAt": None}
    assert job_from_detail(never).usage.seconds == ()
    backwards = {**DETAIL, "attempts": [{"startedAt": 5, "stoppedAt": 4}]}
    assert job_from_detail(backwards).usage.seconds == ()


def test_old_definitions_ask_in_their_own_fields():
    old = {**DETAIL, "container": {"vcpus": 4, "memory": 512}}
    used = job_from_detail(old).usage
    assert (used.cpus, used.memory, used.architecture) == (4.0, 512.0, "X86_64")


@pytest.mark.parametrize("status", ["RUNNABLE", "RUNNING"])
def test_only_what_has_ended_is_paid(status):
    assert job_from_detail({**DETAIL, "status": status}).usage is None
