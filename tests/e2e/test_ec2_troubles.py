"""What goes wrong with EC2 instances, on a deployed control plane; all of it goes wrong at the same time.

Each test has a run of its own, on a backend whose instances are of a type of its own; all runs are
started together, so their waits are not one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import calm
from tests.e2e.deployment import Deployment
from tests.e2e.instances import (
    MACHINE,
    SLOW,
    attempts,
    backends,
    begin,
    calm_ec2,
    instances,
    live,
    settled,
    swept,
)
from tests.e2e.remote_hut import RemoteHut, until
from tests.testbed.running import ACCOUNT, REGION

QUICK = {"launch_timeout_seconds": 30, "startup_timeout_seconds": 30}
BACKENDS: dict[str, dict[str, Any]] = {
    "refused": {"instance_types": {"default": "r5.large"}},
    "elsewhere": {"instance_types": {"default": ["m5.large", "m5.xlarge"]}},
    "nowhere": {"instance_types": {"default": "x1.16xlarge"}, **QUICK},
    "silent": {"instance_types": {"default": "t3.large"}, **QUICK},
    "taken": {"instance_types": {"default": "c5.large"}},
    "spot": {"instance_types": {"default": "c6i.large"}, "spot": "only"},
    "cancelled": {
        "instance_types": {"full": "p4d.24xlarge", "slow": "c7i.large", "default": "m6i.large"}
    },
    "throttled": {"instance_types": {"default": "r6i.large"}},
}
ONCE = "echo $HUT_ATTEMPT >> {name}.attempts; [ $HUT_ATTEMPT = 2 ] || sleep 600"
RUNS: dict[str, list[dict[str, Any]]] = {
    "refused": [{"id": "a", "command": "true"}],
    "elsewhere": [{"id": "a", "command": "true"}],
    "nowhere": [{"id": "a", "command": "true"}],
    "silent": [{"id": "a", "command": "true"}],
    "taken": [{"id": "a", "command": ONCE.format(name="taken")}],
    "spot": [{"id": "a", "command": ONCE.format(name="spot")}],
    "cancelled": [
        {"id": "launching", "command": "touch never", "partition": "full"},
        {"id": "booting", "command": "touch never", "partition": "slow"},
        {"id": "running", "command": "touch running; sleep 600; touch never"},
        {"id": "pending", "command": "touch never", "deps": ["running"]},
    ],
    "throttled": [{"id": "a", "command": "true"}],
}


@pytest.fixture(scope="module")
def hut(
    deployment: Deployment, targets: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RemoteHut]:
    folder = tmp_path_factory.mktemp("troubles")
    it = RemoteHut(folder, {"XDG_CONFIG_HOME": str(targets)}, deployment=deployment)
    it.empty_home()
    begin(it, backends(**BACKENDS))
    yield it
    calm(it)
    it.call("PUT", "/config", {}, headers={"If-Match": "*"})
    calm_ec2(it)


@pytest.fixture(scope="module")
def runs(hut: RemoteHut) -> dict[str, str]:
    """The runs that meet trouble, by their backends."""
    for trouble in (
        {"code": "UnauthorizedOperation", "message": "You may not do this.", "type": "r5.large"},
        {"error": "insufficient", "type": "m5.large"},
        {"error": "insufficient", "type": "x1.16xlarge"},
        {"error": "vcpus", "type": "p4d.24xlarge"},
        {"error": "throttled", "type": "r6i.large", "times": 2},
    ):
        hut.bed.hook("ec2/capacity", trouble)
    hut.bed.hook("ec2/boot", {"online": None, "type": "t3.large"})
    hut.bed.hook("ec2/boot", {"online": None, "type": "c7i.large"})
    hut.bed.hook("ec2/boot", {"hidden": 1, "type": "r6i.large"})
    return {name: hut.start(tasks, backend=name) for name, tasks in RUNS.items()}


def ends(hut: RemoteHut, run: str) -> list[tuple[str, str]]:
    return [(each["state"], each["reason"]) for each in attempts(hut, run)]


def running(hut: RemoteHut, run: str, name: str) -> str:
    """Wait until a task's command runs; return its instance."""
    until(lambda: hut.lines(f"{name}.attempts"), f"the first attempt of {name} began", SLOW)
    hut.reached(run, "a", "running", seconds=SLOW)
    return str(instances(hut, run)[0]["instance"])


def test_an_instance_that_is_ended_from_outside(hut: RemoteHut, runs: dict[str, str]) -> None:
    run = runs["taken"]
    hut.bed.hook("ec2/end", {"instance": running(hut, run, "taken")})
    settled(hut, run)
    assert ends(hut, run) == [("failed", "host_terminated"), ("completed", "exit")]
    assert hut.lines("taken.attempts") == ["1", "2"]


