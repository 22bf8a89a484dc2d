"""Tasks: lists, scripts, logs by attempt and page, and why a task is where it is."""

from __future__ import annotations

import pytest

from hut.model.limits import LONGEST_COMMAND
from hut.model.waiting import Waiting
from hut.rest import answers, tasks
from hut.rest.paging import encode_cursor
from hut.store.sqlite import SqliteStore
from tests.rest.api_world import COMPLETED, FAILED, Api, LoggedStore


def test_tasks_are_listed_in_document_order_page_by_page(api: Api) -> None:
    run = api.run(*({"id": f"t{n}"} for n in range(25)))
    pages = api.pages(f"/runs/{run}/tasks", limit="10")
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [task["id"] for page in pages for task in page] == [f"t{n}" for n in range(25)]
    matching = api.pages(f"/runs/{run}/tasks", limit="4", match="t1*")
    assert [task["id"] for page in matching for task in page] == [
        "t1",
        *(f"t{n}" for n in range(10, 20)),
    ]


def test_tasks_are_filtered_by_state(api: Api) -> None:
    run = api.run({"id": "a"}, {"id": "b"}, {"id": "c"})
    api.attempt(run, "b", FAILED)
    assert [task["id"] for task in api.get(f"/runs/{run}/tasks", state="failed").json] == ["b"]
    both = api.get(f"/runs/{run}/tasks", state=["failed", "pending"]).json
    assert [task["id"] for task in both] == ["a", "b", "c"]


def test_tasks_are_searched_a_bounded_number_at_a_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = api.run(*({"id": f"t{n}", "priority": n, "tags": {"odd": n % 2}} for n in range(12)))
    path = f"/runs/{run}/tasks"
    asked = {"where": ["priority > 2", "id ~ t?"], "tag": "odd:1"}
    expected = ["t3", "t5", "t7", "t9"]
    assert [task["id"] for task in api.get(path, **asked).json] == expected
    pages = api.pages(path, **asked, limit="3")
    assert [[task["id"] for task in page] for page in pages] == [expected[:3], expected[3:]]
    monkeypatch.setattr(tasks, "_TASKS_AT_ONCE", 2)
    monkeypatch.setattr(tasks, "_MOST_TASKS", 4)
    pages = api.pages(path, **asked)
    assert [[task["id"] for task in page] for page in pages] == [["t3"], ["t5", "t7"], ["t9"], []]


def test_every_wrong_condition_is_told_at_once(api: Api) -> None:
    run = api.run({"id": "a"})
    answer = api.get(f"/runs/{run}/tasks", where=["exit_cod != 0", "x"], tag=":v")
    assert answer.status == 400
    assert [error["field"] for error in answer.json["errors"]] == ["where", "where", "tag"]
    many = api.get(f"/runs/{run}/tasks", where=["attempt == 1"] * 21)
    assert many.json["errors"][0]["message"] == "more than 20 are given"


