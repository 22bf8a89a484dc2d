"""Task programs on AWS: the table of HQS Tasks on Batch, and `hutctl task` against a target.

Each run holds many cases. What is local about them is in tests/conformance/test_hqs_runner.py, whose
programs and table these are; a part of it runs on instances in test_ec2.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.test_hqs_runner import BREAKER, CASES, PYTHON, SH, Case
from tests.e2e.remote_hut import RemoteHut

__all__ = ["FLOW", "breaking", "hold", "hold_flow", "register", "tasks_of", "write_programs"]

ODD = "odd $(touch harm) 'n\u00e9' -x"
LARGE = r"""
import json, sys
if "--dump-task-definitions" in sys.argv:
    parts = {part: {"file_argument": part} for part in ("output", "error")}
    print(json.dumps([{"name": "large", "version": "1", "command": [sys.executable, __file__], **parts}]))
else:
    open(sys.argv[2], "w").write(json.dumps({"rows": list(range(400_000)), "said": "\ud800 \u00e9"}))
"""
FLOW: list[dict[str, Any]] = [
    {"id": "a", "task": "sq", "input": 3},
    {"id": "b", "task": "sq@1.2", "input": {"$output": "a"}},
    {"id": "c", "task": "sq", "input": {"$output": "b", "path": "/x"}, "retries": 3},
    {"id": "d", "task": "break", "input": {"$output": "a"}, "retries": 3},
    {"id": "e", "task": "sq", "input": {"$output": "c"}},
]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with programs; tasks on the test bed are processes of this machine."""
    return write_programs(tmp_path_factory.mktemp("task programs"))


def write_programs(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    texts = {"sq.sh": SH.replace("VERSION", "1.2"), "later.sh": SH.replace("VERSION", "1.10")}
    for name, text in {**texts, "breaker.sh": BREAKER, "odd.py": PYTHON, "large.py": LARGE}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def register(hut: RemoteHut, programs: Path) -> None:
    """Register what programs say, without a hutctl for each."""
    for path in sorted(programs.iterdir()):
        argv = [sys.executable, str(path)] if path.suffix == ".py" else [str(path)]
        said = programs / "said.json"
        done = subprocess.run(
            [*argv, "--dump-task-definitions", str(said)], capture_output=True, check=True
        )
        text = said.read_bytes() if said.exists() else done.stdout
        said.unlink(missing_ok=True)
        for definition in json.loads(text):
            assert hut.call("PUT", "/tasks", definition).status in (200, 201)


def breaking(case: Case) -> dict[str, Any]:
    limit = "1s" if case.does == "too long" else "60s"
    number = CASES.index(case)
    return {
        "id": f"t{number}",
        "task": "break",
        "input": case.does,
        "retries": 1,
        "time_limit": limit,
    }


def hold(tasks: dict[str, dict[str, Any]], case: Case) -> None:
    """Hold what became of a case against the table."""
    task = tasks[f"t{CASES.index(case)}"]
    assert (task["state"], task["reason"]) == (case.state, case.reason), (case, task["message"])
    assert case.does == "link" or case.says in task["message"], (case, task["message"])
    last = task["attempts"][-1]
    assert [report["type"] for report in last.get("reports") or []] == case.types, case
    assert len(task["attempts"]) == (2 if case.reason == "timeout" else 1), case


def tasks_of(hut: RemoteHut, run: str) -> dict[str, dict[str, Any]]:
    return {task["id"]: task for task in hut.json("tasks", run)}


def hold_flow(hut: RemoteHut, run: str, tasks: dict[str, dict[str, Any]]) -> None:
    assert hut("task", "output", run, "b").stdout == "81\n"
    for task in ("c", "d"):
        assert (tasks[task]["state"], tasks[task]["reason"]) == ("failed", "invalid_input")
        [attempt] = tasks[task]["attempts"]
        assert (attempt["started_at"], attempt["job_id"]) == (None, None)
        assert [report["type"] for report in attempt["reports"]] == ["ValidationError"]
    assert tasks["e"]["state"] == "dep_failed"


def test_the_table_on_batch(hut: RemoteHut, programs: Path) -> None:
    register(hut, programs)
    more = [{"id": "odd", "task": ODD}, {"id": "large", "task": "large"}]
    more += [{"id": "sums", "task": "sq", "input": {"$output": "large", "path": "/rows/9"}}]
    run = hut.run([*map(breaking, CASES), *FLOW, *more], exit_code=1)["id"]
    tasks = tasks_of(hut, run)
    for case in CASES:
        hold(tasks, case)
    hold_flow(hut, run, tasks)
    assert hut.json("task", "output", run, "odd") == ["$HOME", "a b'c", "*"]
    assert json.loads(hut("task", "output", run, "large").stdout)["rows"][-1] == 399_999
    assert hut("task", "output", run, "sums").stdout == "81\n"
    names = [case.does for case in CASES]
    [report] = tasks[f"t{names.index('neither')}"]["attempts"][-1]["reports"]
    assert report["log_tail"].endswith("something")
    [report] = tasks[f"t{names.index('malformed error')}"]["attempts"][-1]["reports"]
    assert report["error_file"] == "boom\n"
    failed = {each["task"]: each for each in hut.json("failures", run)}
    assert [each["type"] for each in failed["t2"]["reports"]] == ["E", "F"]
    assert "E: said" in hut("why", run, "t2").stdout
    assert hut("task", "output", run, f"t{names.index('both')}").stdout == "5\n"
    assert "::hut:" not in hut("logs", run, "t0").stdout


def test_tasks_are_registered_run_and_found_again(hut: RemoteHut, programs: Path) -> None:
    (hut.folder / "one.sh").write_text(SH.replace("VERSION", "1.0").replace('"sq"', '"one"'))
    (hut.folder / "one.sh").chmod(0o755)
    path = str(hut.folder / "one.sh")
    assert hut("task", "register", path).stdout == "one@1.0\n"
    assert hut("task", "register", path).stdout == "one@1.0 (as before)\n"
    (hut.folder / "one.sh").write_text((hut.folder / "one.sh").read_text().replace("Square", "X"))
    assert "--replace" in hut("task", "register", path, exit_code=2).stderr
    hut("task", "register", "--replace", path)
    assert hut.json("task", "show", "one")["description"] == "X."
    assert "one" in hut("task", "list").stdout
    (hut.folder / "in.json").write_text("7")
    run = ("task", "run", "one", "--input", "in.json")
    first = hut.json(*run)
    assert first["output"] == 49
    assert hut.json(*run)["run"] == first["run"]
    (hut.folder / "in.json").write_text("-7")
    assert hut.json(*run, exit_code=1)["errors"][0]["type"] == "Negative"
    (hut.folder / "in.json").write_text('"x"')
    assert "'x' is not of type 'integer'" in hut(*run, exit_code=2).stderr
    hut("task", "remove", "one@1.0")
    assert "there is no task 'one'" in hut(*run, exit_code=2).stderr
