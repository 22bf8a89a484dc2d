"""Exit codes, and what is said when the input or the usage is wrong."""

from __future__ import annotations

import json
import shlex
import sqlite3
import subprocess
import sys

import pytest

from hutctl.__main__ import main
from hutctl.session import Session, report
from tests.hutctl_process import Hut

TASK = {"id": "train", "command": "true"}

FAULTY = {
    "max_concurent": 3,
    "tasks": [
        {"id": "a", "command": "x", "memroy": "1G"},
        {"id": "a", "command": "y"},
        {"id": "b", "comand": "y"},
        {"id": "c", "command": "y", "deps": ["bb", "z*"], "cpus": "many"},
        {"id": "d", "command": "x", "deps": ["e"], "time_limit": "soon"},
        {"id": "e", "command": "x", "deps": ["d"], "environment": "lab"},
        {"id": "no spaces", "command": "x"},
        {"command": "x"},
        7,
    ],
}
PLACES = {
    (None, "max_concurent"): "max_concurrent",
    ("a", "memroy"): "memory",
    ("a", "id"): "twice",
    ("b", "comand"): "command",
    ("b", "command"): "missing",
    ("c", "cpus"): "many",
    ("c", "deps"): "did you mean 'b'",
    ("d", "time_limit"): "soon",
    ("e", "environment"): "lab",
    ("#8", "id"): "missing",
}


def test_a_completed_run_is_0_a_failed_1_and_a_cancelled_3_also_afterwards(hut: Hut) -> None:
    hut("run", hut.write([TASK]), exit_code=0)
    hut("watch", "last", exit_code=0)
    hut("run", hut.write([{"id": "t", "command": "exit 42"}]), exit_code=1)
    hut("watch", "last", exit_code=1)
    me = f"{shlex.quote(sys.executable)} -m hutctl"
    hut("run", hut.write([{"id": "t", "command": f"{me} cancel $HUT_RUN_ID"}]), exit_code=3)
    hut("watch", "last", exit_code=3)
    hut("resume", "last", exit_code=3)
    for command in ("show", "tasks"):  # to look at a failure is no failure
        hut(command, "last", exit_code=0)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "Usage:"),
        ("nosuch", "no command 'nosuch'"),
        ("run", "FILE"),
        ("run w.json extra", "extra"),
        ("run missing.json", "missing.json"),
        ("run .", "directory"),
        ("run w.json --max-concurrent 0", "--max-concurrent"),
        ("run w.json --max-concurrent many", "--max-concurrent"),
        ("run w.json --env A", "--env KEY=VALUE"),
        ("run w.json --env =A", "--env KEY=VALUE"),
        ("run w.json --env 1A=b", "1A"),
        ("run w.json --env HUT_RUN_ID=b", "HUT_RUN_ID"),
        ("run w.json --tag A", "--tag KEY=VALUE"),
        ("run w.json --bakcend x", "--backend"),
        ("run w.json --backend lcal", "known: local"),
        ("runs --limit 0", "--limit"),
        ("runs --state faild", "did you mean 'failed'"),
        ("tasks last --state dep-failed", "did you mean 'dep_failed'"),
        ("logs last train --tail -1", "--tail"),
        ("logs last train --attempt 0", "--attempt"),
        ("logs last", "TASK"),
        ("runs --target aws", "known: local"),
        ("--target aws runs", "known: local"),
        ("--config none.yaml runs", "none.yaml"),
        ("config chek", "check"),
        ("config check", "no hut.yaml"),
        pytest.param(
            "config check none.yaml",
            "none.yaml",
        ),
        ("completion tcsh", "tcsh"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_right(hut: Hut, line: str, told: str) -> None:
    hut.write([TASK])
    done = hut(*line.split(), exit_code=2)
    assert told in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert hut.json("runs") == []


@pytest.mark.parametrize(
    "command", ["show", "tasks", "watch", "cancel", "close", "retry", "resume"]
)
def test_an_unknown_run_is_2(ended: Hut, command: str) -> None:
    done = ended(command, "zzz", exit_code=2)
    assert "no run 'zzz'" in done.stderr
    assert "hutctl runs" in done.stderr
    assert done.stdout == ""


def test_last_without_any_run_is_2_and_says_how_to_begin(hut: Hut) -> None:
    assert "hutctl run" in hut("show", "last", exit_code=2).stderr


@pytest.mark.parametrize("command", ["logs", "why", "script"])
def test_an_unknown_task_is_2_and_names_the_nearest(ended: Hut, command: str) -> None:
    done = ended(command, "last", "flakey", exit_code=2)
    assert "no task 'flakey'" in done.stderr
    assert "did you mean 'flaky'?" in done.stderr
    assert done.stdout == ""


def test_an_unknown_attempt_is_2_and_says_which_there_are(ended: Hut) -> None:
    assert "1 to 2" in ended("logs", "last", "flaky", "--attempt", "3", exit_code=2).stderr
    assert "none" in ended("logs", "last", "after", "--attempt", "1", exit_code=2).stderr


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("w.json", b'[\n{"id": "a",\n', "line"),
        ("w.json", b'[{"id": "a",\n "command": "true"} // why\n]', "line 2"),
        ("w.json", b'[{"id": "a", "command": "x", "command": "y"}]', "twice"),
        ("w.json", b'[{"id": "a", "command": "x", "retry_backoff": NaN}]', "NaN"),
        ("w.json", b"", "empty"),
        ("w.json", b"[]", "no tasks"),
        ("w.json", b'{"name": "x"}', "tasks"),
        ("w.json", b'"text"', ""),
        ("w.json", b"[" * 100_000, ""),
        ("w.json", b'[{"id": "a", "command": "\xff"}]', "UTF-8"),
        ("w.json", b"\xff\xfe[\0", "UTF-8"),
        ("w.yaml", b"- id: a\n  command: [\n", "line"),
        ("w.yaml", b"- id: a\n\tcommand: x\n", "line"),
    ],
)
def test_a_broken_file_is_2_told_with_its_place_and_stores_nothing(
    hut: Hut, name: str, content: bytes, told: str
) -> None:
    (hut.folder / name).write_bytes(content)
    done = hut("run", name, "--json", exit_code=2)
    errors = json.loads(done.stdout)["errors"]
    assert errors
    assert told in done.stderr
    assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert hut.json("runs") == []