def test_a_spot_instance_that_is_reclaimed(hut: RemoteHut, runs: dict[str, str]) -> None:
    run = runs["spot"]
    hut.bed.hook("ec2/interrupt", {"instance": running(hut, run, "spot"), "after": 0.5})
    settled(hut, run)
    assert ends(hut, run) == [("failed", "host_terminated"), ("completed", "exit")]
    assert "spot" in attempts(hut, run)[0]["message"]
    assert {each["market"] for each in instances(hut, run)} == {"spot"}


def test_cancel_while_launching_booting_and_running(hut: RemoteHut, runs: dict[str, str]) -> None:
    run = runs["cancelled"]
    hut.reached(run, "running", "running", seconds=SLOW)
    until((hut.bed.home / "running").exists, "its command began", SLOW)
    until(lambda: "EC2 had none" in hut("why", run, "launching").stdout, "one launches", SLOW)
    until(lambda: "to come online in SSM" in hut("why", run, "booting").stdout, "one boots", SLOW)
    assert "runs on instance i-" in hut("why", run, "running").stdout
    hut("cancel", run)
    settled(hut, run, state="cancelled")
    assert {task["reason"] for task in hut.tasks(run).values()} == {"cancelled"}
    assert len(instances(hut, run)) == 2
    assert not (hut.bed.home / "never").exists()


def test_a_type_that_is_not_to_be_had_gives_way_to_the_next(
    hut: RemoteHut, runs: dict[str, str]
) -> None:
    settled(hut, runs["elsewhere"])
    [found] = instances(hut, runs["elsewhere"])
    assert found["type"] == "m5.xlarge"


def test_a_launch_that_is_throttled_is_repeated(hut: RemoteHut, runs: dict[str, str]) -> None:
    settled(hut, runs["throttled"])
    assert ends(hut, runs["throttled"]) == [("completed", "exit")]


def test_a_launch_that_is_refused(hut: RemoteHut, runs: dict[str, str]) -> None:
    run = runs["refused"]
    settled(hut, run, state="failed")
    assert ends(hut, run) == [("failed", "launch_failed")]
    assert "You may not do this." in hut("why", run, "a").stdout
    assert instances(hut, run) == []


def test_no_capacity_for_good(hut: RemoteHut, runs: dict[str, str]) -> None:
    run = runs["nowhere"]
    settled(hut, run, state="failed")
    assert {reason for _, reason in ends(hut, run)} == {"no_capacity"}
    assert "sufficient x1.16xlarge capacity" in hut.task(run, "a")["message"]
    assert instances(hut, run) == []


def test_an_instance_ssm_never_sees(hut: RemoteHut, runs: dict[str, str]) -> None:
    run = runs["silent"]
    settled(hut, run, state="failed")
    assert {reason for _, reason in ends(hut, run)} == {"startup_timeout"}


# Lost events, and functions that die ----------------------------------------------------------------


def test_every_event_of_ssm_and_ec2_is_lost(hut: RemoteHut, runs: dict[str, str]) -> None:
    """The state machine looks by itself."""
    for source in ("aws.ssm", "aws.ec2"):
        hut.bed.hook("events/lose", {"source": source, "share": 1.0})
    first = hut.start([{"id": "a", "command": "sleep 2; exit 5"}], backend="ec2")
    gone = hut.start([{"id": "a", "command": ONCE.format(name="gone")}], backend="ec2")
    hut.bed.hook("ec2/end", {"instance": running(hut, gone, "gone")})
    settled(hut, first, state="failed")
    settled(hut, gone)
    assert ends(hut, first) == [("failed", "exit")]
    assert ends(hut, gone) == [("failed", "host_terminated"), ("completed", "exit")]
    assert hut.bed.hook("events/lost")["aws.ssm"] >= 2
    for source in ("aws.ssm", "aws.ec2"):
        hut.bed.hook("events/lose", {"source": source, "share": 0})


def test_ends_nobody_is_told_of_are_found_by_the_sweep(
    hut: RemoteHut, runs: dict[str, str]
) -> None:
    for source in ("aws.ssm", "aws.ec2", "aws.states"):
        hut.bed.hook("events/lose", {"source": source, "share": 1.0})
    run = hut.start(
        [{"id": "a", "command": "true"}, {"id": "b", "command": "true", "deps": ["a"]}],
        backend="ec2",
    )
    swept(hut, run)
    for source in ("aws.ssm", "aws.ec2", "aws.states"):
        hut.bed.hook("events/lose", {"source": source, "share": 0})
    settled(hut, run)


