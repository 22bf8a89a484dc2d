"""Routes of task programs: the registry of their tasks, what tasks wrote, and why they failed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hut.lifecycle.task_program import Judged
from tests.rest.api_world import BOB, COMPLETED, FAILED, Api, api_event
from tests.unit.test_task_definitions import HELLO

OTHER = {**HELLO, "description": "Another one."}


def test_a_definition_is_registered_once_and_replaced_by_who_may(api: Api) -> None:
    about = {"name": "hello", "version": "0.5.0"}
    assert api.get("/tasks").json == []
    first = api.post("/tasks", HELLO)
    assert (first.status, first.json) == (201, {**about, "changed": True})
    again = api.post("/tasks", {**dict(reversed(HELLO.items()))}, arn=BOB)
    assert (again.status, again.json) == (200, {**about, "changed": False})
    refused = api.post("/tasks", OTHER)
    assert (refused.status, refused.kind) == (409, "definition-exists")
    assert "another definition of hello@0.5.0" in refused.json["detail"]
    assert api.get("/tasks").json[0]["definition"] == HELLO
    assert api.put("/tasks", OTHER, arn=BOB).json == {**about, "changed": True}
    [shown] = api.get("/tasks", name="hello", version="0.5.0").json
    assert (shown["registered_by"], shown["definition"]) == ("role/Dev/bob", OTHER)
    removed = api.delete("/tasks", query=about)
    assert (removed.status, removed.json) == (200, about)
    assert api.delete("/tasks", query=about).kind == "unknown-definition"
    noted = [(act.action, act.detail) for act in api.audit.begun]
    assert ("task.remove", {"task": "hello@0.5.0"}) in noted
    assert [name for name, _ in noted].count("task.register") == 4


def test_definitions_are_listed_page_by_page(api: Api) -> None:
    for name, version in (("b", "1"), ("a", "1.10"), ("a", "1.9"), ("a b/%2F", "2")):
        assert api.post("/tasks", {**HELLO, "name": name, "version": version}).status == 201
    pages = api.pages("/tasks", limit="1")
    labels = [(each["name"], each["version"]) for page in pages for each in page]
    assert labels == [("a", "1.10"), ("a", "1.9"), ("a b/%2F", "2"), ("b", "1")]
    assert [each["version"] for each in api.get("/tasks", name="a").json] == ["1.10", "1.9"]
    assert api.get("/tasks", name="c").json == []
    assert api.get("/tasks", version="1").kind == "malformed-request"
    cursor = api.get("/tasks", limit="1").headers["X-Next-Cursor"]
    api.delete("/tasks", query={"name": "a", "version": "1.10"})
    assert "was removed" in api.get("/tasks", cursor=cursor).body


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ("", 400, "no body"),
        ("{", 400, "line 1"),
        ([HELLO], 422, "is no object"),
        ({"name": "x"}, 422, "version"),
        ({**HELLO, "output": {"file_argument": "-o", "json_schema": {"type": 5}}}, 422, "/type"),
        (
            {**HELLO, "input": {"file_argument": "-i", "json_schema": {"$ref": "http://x"}}},
            422,
            "$ref",
        ),
    ],
)
def test_what_is_no_definition_is_refused(api: Api, body: Any, status: int, told: str) -> None:
    refused = api.post("/tasks", body)
    assert refused.status == status
    assert told in refused.body
    assert api.get("/tasks").json == []


def submit(api: Api, *tasks: dict[str, Any], **more: Any) -> str:
    answer = api.post("/runs", {"name": "w", "tasks": list(tasks)}, **more)
    assert answer.status == 201, answer.body
    return str(answer.json["id"])


def test_a_workflow_names_what_is_registered_and_its_run_keeps_it(api: Api) -> None:
    refused = api.post("/runs", [{"id": "a", "task": "hello", "input": "x"}])
    assert (refused.status, "there is no task 'hello'" in refused.body) == (422, True)
    api.post("/tasks", HELLO)
    refused = api.post("/runs", [{"id": "a", "task": "hello", "input": 5}])
    assert "5 is not of type 'string'" in refused.body
    key = {"Idempotency-Key": "task:1:0"}
    run = submit(api, {"id": "a", "task": "hello", "input": "x"}, headers=key)
    assert api.store.get_run(run).settings.definitions == {"hello@0.5.0": HELLO}
    assert api.get("/submissions", key="task:1:0").json["id"] == run
    assert api.get("/submissions", key="task:1:1").kind == "unknown-run"
    others = api_event("GET", "/submissions", query={"key": "task:1:0"}, arn=BOB)
    assert api.send(others).kind == "unknown-run"
    task = api.get(f"/runs/{run}/tasks/a").json
    assert (task["task"], task["input"]) == ("hello@0.5.0", "x")
    assert "--output-file" in api.get(f"/runs/{run}/tasks/a/script").body


def test_what_a_task_wrote_is_read(api: Api) -> None:
    api.post("/tasks", HELLO)
    run = submit(api, {"id": "a", "task": "hello", "input": "x"}, {"id": "c", "command": "true"})
    path = f"/runs/{run}/tasks/a/document"
    assert api.get(path).kind == "unknown-document"
    assert api.get(f"/runs/{run}/tasks/c/document").kind == "no-document"
    api.attempt(run, "a", COMPLETED)
    api.documents.kept[0, 1, "output"] = '"é"\n'.encode()
    assert api.get(path).json == {"attempt": 1, "content": '"é"\n', "url": None}
    for content in (b'"\xff"', b'"' * 1_500_000):
        api.documents.kept[0, 1, "output"] = content
        url = f"https://bucket.example.org/{run}/0/1/output"
        assert api.get(path).json == {"attempt": 1, "content": None, "url": url}


def test_error_reports_stand_with_failed_attempts(api: Api) -> None:
    api.post("/tasks", HELLO)
    run = submit(api, {"id": "a", "task": "hello", "input": "x"}, {"id": "c", "command": "true"})
    api.attempt(run, "a", FAILED)
    api.attempt(run, "c", FAILED)
    reports = [{"type": "E", "message": "x" * 20_000}, *({"type": "F"} for _ in range(9000))]
    api.documents.kept[0, 1, "errors"] = json.dumps(Judged(FAILED, tuple(reports)).reports).encode()
    shown = api.get(f"/runs/{run}/tasks/a").json["attempts"][0]["reports"]
    assert [each["type"] for each in shown[:2]] == ["E", "F"]
    assert shown[0]["message"].endswith("(10,000 more characters)")
    assert 100 < len(shown) < 9000
    listed = api.get(f"/runs/{run}/tasks").json
    assert listed[0]["attempts"][0]["reports"] == shown
    assert "reports" not in listed[1]["attempts"][0]
    assert api.get(f"/runs/{run}/failures").json[0]["reports"] == shown
    assert api.get(f"/runs/{run}/tasks/a/why").json["reports"] == shown
