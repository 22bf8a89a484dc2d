"""IAM on a test bed that enforces it: what the test bed adds to the emulator's own checks."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
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


# Callers of an API --------------------------------------------------------------------------------

OTHER = "210987654321"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def made_api(bed: TestBed, own_policy: str) -> str:
    """Make an API whose only method wants IAM and answers 200; return its address."""
    api = bed.client("apigateway")
    made = api.create_rest_api(name=f"api-{next(_numbers)}", policy=own_policy)["id"]
    [root] = api.get_resources(restApiId=made)["items"]
    method = {"restApiId": made, "resourceId": root["id"], "httpMethod": "GET"}
    api.put_method(authorizationType="AWS_IAM", **method)
    api.put_integration(type="MOCK", requestTemplates={"application/json": "{}"}, **method)
    api.create_deployment(restApiId=made, stageName="v1")
    return f"{bed.url}/_aws/execute-api/{made}/v1/"


def caller(bed: TestBed, account: str, *statements: dict[str, Any]) -> Credentials:
    iam = bed.new_client("iam", account)
    name = f"caller-{next(_numbers)}"
    iam.create_user(UserName=name)
    if statements:
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(*statements))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def status(url: str, by: Credentials, service: str = "execute-api", region: str = REGION) -> int:
    request = AWSRequest("GET", url)
    SigV4Auth(by, service, region).add_auth(request)
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=dict(request.headers)), timeout=30
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def let_in(account: str) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "execute-api:Invoke",
        "Resource": "execute-api:/*",
    }


def test_another_account_needs_leave_of_both_sides(bed: TestBed) -> None:
    opened, closed = made_api(bed, policy(let_in(OTHER))), made_api(bed, "")
    may, may_not = caller(bed, OTHER, EVERYTHING), caller(bed, OTHER)
    root = Credentials(OTHER, "test")
    assert [status(opened, who) for who in (may, may_not, root)] == [200, 403, 200]
    assert [status(closed, who) for who in (may, may_not, root)] == [403, 403, 403]


def test_the_apis_own_account_needs_leave_of_one_side(bed: TestBed) -> None:
    opened, closed = made_api(bed, policy(let_in(OTHER))), made_api(bed, "")
    may, may_not = caller(bed, "test", EVERYTHING), caller(bed, "test")
    assert [status(opened, who) for who in (may, may_not)] == [200, 403]
    assert [status(closed, who) for who in (may, may_not)] == [200, 403]


def test_a_refusal_of_the_api_holds_whatever_allows(bed: TestBed) -> None:
    refusal = {
        **let_in("x"),
        "Effect": "Deny",
        "Principal": "*",
        "Condition": {"StringNotEquals": {"aws:PrincipalAccount": ACCOUNT}},
    }
    api = made_api(bed, policy(let_in(OTHER), refusal))
    assert status(api, caller(bed, OTHER, EVERYTHING)) == 403
    assert status(api, caller(bed, "test", EVERYTHING)) == 200


def test_a_signature_is_for_a_service_and_a_region(bed: TestBed) -> None:
    api, may = made_api(bed, ""), caller(bed, "test", EVERYTHING)
    assert status(api, may, "s3") == 403
    assert status(api, may, region="eu-west-1") == 403


def test_what_a_role_needed_is_told(bed: TestBed) -> None:
    """Of roles only, and whether or not it was allowed."""
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    bed.client("iam").create_role(RoleName="looks", AssumeRolePolicyDocument=policy(trust))
    session = bed.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/looks", RoleSessionName="session"
    )["Credentials"]
    key, secret = session["AccessKeyId"], session["SecretAccessKey"]
    request = AWSRequest(
        "POST",
        bed.url,
        {"X-Amz-Target": "DynamoDB_20120810.GetItem", "Content-Type": "application/x-amz-json-1.0"},
        json.dumps({"TableName": "some", "Key": {"pk": {"S": "x"}}}).encode(),
    )
    SigV4Auth(Credentials(key, secret, session["SessionToken"]), "dynamodb", REGION).add_auth(
        request
    )
    plain = urllib.request.Request(bed.url, request.data, dict(request.headers), method="POST")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(plain, timeout=30)
    used = bed.hook("iam/used")["used"]
    assert ["looks", "dynamodb:GetItem", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/"] in used
    assert {role for role, _, _ in used} == {"looks"}


def test_instances_are_ended_by_their_tags(bed: TestBed) -> None:
    tags = [{"Key": "hut", "Value": "mine"}]
    launch = {"ImageId": "ami-01234567", "InstanceType": "c5.large", "MinCount": 1, "MaxCount": 1}
    root = bed.client("ec2")
    spec = [{"ResourceType": "instance", "Tags": tags}]
    mine, others = (
        root.run_instances(**launch, **more)["Instances"][0]["InstanceId"]
        for more in ({"TagSpecifications": spec}, {})
    )
    name = f"user-{next(_numbers)}-ec2"
    iam = bed.client("iam")
    iam.create_user(UserName=name)
    ending = {
        "Effect": "Allow",
        "Action": "ec2:TerminateInstances",
        "Resource": f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*",
        "Condition": {"StringEquals": {"ec2:ResourceTag/hut": "mine"}},
    }
    looking = {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [ending, looking]})
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    ec2 = bed.new_client("ec2", key["AccessKeyId"], key["SecretAccessKey"])
    assert len(ec2.describe_instances(InstanceIds=[mine, others])["Reservations"]) == 2
    for ids in ([others], [mine, others]):
        with pytest.raises(ClientError) as error:
            ec2.terminate_instances(InstanceIds=ids)
        assert error.value.response["Error"]["Code"] == "UnauthorizedOperation"
    assert ec2.terminate_instances(InstanceIds=[mine])["TerminatingInstances"]
    with pytest.raises(ClientError):
        ec2.run_instances(**launch)
    root.terminate_instances(InstanceIds=[others])
