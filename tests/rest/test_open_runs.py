"""Open and held runs over REST: adding tasks, releasing, closing."""

from __future__ import annotations

import json

import pytest

from tests.rest.api_world import Answer, Api

A = [{"id": "a", "command": "true"}]
B = [{"id": "b", "command": "true", "deps": ["a"]}]


def submit(api: Api, **options: object) -> str:
    answer = api.post("/runs", {"workflow": A, **options})
    assert answer.status == 201, answer.body
    run: str = answer.json["id"]
    return run


def add(api: Api, run: str, body: object, key: str | None = "k") -> Answer:
    headers = {} if key is None else {"Idempotency-Key": key}
    return api.post(f"/runs/{run}/tasks", body, headers=headers)


def test_tasks_are_added_until_the_run_is_closed(api: Api) -> None:
    run = submit(api, open=True)
    assert api.get(f"/runs/{run}").json["open"] is True
    answer = add(api, run, B)
    assert (answer.status, answer.json["added"], answer.json["run"]["total"]) == (201, 1, 2)
    assert [task["id"] for task in api.get(f"/runs/{run}/tasks").json] == ["a", "b"]
    closed = api.post(f"/runs/{run}/close")
    assert (closed.status, closed.json["open"]) == (200, False)
    late = add(api, run, [{"id": "c", "command": "true"}], "l")
    assert (late.status, late.kind) == (409, "run-closed")
    assert api.post(f"/runs/{run}/close").status == 200
    assert [act.action for act in api.audit.begun] == ["submit", "add", "close", "add", "close"]


def test_the_same_key_adds_once(api: Api) -> None:
    run = submit(api, open=True)
    assert add(api, run, B).status == 201
    again = add(api, run, B)
    assert (again.status, again.json["added"], again.json["run"]["total"]) == (200, 0, 2)
    other = add(api, run, [{"id": "c", "command": "true"}])
    assert (other.status, other.kind) == (409, "idempotency-conflict")
    assert add(api, run, [{"id": "c", "command": "true"}], None).status == 201


def test_every_problem_of_added_tasks_is_told_and_none_joins(api: Api) -> None:
    run = submit(api, open=True)
    answer = add(api, run, [{"id": "a", "command": "x"}, {"id": "c", "command": "x", "deps": "?"}])
    assert (answer.status, answer.kind) == (422, "invalid-workflow")
    assert {error["task"] for error in answer.json["errors"]} == {"a", "c"}
    assert api.get(f"/runs/{run}").json["total"] == 1


@pytest.mark.parametrize("body", ["", "{}", '{"uploads": "x"}', "1", '{"tasks"'])
def test_a_body_without_tasks_is_refused(api: Api, body: str) -> None:
    run = submit(api, open=True)
    assert add(api, run, body).status in (400, 422)
    assert api.get(f"/runs/{run}").json["total"] == 1


def test_many_tasks_come_by_an_upload(api: Api) -> None:
    run = submit(api, open=True)
    upload = api.post("/uploads").json["id"]
    api.uploads.texts["user/alice", upload] = json.dumps(B)
    assert add(api, run, {"upload": upload}).json["added"] == 1
    assert add(api, run, {"upload": "nothing"}, "l").status == 404


def test_a_held_run_is_released(api: Api) -> None:
    run = submit(api, held=True)
    refused = api.post(f"/runs/{run}/close")
    assert (refused.status, refused.kind) == (409, "conflict")
    assert add(api, run, B).status == 201
    released = api.post(f"/runs/{run}/release")
    assert (released.status, released.json["held"]) == (200, False)
    assert add(api, run, [{"id": "c", "command": "true"}], "l").kind == "run-closed"


def test_an_open_run_may_begin_without_tasks(api: Api) -> None:
    answer = api.post("/runs", {"workflow": [], "open": True})
    assert (answer.status, answer.json["total"]) == (201, 0)
    assert api.post("/runs", {"workflow": []}).status == 422