def test_every_problem_is_told_at_once_with_its_task_and_field(hut: Hut) -> None:
    (hut.folder / "w.json").write_text(json.dumps(FAULTY))
    done = hut("run", "w.json", exit_code=2)
    assert done.stdout == ""
    assert "nothing was submitted" in done.stderr
    for (task, field), told in PLACES.items():
        lines = [line for line in done.stderr.splitlines() if f"'{field}'" in line]
        if task is not None:
            lines = [line for line in lines if f"'{task}'" in line]
        assert any(told in line for line in lines), (task, field, done.stderr)
    assert "no spaces" in done.stderr
    assert "d -> e -> d" in done.stderr
    assert "z*" in done.stderr
    assert hut.json("runs") == []


@pytest.mark.parametrize("command", ["run", "plan"])
def test_with_json_problems_are_a_document(hut: Hut, command: str) -> None:
    (hut.folder / "w.json").write_text(json.dumps(FAULTY))
    document = hut.json(command, "w.json", exit_code=2)
    assert document.keys() == {"errors"}
    for error in document["errors"]:
        assert error.keys() >= {"task", "field", "message"}
        assert error["message"]
        assert "\n" not in error["message"]
    found = {(error["task"], error["field"]) for error in document["errors"]}
    assert found >= PLACES.keys()


def test_a_backend_of_another_type_is_told_together_with_the_rest(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "backends:\n  - {name: hpc, type: slurm, ssh: {host: h, user: u}}\n"
    )
    tasks = [{"id": "a", "command": "x", "backend": "hpc"}, {"id": "b", "command": "x", "cpus": 0}]
    errors = hut.json("run", hut.write(tasks), exit_code=2)["errors"]
    assert {(error["task"], error["field"]) for error in errors} == {
        ("a", "backend"),
        ("b", "cpus"),
    }


def test_many_problems_stay_readable_and_are_all_in_the_document(hut: Hut) -> None:
    file = hut.write([{"id": f"t{i}", "command": "x", "cpus": 0} for i in range(300)])
    done = hut("run", file, "--json", exit_code=2)
    assert len(json.loads(done.stdout)["errors"]) == 300
    assert len(done.stderr.splitlines()) < 100
    assert "300 problems" in done.stderr


@pytest.mark.parametrize("command", ["runs", "doctor", "run w.json"])
def test_a_home_that_can_not_be_used_is_4(hut: Hut, command: str) -> None:
    hut.write([TASK])
    (hut.folder / "home").write_text("a file")
    done = hut(*command.split(), exit_code=4)
    assert "home" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_that_can_not_be_used_is_4_also_when_more_is_said(hut: Hut) -> None:
    (hut.folder / "home").write_text("a file")
    hut("runs", "-v", exit_code=4)


def test_a_store_that_is_damaged_is_4_and_is_left_as_it_is(hut: Hut) -> None:
    hut("runs")
    store = next((hut.folder / "home").glob("*.db"))
    store.write_bytes(b"this is no database" * 500)
    done = hut("runs", exit_code=4)
    assert str(store) in done.stderr
    assert "Traceback" not in done.stderr
    assert store.read_bytes() == b"this is no database" * 500


def test_a_reader_that_has_enough_is_no_error(ended: Hut) -> None:
    command = f"{shlex.quote(sys.executable)} -m hutctl tasks last --json | head -c 1"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=ended.folder,
        env=ended.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "["
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_store_that_can_not_be_used_is_no_fault_of_hutctl(capsys: pytest.CaptureFixture) -> None:
    assert report(sqlite3.OperationalError("disk I/O error"), Session()) == 4
    said = capsys.readouterr().err
    assert "disk I/O error" in said
    assert "Traceback" not in said


def test_an_interrupt_before_there_is_anything_to_cancel_is_told_by_the_exit_code_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("hutctl.root.invoke", interrupt)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
