"""Least privilege, seen from the other side: no function may do what none of these tests made it do.

The test bed notes which actions the functions' roles needed, in all tests of the deployment. What is
allowed and yet not seen here is listed with the case that needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.deployment import Deployment
from tests.infra.synthesis import many

_BY_LAMBDA = "Lambda does it for the function; the test bed's Lambda has no need to"
NOT_SEEN = {
    "dynamodb:DescribeStream": _BY_LAMBDA,
    "dynamodb:GetRecords": _BY_LAMBDA,
    "dynamodb:GetShardIterator": _BY_LAMBDA,
    "dynamodb:ListStreams": _BY_LAMBDA,
    "logs:CreateLogStream": _BY_LAMBDA,
    "logs:PutLogEvents": _BY_LAMBDA,
    "sqs:ChangeMessageVisibility": _BY_LAMBDA,
    "sqs:DeleteMessage": _BY_LAMBDA,
    "sqs:GetQueueAttributes": _BY_LAMBDA,
    "sqs:ReceiveMessage": _BY_LAMBDA,
    "xray:PutTelemetryRecords": _BY_LAMBDA,
    "xray:PutTraceSegments": _BY_LAMBDA,
    "sqs:GetQueueUrl": "the CDK allows it with sqs:SendMessage on the stream's dead letters",
}
_AS_OTHERS = "it does what advance and observe would have done, by the same code"
_OF_STOPPED = "a task on a machine of its own that is cancelled"
RARE = {
    "api": {"states:DescribeExecution": "why a task on a machine of its own waits"},
    "advance": {
        "dynamodb:BatchWriteItem": "takes back notes of runs that waited for room",
        **dict.fromkeys(("ec2:DescribeInstances", "ec2:TerminateInstances"), _OF_STOPPED),
        "states:StopExecution": _OF_STOPPED,
    },
    "finish": {"s3:GetObject": "settings of more than 100 KB"},
    "observe": {
        "s3:GetObject": "settings of more than 100 KB",
        "s3:PutObject": "generated tasks of more than 100 KB",
        "dynamodb:DeleteItem": _OF_STOPPED,
        **dict.fromkeys(("ec2:DescribeInstances", "ec2:TerminateInstances"), _OF_STOPPED),
        "states:DescribeExecution": "the end of an execution whose event does not say how",
        "states:SendTaskSuccess": "news of an instance",
        "states:StopExecution": "an execution that no attempt wants",
    },
    "register": {
        "dynamodb:BatchWriteItem": "blocks of a plan of more than 1,024 tasks",
        "dynamodb:Query": "resets a run that is repeated",
        "s3:GetObject": "blocks of a plan of more than 1,024 tasks",
        "states:SendTaskSuccess": "a run that has ended before its token was there",
    },
    "sweep": {
        "ec2:TerminateInstances": "an instance without an execution",
        "states:DescribeExecution": "an execution whose end was not told",
        "states:StopExecution": "an execution that no attempt wants",
        "batch:CancelJob": "jobs that have waited too long for a queue",
        "batch:DescribeComputeEnvironments": "jobs that wait for a machine nobody brings",
        "batch:DescribeJobQueues": "jobs that wait for a machine nobody brings",
        "batch:RegisterJobDefinition": _AS_OTHERS,
        "batch:TerminateJob": _AS_OTHERS,
        "iam:PassRole": _AS_OTHERS,
        "logs:GetLogEvents": _AS_OTHERS,
        "s3:GetObject": _AS_OTHERS,
        "s3:PutObject": _AS_OTHERS,
        "sqs:SendMessage": _AS_OTHERS,
        "states:SendTaskSuccess": _AS_OTHERS,
    },
}


@pytest.fixture
def whole_suite(request: pytest.FixtureRequest) -> None:
    """All tests of the deployment ran before this one, or it says nothing."""
    ran = {item.path.name for item in request.session.items}
    if missing := {path.name for path in Path(__file__).parent.glob("test_*.py")} - ran:
        pytest.skip(f"says something only after all tests of the deployment; not {min(missing)}")


def granted(deployment: Deployment) -> Iterator[tuple[str, str, str]]:
    """Yield function, role and each action of what functions may do."""
    iam = deployment.bed.client("iam")
    for function in deployment.bed.client("lambda").list_functions()["Functions"]:
        role = function["Role"].rpartition("/")[2]
        prefix, _, short = function["FunctionName"].partition("-")
        if prefix != deployment.prefix:
            continue
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            for statement in document["Statement"]:
                for action in many(statement["Action"]):
                    yield short, role, action


def test_functions_need_all_they_may_do(whole_suite: None, deployment: Deployment) -> None:
    used = {(role, action) for role, action, _ in deployment.bed.hook("iam/used")["used"]}
    spare = {
        (function, action)
        for function, role, action in granted(deployment)
        if (role, action) not in used and action not in {*NOT_SEEN, *RARE.get(function, ())}
    }
    assert not spare
