"""Documents in the bucket, and the function that holds them against schemas."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers import check
from hut.aws.checks import CheckFunction
from hut.aws.documents import BucketDocuments
from hut.lifecycle.task_program import Judged
from hut.model.records import Outcome
from hut.model.schema_faults import UnusableSchema
from hut.model.states import Reason, TaskState
from tests.service.control_plane import Context

FAILED = Outcome(TaskState.FAILED, Reason.REPORTED, 1)


class Bucket:
    """A bucket in a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refuses = ""

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> None:  # noqa: N803
        assert (Bucket, ContentType) == ("b", "application/json")
        self.objects[Key] = Body

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        if self.refuses or Key not in self.objects:
            error = {"Error": {"Code": self.refuses or "NoSuchKey", "Message": Bucket}}
            raise ClientError(error, "GetObject")  # type: ignore[arg-type]
        return {"Body": io.BytesIO(self.objects[Key])}


def test_documents_are_kept_by_attempt() -> None:
    bucket = Bucket()
    documents = BucketDocuments(bucket, "b")
    for _ in range(2):
        documents.keep("r", 3, 2, Judged(FAILED, ({"type": "E", "message": "\ud800é"},), b"{"))
    assert sorted(bucket.objects) == ["documents/r/3-2.errors.json", "documents/r/3-2.output.json"]
    assert documents.read("r", 3, 2, "output") == b"{"
    assert documents.reports("r", 3, 2) == [{"type": "E", "message": "\ud800é"}]
    assert documents.read("r", 3, 1, "output") is None
    assert documents.reports("r", 3, 1) == []
    bucket.refuses = "AccessDenied"
    with pytest.raises(ClientError, match="AccessDenied"):
        documents.read("r", 3, 2, "output")


class Lambda:
    """Calls the handler, or answers what it is told to."""

    def __init__(self, answer: dict[str, Any] | None = None) -> None:
        self.answer = answer
        self.calls = 0

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803
        self.calls += 1
        assert FunctionName == "hut-check"
        if self.answer is not None:
            text = json.dumps(self.answer).encode()
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(text)}
        if len(Payload) > 1000:
            error = {"Error": {"Code": "RequestTooLargeException", "Message": "too large"}}
            raise ClientError(error, "Invoke")  # type: ignore[arg-type]
        answer = check.handler(json.loads(Payload), Context())
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


def test_a_function_checks() -> None:
    client = Lambda()
    checks = CheckFunction(client, "hut-check")
    assert checks({"type": "string"}, "é\ud800") == []
    assert checks({"items": {"type": "string"}}, ["a", 5]) == [
        {"path": "/1", "message": "5 is not of type 'string'"}
    ]
    with pytest.raises(UnusableSchema, match="none"):
        checks({"$ref": "#/$defs/none"}, 5)
    with pytest.raises(UnusableSchema, match="too large"):
        checks({"type": "string"}, "x" * 1000)
    assert client.calls == 4
    assert checks(True, 5) == checks({}, 5) == []
    assert client.calls == 4


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"errorMessage": "2026-11-27 Task timed out after 18.00 seconds"}, UnusableSchema),
        ({"errorMessage": "signal: killed", "errorType": "Runtime.ExitError"}, UnusableSchema),
        ({"errorMessage": "no module", "errorType": "Runtime.ImportModuleError"}, RuntimeError),
    ],
)
def test_a_function_that_dies_of_a_schema_is_not_one_that_is_broken(
    answer: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=answer["errorMessage"]):
        CheckFunction(Lambda(answer), "hut-check")({"type": "string"}, 5)
