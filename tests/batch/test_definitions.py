"""Job definitions: one for all jobs of an image, registered once. Calls go to moto."""

import boto3
import pytest
from moto import mock_aws

from hut.backends.batch.definitions import JobDefinitions, definition_name, definition_of
from hut.backends.batch.options import Platform
from tests.batch.plain_batch import options


@pytest.fixture
def batch():
    with mock_aws():
        yield boto3.client("batch", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def registered(batch):
    return batch.describe_job_definitions()["jobDefinitions"]


def test_a_definition_is_registered_when_it_is_first_needed(batch):
    arn = JobDefinitions(batch, options()).arn("me/image:1", Platform.EC2)
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
    assert first.arn("i", Platform.EC2) == first.arn("i", Platform.EC2)
    assert JobDefinitions(batch, options()).arn("i", Platform.EC2) == first.arn("i", Platform.EC2)
    assert len(registered(batch)) == 1


def test_the_newest_revision_counts(batch):
    definition = definition_of(options(), "i", Platform.EC2)
    name = definition_name("hut", definition)
    for _ in range(11):
        batch.register_job_definition(jobDefinitionName=name, **definition)
    assert JobDefinitions(batch, options()).arn("i", Platform.EC2).endswith(":11")


def test_a_deregistered_definition_is_registered_anew(batch):
    definitions = JobDefinitions(batch, options())
    arn = definitions.arn("i", Platform.EC2)
    other = definitions.arn("j", Platform.EC2)
    batch.deregister_job_definition(jobDefinition=arn)
    assert definitions.arn("i", Platform.EC2) == arn
    definitions.forget(arn)
    assert definitions.arn("i", Platform.EC2) != arn
    assert definitions.arn("j", Platform.EC2) == other


def test_what_differs_gets_a_definition_of_its_own():
    changes = [
        {},
        {"job_role_arn": None},
        {"execution_role_arn": "arn:other"},
        {"log_group": "/other"},
    ]
    names = {
        definition_name("hut", definition_of(options(**change), image, platform))
        for change in changes
        for image in ("i", "j")
        for platform in Platform
    }
    assert len(names) == 16
    assert all(len(name) == 20 and name.startswith("hut-") for name in names)


def test_what_does_not_matter_for_jobs_changes_no_definition():
    names = {
        definition_name("hut", definition_of(changed, "i", Platform.FARGATE))
        for changed in (options(), options(max_concurrent=5), options(name="x"))
    }
    assert len(names) == 1


def test_fargate_gets_what_it_needs():
    definition = definition_of(options(), "i", Platform.FARGATE)
    assert definition["platformCapabilities"] == ["FARGATE"]
    container = definition["containerProperties"]
    assert container["networkConfiguration"] == {"assignPublicIp": "ENABLED"}
    assert container["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    ec2 = definition_of(options(), "i", Platform.EC2)["containerProperties"]
    assert "networkConfiguration" not in ec2
    assert "runtimePlatform" not in ec2


def test_no_line_of_the_log_is_dropped():
    container = definition_of(options(), "i", Platform.EC2)["containerProperties"]
    assert container["logConfiguration"] == {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": "/hut/jobs",
            "awslogs-stream-prefix": "hut",
            "mode": "blocking",
        },
    }
