"""IAM on a test bed that enforces it: what the test bed adds to the emulator's own checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testbed.running import ACCOUNT, REGION, TestBed, start_test_bed

BATCH = f"arn:aws:batch:{REGION}:{ACCOUNT}"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/jobs"
Client = Callable[..., Any]
_numbers = count()


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    with start_test_bed(tmp_path_factory.mktemp("bed"), options={"AUTH": "true"}) as it:
        yield it


@pytest.fixture
def client(bed: TestBed) -> Client:
    """Make clients of a new user who may do what is said, as pairs of an action and a resource."""

    def make(service: str, *may: tuple[str, str]) -> Any:
        name = f"user-{next(_numbers)}-{service}"
        statements = [{"Effect": "Allow", "Action": a, "Resource": r} for a, r in may]
        iam = bed.client("iam")
        iam.create_user(UserName=name)
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return bed.new_client(service, key["AccessKeyId"], key["SecretAccessKey"])

    return make


def definition(name: str = "hut-x", **more: Any) -> dict[str, Any]:
    container = {
        "image": "i",
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "2048"},
        ],
        **more,
    }
    return {"jobDefinitionName": name, "type": "container", "containerProperties": container}


def refused(call: Callable[..., Any], **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        return "not authorized" in str(error)
    return False


def test_definitions_are_registered_by_name(client: Client) -> None:
    may = ("batch:RegisterJobDefinition", f"{BATCH}:job-definition/hut-*")
    register = client("batch", may).register_job_definition
    assert not refused(register, **definition())
    assert refused(register, **definition("other"))
    assert refused(register, **definition(), tags={"a": "b"})
    assert refused(register, **definition(jobRoleArn=ROLE))
    more = [
        may,
        ("batch:TagResource", f"{BATCH}:job-definition/hut-*"),
        ("iam:PassRole", ROLE),
    ]
    register = client("batch", *more).register_job_definition
    assert not refused(register, **definition(jobRoleArn=ROLE), tags={"a": "b"})
    assert refused(register, **definition(jobRoleArn=f"{ROLE}-of-others"))


def test_jobs_are_submitted_to_a_queue_with_a_definition(client: Client) -> None:
    queue, known = f"{BATCH}:job-queue/main", f"{BATCH}:job-definition/hut-*"
    job = {"jobName": "j", "jobQueue": "main", "jobDefinition": f"{BATCH}:job-definition/hut-x:1"}
    for missing in ([], [known], [queue]):
        submit = client("batch", *(("batch:SubmitJob", arn) for arn in missing)).submit_job
        assert refused(submit, **job)
    may = [("batch:SubmitJob", queue), ("batch:SubmitJob", known)]
    submit = client("batch", *may).submit_job
    assert not refused(submit, **job)  # there is no such queue, but that is another matter
    assert refused(submit, **job, tags={"a": "b"})
    assert not refused(
        client("batch", *may, ("batch:TagResource", f"{BATCH}:job/*")).submit_job,
        **job,
        tags={"a": "b"},
    )


def test_jobs_are_described_and_ended(client: Client) -> None:
    describe = client("batch", ("batch:DescribeJobs", "*")).describe_jobs
    assert not refused(describe, jobs=["x"])
    assert refused(client("batch").describe_jobs, jobs=["x"])
    end = {"jobId": "x", "reason": "r"}
    assert refused(client("batch").terminate_job, **end)
    may = ("batch:TerminateJob", f"{BATCH}:job/*")
    assert not refused(client("batch", may).terminate_job, **end)


def test_what_is_not_enforced_is_allowed_until_it_is_again(bed: TestBed, client: Client) -> None:
    list_tables = client("dynamodb").list_tables
    assert refused(list_tables)
    bed.hook("iam", {"enforced": False})
    assert not refused(list_tables)
    bed.hook("iam", {"enforced": True})
    assert refused(list_tables)


def test_policies_that_want_tls_are_content(bed: TestBed) -> None:
    s3 = bed.client("s3")
    s3.create_bucket(Bucket="closed")
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "arn:aws:s3:::closed/*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket="closed", Policy=document)
    s3.put_object(Bucket="closed", Key="k", Body=b"x")
