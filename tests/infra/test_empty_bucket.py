from __future__ import annotations

import json
import urllib.request
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from infra.empty_bucket import handler

CONTEXT = SimpleNamespace(log_stream_name="stream")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What CloudFormation was told."""
    told: list[dict[str, Any]] = []

    def urlopen(request: urllib.request.Request) -> SimpleNamespace:
        assert request.get_method() == "PUT"
        assert isinstance(request.data, bytes)
        told.append(json.loads(request.data))
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return told


def event(kind: str, bucket: str = "some") -> dict[str, Any]:
    return {
        "RequestType": kind,
        "ResourceProperties": {"Bucket": bucket},
        "ResponseURL": "https://cloudformation.example/answer",
        "StackId": "stack",
        "RequestId": "request",
        "LogicalResourceId": "EmptyBucket",
    }


@mock_aws
def test_objects_go_when_the_stack_does(answers: list[dict[str, Any]]) -> None:
    client = boto3.client("s3")
    client.create_bucket(Bucket="some")
    for number in range(3):
        client.put_object(Bucket="some", Key=f"plans/{number}", Body=b"x")
    for kind in ("Create", "Update"):
        handler(event(kind), CONTEXT)
        assert client.list_objects_v2(Bucket="some")["KeyCount"] == 3
    handler(event("Delete"), CONTEXT)
    assert client.list_objects_v2(Bucket="some")["KeyCount"] == 0
    assert [answer["Status"] for answer in answers] == ["SUCCESS"] * 3
    assert answers[0]["PhysicalResourceId"] == "some"
    assert answers[0]["RequestId"] == "request"


@mock_aws
def test_a_bucket_that_is_gone_is_empty(answers: list[dict[str, Any]]) -> None:
    handler(event("Delete", "gone"), CONTEXT)
    assert answers[0]["Status"] == "SUCCESS"


def test_cloudformation_gets_an_answer_when_it_fails(
    answers: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(bucket: str) -> None:
        raise RuntimeError("1 objects stay")

    monkeypatch.setattr("infra.empty_bucket.empty", fail)
    handler(event("Delete"), CONTEXT)
    assert answers[0]["Status"] == "FAILED"
    assert answers[0]["Reason"] == "RuntimeError: 1 objects stay"
