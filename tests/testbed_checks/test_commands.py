"""SSM: documents, commands that run on an instance, and what becomes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testbed_checks.making import Maker, wait_for

IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"


@pytest.fixture
def instance(make: Maker) -> Iterator[str]:
    """An instance that SSM can reach."""
    ec2 = make.bed.client("ec2")
    started = ec2.run_instances(ImageId=IMAGE, InstanceType="c5.large", MinCount=1, MaxCount=1)[
        "Instances"
    ][0]["InstanceId"]
    wait_for(lambda: online(make, started))
    yield started
    ec2.terminate_instances(InstanceIds=[started])


def online(make: Maker, instance: str) -> bool:
    found = make.bed.client("ssm").describe_instance_information(
        Filters=[{"Key": "InstanceIds", "Values": [instance]}]
    )["InstanceInformationList"]
    return bool(found) and found[0]["PingStatus"] == "Online"


def document(make: Maker, *lines: str, **parameters: Any) -> str:
    name = make.name("document")
    inputs = {"runCommand": list(lines), "timeoutSeconds": "{{ Limit }}"}
    limit = {"type": "String", "default": "60", "allowedPattern": "^[0-9]{1,6}$"}
    content = {
        "schemaVersion": "2.2",
        "parameters": {"Limit": limit, **parameters},
        "mainSteps": [{"action": "aws:runShellScript", "name": "run", "inputs": inputs}],
    }
    make.bed.client("ssm").create_document(
        Name=name, DocumentType="Command", Content=json.dumps(content)
    )
    return name


def send(make: Maker, instance: str, document: str, **parameters: Any) -> str:
    sent = make.bed.client("ssm").send_command(
        InstanceIds=[instance],
        DocumentName=document,
        Parameters={key: [value] for key, value in parameters.items()},
    )
    assert sent["Command"]["Status"] == "Pending"
    return str(sent["Command"]["CommandId"])


def invocation(make: Maker, command: str, instance: str) -> Any:
    return make.bed.client("ssm").get_command_invocation(CommandId=command, InstanceId=instance)


def ended(make: Maker, command: str, instance: str) -> Any:
    def find() -> Any:
        found = invocation(make, command, instance)
        return found if found["Status"] not in ("Pending", "InProgress") else None

    return wait_for(find)


def folder(make: Maker, instance: str) -> Path:
    known = make.bed.hook("ec2/instances")["instances"]
    return Path(next(each["folder"] for each in known if each["instance"] == instance))


def code_of(error: Any) -> Any:
    return error.value.response["Error"]["Code"]


def test_a_document_of_ones_own(make: Maker, instance: str) -> None:
    url, queue = make.queue()
    make.rule({"source": ["aws.ssm"], "detail": {"instance-id": [instance]}}, queue)
    name = document(
        make,
        "echo {{ Word }} {{Word}}; echo $AWS_ENDPOINT_URL >&2; echo $HUT_HOST_DIR; exit 3",
        Word={"type": "String", "allowedPattern": "^[a-z]+$"},
    )
    command = send(make, instance, name, Word="hello")
    found = ended(make, command, instance)
    assert (found["Status"], found["ResponseCode"]) == ("Failed", 3)
    assert found["StandardOutputContent"].split() == [
        *("hello", "hello", str(folder(make, instance) / "host")),
    ]
    assert found["StandardErrorContent"].strip() == make.bed.url
    events: list[Any] = []

    def both() -> bool:
        events.extend(make.receive(url))
        return len(events) == 2

    wait_for(both)
    assert sorted(each["detail"]["status"] for each in events) == ["Failed", "InProgress"]
    assert events[0]["detail-type"] == "EC2 Command Invocation Status-change Notification"
    assert events[0]["detail"]["document-name"] == name


def test_parameters_are_checked_and_not_quoted(make: Maker, instance: str) -> None:
    name = document(make, "echo {{ Any }}", Any={"type": "String"})
    command = send(make, instance, name, Any="a; echo b")
    assert ended(make, command, instance)["StandardOutputContent"] == "a\nb\n"
    strict = document(make, "{{ A }}", A={"type": "String", "allowedPattern": "^x$"})
    for wrong in ({"A": "y"}, {"A": "x", "B": "x"}, {}, {"A": "x", "Limit": "1h"}):
        with pytest.raises(ClientError) as error:
            send(make, instance, strict, **wrong)
        assert code_of(error) == "InvalidParameters"
    with pytest.raises(ClientError) as error:
        send(make, instance, "nothing")
    assert code_of(error) == "InvalidDocument"
    with pytest.raises(ClientError) as error:
        document(make, "{{ Unknown }}")
    assert code_of(error) == "InvalidDocumentContent"


def test_outputs_are_cut(make: Maker, instance: str) -> None:
    name = document(make, "head -c 30000 /dev/zero | tr '\\0' x; head -c 9000 /dev/zero >&2")
    found = ended(make, send(make, instance, name), instance)
    assert len(found["StandardOutputContent"]) == 24_000
    assert len(found["StandardErrorContent"]) == 8_000


def test_a_command_has_a_limit(make: Maker, instance: str) -> None:
    name = document(make, "sleep 60 & wait")
    found = ended(make, send(make, instance, name, Limit="1"), instance)
    assert (found["Status"], found["StatusDetails"]) == ("TimedOut", "Execution Timed Out")


def test_a_background_process_does_not_hold_a_command(make: Maker, instance: str) -> None:
    name = document(make, "sleep 60 & echo begun")
    found = ended(make, send(make, instance, name), instance)
    assert (found["Status"], found["StandardOutputContent"]) == ("Success", "begun\n")


def test_a_command_whose_instance_goes_is_told_no_more(make: Maker, instance: str) -> None:
    name = document(make, "setsid sh -c 'echo $$ > pid; sleep 600' & wait")
    command = send(make, instance, name)
    wait_for((folder(make, instance) / "pid").exists)
    pid = int((folder(make, instance) / "pid").read_text())
    make.bed.client("ec2").terminate_instances(InstanceIds=[instance])
    wait_for(lambda: not Path(f"/proc/{pid}/cmdline").exists() or not _runs(pid))
    assert invocation(make, command, instance)["Status"] == "InProgress"
    with pytest.raises(ClientError) as error:
        send(make, instance, name)
    assert code_of(error) == "InvalidInstanceId"
    assert not online(make, instance)


def _runs(pid: int) -> bool:
    return bool(Path(f"/proc/{pid}/cmdline").read_bytes())


def test_an_agent_that_never_comes_and_one_that_is_lost(make: Maker, instance: str) -> None:
    make.bed.hook("ec2/boot", {"online": None, "times": 1})
    ec2 = make.bed.client("ec2")
    silent = ec2.run_instances(ImageId=IMAGE, InstanceType="c5.large", MinCount=1, MaxCount=1)[
        "Instances"
    ][0]["InstanceId"]
    ec2.get_waiter("instance_running").wait(InstanceIds=[silent], WaiterConfig={"Delay": 1})
    assert not online(make, silent)
    with pytest.raises(ClientError) as error:
        send(make, silent, "AWS-RunShellScript", commands="true")
    assert code_of(error) == "InvalidInstanceId"
    make.bed.hook("ec2/agent", {"instance": silent, "online": True})
    assert online(make, silent)
    make.bed.hook("ec2/agent", {"instance": instance, "online": False})
    assert not online(make, instance)
    ec2.terminate_instances(InstanceIds=[silent])


def test_a_command_that_is_not_seen_yet(make: Maker, instance: str) -> None:
    make.bed.hook("ssm/unseen", {"seconds": 1})
    command = send(make, instance, "AWS-RunShellScript", commands="true")
    with pytest.raises(ClientError) as error:
        invocation(make, command, instance)
    assert code_of(error) == "InvocationDoesNotExist"
    make.bed.hook("ssm/unseen", {"seconds": 0})
    assert ended(make, command, instance)["Status"] == "Success"


def test_a_command_is_cancelled(make: Maker, instance: str) -> None:
    command = send(make, instance, "AWS-RunShellScript", commands="touch on; sleep 600")
    wait_for((folder(make, instance) / "on").exists)
    make.bed.client("ssm").cancel_command(CommandId=command)
    assert ended(make, command, instance)["Status"] == "Cancelled"


def test_documents_have_versions(make: Maker) -> None:
    ssm, name = make.bed.client("ssm"), document(make, "echo {{ Limit }}")
    content = json.loads(ssm.get_document(Name=name)["Content"])
    content["description"] = str(time.time())
    new = json.dumps(content)
    ssm.update_document(Name=name, Content=new, DocumentVersion="$LATEST")
    assert ssm.get_document(Name=name)["Content"] != new
    ssm.update_document_default_version(Name=name, DocumentVersion="2")
    assert ssm.get_document(Name=name)["Content"] == new
    ssm.delete_document(Name=name)
    with pytest.raises(ClientError) as error:
        ssm.get_document(Name=name)
    assert code_of(error) == "InvalidDocument"


def test_the_stand_in_of_docker(make: Maker, instance: str) -> None:
    """A container is a process with its own environment."""
    lines = "X=outside docker run --rm --name a -e A=1 -e B image sh -c 'echo $A$B$X; exit 7'"
    command = send(make, instance, "AWS-RunShellScript", commands=f"export B=2; {lines}")
    found = ended(make, command, instance)
    assert (found["ResponseCode"], found["StandardOutputContent"]) == (7, "12\n")
