"""The log: one line per request, ids and no contents; metrics of what was submitted."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from hut.rest import observing
from tests.rest.api_world import REQUEST_ID, Api

SECRET = "s3cr3t-value"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    for handler in observing._logger.handlers:
        monkeypatch.setattr(handler, "stream", stream)
    return stream


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_each_request_is_one_line_with_its_ids(api: Api, log: io.StringIO) -> None:
    run = api.run({"id": "a"})
    api.get(f"/runs/{run}/tasks/a/why")
    api.get("/nope")
    submitted, asked, lost = lines(log)
    assert submitted["message"] == "request"
    assert submitted["run_id"] == run
    assert (submitted["method"], submitted["route"], submitted["status"]) == ("POST", "/runs", 201)
    assert submitted["ms"] >= 0
    assert (asked["run_id"], asked["task_id"]) == (run, "a")
    assert asked["route"] == "/runs/{run}/tasks/{task}/why"
    assert asked["request_id"] == REQUEST_ID
    assert (lost["route"], lost["status"]) == ("unknown", 404)


def test_no_contents_reach_the_log(
    api: Api, log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    task = {"id": "a", "command": f"echo {SECRET}", "env_vars": {"PASSWORD": SECRET}}
    body = {"workflow": [task], "env_vars": {"TOKEN": SECRET}, "tags": {"t": SECRET}}
    run = api.post("/runs", body, headers={"Idempotency-Key": SECRET}).json["id"]
    api.post("/plan", body)
    api.post("/runs", {**body, "nope": SECRET})
    api.post("/runs", {**body, "workflow": [{**task, "cpu": SECRET}]})
    api.post("/runs", SECRET)
    api.get("/runs", workflow=SECRET, nope=SECRET, limit=SECRET)
    api.get(f"/runs/{run}/tasks/a/script")
    api.get(f"/runs/{run}/tasks", match=SECRET)
    api.get(f"/runs/{run}/tasks/{SECRET}!")
    api.fault = ValueError(f"can't store {SECRET}")
    api.post("/runs", body)
    out, err = capfd.readouterr()
    assert SECRET not in log.getvalue() + out + err
    assert len(lines(log)) == 11


def test_a_fault_is_logged_with_where_it_was_raised(api: Api, log: io.StringIO) -> None:
    run = api.run({"id": "a"})
    broken = RuntimeError("what happened")

    def cancel(run_id: str) -> Any:
        raise broken

    object.__setattr__(api.services, "cancel", cancel)
    assert api.post(f"/runs/{run}/cancel").status == 500
    _, failure, request = lines(log)
    assert (failure["level"], failure["error"]) == ("ERROR", "RuntimeError")
    assert failure["run_id"] == request["run_id"] == run
    assert failure["raised_at"][-1].endswith(" cancel")
    assert "what happened" not in log.getvalue()


def test_a_refused_call_to_aws_is_logged_in_its_words(api: Api, log: io.StringIO) -> None:
    class ClientError(Exception):
        operation_name = "StartExecution"

    api.fault = ClientError("AccessDenied: not allowed")
    assert api.post("/runs", [{"id": "a", "command": "x"}]).status == 500
    failure = lines(log)[0]
    assert (failure["operation"], failure["detail"]) == (
        "StartExecution",
        "AccessDenied: not allowed",
    )


def test_submissions_are_counted_once(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [{"id": "a", "command": "x"}, {"id": "b", "command": "x"}]
    for _ in range(2):
        api.post("/runs", tasks, headers={"Idempotency-Key": "k"})
    api.post("/plan", tasks)
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [(entry["RunsSubmitted"], entry["TasksPlanned"]) for entry in metrics] == [
        ([1.0], [2.0])
    ]
    assert metrics[0]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Hut"
