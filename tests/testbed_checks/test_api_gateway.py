"""API Gateway: who calls is known, and what is said arrives as it was said."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.testbed.running import REGION
from tests.testbed_checks.making import Maker

Call = Callable[..., tuple[int, dict[str, str], bytes]]
ECHO = """
if event["path"].endswith("/broken"):
    raise RuntimeError("broken")
if event["path"].endswith("/nonsense"):
    return {"hello": "there"}
if event["path"].endswith("/huge"):
    return {"statusCode": 200, "body": "x" * 7_000_000}
return {"statusCode": 201, "headers": {"X-Next-Cursor": "c1"}, "body": json.dumps(event)}
"""


@pytest.fixture
def call(make: Maker) -> Call:
    api = make.bed.client("apigateway")
    function = make.function(ECHO)
    made = api.create_rest_api(name=make.name("api"), binaryMediaTypes=["application/octet-stream"])
    made_id = made["id"]
    [root] = api.get_resources(restApiId=made_id)["items"]
    proxy = api.create_resource(restApiId=made_id, parentId=root["id"], pathPart="{proxy+}")
    method = {"restApiId": made_id, "resourceId": proxy["id"], "httpMethod": "ANY"}
    api.put_method(authorizationType="AWS_IAM", **method)
    arn = make.function_arn(function)
    uri = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{arn}/invocations"
    api.put_integration(type="AWS_PROXY", integrationHttpMethod="POST", uri=uri, **method)
    api.create_deployment(restApiId=made_id, stageName="v1")
    url = f"{make.bed.url}/_aws/execute-api/{made_id}/v1"

    def send(
        verb: str, path: str, body: bytes = b"", key: str | None = "test", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = AWSRequest(verb, url + path, headers=named, data=body or None)
        if key:
            SigV4Auth(Credentials(key, "secret"), "execute-api", REGION).add_auth(request)
        plain = urllib.request.Request(
            url + path, body or None, dict(request.headers.items()), method=verb
        )
        try:
            with urllib.request.urlopen(plain, timeout=30) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    return send


def test_a_request_arrives_whole(call: Call) -> None:
    status, headers, body = call(
        "POST",
        "/runs/r1?state=failed&state=ended&q=a%20b",
        b'{"name": "\xc3\xa4"}',
        Content_Type="application/json",
        Idempotency_Key="k1",
    )
    event = json.loads(body)
    assert status == 201
    assert headers["X-Next-Cursor"] == "c1"
    assert (event["httpMethod"], event["path"]) == ("POST", "/runs/r1")
    assert event["pathParameters"] == {"proxy": "runs/r1"}
    assert json.loads(event["body"]) == {"name": "ä"}
    assert event["isBase64Encoded"] is False
    query = event["multiValueQueryStringParameters"]
    assert query == {"state": ["failed", "ended"], "q": ["a b"]}
    assert event["headers"]["Idempotency-Key"] == "k1"


@pytest.mark.parametrize(
    ("key", "arn"),
    [
        ("test", "arn:aws:iam::000000000000:root"),
        ("alice", "arn:aws:iam::000000000000:user/alice"),
    ],
)
def test_who_calls_is_known(call: Call, key: str, arn: str) -> None:
    event = json.loads(call("GET", "/runs", key=key)[2])
    identity = event["requestContext"]["identity"]
    assert identity["userArn"] == arn
    assert identity["accountId"] == "000000000000"
    assert identity["accessKey"] == key


def test_nobody_may_call_without_a_signature(call: Call) -> None:
    status, _, body = call("GET", "/runs", key=None)
    assert (status, json.loads(body)) == (403, {"message": "Missing Authentication Token"})


def test_bytes_arrive_as_bytes(call: Call) -> None:
    body = bytes(range(256)) * 4
    event = json.loads(call("PUT", "/x", body, Content_Type="application/octet-stream")[2])
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == body


def test_some_megabytes_go_through_and_more_do_not(call: Call) -> None:
    status, _, body = call("POST", "/runs", b"x" * 2_500_000, Content_Type="text/plain")
    assert status == 201
    assert len(json.loads(body)["body"]) == 2_500_000
    for size in (7_000_000, 11_000_000):
        status, _, body = call("POST", "/runs", b"x" * size, Content_Type="text/plain")
        assert (status, json.loads(body)) == (413, {"message": "Request Too Long"})


@pytest.mark.parametrize("path", ["/broken", "/nonsense", "/huge"])
def test_a_function_that_fails_is_a_bad_gateway(call: Call, path: str) -> None:
    status, _, body = call("GET", path)
    assert (status, json.loads(body)) == (502, {"message": "Internal server error"})
