"""EC2: launches that are idempotent, refused and disturbed; instances that start and end."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testbed.running import ACCOUNT
from tests.testbed_checks.making import Maker, wait_for

IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
Launch = Callable[..., str]


@pytest.fixture
def launch(make: Maker) -> Iterator[Launch]:
    """Start an instance; return its id. All are ended in the end."""

    def start(**more: Any) -> str:
        asked = {"ImageId": IMAGE, "InstanceType": "c5.xlarge", "MinCount": 1, "MaxCount": 1}
        started = make.bed.client("ec2").run_instances(**{**asked, **more})
        return str(started["Instances"][0]["InstanceId"])

    yield start
    for path in ("ec2/boot", "ec2/capacity"):
        make.bed.hook(path, {})
    make.bed.hook("ec2/minute", {"seconds": 60})
    for each in make.bed.hook("ec2/instances")["instances"]:
        if each["state"] not in ("shutting-down", "terminated"):
            make.bed.client("ec2").terminate_instances(InstanceIds=[each["instance"]])


def shown(make: Maker, instance: str) -> Any:
    found = make.bed.client("ec2").describe_instances(InstanceIds=[instance])
    return found["Reservations"][0]["Instances"][0]


def in_state(make: Maker, instance: str, state: str) -> Any:
    def find() -> Any:
        found = shown(make, instance)
        return found if found["State"]["Name"] == state else None

    return wait_for(find)


def told(make: Maker, instance: str) -> dict[str, Any]:
    known = make.bed.hook("ec2/instances")["instances"]
    found: dict[str, Any] = next(each for each in known if each["instance"] == instance)
    return found


def refused(code: str, launch: Launch, **more: Any) -> str:
    with pytest.raises(ClientError) as error:
        launch(**more)
    assert error.value.response["Error"]["Code"] == code
    return str(error.value.response["Error"]["Message"])


def test_a_life(make: Maker, launch: Launch) -> None:
    url, queue = make.queue()
    instance = launch(InstanceMarketOptions={"MarketType": "spot"})
    make.rule({"source": ["aws.ec2"], "detail": {"instance-id": [instance]}}, queue)
    found = in_state(make, instance, "running")
    assert found["InstanceLifecycle"] == "spot"
    assert found["ImageId"].startswith("ami-")
    assert found["StateTransitionReason"] == ""
    ended = make.bed.client("ec2").terminate_instances(InstanceIds=[instance])
    [change] = ended["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "shutting-down"
    found = in_state(make, instance, "terminated")
    assert found["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert found["StateTransitionReason"].startswith("User initiated (")
    states: list[str] = []

    def all_told() -> bool:
        states.extend(each["detail"]["state"] for each in make.receive(url))
        return {"shutting-down", "terminated"} <= set(states)

    wait_for(all_told)
    assert [state for _, state in told(make, instance)["history"]] == [
        *("pending", "running", "shutting-down", "terminated"),
    ]
    make.bed.client("ec2").terminate_instances(InstanceIds=[instance])  # once more is nothing


def test_a_token_makes_one_instance(make: Maker, launch: Launch) -> None:
    token = make.name("token")
    instance = launch(ClientToken=token)
    assert launch(ClientToken=token) == instance
    refused("IdempotentParameterMismatch", launch, ClientToken=token, InstanceType="c5.2xlarge")
    make.bed.client("ec2").terminate_instances(InstanceIds=[instance])
    assert launch(ClientToken=token) == instance
    calls = [each for each in make.bed.hook("ec2/launches")["launches"] if each["token"] == token]
    assert [each.get("error") for each in calls] == [
        *(None, None, "IdempotentParameterMismatch", None),
    ]
    assert shown(make, instance)["ClientToken"] == token


def test_a_launch_template_is_under_the_request(make: Maker, launch: Launch) -> None:
    ec2 = make.bed.client("ec2")
    group = ec2.create_security_group(GroupName=make.name("group"), Description="x")["GroupId"]
    data = {
        "InstanceType": "t3.nano",
        "SecurityGroupIds": [group],
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required"},
    }
    name = make.name("template")
    made = ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
    template = made["LaunchTemplate"]["LaunchTemplateId"]
    spec = {"ResourceType": "instance", "Tags": [{"Key": "hut", "Value": name}]}
    instance = launch(
        LaunchTemplate={"LaunchTemplateId": template, "Version": "$Latest"},
        TagSpecifications=[spec],
    )
    found = shown(make, instance)
    assert found["InstanceType"] == "c5.xlarge"
    assert [each["GroupId"] for each in found["SecurityGroups"]] == [group]
    filters = [
        {"Name": "tag:hut", "Values": [name]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    assert [
        each["InstanceId"]
        for page in pages
        for r in page["Reservations"]
        for each in r["Instances"]
    ] == [instance]
    missing = {"LaunchTemplateId": "lt-0123456789abcdef0"}
    refused("InvalidLaunchTemplateId.NotFound", launch, LaunchTemplate=missing)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound"),
        ({"SecurityGroupIds": ["sg-0123456789abcdef0"]}, "InvalidGroup.NotFound"),
        ({"ImageId": "al2023"}, "InvalidAMIID.Malformed"),
        ({"ImageId": "resolve:ssm:/nowhere"}, "InvalidAMIID.NotFound"),
        ({"InstanceType": "c7g.large"}, "InvalidParameterValue"),
        ({"InstanceType": "large"}, "InvalidParameterValue"),
        ({"ClientToken": "t" * 65}, "InvalidParameterValue"),
        ({"IamInstanceProfile": {"Name": "nobody"}}, "InvalidParameterValue"),
    ],
)
def test_what_is_refused(launch: Launch, more: dict[str, Any], code: str) -> None:
    refused(code, launch, **more)


def test_capacity_as_a_test_wants_it(make: Maker, launch: Launch) -> None:
    spot = {"MarketType": "spot"}
    make.bed.hook("ec2/capacity", {"error": "spot", "market": "spot"})
    make.bed.hook("ec2/capacity", {"error": "insufficient", "type": "m5.large", "times": 1})
    ec2 = make.bed.new_client("ec2", retries={"total_max_attempts": 1})
    asked = {"ImageId": IMAGE, "MinCount": 1, "MaxCount": 1}
    with pytest.raises(ClientError) as error:
        ec2.run_instances(**asked, InstanceType="c5.large", InstanceMarketOptions=spot)
    assert error.value.response["Error"]["Code"] == "InsufficientInstanceCapacity"
    assert "no Spot capacity" in error.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as error:
        ec2.run_instances(**asked, InstanceType="m5.large")
    assert "sufficient m5.large capacity" in error.value.response["Error"]["Message"]
    launch(InstanceType="m5.large")
    make.bed.hook("ec2/capacity", {"code": "RequestLimitExceeded", "status": 503, "times": 1})
    with pytest.raises(ClientError):
        ec2.run_instances(**asked, InstanceType="c5.large")
    launch()


def test_an_instance_shuts_itself_down(make: Maker, launch: Launch) -> None:
    make.bed.hook("ec2/minute", {"seconds": 0.2})
    script = "#!/bin/sh\nshutdown -h +15\necho $HUT_HOST_DIR > where\n"
    data = base64.b64encode(script.encode()).decode()
    boto = {"UserData": script, "InstanceInitiatedShutdownBehavior": "terminate"}
    instance = launch(**boto)
    found = in_state(make, instance, "terminated")
    assert found["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    [call] = [
        each
        for each in make.bed.hook("ec2/launches")["launches"]
        if each.get("instances") == [instance]
    ]
    assert call["asked"]["UserData"] == data
    put_off = launch(**{**boto, "UserData": script + "shutdown -h +1000; sleep 60 & wait"})
    stays = launch(**{**boto, "UserData": script + "shutdown -c"})
    in_state(make, put_off, "running")
    in_state(make, stays, "running")
    last = launch(**{**boto, "UserData": "#!/bin/sh\nsudo=; poweroff"})
    in_state(make, last, "terminated")
    assert shown(make, put_off)["State"]["Name"] == "running"
    assert shown(make, stays)["State"]["Name"] == "running"


def test_an_instance_is_taken_away(make: Maker, launch: Launch) -> None:
    url, queue = make.queue()
    warned = {"detail-type": ["EC2 Spot Instance Interruption Warning"], "source": ["aws.ec2"]}
    make.rule(warned, queue)
    spot = launch(InstanceMarketOptions={"MarketType": "spot"})
    plain = launch()
    in_state(make, spot, "running")
    make.bed.hook("ec2/interrupt", {"instance": spot, "after": 0.2})
    [event] = wait_for(lambda: make.receive(url))
    assert event["detail"] == {"instance-id": spot, "instance-action": "terminate"}
    found = in_state(make, spot, "terminated")
    assert found["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    make.bed.hook("ec2/end", {"instance": plain})
    assert in_state(make, plain, "terminated")["StateReason"]["Code"] == "Server.InternalError"
    with pytest.raises(ValueError, match="no spot instance"):
        make.bed.hook("ec2/interrupt", {"instance": plain})


def test_an_instance_that_is_not_seen_yet(make: Maker, launch: Launch) -> None:
    make.bed.hook("ec2/boot", {"hidden": 0.3, "times": 1})
    instance = launch()
    with pytest.raises(ClientError) as error:
        shown(make, instance)
    assert error.value.response["Error"]["Code"] == "InvalidInstanceID.NotFound"
    wait_for(
        lambda: make.bed.client("ec2").describe_instances(
            Filters=[{"Name": "instance-id", "Values": [instance]}]
        )["Reservations"]
    )
    assert shown(make, instance)["InstanceId"] == instance


def test_an_instance_profile(make: Maker, launch: Launch) -> None:
    name = make.name("profile")
    make.bed.client("iam").create_instance_profile(InstanceProfileName=name)
    arn = f"arn:aws:iam::{ACCOUNT}:instance-profile/{name}"
    instance = launch(IamInstanceProfile={"Arn": arn})
    assert shown(make, instance)["IamInstanceProfile"]["Arn"] == arn
