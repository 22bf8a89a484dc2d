"""Who may do what, with IAM enforced: people with the deployment's policies, and the functions' roles.

What each caller gets of each route stands in the reviewed table `tests/access/routes.md`; unit tests
hold it against the OpenAPI document and `hut.model.access`.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import botocore.auth
import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from hut.model.access import Role
from tests.access.routes import ROLES, Expected, expectations
from tests.e2e.conftest import ENFORCED
from tests.e2e.deployment import Deployment
from tests.e2e.remote_hut import Answer, RemoteHut, until
from tests.testbed.running import REGION, TestBed

TASKS = [{"id": "t", "command": "true"}]
OF_THE_ACCOUNT: dict[str, Role | None] = {"nobody": None, **ROLES}
OTHER_ACCOUNT = "210987654321"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


@dataclass(frozen=True)
class Person:
    """An IAM user with one of the policies, or with none, or one of another account."""

    name: str
    arn: str
    credentials: Credentials

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
        }


@pytest.fixture(scope="module", autouse=True)
def enforced(bed: TestBed) -> Iterator[None]:
    """IAM is enforced while these tests run."""
    bed.hook("iam", {"enforced": True})
    yield
    bed.hook("iam", {"enforced": ENFORCED})


@pytest.fixture(scope="module")
def people(deployment: Deployment) -> Iterator[dict[str, Person]]:
    iam = deployment.bed.client("iam")
    found = {}
    for name, role in OF_THE_ACCOUNT.items():
        arn = iam.create_user(UserName=name)["User"]["Arn"]
        if role is not None:
            policy = deployment.outputs[f"{role.name.capitalize()}Policy"]
            iam.attach_user_policy(UserName=name, PolicyArn=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        credentials = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
        found[name] = Person(name, arn, credentials)
    yield found
    for name, person in found.items():
        iam.delete_access_key(UserName=name, AccessKeyId=person.credentials.access_key)
        for policy in iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]:
            iam.detach_user_policy(UserName=name, PolicyArn=policy["PolicyArn"])
        iam.delete_user(UserName=name)


def as_person(hut: RemoteHut, person: Person) -> RemoteHut:
    return replace(hut, environment={**hut.environment, **person.environment})


@pytest.fixture(scope="module")
def strangers(deployment: Deployment) -> list[Person]:
    """A user of another account, which allows them everything, and that account's root."""
    root = Credentials(OTHER_ACCOUNT, "test")
    iam = deployment.bed.new_client("iam", root.access_key, root.secret_key)
    arn = iam.create_user(UserName="stranger")["User"]["Arn"]
    document = json.dumps({"Version": "2012-10-17", "Statement": [EVERYTHING]})
    iam.put_user_policy(UserName="stranger", PolicyName="all", PolicyDocument=document)
    key = iam.create_access_key(UserName="stranger")["AccessKey"]
    credentials = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
    return [
        Person("stranger", arn, credentials),
        Person("root", f"arn:aws:iam::{OTHER_ACCOUNT}:root", root),
    ]


def ask(hut: RemoteHut, route: Expected, **who: Any) -> Answer:
    """Call a route without a body, with names nobody has in the place of its parameters."""
    return hut.call(route.method, re.sub(r"\{[^}]*\}", "nosuchthing", route.route), **who)


def what_they_get(answer: Answer, person: Person) -> int | None:
    """Return a function's status, or None where IAM kept it from one and said what is missing."""
    if answer.status != 403:
        return answer.status
    told = answer.document
    assert "type" not in told, "the function refused it itself"
    said = str(told.get("Message") or told.get("message"))
    assert f"User: {person.arn} is not authorized" in said
    assert "execute-api:Invoke" in said
    return None


