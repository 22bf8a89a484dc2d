"""Hostile values through every way into a shell: they arrive byte by byte, and nothing else runs.

The scripts are really run, by every shell there is. ``tests/unit/test_script.py`` and
``tests/batch/test_launcher.py`` say what scripts do; here it is only what they must not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hut.backends.launcher import launcher, task_script
from hut.backends.markers import nonce_of
from hut.backends.tags import job_tags
from hut.model.problems import InvalidInput
from hut.model.records import RunSettings
from hut.model.workflow import TaskSpec
from hut.planning import plan_text
from hut.script import ScriptRequest, Scripts
from tests.batch.plain_batch import run_of
from tests.batch.test_arrays import Children, served, stored_at
from tests.batch.test_launcher import SHELLS as LAUNCHING
from tests.fuzz.hostile import EVERYTHING, IDS, NO_IDS, PATHS, SHELL
from tests.hutctl_process import Hut

SHELLS = {
    name: command
    for name, command in {
        "sh": ["sh"],
        "dash": ["dash"],
        "bash": ["bash"],
        "posix": ["bash", "--posix"],
        "busybox": ["busybox", "sh"],
    }.items()
    if shutil.which(command[0])
}
__all__ = ["served"]

EVERY_SHELL = pytest.mark.parametrize("shell", SHELLS)
VALUES = {f"V{number}": text for number, text in enumerate(EVERYTHING)}
SHOW = "; ".join(f"printf '%s\\0' \"${name}\"" for name in VALUES)
RUN = run_of(workflow="'$(touch pwned)\"", settings=RunSettings(env_vars=VALUES))


def execute(shell: str, text: str, folder: Path, *arguments: str, **more: str) -> bytes:
    """Run a script in an empty folder; return what it printed."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **more}
    done = subprocess.run(
        [*SHELLS[shell], "-c", text, *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def untouched(folder: Path) -> None:
    assert not list(folder.rglob("pwned"))


@EVERY_SHELL
def test_values_that_scripts_export_arrive(shell: str, tmp_path: Path) -> None:
    spec = TaskSpec("t", SHOW, env_vars=VALUES)
    text = Scripts(RUN, "sh").render(ScriptRequest(spec, 1, None))
    printed = execute(shell, text, tmp_path).decode()
    assert printed.split("\0")[:-1] == EVERYTHING
    untouched(tmp_path)


@EVERY_SHELL
def test_values_that_batch_sets_arrive(shell: str, tmp_path: Path) -> None:
    spec = TaskSpec("t", f"{SHOW}; printf '%s\\0' \"$HUT_WORKFLOW\"", env_vars=VALUES)
    text, script = launcher(RUN, spec, 1), task_script(RUN, spec, 1, exports=False)
    given = {**VALUES, "HUT_WORKFLOW": RUN.workflow}
    printed = execute(shell, text, tmp_path, script, **given).decode()
    assert printed.split("\0")[:-1] == [*EVERYTHING, RUN.workflow]
    untouched(tmp_path)


@EVERY_SHELL
def test_folders_and_files_may_have_any_name(shell: str, tmp_path: Path) -> None:
    for name in PATHS:
        home = tmp_path / f"h{PATHS.index(name)}"
        (home / name).mkdir(parents=True)
        spec = TaskSpec(
            "t", "pwd; echo out", working_dir=name, output_file=name + "/o " + name[-1:]
        )
        text, script = launcher(RUN, spec, 1), task_script(RUN, spec, 1, exports=False)
        assert execute(shell, text, home, script) == b""
        (written,) = [path for path in (home / name).rglob("*") if path.is_file()]
        lines = written.read_text().split("\n")
        assert os.path.realpath(lines[0]) == os.path.realpath(home / name)
        assert lines[1:] == ["out", ""]
        untouched(home)


@EVERY_SHELL
def test_what_a_generator_copies_into_the_log_is_its_file_whatever_it_is_called(
    shell: str, tmp_path: Path
) -> None:
    for number, name in enumerate(PATHS):
        home = tmp_path / str(number)
        (home / name).mkdir(parents=True)
        (home / name / "g.json").write_text("[]\n")
        spec = TaskSpec("t", "true", generates_source=f"{name}/g.json")
        text, script = launcher(RUN, spec, 1), task_script(RUN, spec, 1, exports=False)
        printed = execute(shell, text, home, script).decode()
        assert f"::hut:{nonce_of(RUN, spec, 1)}:end 1 cksum=" in printed, name
        untouched(home)


@EVERY_SHELL
def test_ids_do_nothing(shell: str, tmp_path: Path) -> None:
    for task_id in IDS:
        spec = TaskSpec(task_id, 'printf %s "$HUT_TASK_ID"')
        text = Scripts(RUN, "sh").render(ScriptRequest(spec, 1, "~"))
        assert execute(shell, text, tmp_path).decode() == task_id
    untouched(tmp_path)


def of_each_value(texts: list[str]) -> list[TaskSpec]:
    show = 'printf \'%s\\0\' "$V" "$HUT_TASK_ID"'
    return [TaskSpec(f"t{n}", show, env_vars={"V": text}) for n, text in enumerate(texts)]


@pytest.fixture
def children(shell: str, tmp_path: Path) -> Children:
    return Children(shell, tmp_path)


@pytest.mark.parametrize("shell", sorted(LAUNCHING))
def test_values_in_the_table_of_an_array_arrive(children: Children) -> None:
    specs = of_each_value(SHELL[:14])
    for index in range(0, len(specs), 2):
        assert children(index, *specs) == 0, children.err
        assert children.out == f"{SHELL[index]}\0t{index}\0"
    untouched(children.home)


@pytest.mark.parametrize("shell", ["dash"])
def test_values_in_a_table_that_is_fetched_arrive(children: Children, served: Any) -> None:
    specs = of_each_value(EVERYTHING)
    stored = stored_at(served, specs)
    for index in range(0, len(specs), 3):
        assert children(index, *specs, stored=stored) == 0, children.err
        assert children.out == f"{EVERYTHING[index]}\0t{index}\0"
    untouched(children.home)


# From the file to the process, and back -----------------------------------------------------------


def test_hostile_values_reach_tasks_of_this_machine(hut: Hut) -> None:
    show = "import json,os;print(json.dumps([os.environ[f'V{n}'] for n in range(%d)]))"
    command = f'python3 -c "{show % len(EVERYTHING)}"'
    tasks = [{"id": "t", "command": command, "env_vars": VALUES}]
    hut("run", hut.write(tasks, name="w.json"))
    assert json.loads(hut("logs", "last", "t").stdout) == EVERYTHING
    untouched(hut.folder)


def test_ids_that_look_like_paths_or_options_have_logs_of_their_own(hut: Hut) -> None:
    tasks = [{"id": task_id, "command": f"echo {n}"} for n, task_id in enumerate(IDS)]
    hut("run", hut.write(tasks))
    run = hut.json("show", "last")["id"]
    logs = hut.folder / "home" / "runs" / run / "logs"
    assert len([path for path in logs.iterdir() if path.suffix == ".out"]) == len(IDS)
    for n, task_id in enumerate(IDS):
        assert hut("logs", "last", "--", task_id).stdout == f"{n}\n"
    inside = {path.resolve().parent for path in logs.iterdir()}
    assert inside == {logs.resolve()}


@pytest.mark.parametrize("task_id", NO_IDS, ids=ascii)
def test_what_is_no_id_is_refused(task_id: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a task id|is missing"):
        plan_text(json.dumps([{"id": task_id, "command": "true"}]), filename="w.json")


@pytest.mark.parametrize("field", ["working_dir", "output_file", "error_file", "generates_source"])
@pytest.mark.parametrize(
    "path", ["", " ", "a\nb", "a\0b", "a\x1b[2Jb", "a\u2028b", "x" * 4096], ids=ascii
)
def test_what_is_no_path_is_refused(field: str, path: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        plan_text(json.dumps([{"id": "a", "command": "true", field: path}]), filename="w.json")
    (problem,) = raised.value.problems
    assert (problem.task, problem.field) == ("a", field)


@pytest.mark.parametrize("field", ["output_file", "error_file", "generates_source"])
@pytest.mark.parametrize("path", ["a/", "/", ".", "..", "a/..", "a/.", "~", "~/"])
def test_a_folder_is_no_file(field: str, path: str) -> None:
    with pytest.raises(InvalidInput, match="names a folder; write the path of a file"):
        plan_text(json.dumps([{"id": "a", "command": "true", field: path}]), filename="w.json")


# Beyond shells ------------------------------------------------------------------------------------


def test_tags_hold_what_aws_takes_of_anything() -> None:
    """Tags of AWS Batch: letters, digits, blanks and ``_ . : / = + - @``; see its user guide."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.:/=+-@")
    for text in [*EVERYTHING, *PATHS]:
        run = run_of(workflow=text, owner=text, settings=RunSettings(tags={text: text}))
        for key, value in job_tags(run, TaskSpec("t", "true")).items():
            assert set(key + value) <= allowed
            assert len(key) <= 128
            assert len(value) <= 256
