"""What the local backend promises about processes: limits, signals, groups, files, folders."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.hutctl_process import Hut, alive, wait_until


def test_exit_codes_are_kept_and_a_signal_is_a_failure(hut: Hut) -> None:
    file = hut.write(
        [
            {"id": "good", "command": "true"},
            {"id": "seven", "command": "exit 7"},
            {"id": "killed", "command": "kill -9 $$"},
            {"id": "missing", "command": "no-such-command-here"},
        ]
    )
    hut("run", file, exit_code=1)
    tasks = hut.tasks()
    assert {name: (t["state"], t["reason"], t["exit_code"]) for name, t in tasks.items()} == {
        "good": ("completed", "exit", 0),
        "seven": ("failed", "exit", 7),
        "killed": ("failed", "signal", 137),
        "missing": ("failed", "exit", 127),
    }
    assert "SIGKILL" in tasks["killed"]["message"]
    assert "not found" in tasks["missing"]["message"]


@pytest.mark.parametrize("number", ["TERM", "INT", "HUP", "QUIT", "SEGV", "KILL"])
def test_a_task_that_a_signal_ends_is_never_completed(hut: Hut, number: str) -> None:
    file = hut.write([{"id": "t", "command": f"true; kill -{number} $$; true"}])
    hut("run", file, exit_code=1)
    task = hut.tasks()["t"]
    assert task["state"] == "failed"
    assert task["exit_code"] > 128


def test_a_pipeline_fails_with_its_first_part(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "false | cat"}])
    hut("run", file, exit_code=1)


def test_the_time_limit_ends_the_whole_group(hut: Hut) -> None:
    command = "(sleep 60 & echo $! > pid; wait) & wait"
    file = hut.write([{"id": "slow", "command": command, "time_limit": "1s"}])
    hut("run", file, exit_code=1)
    task = hut.tasks()["slow"]
    assert (task["state"], task["reason"]) == ("failed", "timeout")
    assert "time limit of 1s" in task["message"]
    assert not alive(int(hut.lines("pid")[0]))


def test_a_task_that_ignores_term_is_killed_after_the_grace(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "backends:\n  - {name: local, type: local, kill_grace: 0.5s}\n"
    )
    command = "trap '' TERM; while :; do sleep 0.1; done"
    file = hut.write([{"id": "deaf", "command": command, "time_limit": "1s"}])
    hut("run", file, exit_code=1)
    assert hut.tasks()["deaf"]["reason"] == "timeout"


def test_a_task_can_clean_up_when_it_is_stopped(hut: Hut) -> None:
    command = "trap 'echo cleaned > done; exit 0' TERM; sleep 30 & wait"
    file = hut.write([{"id": "tidy", "command": command, "time_limit": "1s"}])
    hut("run", file, exit_code=1)
    assert hut.lines("done") == ["cleaned"]
    assert hut.tasks()["tidy"]["reason"] == "timeout"


def test_what_a_task_leaves_running_dies_with_it(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "sleep 60 & echo $! > pid"}])
    hut("run", file)
    pid = int(hut.lines("pid")[0])
    wait_until(lambda: not alive(pid), 5)


def test_no_more_tasks_run_at_once_than_allowed(hut: Hut) -> None:
    command = "mkdir -p on && touch on/$HUT_TASK_ID && ls on | wc -l >> seen && sleep 0.05 && rm on/$HUT_TASK_ID"
    file = hut.write([{"id": f"t{i}", "command": command} for i in range(12)], max_concurrent=3)
    hut("run", file)
    assert 2 <= max(int(line) for line in hut.lines("seen")) <= 3


def test_the_option_wins_over_the_file(hut: Hut) -> None:
    command = "mkdir -p on && touch on/$HUT_TASK_ID && ls on | wc -l >> seen && sleep 0.05 && rm on/$HUT_TASK_ID"
    file = hut.write([{"id": f"t{i}", "command": command} for i in range(6)], max_concurrent=6)
    hut("run", file, "--max-concurrent", "1")
    assert set(hut.lines("seen")) == {"1"}


def test_priority_orders_what_is_ready(hut: Hut) -> None:
    file = hut.write(
        [
            {"id": "low", "command": "echo low >> order"},
            {"id": "high", "command": "echo high >> order", "priority": 9},
            {"id": "mid", "command": "echo mid >> order", "priority": 3},
        ]
    )
    hut("run", file, "--max-concurrent", "1")
    assert hut.lines("order") == ["high", "mid", "low"]


def test_output_and_errors_go_where_the_task_says(hut: Hut) -> None:
    (hut.folder / "sub").mkdir()
    file = hut.write(
        [
            {
                "id": "t",
                "command": "echo out; echo err >&2",
                "working_dir": "sub",
                "output_file": "logs/o.txt",
                "error_file": str(hut.folder / "e.txt"),
            },
            {"id": "both", "command": "echo 1; echo 2 >&2", "output_file": "x", "error_file": "x"},
        ]
    )
    hut("run", file)
    assert hut.lines("sub/logs/o.txt") == ["out"]
    assert hut.lines("e.txt") == ["err"]
    assert sorted(hut.lines("x")) == ["1", "2"]
    assert hut("logs", "last", "t").stdout == "out\n"
    assert hut("logs", "last", "t", "--error").stdout == "err\n"


def test_an_output_file_that_can_not_be_opened_fails_the_task(hut: Hut) -> None:
    (hut.folder / "file").touch()
    file = hut.write([{"id": "t", "command": "true", "output_file": "file/o.txt"}])
    hut("run", file, exit_code=1)
    task = hut.tasks()["t"]
    assert (task["state"], task["reason"]) == ("failed", "launch_failed")
    assert "file" in task["message"]


def test_tasks_run_beside_the_workflow_file_by_default(hut: Hut, tmp_path: Path) -> None:
    (hut.folder / "deep").mkdir()
    file = hut.write([{"id": "t", "command": "pwd"}], "deep/w.json")
    hut("run", file)
    assert hut("logs", "last", "t").stdout.strip() == str((tmp_path / "deep").resolve())


def test_a_missing_folder_is_a_launch_failure_that_names_it(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "echo ran > ran", "working_dir": "not/there"}])
    hut("run", file, exit_code=1)
    task = hut.tasks()["t"]
    assert (task["state"], task["reason"]) == ("failed", "launch_failed")
    assert "not/there" in task["message"]


def test_a_command_that_exits_with_125_is_no_launch_failure(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "exit 125"}])
    hut("run", file, exit_code=1)
    assert hut.tasks()["t"]["reason"] == "exit"


def test_variables_reach_the_command_in_their_order(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text(
        "environments:\n"
        "  - name: lab\n"
        "    variables: {A: lab, B: lab, C: lab}\n"
        "    extra_init: 'export INIT=\"from $B\"'\n"
    )
    file = hut.write(
        [
            {
                "id": "t",
                "command": "echo $A-$B-$C-$D-$INIT; echo $HUT_TASK_ID $HUT_ATTEMPT $HUT_WORKFLOW",
                "environment": "lab",
                "env_vars": {"C": "task", "HUT_TASK_ID": "stolen"},
            }
        ],
        name="wf",
        env_vars={"A": "wf", "D": "wf"},
    )
    done = hut("run", file, "--env", "D=cli")
    assert "HUT_TASK_ID" in done.stderr
    assert hut("logs", "last", "t").stdout.splitlines() == ["lab-lab-task-cli-from lab", "t 1 wf"]


def test_run_id_and_time_are_the_runs_own(hut: Hut) -> None:
    names = "$HUT_RUN_ID $SCRIPTHUT_RUN_ID $HUT_CREATED_AT $SCRIPTHUT_CREATED_AT"
    file = hut.write([{"id": "t", "command": f"echo {names}"}])
    run = hut.json("run", file)
    words = hut("logs", "last", "t").stdout.split()
    assert words == [run["id"], run["id"], run["created_at"], run["created_at"]]


def test_values_stay_out_of_the_list_of_processes(hut: Hut) -> None:
    command = "tr '\\0' ' ' < /proc/$$/cmdline > seen"
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("needs /proc")
    file = hut.write([{"id": "t", "command": command, "env_vars": {"TOKEN": "s3cr3t"}}])
    hut("run", file)
    assert "s3cr3t" not in (hut.folder / "seen").read_text()


def test_the_home_is_its_owners_alone(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "echo x", "env_vars": {"A": "b"}}])
    hut("run", file)
    assert stat.S_IMODE(os.stat(hut.folder / "home").st_mode) == 0o700


def test_a_task_reads_nothing_from_the_terminal(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "cat; echo end"}])
    hut("run", file)
    assert hut("logs", "last", "t").stdout == "end\n"


def test_odd_ids_and_commands_run_as_they_are(hut: Hut) -> None:
    file = hut.write(
        [
            {"id": "a.b-c_D", "command": "cat <<'X'\n$HOME `date`\nX"},
            {"id": "A.B-C_d", "command": 'echo "it\'s" # a comment'},
            {"id": "..", "command": "echo dots"},
            {"id": "-rf", "command": "printf '%s\\n' \"$HUT_TASK_ID\" 'é\t$(id)'"},
        ],
        name="$(touch owned) \"';",
    )
    hut("run", file)
    outputs = [hut("logs", "last", "--", name).stdout for name in hut.states()]
    assert outputs == ["$HOME `date`\n", "it's\n", "dots\n", "-rf\né\t$(id)\n"]
    assert not (hut.folder / "owned").exists()


def test_a_command_of_a_megabyte_runs(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "x='" + "y" * 900_000 + "'; echo ${#x}"}])
    hut("run", file)
    assert hut("logs", "last", "t").stdout == "900000\n"


def test_without_bash_tasks_run_with_sh(hut: Hut) -> None:
    tools = hut.folder / "bin"
    tools.mkdir()
    for tool in ("cat", "sleep", "env"):
        (tools / tool).symlink_to(f"/bin/{tool}")
    hut.environment = {"PATH": str(tools)}
    file = hut.write([{"id": "t", "command": "echo ${BASH_VERSION:-none} $HUT_TASK_ID"}])
    hut("run", file)
    assert hut("logs", "last", "t").stdout == "none t\n"