# The routes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_THE_ACCOUNT)
def test_each_route_answers_callers_of_the_account_as_reviewed(
    hut: RemoteHut, people: dict[str, Person], name: str
) -> None:
    person = people[name]
    found = {
        (route.method, route.route): what_they_get(ask(hut, route, by=person.credentials), person)
        for route in expectations()
    }
    assert found == {(r.method, r.route): r.answers[name] for r in expectations()}


def test_no_route_answers_those_who_do_not_sign(hut: RemoteHut) -> None:
    for route in expectations():
        answer = ask(hut, route, signed=False)
        assert answer.status == 403, route
        assert answer.document == {"message": "Missing Authentication Token"}, route
        assert not route.may("unsigned")


def test_no_route_answers_another_account_whatever_that_one_allows(
    hut: RemoteHut, strangers: list[Person]
) -> None:
    for person in strangers:
        for route in expectations():
            answer = ask(hut, route, by=person.credentials)
            assert what_they_get(answer, person) is None, (person, route)
            assert "explicit deny in a resource-based policy" in answer.text
            assert not route.may("other account")


def test_hutctl_tells_a_caller_of_another_account_what_to_do(
    hut: RemoteHut, strangers: list[Person]
) -> None:
    said = as_person(hut, strangers[0])("runs", exit_code=4).stderr
    assert "take a role in its account that has the policy HutReader" in said


@pytest.mark.parametrize(
    ("name", "method", "path"),
    [
        ("reader", "POST", "/runs/"),
        ("reader", "POST", "/runs/nosuchthing/cancel/"),
        ("reader", "POST", "/runs%2Fnosuchthing%2Fcancel"),
        ("reader", "POST", "/plan/../runs"),
        ("reader", "POST", "//runs"),
        ("reader", "PUT", "/plan"),
        ("reader", "HEAD", "/runs"),
        ("reader", "DELETE", "/runs/nosuchthing"),
        ("submitter", "GET", "/audit/"),
        ("submitter", "GET", "//audit"),
        ("submitter", "GET", "/Audit"),
        ("submitter", "GET", "/audit%2F"),
        ("submitter", "DELETE", "/runs/nosuchthing"),
    ],
)
def test_other_ways_to_write_a_path_lead_nowhere(
    hut: RemoteHut, people: dict[str, Person], name: str, method: str, path: str
) -> None:
    assert hut.call(method, path, by=people[name].credentials).status == 403


def test_what_slips_through_a_star_is_no_other_route(
    hut: RemoteHut, people: dict[str, Person]
) -> None:
    """``GET/runs/*`` takes any path behind it; the function must not read another route in it."""
    for path in ("/runs/../audit", "/runs/%2e%2e/audit", "/runs//audit", "/runs/x/../../audit"):
        answer = hut.call("GET", path, by=people["reader"].credentials)
        assert answer.status in (400, 403, 404), path


# Signatures ---------------------------------------------------------------------------------------


def test_a_wrong_secret_is_refused(hut: RemoteHut, people: dict[str, Person]) -> None:
    key = people["admin"].credentials.access_key
    answer = hut.call("GET", "/health", by=Credentials(key, "wrong"))
    assert answer.status == 403
    assert "signature" in answer.text


def test_an_unknown_key_is_refused(hut: RemoteHut) -> None:
    answer = hut.call("GET", "/health", by=Credentials("AKIAIOSFODNN7EXAMPLE", "x"))
    assert answer.status == 403
    assert "security token" in answer.text


@pytest.mark.parametrize(("minutes", "told"), [(-60, "expired"), (-6, "expired"), (6, "current")])
def test_a_signature_of_another_time_is_refused(
    hut: RemoteHut,
    people: dict[str, Person],
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
    told: str,
) -> None:
    """A request that somebody recorded is good for five minutes, not longer."""
    then = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes)
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda **_: then.replace(tzinfo=None)
    )
    answer = hut.call("GET", "/health", by=people["admin"].credentials)
    assert answer.status == 403
    assert f"Signature {'not yet ' if minutes > 0 else ''}{told}" in answer.text


