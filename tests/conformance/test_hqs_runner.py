"""HQS Tasks, as runner: programs that follow the document, and one that breaks each of its rules.

One is plain sh, one Python without the SDK. Each case of the third is a task of one run, so that hutctl is
started once for all of them. Most other commands are called in this process, which spares their start.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest

from hutctl.root import invoke
from tests.hutctl_process import Hut

SH = r"""#!/bin/sh
# Squares a number. It has one task, whose command is the bare program, and options without dashes.
if [ "$1" = --dump-task-definitions ]; then
d='[{"name": "sq", "version": "VERSION", "description": "Square.", "later": {"a": 1},
"input": {"file_argument": "in", "json_schema": {"type": "integer"}},
"output": {"file_argument": "-o ut", "json_schema": {"type": "integer", "minimum": 0}},
"error": {"file_argument": "--err"}, "command": ["'$0'"], "provisioning_defaults": {"timeout": 60}}]'
[ -n "$2" ] && echo "$d" >"$2" || echo "$d"
exit
fi
[ $# = 6 ] && [ "$1" = in ] && [ "$3" = '-o ut' ] && [ "$5" = --err ] || exit 9
[ -e "$4" ] || [ -e "$6" ] && exit 8
read -r none && exit 7
n=$(cat "$2"); echo "working on $n" >&2
[ "$n" -ge 0 ] || { echo '[{"type": "Negative", "message": "no root", "mine": 5}]' >"$6"; exit 1; }
echo $((n*n)) >"$4"
"""

PYTHON = r"""
# No input, and definitions on stdout only: a file's name is passed over.
import json, sys
if "--dump-task-definitions" in sys.argv:
    print(json.dumps([{
        "name": "odd $(touch harm) 'n\u00e9' -x", "version": "1.0",
        "output": {"file_argument": "--output", "json_schema": {"type": "array"}},
        "error": {"file_argument": "--error"},
        "command": [sys.executable, __file__, "$HOME", "a b'c", "*"],
        "input": None,
    }]))
    sys.exit()
arguments = sys.argv[1:]
assert arguments[3::2] == ["--output", "--error"], arguments
with open(arguments[4], "w") as file:
    json.dump(arguments[:3], file)
"""

BREAKER = r"""#!/bin/sh
if [ "$1" = --dump-task-definitions ]; then
echo '[{"name": "break", "version": "1", "command": ["'$0'", "go"],
"input": {"file_argument": "-i", "json_schema": {"type": "string"}},
"output": {"file_argument": "-o", "json_schema": {"type": "integer"}},
"error": {"file_argument": "-e"}}]' >"$2"; exit; fi
out=$5 err=$7
reports='[{"type": "E", "message": "said"}, {"type": "F"}]'
case $(cat "$3") in
'"success"') echo 5 >"$out" ;;
'"exit code"') echo 5 >"$out"; exit 3 ;;
'"reports"') echo "$reports" >"$err"; exit 1 ;;
'"reports, exit 0"') echo "$reports" >"$err" ;;
'"both"') echo 5 >"$out"; echo "$reports" >"$err" ;;
'"output and empty array"') echo 5 >"$out"; echo '[]' >"$err" ;;
'"neither"') echo something >&2 ;;
'"neither, exit 4"') exit 4 ;;
'"killed"') kill -9 $$ ;;
'"empty error"') : >"$err"; exit 1 ;;
'"malformed error"') echo boom >"$err"; exit 1 ;;
'"no reports"') echo '[]' >"$err"; exit 1 ;;
'"wrong output"') echo '"five"' >"$out" ;;
'"no JSON"') echo '{' >"$out" ;;
'"empty output"') : >"$out" ;;
'"folder"') mkdir "$out" ;;
'"link"') ln -s /etc/hostname "$out" ;;
'"half a character"') printf '%s' '[{"type": "E", "message": "\ud800 said"}]' >"$err" ;;
'"too long"') echo 5 >"$out"; sleep 60 ;;
esac
"""


class Case(NamedTuple):
    """What the program does, and what becomes of it."""

    does: str
    state: str
    reason: str
    types: list[str]
    says: str = ""


CASES = [
    Case("success", "completed", "exit", []),
    Case("exit code", "completed", "exit", [], "exit code 3"),
    Case("reports", "failed", "reported", ["E", "F"], "E: said (and 1 more)"),
    Case("reports, exit 0", "failed", "reported", ["E", "F"], "E: said"),
    Case("both", "failed", "invalid_output", ["ContractViolation", "E", "F"]),
    Case(
        "output and empty array",
        *("failed", "invalid_output", ["ContractViolation", "AbnormalTermination"]),
    ),
    Case("neither", "failed", "invalid_output", ["AbnormalTermination"], "neither output nor"),
    Case("neither, exit 4", "failed", "exit", ["AbnormalTermination"], "exit code 4"),
    Case("killed", "failed", "exit", ["AbnormalTermination"], "signal 9"),
    Case("empty error", "failed", "exit", ["AbnormalTermination"], "is empty"),
    Case("malformed error", "failed", "exit", ["AbnormalTermination"], "no JSON document"),
    Case("no reports", "failed", "exit", ["AbnormalTermination"], "empty array"),
    Case("wrong output", "failed", "invalid_output", ["OutputValidationError"], "violates"),
    Case("no JSON", "failed", "invalid_output", ["OutputValidationError"], "no JSON document"),
    Case("empty output", "failed", "invalid_output", ["OutputValidationError"], "is empty"),
    Case("folder", "failed", "invalid_output", ["OutputValidationError"], "no regular file"),
    Case("link", "failed", "invalid_output", ["OutputValidationError"], "can't be read"),
    Case("too long", "failed", "timeout", ["Timeout"], "time limit"),
    Case("half a character", "failed", "reported", ["E"], "E: ? said"),
]


class Near(Hut):
    """A Hut whose commands are called without a process of their own; `popen` gives them one."""

    def __call__(
        self, *arguments: str, exit_code: int | None = 0, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        output, errors = io.StringIO(), io.StringIO()
        stdin = io.TextIOWrapper(io.BytesIO((given or "").encode()))
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            with (
                mock.patch.dict(os.environ, self.env),
                mock.patch.object(sys, "stdin", stdin),
                contextlib.redirect_stdout(output),
                contextlib.redirect_stderr(errors),
            ):
                code = invoke(arguments)
        finally:
            os.chdir(before)
        told = subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())
        assert exit_code in (None, code), told
        return told


@pytest.fixture(scope="module")
def hut(tmp_path_factory: pytest.TempPathFactory) -> Hut:
    """Return a home in which the three programs are registered."""
    folder = tmp_path_factory.mktemp("hqs runner")  # programs are found under a path with a blank
    found = Near(folder)
    for name, text in [
        ("sq.sh", SH.replace("VERSION", "1.2")),
        ("later.sh", SH.replace("VERSION", "1.10")),
        ("breaker.sh", BREAKER),
    ]:
        path = folder / name
        path.write_text(text)
        path.chmod(0o755)
        found("task", "register", str(path))
    (folder / "plain.py").write_text(PYTHON)
    found("task", "register", sys.executable, str(folder / "plain.py"))
    return found


@pytest.fixture(scope="module")
def broken(hut: Hut) -> dict[str, dict[str, Any]]:
    """Return what became of each case, all run at once; each may be retried."""
    tasks = [
        {
            "id": f"t{number}",
            "task": "break",
            "input": case.does,
            "retries": 1,
            "time_limit": "1s" if case.does == "too long" else "60s",
        }
        for number, case in enumerate(CASES)
    ]
    hut("run", hut.write(tasks, "broken.json"), exit_code=1)
    found = json.loads(hut("tasks", "last", "--json").stdout)
    return {case.does: task for case, task in zip(CASES, found, strict=True)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.does)
def test_the_table(case: Case, broken: dict[str, dict[str, Any]]) -> None:
    task = broken[case.does]
    assert (task["state"], task["reason"]) == (case.state, case.reason)
    assert case.says in task["message"]
    last = task["attempts"][-1]
    assert [report["type"] for report in last.get("reports", [])] == case.types
    # Only what the infrastructure did is retried.
    assert len(task["attempts"]) == (2 if case.reason == "timeout" else 1)


def test_reports_hut_makes_have_the_end_of_the_log(broken: dict[str, dict[str, Any]]) -> None:
    [report] = broken["neither"]["attempts"][-1]["reports"]
    assert report["log_tail"] == "something"
    assert report["log"].startswith("hutctl logs ")


def test_a_malformed_error_file_is_kept_raw(broken: dict[str, dict[str, Any]]) -> None:
    [report] = broken["malformed error"]["attempts"][-1]["reports"]
    assert report["error_file"] == "boom\n"


def test_failures_and_why_tell_the_reports(hut: Hut, broken: dict[str, dict[str, Any]]) -> None:
    run = json.loads(hut("runs", "--json").stdout)
    mine = next(each["id"] for each in run if each["workflow"] == "broken")
    found = json.loads(hut("failures", mine, "--json").stdout)
    by_task = {each["task"]: each for each in found}
    assert [each["type"] for each in by_task["t2"]["reports"]] == ["E", "F"]
    assert "E: said" in hut("why", mine, "t2").stdout
    half = Hut(hut.folder)("tasks", mine, "--json").stdout  # as a process, whose output is UTF-8
    assert "\\ud800 said" in half
    assert broken["both"]["reason"] == "invalid_output"
    # The output that came with a failure is attached.
    assert hut("task", "output", mine, "t4").stdout == "5\n"


def test_documents_are_for_their_owner_only(hut: Hut, broken: dict[str, dict[str, Any]]) -> None:
    assert broken
    folders = list((hut.folder / "home/runs").glob("*/documents"))
    assert folders
    for folder in folders:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.iterdir():
            assert path.is_file(), "what attempts worked in is gone"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600


# Running one task --------------------------------------------------------------------------------


def test_a_task_runs_and_its_output_is_printed(hut: Hut) -> None:
    (hut.folder / "n.json").write_text("7")
    done = Hut(hut.folder)("task", "run", "sq@1.2", "--input", "n.json")  # as a process
    assert done.stdout == "49\n"


def test_without_a_version_the_highest_runs(hut: Hut) -> None:
    done = hut("task", "run", "sq", "--input", "-", "--json", given="3")
    run = json.loads(done.stdout)["run"]
    [task] = json.loads(hut("tasks", run, "--json").stdout)
    assert task["task"] == "sq@1.10"
    assert task["time_limit"] == "60s"  # the task's default; nobody asked for another


def test_what_the_user_asks_beats_the_default_of_the_task(hut: Hut) -> None:
    done = hut(
        *("task", "run", "sq", "--input", "-", "--json", "--fresh"),
        *("--time-limit", "90s", "--cpus", "2"),
        given="4",
    )
    [task] = json.loads(hut("tasks", json.loads(done.stdout)["run"], "--json").stdout)
    assert (task["time_limit"], task["cpus"]) == ("90s", 2)


def test_a_failure_prints_the_reports(hut: Hut) -> None:
    done = hut("task", "run", "sq", "--input", "-", "--json", given="-3", exit_code=1)
    [report] = json.loads(done.stdout)["errors"]
    assert report == {"type": "Negative", "message": "no root", "mine": 5}


def test_an_input_that_violates_the_schema_is_refused(hut: Hut) -> None:
    done = hut("task", "run", "sq", "--input", "-", given='"x"', exit_code=2)
    assert "'x' is not of type 'integer'" in done.stderr
    assert "nothing was submitted" in done.stderr
    for given in ("", "{", "NaN"):
        hut("task", "run", "sq", "--input", "-", given=given, exit_code=2)


def test_the_command_runs_as_it_is_and_no_shell_sees_it(hut: Hut) -> None:
    name = "odd $(touch harm) 'n\u00e9' -x"
    assert json.loads(hut("task", "run", name).stdout) == ["$HOME", "a b'c", "*"]
    assert not (hut.folder / "harm").exists()
    assert (
        "takes no input" in hut("task", "run", name, "--input", "-", given="1", exit_code=2).stderr
    )


def test_an_earlier_execution_is_found_again(hut: Hut) -> None:
    def run(*more: str, given: str, exit_code: int = 0) -> str:
        done = hut(
            *("task", "run", "sq", "--input", "-", "--json", *more),
            given=given,
            exit_code=exit_code,
        )
        return str(json.loads(done.stdout)["run"])

    first = run(given="11")
    assert run(given=" 11 ") == first
    assert run("--cpus", "2", given="11") == first
    assert run("--fresh", given="11") != first
    assert run(given="12") != first
    failed = run(given="-11", exit_code=1)
    assert run(given="-11", exit_code=1) != failed


def test_two_at_once_make_one_run(hut: Hut) -> None:
    (hut.folder / "both.json").write_text("21")
    calls = [hut.popen("task", "run", "sq", "--input", "both.json", "--json") for _ in range(3)]
    answers = [json.loads(call.communicate(timeout=120)[0]) for call in calls]
    assert [each["output"] for each in answers] == [441] * 3
    assert len({each["run"] for each in answers}) == 1


# Documents from task to task -----------------------------------------------------------------------


def test_documents_flow_and_a_wrong_one_starts_nothing(hut: Hut) -> None:
    tasks = [
        {"id": "a", "task": "sq", "input": 3},
        {"id": "b", "task": "sq@1.2", "input": {"$output": "a"}},
        {"id": "c", "task": "sq", "input": {"$output": "b", "path": "/x"}, "retries": 3},
        {"id": "d", "task": "break", "input": {"$output": "a"}, "retries": 3},
        {"id": "e", "task": "sq", "input": {"$output": "c"}},
    ]
    hut("run", hut.write(tasks, "flow.json"), exit_code=1)
    assert hut("task", "output", "last", "b").stdout == "81\n"
    found = {task["id"]: task for task in json.loads(hut("tasks", "last", "--json").stdout)}
    for task in ("c", "d"):
        assert (found[task]["state"], found[task]["reason"]) == ("failed", "invalid_input")
        [attempt] = found[task]["attempts"]
        assert (attempt["started_at"], attempt["job_id"]) == (None, None)
        assert attempt["reports"][0]["type"] == "ValidationError"
    assert "has nothing at '/x'" in found["c"]["message"]
    assert "is not of type 'string'" in found["d"]["message"]
    assert found["e"]["state"] == "dep_failed"
    assert "no output document" in hut("task", "output", "last", "c", exit_code=2).stderr


def test_generated_tasks_may_be_tasks_of_programs(hut: Hut) -> None:
    more = [
        {"id": "x", "task": "sq", "input": 5},
        {"id": "y", "task": "sq", "input": {"$output": "x"}},
    ]
    (hut.folder / "more.json").write_text(json.dumps(more))
    tasks = [{"id": "g", "command": "cp more.json gen.json", "generates_source": "gen.json"}]
    hut("run", hut.write(tasks, "generate.json"))
    assert hut("task", "output", "last", "y").stdout == "625\n"


def test_a_run_keeps_the_definition_it_was_submitted_with(hut: Hut) -> None:
    hut(
        "run",
        hut.write([{"id": "a", "task": "break", "input": "reports"}], "kept.json"),
        exit_code=1,
    )
    hut("task", "remove", "break@1")
    try:
        hut("retry", "last", exit_code=1)
        found = json.loads(hut("tasks", "last", "--json").stdout)
        assert [attempt["reason"] for attempt in found[0]["attempts"]] == ["reported"] * 2
    finally:
        hut("task", "register", str(hut.folder / "breaker.sh"))


def test_what_ended_while_nobody_was_there_is_judged_by_its_files(hut: Hut) -> None:
    program = hut.folder / "slow.sh"
    program.write_text(
        SH.replace('"sq"', '"slow"').replace(
            "n=$(cat", "while [ ! -e go ]; do sleep 0.05; done; n=$(cat"
        )
    )
    program.chmod(0o755)
    hut("task", "register", str(program))
    tasks = [{"id": "a", "task": "slow", "input": 6}, {"id": "b", "task": "slow", "input": -6}]
    engine = hut.popen("run", hut.write(tasks, "slow.json"), "--max-concurrent", "2")
    home = hut.folder / "home/runs"

    def started() -> Iterator[Path]:
        yield from (path for path in home.glob("*/documents/*.1.1") if path.is_dir())

    _until(lambda: len(list(started())) == 2 and _both_run(hut))
    engine.send_signal(signal.SIGKILL)
    engine.communicate()
    (hut.folder / "go").touch()
    _until(
        lambda: (
            sum(
                (path / "output.json").exists() or (path / "error.json").exists()
                for path in started()
            )
            == 2
        )
    )
    hut("resume", "last", exit_code=1)
    found = {task["id"]: task for task in json.loads(hut("tasks", "last", "--json").stdout)}
    assert hut("task", "output", "last", "a").stdout == "36\n"
    assert (found["b"]["reason"], len(found["b"]["attempts"])) == ("reported", 1)


def _both_run(hut: Hut) -> bool:
    found = json.loads(hut("tasks", "last", "--json").stdout)
    return [task["state"] for task in found] == ["running"] * 2


def _until(holds: Any) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


# Registering -------------------------------------------------------------------------------------


def test_what_is_registered_is_listed_and_shown(hut: Hut) -> None:
    found = json.loads(hut("task", "list", "--json").stdout)
    labels = [f"{each['name']}@{each['version']}" for each in found]
    assert [each for each in labels if each.startswith("sq")] == ["sq@1.10", "sq@1.2"]
    shown = json.loads(hut("task", "show", "sq").stdout)
    assert shown["version"] == "1.10"
    assert shown["later"] == {"a": 1}


def test_the_same_again_is_fine_and_another_is_refused(hut: Hut, tmp_path: Path) -> None:
    path = tmp_path / "other.sh"
    path.write_text(SH.replace("VERSION", "3.0"))
    path.chmod(0o755)
    hut("task", "register", str(path))
    assert "as before" in hut("task", "register", str(path)).stdout
    path.write_text(SH.replace("VERSION", "3.0").replace("Square.", "Another."))
    refused = hut("task", "register", str(path), exit_code=2)
    assert "another definition of sq@3.0" in refused.stderr
    hut("task", "register", "--replace", str(path))
    assert json.loads(hut("task", "show", "sq@3.0").stdout)["description"] == "Another."
    hut("task", "remove", "sq@3.0")
    assert "no version '3.0'" in hut("task", "show", "sq@3.0", exit_code=2).stderr


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("echo '[]'", ""),
        ("echo '[' >&2; exit 3", "exit code 3; ["),
        ("echo '{}'", "no JSON array"),
        ("""echo '[{"name": "a"}, 5]' >"$2" """, "5 problems"),
        (
            """echo '[{"name": "a", "version": "1", "command": ["a"], "error": {"file_argument": "e"},
"output": {"file_argument": "o", "json_schema": {"$ref": "http://example.org/x"}}}]'""",
            "outside of the schema",
        ),
    ],
)
def test_what_a_program_says_is_checked(hut: Hut, tmp_path: Path, program: str, says: str) -> None:
    path = tmp_path / "program"
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    done = hut("task", "register", str(path), exit_code=2 if says else 0)
    assert says in done.stderr


def test_a_program_that_can_not_be_started_is_told(hut: Hut, tmp_path: Path) -> None:
    assert "can't be started" in hut("task", "register", "./no-such", exit_code=2).stderr
    path = tmp_path / "program.py"
    path.write_text("")
    if os.geteuid() != 0 or not os.access(path, os.X_OK):
        assert "python3" in hut("task", "register", str(path), exit_code=2).stderr
