"""EC2 and SSM: a command runs on an instance, and both services tell what happened."""

from __future__ import annotations

from typing import Any

from tests.testbed_checks.making import Maker, wait_for


def test_a_command_on_an_instance(make: Maker) -> None:
    ec2, ssm = make.bed.client("ec2"), make.bed.client("ssm")
    image = ssm.get_parameter(Name="/aws/service/debian/release/12/latest/arm64")["Parameter"]
    started = ec2.run_instances(ImageId=image["Value"], MinCount=1, MaxCount=1)
    instance = started["Instances"][0]["InstanceId"]
    url, queue = make.queue()
    make.rule({"source": ["aws.ssm"], "detail": {"instance-id": [instance]}}, queue)
    sent = ssm.send_command(
        InstanceIds=[instance],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": ["echo hello > file; cat file; exit 3"]},
    )
    command = sent["Command"]["CommandId"]

    def find() -> Any:
        found = ssm.get_command_invocation(CommandId=command, InstanceId=instance)
        return found if found["Status"] in ("Success", "Failed") else None

    found = wait_for(find)
    assert (found["ResponseCode"], found["StandardOutputContent"]) == (3, "hello\n")
    [told] = wait_for(lambda: make.receive(url))
    assert told["detail"]["status"] == "Failed"
    ec2.terminate_instances(InstanceIds=[instance])