@pytest.mark.parametrize(
    ("service", "region"), [("execute-api", "eu-west-1"), ("s3", REGION), ("apigateway", REGION)]
)
def test_a_signature_for_something_else_is_refused(
    hut: RemoteHut, people: dict[str, Person], service: str, region: str
) -> None:
    request = hut.request("GET", "/health")
    botocore.auth.SigV4Auth(people["admin"].credentials, service, region).add_auth(request)
    answer = hut.send(request)
    assert (answer.status, "Credential should be scoped" in answer.text) == (403, True)


def _signed(hut: RemoteHut, person: Person, method: str, path: str, body: Any = None) -> Any:
    request = hut.request(method, path, body, {"X-Note": "a"})
    botocore.auth.SigV4Auth(person.credentials, "execute-api", REGION).add_auth(request)
    return request


@pytest.mark.parametrize("changed", ["nothing", "method", "path", "query", "body", "header"])
def test_a_signature_holds_for_one_request_only(
    hut: RemoteHut, people: dict[str, Person], changed: str
) -> None:
    # A body that is not a workflow: what passes is refused by the function, and nothing runs.
    request = _signed(hut, people["admin"], "POST", "/runs?key=1", b"[]")
    match changed:
        case "method":
            request.method = "PUT"
        case "path":
            request.url = request.url.replace("/runs", "/plan")
        case "query":
            request.url = request.url.replace("key=1", "key=2")
        case "body":
            request.data = b"{}"
        case "header":
            request.headers.replace_header("X-Note", "b")
    answer = hut.send(request)
    if changed == "nothing":
        assert answer.status == 400
        assert answer.document["type"] == "urn:hut:problem:malformed-request"
    else:
        assert answer.status == 403, answer.text
        assert "signature" in answer.text


def test_a_header_makes_no_other_method_of_a_request(
    hut: RemoteHut, people: dict[str, Person]
) -> None:
    headers = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST"}
    by = people["reader"].credentials
    assert hut.call("GET", "/runs/x/cancel", headers=headers, by=by).status == 405


# hutctl -------------------------------------------------------------------------------------------


def test_hutctl_says_which_policy_is_missing(hut: RemoteHut, people: dict[str, Person]) -> None:
    hut.write(TASKS)
    nobody, reader = as_person(hut, people["nobody"]), as_person(hut, people["reader"])
    said = nobody("runs", exit_code=4).stderr
    assert "user/nobody is not authorized" in said
    assert "the policy HutReader" in said
    assert reader.json("plan", "w.json")["total"] == 1
    assert "the policy HutSubmitter" in reader("run", "w.json", exit_code=4).stderr
    assert "the policy HutAdmin" in reader("audit", exit_code=4).stderr
    assert hut.get("/runs", owner="user/reader").document == []


def test_the_address_is_found_by_those_who_may_use_it(
    deployment: Deployment, people: dict[str, Person]
) -> None:
    def client(person: Person) -> Any:
        key, secret = person.credentials.access_key, person.credentials.secret_key
        return deployment.bed.new_client("cloudformation", key, secret)

    [stack] = client(people["reader"]).describe_stacks(StackName="HutApi")["Stacks"]
    assert any(output["OutputKey"] == "ApiUrl" for output in stack["Outputs"])
    with pytest.raises(ClientError, match="not authorized"):
        client(people["nobody"]).describe_stacks(StackName="HutApi")
    with pytest.raises(ClientError, match="not authorized"):
        client(people["admin"]).describe_stacks(StackName="HutStorage")


# The functions ------------------------------------------------------------------------------------


