"""The documents of ``--json``: their fields, types and times, and nothing beside them on stdout."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.document_shapes import ATTEMPT, check_run, check_task, check_time
from tests.hutctl_process import Hut


def test_run_prints_the_document_of_the_run_and_progress_on_stderr(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "echo from the task"}, {"id": "u", "command": "x y"}])
    done = hut("run", file, "--json", exit_code=1)
    run = json.loads(done.stdout)
    check_run(run)
    assert run == hut.json("show", "last")
    assert (run["workflow"], run["state"], run["total"], run["cost"]) == ("w", "failed", 2, None)
    assert run["created_at"] <= run["started_at"] <= run["ended_at"]
    assert run["reason"]
    assert run["id"] in done.stderr
    assert "completed" in done.stderr
    assert "from the task" not in done.stdout


def test_counts_of_a_run_add_up(ended: Hut) -> None:
    run = ended.json("show", "last")
    check_run(run)
    assert run["counts"] == {
        "pending": 0,
        "submitted": 0,
        "running": 0,
        "completed": 5,
        "failed": 1,
        "dep_failed": 2,
    }


def test_runs_is_an_array_newest_first(hut: Hut) -> None:
    assert hut("runs", "--json").stdout.strip() == "[]"
    files = [hut.write([{"id": "t", "command": "true"}], name=f"{n}.json") for n in "abc"]
    for file in files:
        hut("run", file)
    runs = hut.json("runs")
    for run in runs:
        check_run(run)
    assert [run["workflow"] for run in runs] == ["c", "b", "a"]
    assert [run["workflow"] for run in hut.json("runs", "--limit", "1")] == ["c"]
    assert [run["workflow"] for run in hut.json("runs", "--workflow", "b")] == ["b"]
    assert hut.json("runs", "--state", "failed,running") == []
    assert len(hut.json("runs", "--state", "failed", "--state", "completed")) == 3


def test_tasks_of_an_ended_run_with_their_attempts(ended: Hut) -> None:
    tasks = ended.tasks()
    assert list(tasks) == ["good", "silent", "bad", "flaky", "after", "map.1", "map.2", "end"]
    for task in tasks.values():
        check_task(task)
    bad = tasks["bad"]
    assert (bad["name"], bad["state"], bad["reason"]) == ("The bad one", "failed", "exit")
    assert (bad["exit_code"], bad["attempt"], bad["message"]) == (3, 1, "exit code 3")
    attempts = tasks["flaky"]["attempts"]
    assert [(a["attempt"], a["state"], a["exit_code"]) for a in attempts] == [
        (1, "failed", 1),
        (2, "completed", 0),
    ]
    assert attempts[0]["ended_at"] <= attempts[1]["submitted_at"]
    assert attempts[0]["job_id"] != attempts[1]["job_id"]
    for field in ATTEMPT.keys() - {"cost"}:
        assert tasks["flaky"][field] == attempts[1][field]
    after = tasks["after"]
    assert (after["state"], after["attempt"], after["attempts"]) == ("dep_failed", 0, [])
    assert after["started_at"] is after["submitted_at"] is after["exit_code"] is None
    assert tasks["end"]["deps"] == ["map.*", "after"]


def test_tasks_of_a_run_under_way(under_way: Hut) -> None:
    check_run(under_way.json("show", "last"))
    tasks = under_way.tasks()
    for task in tasks.values():
        check_task(task)
    hold = tasks["hold"]
    assert (hold["state"], hold["attempt"], hold["ended_at"]) == ("running", 1, None)
    assert hold["started_at"] is not None
    [attempt] = hold["attempts"]
    assert (attempt["state"], attempt["ended_at"], attempt["exit_code"]) == ("running", None, None)
    assert tasks["blocked"]["state"] == "pending"
    again = tasks["again"]
    assert (again["state"], again["attempt"]) == ("pending", 1)
    assert [a["exit_code"] for a in again["attempts"]] == [7]
    assert again["attempts"][0]["ended_at"] is not None


def test_a_task_that_waits_for_its_retry_does_not_look_as_if_it_ran(under_way: Hut) -> None:
    again = under_way.tasks()["again"]
    assert again["state"] == "pending"
    assert again["started_at"] is None or again["ended_at"] is not None


def test_lists_are_arrays_when_they_are_empty(hut: Hut) -> None:
    hut("run", hut.write([{"id": "t", "command": "true"}]))
    assert hut("tasks", "last", "--match", "x*", "--json").stdout.strip() == "[]"
    assert hut("tasks", "last", "--state", "failed", "--json").stdout.strip() == "[]"
    assert hut("failures", "last", "--json").stdout.strip() == "[]"
    assert hut("failures", "last", "--final", "--json").stdout.strip() == "[]"
    assert hut.tasks()["t"]["deps"] == []


def test_plan(ended: Hut) -> None:
    plan = ended.json("plan", "mixed.json")
    assert plan.keys() >= {"total", "levels", "tasks"}
    assert (plan["total"], plan["levels"], len(plan["tasks"])) == (8, 3, 8)
    assert isinstance(plan["warnings"], list)
    tasks = {task["id"]: task for task in plan["tasks"]}
    assert sorted(tasks["end"]["deps"]) == ["after", "map.1", "map.2"]
    assert tasks["good"]["deps"] == []
    assert {name: task["level"] for name, task in tasks.items()} == {
        "good": 0,
        "silent": 0,
        "bad": 0,
        "flaky": 0,
        "after": 1,
        "map.1": 1,
        "map.2": 1,
        "end": 2,
    }


def test_why(ended: Hut) -> None:
    answers: dict[str, Any] = {
        name: ended.json("why", "last", name) for name in ("good", "bad", "end")
    }
    for name, answer in answers.items():
        assert answer["task"] == name
        assert isinstance(answer["why"], str)
        assert isinstance(answer["details"], list)
        assert isinstance(answer["waiting_for"], list)
    assert {name: (a["state"], a["cause"]) for name, a in answers.items()} == {
        "good": ("completed", None),
        "bad": ("failed", None),
        "end": ("dep_failed", "bad"),
    }


def test_script(ended: Hut) -> None:
    document = ended.json("script", "last", "good")
    assert document["task"] == "good"
    assert document["run"] == ended.json("show", "last")["id"]
    assert document["script"] == ended("script", "last", "good").stdout


def test_failures(ended: Hut) -> None:
    failures = ended.json("failures", "last")
    assert [(f["task"], f["attempt"], f["exit_code"]) for f in failures] in (
        [("bad", 1, 3), ("flaky", 1, 1)],
        [("flaky", 1, 1), ("bad", 1, 3)],
    )
    for failure in failures:
        assert isinstance(failure["command"], str)
        assert isinstance(failure["tags"], dict)
        assert failure["reason"] == "exit"
        check_time(failure["ended_at"])
    assert [f["ended_at"] for f in failures] == sorted(f["ended_at"] for f in failures)
    [final] = ended.json("failures", "last", "--final")
    assert final["task"] == "bad"
    assert final["tags"] == {"kind": "second", "urgent": ""}


def test_config_show(hut: Hut) -> None:
    document = hut.json("config", "show")
    assert [(entry["name"], entry["type"]) for entry in document["backends"]] == [
        ("local", "local")
    ]
    assert document["environments"] == []
    assert document["sources"] == []


def test_doctor(hut: Hut) -> None:
    document = hut.json("doctor")
    assert document["well"] is True
    assert {"shell", "home", "store", "runs"} <= {check["check"] for check in document["checks"]}
    for check in document["checks"]:
        assert check.keys() >= {"check", "well", "found"}
        assert check["well"] is True


def test_detach_and_retry_and_cancel(hut: Hut) -> None:
    run = hut.json("run", hut.write([{"id": "t", "command": "false"}]), "--detach")
    check_run(run)
    hut("watch", run["id"], exit_code=1)
    again = hut.json("retry", run["id"], exit_code=1)
    check_run(again)
    assert again["id"] == run["id"]
    check_task(hut.tasks()["t"])
    assert hut.tasks()["t"]["attempt"] == 2
    cancelled = hut.json("cancel", "last")
    check_run(cancelled)
    assert cancelled["state"] == "failed"


def test_retry_detached(hut: Hut) -> None:
    hut("run", hut.write([{"id": "t", "command": "[ $HUT_ATTEMPT = 2 ]"}]), exit_code=1)
    done = hut("retry", "last", "--detach", "--json")
    hut("watch", "last")
    check_run(json.loads(done.stdout))


def test_other_scripts_are_written_as_they_are(hut: Hut) -> None:
    name = "Größe 測定 😀"
    run = hut.json("run", hut.write([{"id": "t", "name": name, "command": "true"}], name=name))
    assert run["workflow"] == name
    assert hut.tasks()["t"]["name"] == name
    assert name in hut("show", "last").stdout


@pytest.mark.parametrize(
    "line",
    [
        "show last",
        "runs",
        "tasks last",
        "plan mixed.json",
        "plan mixed.json --scripts",
        "run mixed.json --dry-run",
        "why last end",
        "script last good",
        "failures last",
        "config show",
        "doctor",
        "watch last",
        "resume last",
        "cancel last",
    ],
)
def test_stdout_holds_one_document_and_stderr_what_is_said_to_people(ended: Hut, line: str) -> None:
    done = ended(*line.split(), "--json", exit_code=None)
    assert done.returncode == (1 if line.startswith(("watch", "resume")) else 0)
    json.loads(done.stdout)
    assert done.stdout.endswith("\n")
    assert "\x1b" not in done.stdout + done.stderr
