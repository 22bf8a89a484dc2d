"""Least privilege, seen from the other side: no function may do what none of these tests made it do.

The test bed notes which actions the functions' roles needed, in all tests of the deployment. What is
allowed and yet not seen here is listed with the case that needs it. These tests run in several
processes, each with a test bed, so this one comes after them: `make test` calls it by itself.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.needs import read_notes

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
        "sqs:SendMessage": "a task of a pool that no attempt wants is taken out, which is told",
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
        "dynamodb:BatchWriteItem": "takes back notes of runs that waited for room",
        "ec2:TerminateInstances": "an instance without an execution",
        "states:DescribeExecution": "an execution whose end was not told",
        "states:StopExecution": "an execution that no attempt wants",
        "batch:CancelJob": "jobs that have waited too long for a queue",
        "batch:DescribeComputeEnvironments": "jobs that wait for a machine nobody brings",
        "batch:DescribeJobQueues": "jobs that wait for a machine nobody brings",
        "batch:RegisterJobDefinition": _AS_OTHERS,
        "batch:TerminateJob": _AS_OTHERS,
        "iam:PassRole": _AS_OTHERS,
        "lambda:InvokeFunction": _AS_OTHERS,
        "logs:GetLogEvents": _AS_OTHERS,
        "s3:GetObject": _AS_OTHERS,
        "s3:PutObject": _AS_OTHERS,
        "sqs:SendMessage": _AS_OTHERS,
        "states:SendTaskSuccess": _AS_OTHERS,
    },
}


def test_functions_need_all_they_may_do() -> None:
    notes = read_notes()
    names = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {Path(__file__).name}
    if missing := names - {name for note in notes for name in note.files}:
        pytest.skip(f"says something only after all tests of the deployment; not {min(missing)}")
    used = {each for note in notes for each in note.used}
    spare = {
        (function, action)
        for note in notes
        for function, action in note.granted
        if (function, action) not in used and action not in {*NOT_SEEN, *RARE.get(function, ())}
    }
    assert not spare
