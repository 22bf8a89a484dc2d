"""Planning, submitting and uploading: what goes in, and how it is kept apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hut.model.states import TaskState
from hut.rest import exchange, previews
from hut.store.port import TaskFilter
from tests.rest.api_world import ALICE, BOB, Api, api_event

TASKS: list[dict[str, Any]] = [
    {"id": "a", "command": "echo a"},
    {"id": "b", "command": "echo b", "deps": ["a"]},
]
YAML = "tasks:\n- id: a\n  command: echo a\n"


@pytest.mark.parametrize(
    ("body", "name", "ids"),
    [
        (TASKS, "workflow", ["a", "b"]),
        ({"tasks": TASKS, "name": "two"}, "two", ["a", "b"]),
        ({"workflow": TASKS}, "workflow", ["a", "b"]),
        ({"workflow": {"tasks": TASKS, "name": "two"}, "name": "mine"}, "mine", ["a", "b"]),
        ({"workflow": json.dumps(TASKS), "filename": "x/some.json"}, "some", ["a", "b"]),
        ({"workflow": YAML, "filename": "some.yaml"}, "some", ["a"]),
        ({"workflow": TASKS, "filename": "some.yaml"}, "some", ["a", "b"]),
    ],
)
def test_a_workflow_may_be_sent_in_several_forms(
    api: Api, body: Any, name: str, ids: list[str]
) -> None:
    answer = api.post("/runs", body)
    assert answer.status == 201
    run = answer.json
    assert run["workflow"] == name
    assert run["owner"] == "user/alice"
    assert answer.headers["Location"] == f"/v1/runs/{run['id']}"
    assert [task["id"] for task in api.get(f"/runs/{run['id']}/tasks").json] == ids
    assert api.post("/plan", body).json["workflow"] == name


def test_what_stands_beside_a_workflow_reaches_the_run(api: Api) -> None:
    api.apply(environments=[{"name": "known"}])
    body = {
        "workflow": [{"id": "a", "command": "x", "environment": "py"}],
        "max_concurrent": 3,
        "env_vars": {"A": "1", "B": 2},
        "tags": {"team": "x"},
        "backend": "other",
        "environments": {"py": {"variables": {"P": "1"}, "extra_init": "module load py"}},
    }
    run = api.post("/runs", body).json
    assert (run["max_concurrent"], run["tags"], run["backend"]) == (3, {"team": "x"}, "other")
    settings = api.store.get_run(run["id"]).settings
    assert settings.env_vars == {"A": "1", "B": "2"}
    py = {"variables": {"P": "1"}, "extra_init": "module load py"}
    assert settings.environments["py"] == py
    assert "known" in settings.environments


def test_a_version_number_stays_as_it_was_written(api: Api) -> None:
    text = '{"env_vars": {"A": 1.10},\n"workflow": [{"id": "a", "command": "x", "env_vars": {"V": 1.10}}]}'
    run_id = api.post("/runs", text).json["id"]
    task = api.store.list_tasks(run_id, TaskFilter())[0]
    assert task.spec.env_vars == {"V": "1.10"}
    assert api.store.get_run(run_id).settings.env_vars == {"A": "1.10"}


@pytest.mark.parametrize(
    "text",
    [
        '{"workflow": {"tasks": [{"id": "a", "command": "x"}]}, "name": "n"}',
        ' {\n "name" : "n" ,\t"workflow"\n:\n{"name":"workflow","tasks":[{"id":"a","command":"}"}]}}',
        '{"tags":{"workflow":"{"},"workflow":[{"id":"a","command":"\\"workflow\\": ["}],"name":"n"}',
        '\ufeff{"workflow":[{"id":"a","command":"x"}]}',
    ],
)
def test_an_envelope_is_found_its_workflow_in(api: Api, text: str) -> None:
    answer = api.post("/runs", text)
    assert answer.status == 201, answer.body
    (submission, _) = api.submissions[0]
    expected = json.loads(text.removeprefix("\ufeff"))["workflow"]
    assert json.loads(submission.text) == expected


def test_a_body_may_come_as_base64(api: Api) -> None:
    tasks = [{"id": "a", "command": "echo ü"}]
    event = api_event("POST", "/runs", body=json.dumps(tasks, ensure_ascii=False), as_base64=True)
    run_id = api.send(event).json["id"]
    assert api.get(f"/runs/{run_id}/tasks/a").json["command"] == "echo ü"


def test_warnings_come_with_the_run(api: Api) -> None:
    run = api.post("/runs", [{"id": "a", "command": "x", "env_vars": {"HUT_RUN_ID": "1"}}]).json
    assert len(run["warnings"]) == 1
    assert "is set by Hut itself" in run["warnings"][0]


def test_a_plan_stores_nothing(api: Api) -> None:
    plan = api.post("/plan", TASKS).json
    assert plan["total"] == 2
    assert [task["level"] for task in plan["tasks"]] == [0, 1]
    assert all(task.get("script") is None for task in plan["tasks"])
    assert not plan["truncated"]
    assert not plan["scripts_left_out"]
    assert api.get("/runs").json == []


def test_a_plan_may_come_with_scripts(api: Api) -> None:
    tasks = [*TASKS, {"id": "c", "command": "x", "backend": "other"}]
    event = api_event("POST", "/plan", body=json.dumps(tasks), query={"scripts": "true"})
    plan = api.send(event).json
    assert plan["tasks"][0]["script"] == "#!/bin/sh\n# RUN 1 0\necho a\n"
    assert plan["tasks"][2]["script"] is None  # that backend is not at hand


def test_a_large_plan_leaves_out_scripts_first_and_then_tasks(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [{"id": f"t{n}", "command": "x" * 1000} for n in range(20)]
    event = api_event("POST", "/plan", body=json.dumps(tasks), query={"scripts": "true"})
    full = api.send(event)
    assert not full.json["scripts_left_out"]

    size = len(full.body)
    room = lambda most: monkeypatch.setattr(previews.plan_text, "__defaults__", (most,))  # noqa: E731
    room(size)
    without = api.send(event).json
    assert without["scripts_left_out"]
    assert not without["truncated"]
    assert len(without["tasks"]) == 20

    room(size // 4)
    cut = api.send(event).json
    assert cut["scripts_left_out"]
    assert cut["truncated"]
    assert 0 < len(cut["tasks"]) < 20
    assert cut["total"] == 20


# Idempotency --------------------------------------------------------------------------------------


def key(text: str, **more: Any) -> dict[str, Any]:
    return {"headers": {"idempotency-KEY": text}, **more}


def test_options_of_a_run_reach_its_settings_and_tell_two_submissions_apart(api: Api) -> None:
    options = {"shell": "sh", "task_variables": True, "bundle": 4, "bundle_wait": 0}
    body = {"workflow": TASKS, **options}
    run = api.post("/runs", body, **key("k")).json
    settings = api.store.get_run(run["id"]).settings
    assert {name: getattr(settings, name) for name in options} == options
    other = {**body, "bundle": 5}
    assert api.post("/runs", other, **key("k")).status == 409
    assert api.post("/runs", {**body, "shell": "bash"}).status == 400
    assert api.post("/runs", {**body, "bundle": -1}).status == 400


def test_the_same_key_and_body_give_the_same_run(api: Api) -> None:
    first = api.post("/runs", TASKS, **key("k"))
    again = api.post("/runs", TASKS, **key("k"))
    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json
    assert again.headers["Location"] == first.headers["Location"]
    assert len(api.get("/runs").json) == 1


def test_another_body_under_the_same_key_is_a_conflict(api: Api) -> None:
    api.post("/runs", TASKS, **key("my-key"))
    answer = api.post("/runs", TASKS[:1], **key("my-key"))
    assert (answer.status, answer.kind) == (409, "idempotency-conflict")
    assert "alice" not in answer.body
    assert len(api.get("/runs").json) == 1


def test_keys_of_two_owners_never_meet(api: Api) -> None:
    first = api.post("/runs", TASKS, **key("k", arn=ALICE))
    other = api.post("/runs", TASKS[:1], **key("k", arn=BOB))
    assert (first.status, other.status) == (201, 201)
    assert other.json["owner"] == "role/Dev/bob"
    assert [run["id"] for run in api.get("/runs", owner="role/Dev/bob").json] == [other.json["id"]]


def test_a_session_that_botocore_made_up_is_not_part_of_the_owner(api: Api) -> None:
    role = "arn:aws:sts::1:assumed-role/Dev/botocore-session-"
    first = api.post("/runs", TASKS, **key("k", arn=f"{role}1700000001"))
    again = api.post("/runs", TASKS, **key("k", arn=f"{role}1700000002"))
    assert first.json["owner"] == "role/Dev"
    assert (again.status, again.json["id"]) == (200, first.json["id"])


@pytest.mark.parametrize("bad", ["", "x" * 256, "a\nb", "\x7f"])
def test_a_key_is_printable_and_not_too_long(api: Api, bad: str) -> None:
    answer = api.post("/runs", TASKS, **key(bad))
    assert answer.status == 400
    assert answer.json["errors"][0]["field"] == "Idempotency-Key"


# Uploads ------------------------------------------------------------------------------------------


def test_a_ticket_says_where_to_put_the_file(api: Api) -> None:
    answer = api.post("/uploads")
    assert answer.status == 201
    assert answer.json == {
        "id": "up-1",
        "method": "PUT",
        "url": "https://example.org/user/alice/up-1",
        "headers": {"x-a": "b"},
        "expires_at": "1970-01-01T00:33:20.000000Z",
    }


def test_a_hundred_thousand_tasks_are_submitted_through_an_upload(api: Api) -> None:
    tasks = [{"id": f"t{n}", "command": f"echo {n}"} for n in range(99_999)]
    tasks.append({"id": "all", "command": "echo", "deps": ["t*"]})
    ticket = api.post("/uploads").json
    api.uploads.texts["user/alice", ticket["id"]] = json.dumps(tasks)
    answer = api.post("/runs", {"upload": ticket["id"], "filename": "big.json"}, **key("k"))
    assert answer.status == 201
    assert (answer.json["total"], answer.json["workflow"]) == (100_000, "big")
    plan = api.post("/plan", {"upload": ticket["id"]})
    assert plan.json["total"] == 100_000
    assert plan.json["truncated"]
    assert api.get(f"/runs/{answer.json['id']}").json["counts"][TaskState.PENDING] == 100_000


def test_an_upload_may_be_yaml(api: Api) -> None:
    api.uploads.texts["user/alice", "u"] = YAML
    answer = api.post("/runs", {"upload": "u", "filename": "w.yml"})
    assert (answer.status, answer.json["total"]) == (201, 1)


def test_an_upload_belongs_to_its_owner(api: Api) -> None:
    api.uploads.texts["user/alice", "u"] = json.dumps(TASKS)
    assert api.post("/runs", {"upload": "u"}).status == 201
    answer = api.post("/runs", {"upload": "u"}, arn=BOB)
    assert (answer.status, answer.kind) == (404, "unknown-upload")


def test_an_upload_may_be_too_large(api: Api) -> None:
    api.uploads.most = 10
    api.uploads.texts["user/alice", "u"] = json.dumps(TASKS)
    answer = api.post("/runs", {"upload": "u"})
    assert (answer.status, answer.kind) == (413, "too-large")
    assert "10 are allowed" in answer.json["detail"]


def test_an_upload_that_is_no_workflow_is_refused_with_its_line(api: Api) -> None:
    api.uploads.texts["user/alice", "u"] = "[\n{,\n]"
    answer = api.post("/runs", {"upload": "u"})
    assert (answer.status, answer.kind) == (422, "invalid-workflow")
    assert answer.json["errors"][0]["line"] == 2


@pytest.mark.parametrize("as_base64", [False, True])
def test_a_body_may_be_too_large(
    api: Api, monkeypatch: pytest.MonkeyPatch, as_base64: bool
) -> None:
    monkeypatch.setattr(exchange, "MOST_BODY", 100)
    fits = json.dumps([{"id": "a", "command": "x" * 60}])
    assert api.send(api_event("POST", "/runs", body=fits, as_base64=as_base64)).status == 201
    text = json.dumps([{"id": "a", "command": "ü" * 60}], ensure_ascii=False)
    answer = api.send(api_event("POST", "/runs", body=text, as_base64=as_base64))
    assert (answer.status, answer.kind) == (413, "too-large")
    assert "POST /uploads" in answer.json["detail"]


@pytest.mark.parametrize(
    ("arn", "owner"),
    [
        ("arn:aws:iam::123456789012:user/alice", "user/alice"),
        ("arn:aws:iam::123456789012:user/team:a/alice", "user/team:a/alice"),
        ("arn:aws:sts::123456789012:assumed-role/Dev/al@example.org", "role/Dev/al@example.org"),
        ("arn:aws:sts::123456789012:assumed-role/Dev/botocore-session-12345678", "role/Dev"),
        (
            "arn:aws:sts::123456789012:assumed-role/Dev/botocore-session-x",
            "role/Dev/botocore-session-x",
        ),
        ("arn:aws:sts::123456789012:federated-user/carol", "federated-user/carol"),
        ("arn:aws:iam::123456789012:root", "root"),
        ("arn:aws-cn:iam::123456789012:user/alice", "user/alice"),
        ("arn:aws:iam::210987654321:user/alice", "210987654321/user/alice"),
        ("arn:aws:iam::210987654321:root", "210987654321/root"),
    ],
)
def test_the_owner_is_who_signed_and_nobody_else_is_named_so(
    api: Api, arn: str, owner: str
) -> None:
    event = api_event("POST", "/runs", body=json.dumps(TASKS[:1]), arn=arn)
    event["requestContext"]["accountId"] = "123456789012"
    assert api.send(event).json["owner"] == owner


@pytest.mark.parametrize("arn", [None, "", "alice", "arn:aws:iam::123456789012:", "user/alice"])
def test_without_an_identity_nothing_is_submitted(api: Api, arn: str | None) -> None:
    answer = api.post("/runs", TASKS[:1], arn=arn)
    assert (answer.status, answer.kind) == (403, "no-identity")


def test_what_a_backend_passes_over_is_among_the_warnings(api: Api) -> None:
    api.backend.remarked = {"x": "'x' is ignored"}
    tasks = [{"id": "a", "command": "true", "image": "x"}, {"id": "b", "command": "true"}]
    [warning] = api.post("/plan", tasks).json["warnings"]
    assert (warning["task"], warning["field"], warning["message"]) == (
        "a",
        "image",
        "'x' is ignored",
    )
    run = api.post("/runs", tasks).json
    assert run["warnings"] == ["task 'a', field 'image': 'x' is ignored"]
    api.backends.clear()
    assert api.post("/plan", tasks).json["warnings"] == []
