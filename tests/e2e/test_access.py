"""Who may do what, with IAM enforced: people with the deployment's policies, and the functions' roles.

Which route needs which role is said in `hut.model.access`, which routes there are in the OpenAPI
document; a unit test holds the two together.
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

from hut.model.access import ROUTES, Role
from hut.rest.openapi import openapi_document
from tests.e2e.conftest import ENFORCED
from tests.e2e.deployment import Deployment
from tests.e2e.remote_hut import Answer, RemoteHut, until
from tests.testbed.running import ACCOUNT, REGION, TestBed

TASKS = [{"id": "t", "command": "true"}]
ROLES = {"nobody": None, "reader": Role.READER, "submitter": Role.SUBMITTER, "admin": Role.ADMIN}


@dataclass(frozen=True)
class Person:
    """An IAM user with one of the policies, or with none."""

    name: str
    role: Role | None
    credentials: Credentials

    def may(self, least: Role) -> bool:
        return self.role is not None and self.role >= least

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
    for name, role in ROLES.items():
        iam.create_user(UserName=name)
        if role is not None:
            policy = deployment.outputs[f"{role.name.capitalize()}Policy"]
            iam.attach_user_policy(UserName=name, PolicyArn=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        credentials = Credentials(key["AccessKeyId"], key["SecretAccessKey"])
        found[name] = Person(name, role, credentials)
    yield found
    for name, person in found.items():
        iam.delete_access_key(UserName=name, AccessKeyId=person.credentials.access_key)
        for policy in iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]:
            iam.detach_user_policy(UserName=name, PolicyArn=policy["PolicyArn"])
        iam.delete_user(UserName=name)


def as_person(hut: RemoteHut, person: Person) -> RemoteHut:
    return replace(hut, environment={**hut.environment, **person.environment})


def routes() -> list[tuple[str, str]]:
    """Return every route of the API, with names nobody has in the place of its parameters."""
    return [
        (method.upper(), path)
        for path, methods in openapi_document()["paths"].items()
        for method in methods
    ]


def filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "nosuchthing", path)


def is_denied(answer: Answer, person: Person, method: str, path: str) -> bool:
    """Say whether IAM kept the request from the function; a denial must say what is missing."""
    if answer.status not in (401, 403):
        return False
    told = answer.document
    said = str(told.get("Message") or told.get("message"))
    assert answer.status == 403
    assert f"User: arn:aws:iam::{ACCOUNT}:user/{person.name} is not authorized" in said
    assert "execute-api:Invoke" in said
    assert "type" not in told, f"the function refused {method} {path} itself"
    return True


# The routes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROLES)
def test_each_route_is_open_to_those_whose_policy_has_it(
    hut: RemoteHut, people: dict[str, Person], name: str
) -> None:
    person = people[name]
    wrong = []
    for method, path in routes():
        answer = hut.call(method, filled(path), by=person.credentials)
        assert answer.status < 500, f"{method} {path}: {answer.text}"
        if is_denied(answer, person, method, path) is person.may(ROUTES[method, path]):
            wrong.append(f"{method} {path}: {answer.status}")
    assert not wrong


def test_no_route_is_open_to_those_who_do_not_sign(hut: RemoteHut) -> None:
    for method, path in routes():
        answer = hut.call(method, filled(path), signed=False)
        assert answer.status == 403, path
        assert answer.document == {"message": "Missing Authentication Token"}, path


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


def test_an_old_signature_is_refused(
    hut: RemoteHut, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda **_: earlier.replace(tzinfo=None)
    )
    answer = hut.call("GET", "/health", by=people["admin"].credentials)
    assert answer.status == 403
    assert "Signature expired" in answer.text


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
