"""Job definitions: one for all jobs of an image, registered once. Calls go to moto."""

import boto3
import pytest
from moto import mock_aws

from hut.backends.batch.definitions import JobDefinitions, Kind, definition_name, definition_of
from hut.backends.batch.options import Platform
from tests.batch.fake_registry import FakeRegistry
from tests.batch.plain_batch import options

SECRET = "arn:aws:ssm:us-east-1:111122223333:parameter/key"


@pytest.fixture
def batch():
    with mock_aws():
        yield boto3.client("batch", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def registered(batch):
    return batch.describe_job_definitions()["jobDefinitions"]


def test_a_definition_is_registered_when_it_is_first_needed(batch):
    arn = JobDefinitions(batch, options()).arn(Kind("me/image:1", Platform.EC2))
    (found,) = registered(batch)
    assert arn == found["jobDefinitionArn"]
    assert arn.endswith(":1")
    assert found["retryStrategy"]["attempts"] == 1
    container = found["containerProperties"]
    assert container["image"] == "me/image:1"
    assert container["jobRoleArn"] == "arn:aws:iam::111122223333:role/job"
    assert container["executionRoleArn"] == "arn:aws:iam::111122223333:role/execution"


def test_what_is_registered_is_used_again(batch):
    first = JobDefinitions(batch, options())
    assert first.arn(Kind("i", Platform.EC2)) == first.arn(Kind("i", Platform.EC2))
    assert JobDefinitions(batch, options()).arn(Kind("i", Platform.EC2)) == first.arn(
        Kind("i", Platform.EC2)
    )
    assert len(registered(batch)) == 1


def test_the_newest_revision_counts(batch):
    definition = definition_of(options(), Kind("i", Platform.EC2))
    name = definition_name("hut", definition)
    for _ in range(11):
        batch.register_job_definition(jobDefinitionName=name, **definition)
    assert JobDefinitions(batch, options()).arn(Kind("i", Platform.EC2)).endswith(":11")


def test_a_deregistered_definition_is_registered_anew(batch):
    definitions = JobDefinitions(batch, options())
    arn = definitions.arn(Kind("i", Platform.EC2))
    other = definitions.arn(Kind("j", Platform.EC2))
    batch.deregister_job_definition(jobDefinition=arn)
    assert definitions.arn(Kind("i", Platform.EC2)) == arn
    definitions.forget(arn)
    assert definitions.arn(Kind("i", Platform.EC2)) != arn
    assert definitions.arn(Kind("j", Platform.EC2)) == other


def test_what_differs_gets_a_definition_of_its_own():
    changes = [
        {},
        {"job_role_arn": None},
        {"execution_role_arn": "arn:other"},
        {"log_group": "/other"},
        {"retry_attempts": 2},
        {"secrets": {"A": SECRET}},
        {"volumes": [{"efs": "fs-0123abcd", "mount": "/a"}]},
    ]
    names = {
        definition_name("hut", definition_of(options(**change), Kind(image, platform)))
        for change in changes
        for image in ("i", "j")
        for platform in Platform
    }
    assert len(names) == 28
    assert all(len(name) == 20 and name.startswith("hut-") for name in names)


def test_what_does_not_matter_for_jobs_changes_no_definition():
    names = {
        definition_name("hut", definition_of(changed, Kind("i", Platform.FARGATE)))
        for changed in (options(), options(max_concurrent=5), options(name="x"), options(prices={}))
    }
    assert len(names) == 1


def test_fargate_gets_what_it_needs():
    definition = definition_of(options(), Kind("i", Platform.FARGATE))
    assert definition["platformCapabilities"] == ["FARGATE"]
    container = definition["containerProperties"]
    assert container["networkConfiguration"] == {"assignPublicIp": "ENABLED"}
    assert container["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    ec2 = definition_of(options(), Kind("i", Platform.EC2))["containerProperties"]
    assert "networkConfiguration" not in ec2
    assert "runtimePlatform" not in ec2


def test_no_line_of_the_log_is_dropped():
    container = definition_of(options(), Kind("i", Platform.EC2))["containerProperties"]
    assert container["logConfiguration"] == {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": "/hut/jobs",
            "awslogs-stream-prefix": "hut",
            "mode": "blocking",
        },
    }


WHOLE = {
    "retry_attempts": 4,
    "secrets": {"B": SECRET, "A": SECRET + "2"},
    "shared_memory": "1G",
    "ulimits": {"nofile": {"soft": 1024, "hard": 4096}},
    "volumes": [
        {"efs": "fs-0123abcd", "mount": "/data", "path": "/lab", "read_only": True},
        {"host": "/scratch", "mount": "/work"},
        {"efs": "fs-0123abcd", "mount": "/home", "access_point": "fsap-0123abcd", "iam": True},
    ],
    "cpu_architecture": "ARM64",
    "ephemeral_storage": 50,
}


def test_what_all_jobs_have_in_common_on_ec2():
    definition = definition_of(options(**WHOLE), Kind("i", Platform.EC2))
    assert definition["retryStrategy"] == {"attempts": 4}
    container = definition["containerProperties"]
    assert container["secrets"] == [
        {"name": "A", "valueFrom": SECRET + "2"},
        {"name": "B", "valueFrom": SECRET},
    ]
    assert container["linuxParameters"] == {"initProcessEnabled": True, "sharedMemorySize": 1024}
    assert container["ulimits"] == [{"name": "nofile", "softLimit": 1024, "hardLimit": 4096}]
    assert container["volumes"] == [
        {
            "name": "hut-1",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-0123abcd",
                "rootDirectory": "/lab",
                "transitEncryption": "ENABLED",
            },
        },
        {"name": "hut-2", "host": {"sourcePath": "/scratch"}},
        {
            "name": "hut-3",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-0123abcd",
                "rootDirectory": "/",
                "transitEncryption": "ENABLED",
                "authorizationConfig": {"accessPointId": "fsap-0123abcd", "iam": "ENABLED"},
            },
        },
    ]
    assert container["mountPoints"] == [
        {"sourceVolume": "hut-1", "containerPath": "/data", "readOnly": True},
        {"sourceVolume": "hut-2", "containerPath": "/work", "readOnly": False},
        {"sourceVolume": "hut-3", "containerPath": "/home", "readOnly": False},
    ]
    assert not container.keys() & {"runtimePlatform", "ephemeralStorage", "networkConfiguration"}


