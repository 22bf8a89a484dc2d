"""Searching tasks as HyperShell does (``-w 'field op value'``, ``-t tag[:value]``), and its failed tasks."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from hut.planning.task_files import NO_FIELDS, TaskFileReader
from hut.searching import Condition, all_hold, read_condition, read_field, read_tag_condition
from tests.hutctl_process import Hut

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
TASK: dict[str, Any] = {
    "id": "map.1",
    "name": "map.1",
    "state": "failed",
    "reason": "exit",
    "message": "exit code 3",
    "exit_code": 3,
    "attempt": 2,
    "backend": "local",
    "job_id": None,
    "command": "run a",
    "cpus": 2,
    "memory": "4096M",
    "time_limit": "1:00:00",
    "retries": 1,
    "priority": 0,
    "created_at": "2027-01-15T06:00:00Z",
    "submitted_at": "2027-01-15T06:00:00Z",
    "started_at": "2027-01-15T06:30:00.5Z",
    "ended_at": "2027-01-15T06:30:10.5Z",
    "tags": {"site": "eu", "nightly": ""},
}
WAITS = {**TASK, "state": "pending", "exit_code": None, "started_at": None, "ended_at": None}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("exit_code != 0", True),
        ("exit_code == 3", True),
        ("exit_code=3", True),
        ("exit_status != 0", True),
        ("exit_code > 10", False),  # as numbers, not as texts
        ("attempt >= 2", True),
        ("attempt < 2", False),
        ("priority <= 0.5", True),
        ("state == failed", True),
        ("state != 'failed'", False),
        ("reason == exit", True),
        ("id ~ map.*", True),
        ("id ~ map", False),
        ("command ~ '*[ab]'", True),
        ("args == run a", True),
        ("message == 'exit code 3'", True),
        ("memory >= 4G", True),
        ("memory > 4G", False),
        ("memory == 4096", True),
        ("time_limit > 59m", True),
        ("time_limit == 60", True),
        ("duration == 10", True),
        ("duration > 10", False),
        ("started_at > 2027-01-15T06:30:00Z", True),
        ("started_at > -2h", True),
        ("started_at < -2h", False),
        ("ended_at < 2027-01-15", False),
        ("tags.site == eu", True),
        ("tags.site ~ e?", True),
        ("tags.other == eu", False),
        ("tags.other == null", True),
        ("job_id == null", True),
        ("exit_code != null", True),
        ("job_id != x", False),  # as in SQL: what has no value fulfils nothing
    ],
)
def test_a_condition_holds_or_not(text: str, holds: bool) -> None:
    assert read_condition(text, NOW).holds(TASK) is holds


@pytest.mark.parametrize("text", ["exit_code != 0", "duration >= 0", "started_at < 2030-01-01"])
def test_what_has_no_value_fulfils_no_condition(text: str) -> None:
    assert not read_condition(text, NOW).holds(WAITS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exit_code", "write it as 'FIELD OP VALUE'"),
        ("", "write it as 'FIELD OP VALUE'"),
        ("exit_code === 0", "'= 0' is not a number"),
        ("exit_code <> 0", "'> 0' is not a number"),
        ("exit_cod != 0", "did you mean 'exit_code'?"),
        ("exit_code != zero", "exit_code: 'zero' is not a number"),
        ("exit_code != nan", "is not a number"),
        ("exit_code < inf", "is not a number"),
        ("state == faild", "did you mean 'failed'?"),
        ("state > failed", "state is compared by ==, != and ~ only"),
        ("started_at > yesterday", "started_at: write a day"),
        ("started_at > -soon", "started_at: "),
        ("memory > lots", "memory: "),
        ("exit_code ~ 3", "exit_code is no text"),
        ("exit_code > null", "null is compared by == and != only"),
        ("tags. == x", "there is no field 'tags.'"),
    ],
)
def test_a_condition_that_is_wrong_is_told_with_what_would_be_right(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        read_condition(text, NOW)


@pytest.mark.parametrize(
    ("text", "holds"),
    [("site", True), ("site:eu", True), ("site:us", False), ("nightly", True), ("nightly:", True),
     ("nightly:x", False), ("other", False)],
)  # fmt: skip
def test_a_tag_is_asked_for_with_or_without_its_value(text: str, holds: bool) -> None:
    assert read_tag_condition(text).holds(TASK) is holds


def test_all_conditions_must_hold() -> None:
    conditions: list[Condition] = [
        read_condition("attempt == 2", NOW),
        read_tag_condition("site:us"),
    ]
    assert all_hold(conditions[:1], TASK)
    assert not all_hold(conditions, TASK)
    assert read_field("exit_status") == "exit_code"


# The commands -----------------------------------------------------------------------------------

LINES = "echo one\nexit 3\n"
TASKS: list[dict[str, Any]] = [
    {"id": "ok", "command": "true", "tags": {"site": "eu"}, "priority": 3},
    {"id": "bad", "command": "exit 3", "tags": {"site": "us", "odd": "a b"}, "priority": 2},
    {"id": "lines", "command": f"echo 'it\\n'\n{LINES}", "priority": 1},
    {"id": "retried", "command": "test -e done || { touch done; false; }", "retries": 1},
    {"id": "after", "command": "=1+1", "deps": ["bad"]},
]


@pytest.fixture(scope="module")
def hut(tmp_path_factory: pytest.TempPathFactory) -> Hut:
    hut = Hut(tmp_path_factory.mktemp("a folder"))
    hut("run", hut.write(TASKS), "--max-concurrent", "1", exit_code=1)
    return hut


def ids(hut: Hut, *options: str) -> list[str]:
    return [task["id"] for task in hut.json("tasks", "last", *options)]


def test_tasks_are_searched_and_sorted(hut: Hut) -> None:
    assert ids(hut, "--where", "exit_code != 0") == ["bad", "lines"]
    assert ids(hut, "-w", "exit_code != 0", "-w", "priority > 1") == ["bad"]
    assert ids(hut, "-t", "site:eu") == ["ok"]
    assert ids(hut, "-t", "site", "--sort", "priority") == ["bad", "ok"]
    assert ids(hut, "--sort", "exit_code", "--reverse") == [
        "bad",
        "lines",
        "ok",
        "retried",
        "after",
    ]
    assert ids(hut, "--sort", "priority", "--reverse", "--limit", "2") == ["ok", "bad"]
    assert ids(hut, "--limit", "1") == ["ok"]


def test_tasks_are_written_as_csv_that_nothing_runs(hut: Hut) -> None:
    printed = hut("tasks", "last", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert [row["id"] for row in rows] == [task["id"] for task in TASKS]
    assert rows[1]["exit_code"] == "3"
    assert rows[2]["command"] == TASKS[2]["command"]
    assert rows[4]["command"] == "'=1+1"  # a spreadsheet would compute it
    assert rows[4]["exit_code"] == ""
    some = hut(
        "tasks", "last", "--format", "csv", "--columns", "id,tags.site", "--limit", "1"
    ).stdout
    assert some == "id,tags.site\nok,eu\n"
    shown = hut("tasks", "last", "--format", "json", "--columns", "id,exit_code", "-w", "id == bad")
    assert json.loads(shown.stdout) == [{"id": "bad", "exit_code": 3}]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--where", "exit_cod != 0", "-w", "nothing"), "did you mean 'exit_code'?"),
        (("--sort", "prioity"), "did you mean 'priority'?"),
        (("--columns", "id,stat"), "did you mean 'state'?"),
        (("--reverse",), "--reverse turns the order of --sort round"),
        (("--json", "--format", "csv"), "exclude each other"),
    ],
)
def test_what_is_wrong_is_told(hut: Hut, options: tuple[str, ...], told: str) -> None:
    assert told in hut("tasks", "last", *options, exit_code=2).stderr


def test_failures_are_a_task_file_in_order_of_completion(hut: Hut, tmp_path: Path) -> None:
    printed = hut("failures", "last").stdout
    assert len(printed.splitlines()) == 3
    assert printed.splitlines()[0] == "exit 3"
    assert printed.splitlines()[2] == TASKS[3]["command"]
    final = hut("failures", "last", "--final", "--with-tags")
    assert "bad: a task file can't hold the tags 'odd'" in final.stderr
    reader = TaskFileReader(NO_FIELDS, None)
    lines = enumerate(io.BytesIO(final.stdout.encode()), 1)
    found = [task for n, line in lines if (task := reader.read(n, line)) is not None]
    assert not reader.problems
    assert [task.fields.tags["id"] for task in found] == ["bad", "lines"]
    assert found[0].fields.tags["site"] == "us"
    # The lines do the same again, run by sh as the lines of a task file are.
    import subprocess

    again = subprocess.run(
        ["sh", "-c", found[1].command], capture_output=True, text=True, check=False
    )
    assert (again.stdout, again.returncode) == ("it\\n\none\n", 3)
