"""`generates_source`: tasks that a task writes join the run, all of them or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.hutctl_process import Hut


def generator(path: str, text: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "gen",
        "command": f"cat > {path} <<'END'\n{text}\nEND",
        "generates_source": path,
        **more,
    }


def task(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "command": f"echo {name} >> ran", **more}


GENERATED = [task("n.1", deps=["gen"]), task("n.2", deps=["before"]), task("sum", deps=["n.*"])]


@pytest.mark.parametrize("form", ["array", "object", "yaml"])
def test_generated_tasks_run_in_the_same_run(hut: Hut, form: str) -> None:
    text = json.dumps(GENERATED if form == "array" else {"tasks": GENERATED})
    path = "g.json" if form != "yaml" else "g.yaml"
    hut("run", hut.write([task("before"), generator(path, text)]))
    assert set(hut.states().values()) == {"completed"}
    lines = hut.lines("ran")
    assert sorted(lines) == ["before", "n.1", "n.2", "sum"]
    assert lines[-1] == "sum"


def test_paths_start_in_the_tasks_own_folder(hut: Hut) -> None:
    (hut.folder / "sub").mkdir()
    hut("run", hut.write([generator("g.json", json.dumps([task("n")]), working_dir="sub")]))
    assert hut.states() == {"gen": "completed", "n": "completed"}
    assert hut.lines("ran") == ["n"]  # a generated task has the run's own default folder


def test_absolute_and_home_paths_are_taken_as_they_are(hut: Hut, tmp_path: Path) -> None:
    absolute = str(tmp_path / "abs.json")
    hut("run", hut.write([generator(absolute, json.dumps([task("n")]))]))
    assert hut.states()["n"] == "completed"
    home = tmp_path / "my home"
    home.mkdir()
    hut.environment = {"HOME": str(home)}
    write = {"id": "gen", "command": f"echo '{json.dumps([task('m')])}' > ~/g.json"}
    hut("run", hut.write([{**write, "generates_source": "~/g.json"}]))
    assert hut.states()["m"] == "completed"


def test_generated_tasks_may_generate_and_depend_by_pattern_on_the_whole_run(hut: Hut) -> None:
    inner = json.dumps([task("x.3", deps=["x.[12]"])])
    outer = json.dumps(
        [
            {"id": "x.2", "command": f"echo x.2 >> ran; echo '{inner}' > i.json",
             "generates_source": "i.json"}
        ]
    )  # fmt: skip
    file = hut.write([task("x.1"), {**generator("g.json", outer), "deps": ["x.1"]}])
    hut("run", file)
    assert hut.lines("ran") == ["x.1", "x.2", "x.3"]


def test_an_empty_list_adds_nothing(hut: Hut) -> None:
    hut("run", hut.write([generator("g.json", "[]")]))
    assert hut.states() == {"gen": "completed"}


FAULTS = {
    "missing": ("true", "no such file"),
    "not JSON": ("echo '[{' > g.json", "not valid JSON"),
    "no tasks": ("echo 7 > g.json", "7"),
    "a duplicate": ('echo \'[{"id": "before", "command": "x"}]\' > g.json', "before"),
    "an unknown dependency": (
        'echo \'[{"id": "n", "command": "x", "deps": ["befre"]}]\' > g.json',
        "before",
    ),
    "a pattern without a match": (
        'echo \'[{"id": "n", "command": "x", "deps": ["q*"]}]\' > g.json',
        "matches no tasks",
    ),
    "a cycle": (
        (
            'echo \'[{"id": "n", "command": "x", "deps": ["m"]}, '
            '{"id": "m", "command": "x", "deps": ["n"]}]\' > g.json'
        ),
        "n -> m -> n",
    ),
    "an unknown field": ('echo \'[{"id": "n", "comand": "x"}]\' > g.json', "command"),
    "an unknown environment": (
        'echo \'[{"id": "n", "command": "x", "environment": "lab"}]\' > g.json',
        "lab",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_generator_and_adds_nothing(hut: Hut, fault: str) -> None:
    command, told = FAULTS[fault]
    tasks = [
        task("before"),
        {"id": "gen", "command": command, "generates_source": "g.json", "deps": ["before"]},
        task("after", deps=["gen"]),
    ]
    hut("run", hut.write(tasks), exit_code=1)
    found = hut.tasks()
    assert {name: t["state"] for name, t in found.items()} == {
        "before": "completed",
        "gen": "failed",
        "after": "dep_failed",
    }
    assert found["gen"]["reason"] == "invalid_output"
    assert told.lower() in found["gen"]["message"].lower()
    assert told.lower() in hut("why", "last", "gen").stdout.lower()
    assert hut.lines("ran") == ["before"]


def test_a_generator_that_fails_adds_nothing(hut: Hut) -> None:
    gen = generator("g.json", json.dumps([task("n")]))
    gen["command"] += "\nexit 3"
    hut("run", hut.write([gen]), exit_code=1)
    assert hut.states() == {"gen": "failed"}


def test_a_faulty_generator_may_be_retried(hut: Hut) -> None:
    command = "[ $HUT_ATTEMPT = 1 ] && echo oops > g.json || echo '[]' > g.json"
    gen = {"id": "gen", "command": command, "generates_source": "g.json", "retries": 1}
    hut("run", hut.write([gen]))
    assert hut.tasks()["gen"]["attempt"] == 2


def test_retry_all_generates_anew(hut: Hut) -> None:
    hut("run", hut.write([generator("g.json", json.dumps([task("n", deps=["gen"])]))]))
    hut("retry", "last", "--all")
    assert hut.lines("ran") == ["n", "n"]
    tasks = hut.tasks()
    assert {name: t["attempt"] for name, t in tasks.items()} == {"gen": 2, "n": 2}
    assert len(tasks["n"]["attempts"]) == 2


def test_logs_of_earlier_attempts_are_found_though_tasks_were_generated_in_another_order(
    hut: Hut,
) -> None:
    def waiting(name: str, attempt: int, lines: str) -> dict[str, Any]:
        new = {"id": f"n{name}", "command": f"echo n{name} >> ran; echo n{name} $HUT_ATTEMPT"}
        waits = f"until [ \"$(cat ran 2> /dev/null)\" = '{lines}' ]; do sleep 0.02; done"
        command = f"[ $HUT_ATTEMPT != {attempt} ] || {waits}; echo '{json.dumps([new])}' > {name}"
        return {"id": name, "command": command, "generates_source": name}

    generators = [waiting("a", 1, "nb"), waiting("b", 2, "nb\nna\nna")]
    hut("run", hut.write(generators), "--max-concurrent", "2")
    hut("retry", "last", "--all")
    assert hut.lines("ran") == ["nb", "na", "na", "nb"]
    for task_id in ("na", "nb"):
        for attempt in ("1", "2"):
            said = hut("logs", "last", task_id, "--attempt", attempt).stdout
            assert said == f"{task_id} {attempt}\n"
