"""Errors: every one is a problem document that says what, where, and what would be right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hut.rest.app import respond
from hut.rest.services import Busy
from hut.store.port import StoreError
from tests.rest.answer_check import operations
from tests.rest.api_world import REQUEST_ID, Answer, Api, api_event

TASK = {"id": "a", "command": "x"}


def fields(answer: Answer) -> list[str | None]:
    return [entry["field"] for entry in answer.json["errors"]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "no body"),
        ("  ", "no body"),
        ("{", "line 1"),
        ("[\n{'id': 1}]", "line 2"),
        ("nope", "not valid JSON"),
        ('"text"', "is not a workflow"),
        ("17", "is not a workflow"),
        ("null", "is not a workflow"),
        ('["\\ud800"]', "half a character"),
        ("[" * 100_000, "nested too deeply"),
        ("[1e999]", "too large"),
        ("[NaN]", "NaN"),
        ({}, "field 'workflow': is missing"),
        ({"taks": []}, "did you mean 'tasks'?"),
        ({"workflow": [TASK], "nmae": "x"}, "did you mean 'name'?"),
        ({"workflow": [TASK], "tasks": [TASK]}, "unknown field"),
        ({"workflow": [TASK], "upload": "u"}, "send one of the two"),
        ({"workflow": 17}, "field 'workflow': 17 is not a workflow"),
        ({"workflow": None}, "field 'workflow': null is not a workflow"),
        ({"upload": None}, "null is not the id"),
        ({"upload": "../x"}, "field 'upload'"),
        ({"workflow": [TASK], "max_concurrent": "3"}, "field 'max_concurrent'"),
        ({"workflow": [TASK], "max_concurrent": 0}, "field 'max_concurrent'"),
        ({"workflow": [TASK], "name": "a\nb"}, "must be one line"),
        ({"workflow": [TASK], "filename": "a\nb.json"}, "must be one line"),
        ({"workflow": [TASK], "env_vars": {"A": []}}, "field 'env_vars.A'"),
        ({"workflow": [TASK], "env_vars": {"A": "\0"}}, "NUL"),
        ({"workflow": [TASK], "environments": {"e": []}}, "field 'environments.e'"),
        ({"workflow": [TASK], "environments": {"e": {"name": "f"}}}, "the key is the name"),
        ({"workflow": [TASK], "environments": {"e": {"vars": {}}}}, "did you mean 'variables'?"),
        ({"workflow": [TASK], "environments": {"e": {"variables": {"1": ""}}}}, "use letters"),
        ('{"workflow": [], "name": "a", "name": "b"}', "stands twice"),
    ],
)
def test_a_malformed_body_is_refused(api: Api, body: Any, said: str) -> None:
    for path in ("/runs", "/plan"):
        answer = api.post(path, body)
        assert (answer.status, answer.kind) == (400, "malformed-request"), answer.body
        assert said in answer.json["detail"]
        assert answer.json["instance"] == f"urn:uuid:{REQUEST_ID}"
    assert api.submissions == []


def test_all_problems_of_an_envelope_are_told_at_once(api: Api) -> None:
    body = {
        "workflow": [TASK],
        "name": 1,
        "tag": {},
        "environments": 3,
    }
    assert sorted(map(str, fields(api.post("/runs", body)))) == ["environments", "name", "tag"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ([], [(None, "tasks")]),
        ({"tasks": 3}, [(None, "tasks")]),
        ({"tasks": [TASK], "nope": 1}, [(None, "nope")]),
        ([{"id": "a"}, {"id": "b", "command": "x", "cpu": 1}], [("a", "command"), ("b", "cpu")]),
        ([{**TASK, "deps": ["zz"]}], [("a", "deps")]),
        ([{**TASK, "backend": "far"}], [("a", "backend")]),
        ([{**TASK, "environment": "knwon"}], [("a", "environment")]),
        ({"workflow": [TASK], "backend": "far"}, [(None, "backend")]),
        ({"workflow": [TASK], "env_vars": {"a b": "1"}}, [(None, "env_vars.a b")]),
        ({"workflow": "not json"}, [(None, None)]),
        ({"workflow": ""}, [(None, None)]),
        ('[{"id": "a", "command": "x", "id": "b"}]', [(None, "[0].id")]),
    ],
)
def test_every_problem_of_a_workflow_is_told(
    api: Api, body: Any, expected: list[tuple[str | None, str | None]]
) -> None:
    for path in ("/runs", "/plan"):
        answer = api.post(path, body)
        assert (answer.status, answer.kind) == (422, "invalid-workflow"), answer.body
        found = [(entry["task"], entry["field"]) for entry in answer.json["errors"]]
        assert found == expected
    assert api.get("/runs").json == []


def test_thousands_of_problems_are_counted_and_the_first_are_told(api: Api) -> None:
    answer = api.post("/runs", [{"id": f"t{n}"} for n in range(3000)])
    assert answer.status == 422
    assert "1,001 problems" in answer.json["detail"]
    assert len(answer.json["errors"]) == 500


def test_hundreds_of_problems_are_all_counted(api: Api) -> None:
    answer = api.post("/runs", [{"id": f"t{n}"} for n in range(900)])
    assert "900 problems" in answer.json["detail"]


def test_a_problem_that_quotes_megabytes_still_fits(api: Api) -> None:
    answer = api.post("/runs", {"workflow": [TASK], "x" * 6_000_000: 1})
    assert answer.status == 400
    assert len(answer.body) < 100_000


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/runs/nosuchrun", "unknown-run"),
        ("/runs/No%20Run!", "unknown-run"),
        (f"/runs/{'x' * 3000}", "unknown-run"),
        ("/runs/nosuchrun/tasks", "unknown-run"),
        ("/runs/nosuchrun/changes", "unknown-run"),
        ("/runs/nosuchrun/failures", "unknown-run"),
        ("/runs/nosuchrun/tasks/a", "unknown-run"),
        ("/runs/nosuchrun/tasks/a/why", "unknown-run"),
        ("/runs/nosuchrun/tasks/a/script", "unknown-run"),
        ("/runs/nosuchrun/tasks/a/logs/output", "unknown-run"),
        ("/runs/r000000001/tasks/nope", "unknown-task"),
        (f"/runs/r000000001/tasks/{'x' * 3000}", "unknown-task"),
        ("/runs/r000000001/tasks/nope/why", "unknown-task"),
        ("/runs/r000000001/tasks/nope/logs/error", "unknown-task"),
        ("/runs/r000000001/nope", "unknown-route"),
        ("/runs/r000000001/tasks/first/logs", "unknown-route"),
        ("/", "unknown-route"),
        ("/RUNS", "unknown-route"),
        ("/runs\n", "unknown-route"),
        ("/runs/\n", "unknown-route"),
        ("/runs/r000000001/tasks/first\x1b[2J", "unknown-route"),
    ],
)
def test_what_does_not_exist_is_not_found(api: Api, path: str, kind: str) -> None:
    api.run({"id": "first"})
    answer = api.get(path)
    assert (answer.status, answer.kind) == (404, kind)


def test_the_nearest_task_is_named(api: Api) -> None:
    run = api.run({"id": "first"}, {"id": "second"})
    assert "did you mean 'second'?" in api.get(f"/runs/{run}/tasks/secnd").json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/health", "GET"),
        ("DELETE", "/runs", "GET, POST"),
        ("PUT", "/runs/r1", "GET"),
        ("GET", "/plan", "POST"),
        ("GET", "/runs/r1/cancel", "POST"),
        ("OPTIONS", "/uploads", "POST"),
        ("BREW", "/jobs", "GET"),
    ],
)
def test_a_method_that_a_route_does_not_know(api: Api, method: str, path: str, allow: str) -> None:
    answer = api.send(api_event(method, path))
    assert (answer.status, answer.kind) == (405, "method-not-allowed")
    assert answer.headers["Allow"] == allow


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/runs", {"limit": "0"}, ["limit"]),
        ("/runs", {"limit": "1001"}, ["limit"]),
        ("/runs", {"limit": "many"}, ["limit"]),
        ("/runs", {"limit": ""}, ["limit"]),
        ("/runs", {"limit": ["1", "2"]}, ["limit"]),
        ("/runs", {"limit": "1" * 5000}, ["limit"]),
        ("/runs", {"state": "done"}, ["state"]),
        ("/runs", {"state": ""}, ["state"]),
        ("/runs", {"stat": "failed"}, ["stat"]),
        ("/runs", {"limit": "x", "nope": "y"}, ["limit", "nope"]),
        ("/runs", {"cursor": "nope"}, ["cursor"]),
        ("/runs", {"cursor": "W10"}, ["cursor"]),
        ("/runs", {"cursor": "WzEuMCwgInIxIiwgMV0"}, ["cursor"]),
        ("/runs", {"cursor": "W05hTiwgInIxIl0"}, ["cursor"]),
        ("/runs", {"cursor": "x" * 501}, ["cursor"]),
        ("/runs", {"prefix": ""}, ["prefix"]),
        ("/runs", {"prefix": "r%"}, ["prefix"]),
        ("/runs", {"prefix": "r", "owner": "me"}, ["prefix"]),
        ("/runs/r000000001", {"limit": "1"}, ["limit"]),
        ("/runs/r000000001/changes", {"cursor": "-1"}, ["cursor"]),
        ("/runs/r000000001/changes", {"cursor": "x"}, ["cursor"]),
        ("/runs/r000000001/changes", {"cursor": str(2**64)}, ["cursor"]),
        ("/runs/r000000001/tasks", {"cursor": "x"}, ["cursor"]),
        ("/runs/r000000001/tasks", {"state": "cancelled"}, ["state"]),
        ("/runs/r000000001/tasks", {"match": ""}, ["match"]),
        ("/runs/r000000001/tasks", {"match": "x" * 501}, ["match"]),
        ("/runs/r000000001/failures", {"final": "maybe"}, ["final"]),
        ("/runs/r000000001/tasks/first/logs/output", {"attempt": "x"}, ["attempt"]),
        ("/runs/r000000001/tasks/first/logs/output", {"limit": "0"}, ["limit"]),
        ("/runs/r000000001/tasks/first/logs/output", {"cursor": "f/3"}, ["cursor"]),
        ("/jobs", {"state": "pending"}, ["state"]),
        ("/jobs", {"cursor": "x"}, ["cursor"]),
        ("/jobs", {"cursor": "WzEuMCwgInIwMDAwMDAwMDEiLCAtNV0"}, ["cursor"]),
        ("/health", {"x": "1"}, ["x"]),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(
    api: Api, path: str, query: dict[str, str | list[str]], expected: list[str]
) -> None:
    api.run({"id": "first"})
    answer = api.get(path, **query)
    assert (answer.status, answer.kind) == (400, "malformed-request"), answer.body
    assert fields(answer) == expected


def test_the_nearest_parameter_is_named(api: Api) -> None:
    assert "did you mean 'state'?" in api.get("/runs", stat="failed").json["detail"]


@pytest.mark.parametrize(
    "path",
    [f"/runs/r000000001/{each}" for each in ("cancel", "retry", "close", "release")] + ["/uploads"],
)
@pytest.mark.parametrize("body", ["[]", "3", "null", '{"al": true}', "{", '{"all": "yes"}'])
def test_a_small_body_is_read_strictly_too(api: Api, path: str, body: str) -> None:
    api.run({"id": "first"})
    assert api.post(path, body).status == 400


@pytest.mark.parametrize("method_and_path", [("/runs"), ("/plan"), ("/uploads")])
def test_a_caller_without_identity_is_refused(api: Api, method_and_path: str) -> None:
    answer = api.post(method_and_path, [TASK] if method_and_path != "/uploads" else None, arn=None)
    assert (answer.status, answer.kind) == (403, "no-identity")


def test_a_body_that_is_not_base64_where_it_should_be(api: Api) -> None:
    event = {**api_event("POST", "/runs", body="[]"), "isBase64Encoded": True}
    assert api.send(event).status == 400


def test_a_body_that_is_not_utf8(api: Api) -> None:
    event = {**api_event("POST", "/runs", body="/w=="), "isBase64Encoded": True}
    answer = api.send(event)
    assert answer.status == 400
    assert "not UTF-8" in answer.json["detail"]


def test_a_busy_service_is_told_as_such(api: Api) -> None:
    api.fault = Busy("throttled")
    answer = api.post("/runs", [TASK])
    assert (answer.status, answer.headers["Retry-After"]) == (429, "2")


def test_what_the_store_can_not_do_is_a_conflict(api: Api) -> None:
    run = api.run({"id": "a"})

    def cancel(run_id: str) -> Any:
        raise StoreError(f"run {run_id} was changed meanwhile; do it again")

    object.__setattr__(api.services, "cancel", cancel)
    answer = api.post(f"/runs/{run}/cancel")
    assert (answer.status, answer.kind) == (409, "conflict")
    assert answer.json["detail"].endswith("do it again")


def test_a_fault_of_our_own_tells_nothing(api: Api) -> None:
    api.fault = RuntimeError("the secret is 42")
    answer = api.post("/runs", [TASK])
    assert (answer.status, answer.kind) == (500, "internal-error")
    assert "42" not in answer.body
    assert "Runtime" not in answer.body
    assert answer.json["instance"] == f"urn:uuid:{REQUEST_ID}"


@pytest.mark.parametrize("event", [{}, {"httpMethod": "GET"}, {"path": "/runs"}, {"Records": []}])
def test_what_is_no_request_is_answered_too(api: Api, event: dict[str, Any]) -> None:
    answer = respond(event, None, lambda: api.services)
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["errors"] == []


def test_services_that_can_not_be_built_are_a_fault_of_our_own() -> None:
    def broken() -> Any:
        raise KeyError("HUT_TABLE")

    answer = respond(api_event("GET", "/runs"), None, broken)
    assert answer["statusCode"] == 500
    assert "HUT_TABLE" not in answer["body"]


def test_every_route_is_tried_somewhere_in_these_tests() -> None:
    """A new route needs rows in the tables above; this number is here to be changed with them.

    Those of the configuration (12) have theirs in `test_configuring`, the one that adds tasks in
    `test_open_runs`, those of pools (9) in `test_pools`, those of task programs (6) in `test_programs`.
    """
    assert len(operations()) == 21 + 12 + 1 + 9 + 6


@pytest.mark.parametrize(
    "name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"]
)
def test_no_header_makes_another_method_of_a_request(api: Api, name: str) -> None:
    """IAM decided about the method of the request line; nothing else may count as one."""
    run = api.run({"id": "a"})
    path = f"/runs/{run}/cancel"
    answer = api.send(api_event("GET", path, headers={name: "POST"}))
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    asked = api.send(api_event("GET", path, query={"_method": "POST"}))
    assert asked.status in (400, 405)
    assert api.get(f"/runs/{run}").json["state"] != "cancelled"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Original-URL": "/audit"},
        {"X-Rewrite-URL": "/audit"},
        {"X-Forwarded-Prefix": "/audit"},
        {"Forwarded": 'for=192.0.2.9;host="x"'},
        {"X-Forwarded-For": "192.0.2.9"},
        {"X-Amzn-Iam-User-Arn": "arn:aws:iam::123456789012:user/bob"},
    ],
)
def test_no_header_makes_another_route_or_caller_of_a_request(
    api: Api, headers: dict[str, str]
) -> None:
    body = '[{"id": "a", "command": "true"}]'
    answer = api.send(api_event("POST", "/runs", body=body, headers=headers))
    assert (answer.status, answer.json["owner"]) == (201, "user/alice")
    [entry] = api.get("/audit").json
    assert (entry["who"], entry["source_ip"]) == ("user/alice", "192.0.2.1")