def test_runs_of_a_submitter_go_their_ways_and_are_accounted_for(
    hut: RemoteHut, people: dict[str, Person], tmp_path: Any
) -> None:
    """Large, generated, in an array; fail, repeat, cancel: no function lacks anything for it."""
    submitter = as_person(hut, people["submitter"])
    new = json.dumps([{"id": "new", "command": "echo new"}])
    tasks = [
        {"id": "large", "command": f"true # {'x' * 9000}"},
        {"id": "makes", "command": f"echo '{new}' > new.json", "generates_source": "new.json"},
        *({"id": f"same.{n}", "command": f"true {n} # {'y' * 3000}"} for n in range(3)),
        {"id": "last", "command": "echo last", "deps": ["large", "makes", "same.*"]},
    ]
    done = submitter.run(tasks)
    assert (done["state"], done["total"], done["owner"]) == ("completed", 7, "user/submitter")
    assert submitter("logs", done["id"], "last").stdout == "last\n"
    failed = submitter.run([{"id": "t", "command": "test -e mended"}], exit_code=1)
    (hut.bed.home / "mended").touch()
    submitter("retry", failed["id"])
    stopped = submitter.start([{"id": "t", "command": "sleep 300"}], "--tag", "project=x")
    hut.reached(stopped, "t", "running")
    assert hut.job(stopped, "t")["tags"] == {
        "hut:prefix": "hut",
        "hut:run": stopped,
        "hut:workflow": "w",
        "hut:task": "t",
        "hut:owner": "user/submitter",
        "hut:tag:project": "x",
    }
    submitter("cancel", stopped)
    hut.sweep()
    ids = [done["id"], failed["id"], failed["id"], stopped, stopped]
    admin = as_person(hut, people["admin"])
    entries = admin.json("audit", "--who", "user/submitter")
    assert [(entry["action"], entry["run"]) for entry in reversed(entries)] == list(
        zip(["submit", "submit", "retry", "submit", "cancel"], ids, strict=True)
    )
    assert {entry["outcome"] for entry in entries} == {"done"}
    assert {entry["source_ip"] for entry in entries} == {"127.0.0.1"}
    assert all(entry["user_agent"].startswith("hutctl/") for entry in entries)
    assert [entry["action"] for entry in admin.json("audit", "--run", stopped)] == [
        "cancel",
        "submit",
    ]


def test_what_holds_for_all_is_changed_by_administrators_only(
    hut: RemoteHut, people: dict[str, Person]
) -> None:
    (hut.folder / "hut.yaml").write_text("environments: [{name: lab, variables: {A: b}}]\n")
    submitter, admin = as_person(hut, people["submitter"]), as_person(hut, people["admin"])
    assert "the policy HutAdmin" in submitter("config", "apply", exit_code=4).stderr
    admin("config", "apply")
    assert submitter.get("/environments/lab").document["variables"] == {"A": "b"}
    gone = hut.call("DELETE", "/environments/lab", by=people["admin"].credentials)
    assert gone.status == 201, gone.text
    deleted, applied = admin.json("audit", "--who", "user/admin")[:2]  # others were before
    assert (deleted["outcome"], applied["outcome"]) == ("done", "done")
    assert (deleted["action"], applied["action"]) == ("config.delete", "config.apply")


def test_no_function_was_ever_refused_anything(hut: RemoteHut, deployment: Deployment) -> None:
    """What was refused is told in their logs."""
    logs = deployment.bed.client("logs")
    refused = []
    for group in logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/hut-")["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=group["logGroupName"], filterPattern='"not authorized to perform"'
        )
        refused += [event["message"] for page in pages for event in page["events"]]
    assert not refused
    until(lambda: not hut.get("/jobs").document, "no job is left")


def test_who_has_no_policy_reaches_nothing_beside_the_api(
    deployment: Deployment, people: dict[str, Person]
) -> None:
    """Not a matter of Hut: it shows that the test bed enforces anything at all."""
    admin = people["admin"].credentials
    table = deployment.bed.new_client("dynamodb", admin.access_key, admin.secret_key)
    with pytest.raises(ClientError, match="not authorized"):
        table.scan(TableName=deployment.outputs["TableName"])
    assert table.meta.region_name == REGION
