"""The agent's calls: signatures as botocore makes them, credentials, retries, errors."""

import datetime as dt
import time
import urllib.parse

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from hut.backends.ec2.host.calls import Aws, CallError, Stop, Stopped
from hut.backends.ec2.host.signing import Credentials, sign

AT = "20260102T030405Z"
KEYS = st.text("abcXYZ019-_.~/ +=%é:&?#'()*!", min_size=1, max_size=40)


@pytest.fixture
def variables(aws, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.url)
    monkeypatch.setenv("HUT_HOST_PACE", "0.001")
    monkeypatch.setenv("HTTP_PROXY", "")
    return monkeypatch


def authorization(auth, service, request, headers, credentials, monkeypatch):
    monkeypatch.setattr(
        "botocore.auth.get_current_datetime",
        lambda *_, **__: dt.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - as botocore has it
    )
    asked = AWSRequest(method=request[0], url=request[1], data=request[2], headers=headers)
    keys = BotocoreCredentials(credentials.key, credentials.secret, credentials.token or None)
    auth(keys, service, "eu-north-1").add_auth(asked)
    return asked.headers["Authorization"]


@given(key=KEYS, token=st.sampled_from(["", "a/token+=="]))
def test_signatures_for_s3_are_those_of_botocore(key, token):
    with pytest.MonkeyPatch.context() as monkeypatch:
        path = urllib.parse.quote(key, safe="/-_.~")
        request = ("GET", f"https://bucket.s3.eu-north-1.amazonaws.com/{path}", b"")
        credentials = Credentials("AKID", "secret/+", token)
        ours = sign(request, {}, credentials, ("s3", "eu-north-1"), AT)
        theirs = authorization(S3SigV4Auth, "s3", request, {}, credentials, monkeypatch)
        assert ours["Authorization"] == theirs


@given(body=st.binary(max_size=200), value=st.text("ab  c:;", min_size=1, max_size=20))
def test_signatures_for_other_services_are_those_of_botocore(body, value):
    with pytest.MonkeyPatch.context() as monkeypatch:
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"Logs.{value}"}
        request = ("POST", "https://logs.eu-north-1.amazonaws.com/", body)
        credentials = Credentials("AKID", "secret/+", "token")
        ours = sign(request, headers, credentials, ("logs", "eu-north-1"), AT)
        theirs = authorization(SigV4Auth, "logs", request, headers, credentials, monkeypatch)
        assert ours["Authorization"] == theirs


def test_credentials_of_the_environment_come_first(aws, variables):
    variables.setenv("AWS_ACCESS_KEY_ID", "OWN")
    variables.setenv("AWS_SECRET_ACCESS_KEY", "b")
    variables.setenv("AWS_SESSION_TOKEN", "session")
    aws.objects["/b/k"] = b"x"
    assert Aws("eu-north-1", Stop()).get_object("b", "k") == b"x"
    [(_, headers, _)] = aws.calls
    assert "Credential=OWN/" in headers["authorization"]
    assert headers["x-amz-security-token"] == "session"


def test_credentials_of_the_role_are_asked_for_once(aws, variables):
    aws.objects["/b/k"] = b"x"
    calls = Aws("eu-north-1", Stop())
    calls.get_object("b", "k")
    calls.get_object("b", "k")
    assert [name for name, *_ in aws.calls].count("Metadata") == 2
    assert "Credential=ROLE/" in aws.calls[-1][1]["authorization"]
    asked = [headers for name, headers, _ in aws.calls if name == "Metadata"]
    assert all(each["x-aws-ec2-metadata-token"] == "metadata-token" for each in asked)


def test_credentials_are_renewed_before_their_end(aws, variables):
    aws.objects["/b/k"] = b"x"
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    aws.expiration = soon
    calls = Aws("eu-north-1", Stop())
    calls.get_object("b", "k")
    calls.get_object("b", "k")
    assert [name for name, *_ in aws.calls].count("Metadata") == 4
    aws.away.add("Token")  # those that are known are valid still
    assert calls.get_object("b", "k") == b"x"


def test_expired_credentials_are_renewed(aws, variables):
    aws.objects["/b/k"] = b"x"
    aws.failures["GetObject"] = [(400, "ExpiredToken")]
    assert Aws("eu-north-1", Stop()).get_object("b", "k") == b"x"
    assert [name for name, *_ in aws.calls].count("Metadata") == 4


def test_an_instance_without_a_profile_says_so(aws, variables):
    aws.failures["Metadata"] = [(404, "x")] * 20
    with pytest.raises(CallError, match="it has no instance profile"):
        Aws("eu-north-1", Stop()).get_object("b", "k")


@pytest.mark.parametrize(
    "failures",
    [
        [(500, "InternalError"), (503, "SlowDown"), (0, ""), (429, "TooManyRequests")],
        [(403, "AccessDenied"), (403, "AccessDenied")],
        [(400, "RequestTimeout"), (400, "ThrottlingException")],
    ],
)
def test_what_may_pass_is_tried_again(aws, variables, failures):
    aws.objects["/b/k"] = b"x"
    aws.failures["GetObject"] = list(failures)
    assert Aws("eu-north-1", Stop()).get_object("b", "k") == b"x"


@pytest.mark.parametrize(
    ("failure", "calls"),
    [((404, "NoSuchKey"), 1), ((403, "AccessDenied"), 3), ((500, "InternalError"), 6)],
)
def test_what_does_not_pass_is_told(aws, variables, failure, calls):
    aws.failures["GetObject"] = [failure] * 20
    with pytest.raises(CallError, match=f"GetObject of s3://b/a key: {failure[1]} no") as told:
        Aws("eu-north-1", Stop()).get_object("b", "a key")
    assert told.value.code == failure[1]
    assert aws.count("GetObject") == calls


def test_nobody_answers(variables):
    variables.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    variables.setenv("AWS_ACCESS_KEY_ID", "a")
    variables.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(CallError, match="no answer"):
        Aws("eu-north-1", Stop()).get_object("b", "k")


def test_the_region_is_the_instances_where_nobody_names_it(aws, variables):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SSM_REGION_NAME"):
        variables.delenv(name, raising=False)
    assert Aws("", Stop()).region == "eu-north-1"
    variables.setenv("AWS_SSM_REGION_NAME", "us-west-2")
    assert Aws("", Stop()).region == "us-west-2"


@pytest.mark.parametrize(
    ("bucket", "region", "url"),
    [
        ("bucket", "eu-north-1", "https://bucket.s3.eu-north-1.amazonaws.com/a/b%20c"),
        ("a.b", "eu-north-1", "https://s3.eu-north-1.amazonaws.com/a.b/a/b%20c"),
        ("bucket", "cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn/a/b%20c"),
    ],
)
def test_addresses_of_aws(variables, bucket, region, url):
    variables.delenv("AWS_ENDPOINT_URL")
    calls = Aws(region, Stop())
    asked = []
    variables.setattr(calls, "_call", lambda _, request, *__: asked.append(request) or b"")
    calls.get_object(bucket, "a/b c")
    assert asked == [("GET", url, b"")]


def test_a_pause_ends_when_the_agent_is_to_end(variables):
    stop = Stop()
    stop.requested = True
    with pytest.raises(Stopped):
        stop.sleep(1000)


def test_an_answer_that_is_no_json_is_an_error(aws, variables):
    variables.setitem(aws.actions, "CreateLogStream", lambda *_: (200, b"<html>"))
    with pytest.raises(CallError, match="no JSON"):
        Aws("eu-north-1", Stop()).logs("CreateLogStream", {}, region="eu-north-1", tries=1)
