"""The REST API as API Gateway serves it: who may call, what is refused, how lists go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.remote_hut import RemoteHut

OPENAPI = Path(__file__).parents[2] / "docs/openapi.json"
TASKS = [{"id": "a", "command": "echo a >> ran"}]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health"), ("GET", "/runs"), ("POST", "/runs"), ("GET", "/"), ("DELETE", "/runs/x")],
)
def test_who_does_not_sign_is_refused(hut: RemoteHut, method: str, path: str) -> None:
    answer = hut.call(method, path, None if method == "GET" else TASKS, signed=False)
    assert answer.status == 403
    assert "a" not in hut.lines("ran")


def test_the_api_is_the_one_that_is_documented(hut: RemoteHut) -> None:
    assert hut.get("/openapi.json").document == json.loads(OPENAPI.read_text())
    health = hut.get("/health").document
    assert health["status"] == "ok"
    assert health["prefix"] == "hut"
    assert health["version"] == hut.deployment.outputs["Version"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/runs/nobodyknow", None, 404),
        ("GET", "/nowhere", None, 404),
        ("POST", "/runs", b"{", 400),
        ("POST", "/runs", b"", 400),
        ("POST", "/runs", {"workflow": TASKS, "nope": 1}, 400),
        ("POST", "/runs", [{"id": "a"}], 422),
        ("POST", "/runs", {"upload": "nobody-sent-it"}, 404),
        ("GET", "/runs?limit=many", None, 400),
        ("POST", "/runs/nobodyknow/cancel", {}, 404),
        ("DELETE", "/runs", None, 405),
    ],
)
def test_what_is_wrong_is_told_in_a_problem_document(
    hut: RemoteHut, method: str, path: str, body: Any, status: int
) -> None:
    answer = hut.call(method, path, body)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.document
    assert problem["status"] == status
    assert problem["detail"]
    assert {"type", "title"} <= set(problem)
    if status == 422:
        [error] = problem["errors"]
        assert (error["task"], error["field"]) == ("a", "command")


def test_submit_answers_where_the_run_is_once(hut: RemoteHut) -> None:
    key = {"Idempotency-Key": f"rest-{hut.folder.name}"}
    first = hut.call("POST", "/runs", TASKS, headers=key)
    again = hut.call("POST", "/runs", TASKS, headers=key)
    other = hut.call("POST", "/runs", [{**TASKS[0], "command": "true"}], headers=key)
    assert [first.status, again.status, other.status] == [201, 200, 409]
    run = first.document["id"]
    assert again.document["id"] == run
    assert first.headers["Location"].endswith(f"/runs/{run}")
    hut.ended(run)
    assert hut.lines("ran") == ["a"]
    assert hut.call("POST", f"/runs/{run}/retry", {"all": False}).document["repeated"] == 0


def test_lists_go_on_where_their_cursor_says(hut: RemoteHut) -> None:
    run = hut.run([{"id": f"t.{i}", "command": "true"} for i in range(25)])["id"]
    path, seen, cursor = f"/runs/{run}/tasks", [], None
    while True:
        query = {} if cursor is None else {"cursor": cursor}
        answer = hut.get(path, limit=10, **query)
        seen += [task["id"] for task in answer.document]
        cursor = answer.headers.get("X-Next-Cursor")
        assert (cursor is not None) == ('rel="next"' in answer.headers.get("Link", ""))
        if cursor is None:
            break
    assert seen == [f"t.{i}" for i in range(25)]