def test_a_page_ends_early_where_tasks_are_large(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    run = api.run(*({"id": f"t{n}", "command": "x" * 3000} for n in range(5)))
    monkeypatch.setattr(answers.fitting, "__defaults__", (8000,))
    pages = api.pages(f"/runs/{run}/tasks")
    assert [len(page) for page in pages] == [2, 2, 1]
    monkeypatch.setattr(answers.fitting, "__defaults__", (10,))
    assert [len(page) for page in api.pages(f"/runs/{run}/tasks")] == [1] * 5


def test_a_task_comes_with_its_attempts(api: Api) -> None:
    run = api.run({"id": "a", "retries": 1, "env_vars": {"A": "1"}, "deps": []})
    api.attempt(run, "a", FAILED)
    api.attempt(run, "a", COMPLETED)
    task = api.get(f"/runs/{run}/tasks/a").json
    assert [attempt["state"] for attempt in task["attempts"]] == ["failed", "completed"]
    assert task["job_id"] == "job-a-2"
    assert api.get(f"/runs/{run}/tasks").json == [task]


def test_a_task_of_many_megabytes_is_shown_shortened(api: Api) -> None:
    variables = {f"V{n}": '"' * 99_000 for n in range(5)}
    run = api.run({"id": "a", "env_vars": variables, "command": '"' * LONGEST_COMMAND})
    for answer in (api.get(f"/runs/{run}/tasks/a"), api.get(f"/runs/{run}/tasks")):
        assert len(answer.body) < 200_000
        assert "(1,038,576 more characters)" in answer.body


def test_a_script_is_text(api: Api) -> None:
    run = api.run({"id": "a", "command": "echo ü", "retries": 1})
    answer = api.get(f"/runs/{run}/tasks/a/script")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.body == f"#!/bin/sh\n# {run} 1 1000\necho ü\n"
    api.attempt(run, "a", FAILED)
    api.claim(run)
    assert f"# {run} 2 " in api.get(f"/runs/{run}/tasks/a/script").body


def test_a_script_that_no_answer_can_hold_is_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = api.run({"id": "a"})
    monkeypatch.setattr(answers, "MOST_BYTES", 10)
    answer = api.get(f"/runs/{run}/tasks/a/script")
    assert (answer.status, answer.kind) == (413, "answer-too-large")


# Logs ---------------------------------------------------------------------------------------------


def test_what_never_ran_has_an_empty_log(api: Api) -> None:
    run = api.run({"id": "a"})
    path = f"/runs/{run}/tasks/a/logs/output"
    nothing = {"attempt": 0, "content": "", "cursor": None, "ended": False}
    assert api.get(path).json == nothing
    api.post(f"/runs/{run}/cancel")
    assert api.get(path).json == {**nothing, "ended": True}


@pytest.mark.parametrize("attempt", ["0", "2", "-1", "99999999999999999999"])
def test_an_attempt_that_never_was_has_no_log(api: Api, attempt: str) -> None:
    run = api.run({"id": "a"})
    api.attempt(run, "a", FAILED)
    answer = api.get(f"/runs/{run}/tasks/a/logs/output", attempt=attempt)
    assert (answer.status, answer.kind) == (404, "unknown-attempt")
    assert "there are: 1 to 1" in answer.json["detail"]


def test_a_log_is_read_page_by_page_to_its_end(api: Api) -> None:
    run = api.run({"id": "a"})
    path = f"/runs/{run}/tasks/a/logs/output"
    claim = api.claim(run)["a"]
    assert api.get(path).json["content"] == ""  # it has no log yet
    api.start(run, claim)
    assert api.get(path).json == {"attempt": 1, "content": "", "cursor": None, "ended": False}

    lines = api.backend.logs["a/1"] = ["one\n", "two\n", "drei ü\n"]
    first = api.get(path, limit="2").json
    assert (first["content"], first["ended"]) == ("one\ntwo\n", False)
    second = api.get(path, limit="2", cursor=first["cursor"]).json
    assert (second["content"], second["ended"]) == ("drei ü\n", False)
    still = api.get(path, cursor=second["cursor"]).json
    assert (still["content"], still["cursor"], still["ended"]) == ("", second["cursor"], False)

    lines.append("last\n")
    api.end(run, claim, COMPLETED)
    third = api.get(path, cursor=second["cursor"]).json
    assert (third["content"], third["ended"]) == ("last\n", False)
    fourth = api.get(path, cursor=third["cursor"]).json
    assert (fourth["content"], fourth["cursor"], fourth["ended"]) == ("", third["cursor"], True)


def test_the_log_of_a_job_whose_start_nobody_told_is_asked_for(api: Api) -> None:
    run = api.run({"id": "a"})
    api.start(run, api.claim(run)["a"])
    api.store.names_logs = False
    path = f"/runs/{run}/tasks/a/logs/output"
    assert api.get(path).json["content"] == ""
    api.backend.running["job-a-1"] = "stream"
    api.backend.logs["stream"] = ["it runs\n"]
    assert api.get(path).json["content"] == "it runs\n"


def test_each_attempt_has_its_own_log(api: Api) -> None:
    run = api.run({"id": "a", "retries": 1})
    path = f"/runs/{run}/tasks/a/logs/output"
    api.backend.logs |= {"a/1": ["first\n"], "a/2": ["second\n"]}
    api.attempt(run, "a", FAILED)
    assert api.get(path).json["content"] == "first\n"  # a retry waits
    api.attempt(run, "a", COMPLETED)
    latest = api.get(path).json
    assert (latest["attempt"], latest["content"]) == (2, "second\n")
    earlier = api.get(path, attempt="1").json
    assert (earlier["attempt"], earlier["content"]) == (1, "first\n")
    aged = api.get(path, cursor=encode_cursor(2, "elsewhere"))
    assert aged.status == 400
    assert aged.json["errors"][0]["field"] == "cursor"
    assert "does not belong to this log" in aged.json["detail"]
    crossed = api.get(path, attempt="1", cursor=latest["cursor"])
    assert crossed.status == 400
    assert "belongs to attempt 2" in crossed.json["detail"]


def test_errors_are_in_the_same_log(api: Api) -> None:
    run = api.run({"id": "a"})
    api.backend.logs["a/1"] = ["oh\n"]
    api.attempt(run, "a", FAILED)
    page = api.get(f"/runs/{run}/tasks/a/logs/error").json
    assert (page["content"], page["merged"]) == ("oh\n", True)


def test_long_lines_come_in_fewer_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "MOST_BYTES", 13_000)
    run = api.run({"id": "a"})
    api.backend.logs["a/1"] = ["x" * 99 + "\n"] * 100
    api.attempt(run, "a", FAILED)
    page = api.get(f"/runs/{run}/tasks/a/logs/output").json
    assert api.backend.asked == [1000, 125, 15]
    assert len(page["content"]) == 1500


