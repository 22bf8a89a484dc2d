"""What stands between a machine and a control plane: signatures, networks that fail, credentials."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from tests.hutctl_process import Hut
from tests.remote.conftest import add_target
from tests.remote.documents import run
from tests.remote.fake_aws import (
    DROP,
    KEY,
    REGION,
    SECRET,
    FakeAws,
    Reply,
    Request,
    problem,
    refused,
)


def with_environment(hut: Hut, **variables: str) -> Hut:
    return Hut(hut.folder, {**hut.environment, **variables})


def test_requests_are_signed_for_the_api_in_the_targets_region(lab: Hut, aws: FakeAws) -> None:
    aws.on("GET", "/runs", [run()])
    lab("runs", "--workflow", "a b&c=d/ü*~", "--state", "failed,running")
    (request,) = aws.seen("GET", "/runs")
    assert request.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEY}/")
    assert f"/{REGION}/execute-api/aws4_request" in request.headers["authorization"]
    assert "x-amz-date" in request.headers
    assert "x-amz-security-token" not in request.headers
    assert request.headers["user-agent"].startswith("hutctl/")
    assert request.query["workflow"] == "a b&c=d/ü*~"
    assert request.query["state"] == "failed,running"


def test_temporary_credentials_send_their_token(lab: Hut, aws: FakeAws) -> None:
    aws.on("GET", "/runs", [])
    with_environment(lab, AWS_SESSION_TOKEN="tok/en+=")("runs")
    assert aws.seen("GET", "/runs")[0].headers["x-amz-security-token"] == "tok/en+="


def test_a_name_with_any_character_is_signed_as_it_is_sent(lab: Hut, aws: FakeAws) -> None:
    aws.on("GET", f"/runs/{'k' * 10}", run(run_id="k" * 10))
    done = lab("why", "k" * 10, "a b/../c?d#é%2F", exit_code=2)
    assert "no route" in done.stderr
    assert aws.requests[-1].path.endswith("/tasks/a b/../c?d#é%2F/why")
    for name in ("", ".", ".."):
        assert "has no task" in lab("why", "k" * 10, name, exit_code=2).stderr


@pytest.mark.parametrize(
    "fault",
    [
        Reply(429, {"message": "Too Many Requests"}),
        Reply(429, {"message": "busy"}, {"Retry-After": "1"}),
        Reply(500, {"message": "Internal server error"}),
        Reply(502, b"<html>"),
        Reply(504, {"message": "Endpoint request timed out"}),
        DROP,
    ],
)
def test_what_may_pass_is_tried_again(lab: Hut, aws: FakeAws, fault: Reply | str) -> None:
    aws.on("GET", "/runs", fault, fault, Reply(200, [run()]))
    assert len(lab.json("runs")) == 1
    assert len(aws.seen("GET", "/runs")) == 3


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Reply(429, {"message": "Limit Exceeded"}), "429"),
        (Reply(500, {"message": "x"}, {"x-amzn-RequestId": "r-1"}), "request r-1"),
        (DROP, "broke"),
    ],
)
def test_what_does_not_pass_is_4(lab: Hut, aws: FakeAws, fault: Reply | str, told: str) -> None:
    aws.on("GET", "/runs", fault)
    done = lab("runs", exit_code=4)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert len(aws.seen("GET", "/runs")) == 3
    assert done.stdout == ""


def test_verbose_tells_of_each_try(lab: Hut, aws: FakeAws) -> None:
    aws.on("GET", "/runs", Reply(503, {}), Reply(200, []))
    said = lab("runs", "-v").stderr
    assert f"target lab: {aws.url}, {REGION}" in said
    assert "try 1 of 3" in said
    assert "GET /runs: 200" in said
    assert SECRET not in said


def test_nobody_there_is_4(lab: Hut, aws: FakeAws) -> None:
    aws.stop()
    done = lab("runs", exit_code=4)
    assert f"{aws.host} can't be reached: Connection refused" in done.stderr


def test_an_unknown_host_is_4_and_says_what_to_check(lab: Hut) -> None:
    add_target(lab, "https://gone.invalid/prod")
    done = lab("runs", exit_code=4)
    assert "host gone.invalid is not known" in done.stderr
    assert "hutctl target add" in done.stderr


def test_a_connection_without_trusted_tls_is_4(lab: Hut, aws: FakeAws) -> None:
    add_target(lab, aws.url.replace("http:", "https:"))
    done = lab("runs", exit_code=4)
    assert "TLS" in done.stderr
    assert "AWS_CA_BUNDLE" in done.stderr


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, b"<html>hello</html>"),
        Reply(200, {"not": "a list"}),
        Reply(301, b"", {"Location": "https://elsewhere"}),
        Reply(404, {"message": "no"}),
        Reply(404, b"no"),
    ],
)
def test_what_is_not_huts_api_is_4(lab: Hut, aws: FakeAws, reply: Reply) -> None:
    aws.on("GET", "/runs", reply)
    done = lab("runs", exit_code=4)
    assert "not Hut's API" in done.stderr


def test_no_credentials_are_4_and_say_how_to_get_some(bare: Hut, aws: FakeAws) -> None:
    add_target(bare, aws.url)
    done = bare("runs", exit_code=4)
    assert "no AWS credentials for target 'lab'" in done.stderr
    assert "AWS_PROFILE" in done.stderr
    assert aws.requests == []


def test_a_profile_that_is_not_there_is_4(bare: Hut, aws: FakeAws) -> None:
    add_target(bare, aws.url, profile="nope")
    done = bare("runs", exit_code=4)
    assert "no AWS profile 'nope'" in done.stderr
    assert "--profile nope" in done.stderr
    (bare.folder / "aws-config").write_text(f"[profile nope]\nregion = {REGION}\n")
    done = bare("runs", exit_code=4)
    assert "profile 'nope' has no AWS credentials" in done.stderr


@pytest.mark.parametrize("command", ["runs", "doctor", "target list"])
def test_a_login_that_has_expired_says_how_to_log_in(bare: Hut, aws: FakeAws, command: str) -> None:
    add_target(bare, aws.url, profile="lab")
    (bare.folder / "aws-config").write_text(
        "[profile lab]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n"
        f"region = {REGION}\n[sso-session s]\nsso_region = {REGION}\n"
        "sso_start_url = https://example.awsapps.com/start\n"
    )
    code = {"runs": 4, "doctor": 1}.get(command, 0)
    done = bare(*command.split(), exit_code=code)
    if code:
        assert "aws sso login --profile lab" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert aws.requests == []


def test_half_a_pair_of_keys_is_4(bare: Hut, aws: FakeAws) -> None:
    add_target(bare, aws.url)
    done = with_environment(bare, AWS_ACCESS_KEY_ID=KEY)("runs", exit_code=4)
    assert "not complete" in done.stderr


def test_a_broken_configuration_of_aws_is_4(bare: Hut, aws: FakeAws) -> None:
    add_target(bare, aws.url)
    (bare.folder / "aws-config").write_text("[profile\n")
    done = bare("runs", exit_code=4)
    assert "aws-config" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (
            refused(
                "ExpiredTokenException", "The security token included in the request is expired"
            ),
            "the credentials in the environment (AWS_ACCESS_KEY_ID ...) have expired; set new ones",
        ),
        (
            refused("UnrecognizedClientException", "The security token ... is invalid."),
            "AWS does not know the credentials",
        ),
        (
            refused("AccessDeniedException", "User: ada is not authorized to perform: x"),
            "to perform: x; ask whoever runs the account for the policy HutReader",
        ),
        (
            refused(
                "AccessDeniedException",
                "User: arn:aws:iam::210987654321:user/ada is not authorized to perform: x "
                "with an explicit deny in a resource-based policy",
            ),
            "take a role in its account that has the policy HutReader",
        ),
        (
            refused("MissingAuthenticationTokenException", "Missing Authentication Token"),
            "no such route",
        ),
        (refused("InvalidSignatureException", "The request signature ..."), "the secret of"),
        (Reply(403, b"Forbidden"), "forbidden"),
        (problem(403, "no-identity", "the request carries no IAM identity"), "no IAM identity"),
        (Reply(401, {"message": "Unauthorized"}), "Unauthorized"),
    ],
)
def test_refused_credentials_are_4_with_what_to_do(
    lab: Hut, aws: FakeAws, reply: Reply, told: str
) -> None:
    aws.on("GET", "/runs", reply)
    done = lab("runs", exit_code=4)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert len(aws.seen("GET", "/runs")) == 1


def test_who_may_only_look_is_told_what_submitting_takes(lab: Hut, aws: FakeAws) -> None:
    aws.on("POST", "/runs", refused("AccessDeniedException", "User: ada is not authorized"))
    lab.write([{"id": "t", "command": "true"}])
    done = lab("run", "w.json", exit_code=4)
    assert "for the policy HutSubmitter" in done.stderr


@pytest.mark.parametrize(
    ("off", "message", "told"),
    [(-7200, "Signature expired: ...", "ahead"), (7200, "Signature not yet current", "behind")],
)
def test_a_clock_that_is_off_is_told_where_aws_refuses_its_signatures(
    lab: Hut, aws: FakeAws, off: int, message: str, told: str
) -> None:
    def refuse(_request: Request) -> Reply:
        date = formatdate(time.time() + off, usegmt=True)
        return refused("InvalidSignatureException", message, Date=date)

    aws.on("GET", "/runs", refuse)
    said = lab("runs", exit_code=4).stderr
    assert "the clock of this machine is " in said
    assert f"minutes {told}" in said
    assert "set the clock" in said


def test_a_profile_may_log_in_anew_between_two_tries(bare: Hut, aws: FakeAws) -> None:
    add_target(bare, aws.url, profile="lab")
    path = bare.folder / "aws-credentials"
    old = "[lab]\naws_access_key_id = OLD\naws_secret_access_key = old\naws_session_token = o\n"
    path.write_text(old)
    aws.secrets["OLD"] = "old"

    def expired(_request: object) -> Reply:
        path.write_text(old.replace("OLD", KEY).replace("= old", f"= {SECRET}"))
        return refused("ExpiredTokenException", "The security token ... is expired")

    aws.on("GET", "/runs", expired, Reply(200, [run()]))
    assert len(bare.json("runs")) == 1


@pytest.mark.parametrize(
    ("status", "kind", "detail"),
    [
        (400, "malformed-request", "the request has a problem: field 'limit': 0"),
        (404, "unknown-run", "there is no run 'x'"),
        (409, "run-not-ended", "run x has not ended"),
        (418, "teapot", "no coffee"),
    ],
)
def test_other_refusals_are_2_in_the_words_of_the_api(
    lab: Hut, aws: FakeAws, status: int, kind: str, detail: str
) -> None:
    aws.on("GET", "/runs", problem(status, kind, detail, {"message": "inner"}))
    done = lab("runs", exit_code=2)
    assert done.stderr == f"hutctl: {detail}\n"
    assert len(aws.seen("GET", "/runs")) == 1


def test_doctor_says_who_one_is_how_far_it_is_and_what_is_there(lab: Hut) -> None:
    document = lab.json("doctor")
    found = {check["check"]: check["found"] for check in document["checks"]}
    assert document["well"]
    assert found["target"].startswith("lab: http://127.0.0.1")
    assert "arn:aws:iam::123456789012:user/ada" in found["identity"]
    assert "environment variables" in found["identity"]
    assert found["api"].startswith("answers after ")
    assert found["version"] == "0.1.0, here and there"
    assert found["clock"] == "agrees with AWS"


def test_doctor_finds_another_version_and_a_clock_that_is_off(lab: Hut, aws: FakeAws) -> None:
    late = {"Date": formatdate(time.time() + 7200, usegmt=True)}
    health = {"status": "ok", "version": "0.7.0", "prefix": "hut"}
    aws.on("GET", "/health", Reply(200, health, late))
    checks = {check["check"]: check for check in lab.json("doctor", exit_code=1)["checks"]}
    assert not checks["version"]["well"]
    assert "the control plane is 0.7.0" in checks["version"]["found"]
    assert not checks["clock"]["well"]
    assert "behind AWS" in checks["clock"]["found"]


def test_doctor_goes_on_where_sts_refuses_and_stops_where_nothing_answers(
    lab: Hut, aws: FakeAws
) -> None:
    aws.denied = "no sts here"
    said = lab("doctor", exit_code=1).stdout
    assert "no sts here" in said
    assert "agrees with AWS" in said
    aws.stop()
    said = lab("doctor", exit_code=1).stdout
    assert "can't be reached" in said