def test_a_start_whose_answer_is_lost_is_one_instance(hut: RemoteHut, runs: dict[str, str]) -> None:
    run = hut.start(
        [
            {"id": "hold", "command": "while [ ! -e on ]; do sleep 0.1; done"},
            {"id": "a", "command": "true", "deps": ["hold"]},
        ],
        backend="ec2",
    )
    hut.reached(run, "hold", "running", seconds=SLOW)
    fault = {"service": "states", "operation": "StartExecution", "code": "InternalError"}
    hut.bed.hook("faults", {**fault, "status": 500, "after": True, "times": 2})
    (hut.bed.home / "on").touch()
    settled(hut, run)
    assert hut.bed.hook("faults/clear", {})["left"] == []


def test_a_function_that_dies_between_start_and_note(hut: RemoteHut, runs: dict[str, str]) -> None:
    """The execution is there, its handle was never noted: it is found under its name."""
    hold = "while [ ! -e dead ]; do sleep 0.1; done"
    run = hut.start(
        [
            {"id": "hold", "command": hold},
            {"id": "a", "command": "echo a >> died", "deps": ["hold"]},
        ],
        backend="ec2",
    )
    hut.reached(run, "hold", "running", seconds=SLOW)
    before = len(hut.bed.hook("ec2/launches")["launches"])
    slow = {"service": "states", "operation": "StartExecution", "after": True, "delay": 5}
    hut.bed.hook("faults", {**slow, "times": 1})
    (hut.bed.home / "dead").touch()
    until(lambda: len(hut.bed.hook("ec2/launches")["launches"]) > before, "it launches", SLOW)
    killed = hut.bed.hook("lambdas/kill", {"name": f"{hut.deployment.prefix}-advance"})["killed"]
    assert killed
    swept(hut, run)
    settled(hut, run)
    assert hut.lines("died") == ["a"]


def test_what_no_attempt_needs_is_ended_by_the_sweep(hut: RemoteHut, runs: dict[str, str]) -> None:
    """An execution that nobody claimed, and an instance whose execution has ended."""
    held = [{"id": "a", "command": "while [ ! -e kept ]; do sleep 0.1; done"}]
    run = hut.start(held, backend="ec2")
    hut.reached(run, "a", "running", seconds=SLOW)
    handle = hut.task(run, "a")["job_id"]
    states, ec2 = hut.bed.client("stepfunctions"), hut.bed.client("ec2")
    found = states.describe_execution(executionArn=execution_of(hut, handle))
    second = handle.rpartition("-")[0] + "-99"
    copy_payload(hut, found["input"], handle, second)
    given = found["input"].replace(handle, second)
    untold = {"service": "states.sqs", "operation": "SendMessage", "code": "InternalError"}
    hut.bed.hook("faults", {**untold, "times": 3})
    extra = states.start_execution(
        stateMachineArn=found["stateMachineArn"], name=second, input=given
    )["executionArn"]
    until(
        lambda: hut.bed.hook("ssm/commands")["commands"][-1]["Parameters"]["Attempt"] == [second],
        "the second one has its command",
        SLOW,
    )
    [mine] = [each for each in instances(hut, run) if each["tags"]["hut:attempt"] == handle]
    tags = {**mine["tags"], "hut:attempt": f"{handle}8"}
    orphan = ec2.run_instances(
        ImageId="ami-01234567",
        InstanceType="m5a.large",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
            }
        ],
    )["Instances"][0]["InstanceId"]
    hut.sweep()
    assert {each["state"] for each in instances(hut, run)} <= {"pending", "running"}  # too young
    for each in instances(hut, run):
        hut.bed.hook("ec2/age", {"instance": each["instance"], "seconds": 600})
    for each in (extra, found["executionArn"]):
        hut.bed.hook("states/age", {"execution": each, "seconds": 600})

    def left() -> bool:
        hut.sweep()
        return live(instances(hut, run)) == [mine["instance"]]

    until(left, "only the instance of the task is left", SLOW)
    assert orphan != mine["instance"]
    (hut.bed.home / "kept").touch()
    assert hut.ended(run, SLOW)["state"] == "completed"
    assert ends(hut, run) == [("completed", "exit")]
    until(lambda: not live(instances(hut, run)), "no instance is left", SLOW)


def copy_payload(hut: RemoteHut, given: str, handle: str, second: str) -> None:
    """Let another attempt find what an attempt runs, at the same place; the first has read it."""
    [place] = json.loads(given)["parameters"]["Payload"]
    bucket, _, key = place.removeprefix("s3://").partition("/")
    s3 = hut.bed.client("s3")
    payload = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    text = payload.replace(handle, second).encode()
    s3.put_object(Bucket=bucket, Key=key, Body=text)


def execution_of(hut: RemoteHut, handle: str) -> str:
    machine = f"{hut.deployment.prefix}-{MACHINE}"
    return f"arn:aws:states:{REGION}:{ACCOUNT}:execution:{machine}:{handle}"