@pytest.mark.parametrize("what", ["script", "logs/output", "logs/error"])
def test_a_backend_that_is_not_known_any_more(api: Api, what: str) -> None:
    run = api.run({"id": "a"})
    api.attempt(run, "a", FAILED)
    api.backends.clear()
    answer = api.get(f"/runs/{run}/tasks/a/{what}")
    assert (answer.status, answer.kind) == (409, "unknown-backend")
    assert "'batch'" in answer.json["detail"]


# Why ----------------------------------------------------------------------------------------------


def test_a_waiting_task_says_for_what(api: Api) -> None:
    run = api.run({"id": "a"}, {"id": "b", "deps": ["a"]})
    answer = api.get(f"/runs/{run}/tasks/b/why").json
    assert answer["waiting_for"] == ["a"]
    assert "waits for 1 task: a" in answer["why"]


def test_a_submitted_task_says_what_its_backend_says(api: Api) -> None:
    run = api.run({"id": "a"})
    claim = api.claim(run)["a"]
    assert api.get(f"/runs/{run}/tasks/a/why").json["details"] == []
    assert api.backend.asked_why == []  # there is no job yet
    api.store._connection.execute("UPDATE tasks SET handle = 'job-1'")
    api.backend.waits = Waiting("AWS Batch", "RUNNABLE", said="no capacity")
    answer = api.get(f"/runs/{run}/tasks/a/why").json
    assert "job job-1 is RUNNABLE" in answer["why"]
    assert answer["details"] == ["AWS Batch says: no capacity"]
    assert api.backend.asked_why == ["job-1"]
    api.backend.broken = True
    answer = api.get(f"/runs/{run}/tasks/a/why").json
    assert "waits there for a machine (job job-1)" in answer["why"]
    assert answer["details"] == ["batch: it could not be asked (ConnectionError)."]
    api.start(run, claim)
    answer = api.get(f"/runs/{run}/tasks/a/why").json
    assert "is running" in answer["why"]
    assert answer["details"] == []
    handle = api.get(f"/runs/{run}/tasks/a").json["job_id"]
    api.backend.broken, api.backend.machines = False, {handle: "instance i-1 (c5.xlarge)"}
    answer = api.get(f"/runs/{run}/tasks/a/why").json
    assert answer["details"] == ["It runs on instance i-1 (c5.xlarge)."]
    assert len(api.backend.asked_why) == 2


def test_a_failed_task_says_why(api: Api) -> None:
    run = api.run({"id": "a"}, {"id": "b", "deps": ["a"]})
    api.attempt(run, "a", FAILED)
    assert "exit code 1" in api.get(f"/runs/{run}/tasks/a/why").json["why"]
    assert api.get(f"/runs/{run}/tasks/b/why").json["cause"] == "a"


def test_what_the_backend_passes_over_is_told_while_a_task_waits_and_runs(api: Api) -> None:
    api.backend.remarked = {"x": "'x' is ignored"}
    run = api.run({"id": "a", "image": "x"}, {"id": "b"})
    told = "field 'image': 'x' is ignored."
    assert api.get(f"/runs/{run}/tasks/a/why").json["details"] == [told]
    assert api.get(f"/runs/{run}/tasks/b/why").json["details"] == []
    api.attempt(run, "a", COMPLETED._replace(message="image 'x' was ignored"))
    assert api.get(f"/runs/{run}/tasks/a/why").json["details"] == ["Image 'x' was ignored."]


@pytest.mark.parametrize("what", ["output", "error"])
def test_a_log_that_is_elsewhere_is_said_to_be(
    api: Api, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoggedStore, "list_attempts", SqliteStore.list_attempts)
    run = api.run({"id": "a"})
    path = f"/runs/{run}/tasks/a/logs/{what}"
    api.backend.no_log = "job definition 'd' sends its output elsewhere"
    assert api.get(path).status == 200  # there is nothing to read yet
    api.attempt(run, "a", COMPLETED)
    answer = api.get(path)
    assert (answer.status, answer.kind) == (409, "no-log")
    assert "job definition 'd' sends its output elsewhere" in answer.json["detail"]
    api.backend.no_log = None
    assert api.get(path).json["content"] == ""