def test_what_all_jobs_have_in_common_on_fargate():
    fargate = options(**WHOLE)
    kind = Kind("i", Platform.FARGATE, fargate.jobs.architecture("fargate"))
    container = definition_of(fargate, kind)["containerProperties"]
    assert container["runtimePlatform"]["cpuArchitecture"] == "ARM64"
    assert container["ephemeralStorage"] == {"sizeInGiB": 50}
    assert [volume["name"] for volume in container["volumes"]] == ["hut-1", "hut-2"]
    assert [mount["containerPath"] for mount in container["mountPoints"]] == ["/data", "/home"]
    assert container["linuxParameters"] == {"initProcessEnabled": True}
    assert "ulimits" not in container


def test_both_are_what_batch_takes():
    registry = FakeRegistry()
    for platform in Platform:
        JobDefinitions(registry, options(**WHOLE)).arn(Kind("i", platform))
    assert registry.registered == 2


def test_the_name_of_a_definition_is_stable():
    """Whoever changes it makes every deployment register all its definitions anew."""
    definition = definition_of(options(), Kind("i", Platform.FARGATE))
    assert definition_name("hut", definition) == "hut-51199c71b83d0b34"
    secrets = {"A": SECRET, "B": SECRET}
    turned = dict(reversed(secrets.items()))
    names = {
        definition_name("hut", definition_of(options(secrets=some), Kind("i", Platform.EC2)))
        for some in (secrets, turned)
    }
    assert len(names) == 1
