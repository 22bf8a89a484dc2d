"""``run``: its options, where its words go, and the summary at the end."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from tests.hutctl_process import Hut

CHANGE = re.compile(r"\d\d:\d\d:\d\d (\w+) +(\S+)(.*)")


def changes(stderr: str) -> list[tuple[str, str]]:
    """Return state and task of each line that tells of a change."""
    found = (CHANGE.fullmatch(line) for line in stderr.splitlines())
    return [(match[1], match[2]) for match in found if match]


@pytest.mark.parametrize(
    "text",
    [
        '[{"id": "a", "command": "echo a >> ran"}, {"id": "b", "command": "pwd", "deps": ["a"]}]',
        '\n  {"tasks": [{"id": "a", "command": "echo a >> ran"}, {"id": "b", "command": "pwd"}]}',
        "- id: a\n  command: echo a >> ran\n- {id: b, command: pwd, deps: [a]}\n",
        "# from a script\ntasks:\n  - {id: a, command: echo a >> ran}\n  - {id: b, command: pwd}\n",
    ],
    ids=["array", "object", "YAML list", "YAML object"],
)
def test_a_workflow_comes_from_stdin_and_runs_in_this_folder(hut: Hut, text: str) -> None:
    run = hut.json("run", "-", given=text)
    assert (run["state"], run["total"]) == ("completed", 2)
    assert hut.lines("ran") == ["a"]
    assert hut("logs", "last", "b").stdout == f"{hut.folder.resolve()}\n"


def test_faults_on_stdin_are_told_like_those_of_a_file(hut: Hut) -> None:
    for text in ("", "[{", '[{"id": "a"}]', "- id: a\n", "just words"):
        done = hut("run", "-", given=text, exit_code=2)
        assert "stdin" in done.stderr
        assert "Traceback" not in done.stderr
    assert hut.json("runs") == []


def test_env_wins_over_the_file_and_the_task_over_env(hut: Hut) -> None:
    task = {"id": "t", "command": "echo $A,$B,$C,$D", "env_vars": {"B": "task"}}
    file = hut.write([task], env_vars={"A": "file", "B": "file", "D": "file"})
    hut(
        "run",
        file,
        "--env",
        "A=over=all",
        "--env",
        "B=over",
        "--env",
        "C=a $(id) 'b",
        "--env",
        "D=",
    )
    assert hut("logs", "last", "t").stdout == "over=all,task,a $(id) 'b,\n"


def test_name_tags_and_bounds_are_kept_with_the_run(hut: Hut) -> None:
    file = hut.write(
        [{"id": "t", "command": "echo $HUT_WORKFLOW"}], name="w.json", max_concurrent=5
    )
    tags = ("--tag", "by=me", "--tag", "note=", "--tag", "x=y=z")
    run = hut.json("run", file, "--name", "trial-7", *tags, "--max-concurrent", "3")
    assert run["workflow"] == "trial-7"
    assert run["tags"] == {"by": "me", "note": "", "x": "y=z"}
    assert run["max_concurrent"] == 3
    assert hut("logs", "last", "t").stdout == "trial-7\n"
    shown = hut("show", "last").stdout
    for part in ("trial-7", "by=me", "at most 3"):
        assert part in shown
    assert "trial-7" in hut("runs").stdout


def test_without_a_name_the_file_names_the_run(hut: Hut) -> None:
    task = {"id": "t", "command": "true"}
    assert hut.json("run", hut.write([task], name="my-study.json"))["workflow"] == "my-study"
    (hut.folder / "n.yaml").write_text("name: deep\ntasks: [{id: t, command: 'true'}]\n")
    assert hut.json("run", "n.yaml")["workflow"] == "deep"


def test_dry_run_shows_the_plan_and_does_nothing(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "touch ran"}])
    done = hut("run", file, "--dry-run")
    assert done.stdout == hut("plan", file).stdout
    document = hut.json("run", file, "--dry-run", "--max-concurrent", "3", "--name", "other")
    assert (document["max_concurrent"], document["workflow"]) == (3, "other")
    assert hut("run", file, "--dry-run", "--detach", "--tag", "a=b").stdout == done.stdout
    assert hut.json("runs") == []
    assert not (hut.folder / "ran").exists()
    hut("run", hut.write([{"id": "t"}]), "--dry-run", exit_code=2)


def test_the_same_key_and_file_give_the_same_run(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "echo t >> ran; exit 5"}])
    first = hut.json("run", file, "--idempotency-key", "k 1", exit_code=1)
    assert hut.json("run", file, "--idempotency-key", "k 1", exit_code=1) == first
    detached = hut("run", file, "--idempotency-key", "k 1", "--detach")
    assert detached.stdout == f"{first['id']}\n"
    assert hut.lines("ran") == ["t"]
    other = hut.json("run", file, "--idempotency-key", "k 2", exit_code=1)
    assert other["id"] != first["id"]
    hut("run", file, exit_code=1)
    assert len(hut.json("runs")) == 3


@pytest.mark.parametrize("difference", ["file", "--env", "--name", "--tag", "--max-concurrent"])
def test_a_key_with_another_submission_is_refused(hut: Hut, difference: str) -> None:
    task = {"id": "t", "command": "echo t >> ran"}
    file = hut.write([task])
    run = hut.json("run", file, "--idempotency-key", "key-1")
    if difference == "file":
        hut.write([{**task, "command": "echo u >> ran"}])
        more: list[str] = []
    else:
        more = [difference, {"--env": "A=1", "--tag": "a=b"}.get(difference, "7")]
    done = hut("run", file, "--idempotency-key", "key-1", *more, exit_code=2)
    assert done.stdout == ""
    assert "key-1" in done.stderr
    assert run["id"] in done.stderr
    assert len(hut.json("runs")) == 1
    assert hut.lines("ran") == ["t"]


def test_an_empty_key_is_none_or_refused(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "echo t >> ran"}])
    first = hut("run", file, "--idempotency-key", "", exit_code=None)
    hut("run", file, "--idempotency-key", "", exit_code=None)
    assert first.returncode == 2 or hut.lines("ran") == ["t", "t"]


def test_detach_prints_the_id_and_nothing_else_on_stdout(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "echo out; exit 9"}])
    done = hut("run", file, "--detach")
    assert re.fullmatch(r"[a-z0-9]+\n", done.stdout)
    run_id = done.stdout.strip()
    assert f"hutctl watch {run_id}" in done.stderr
    hut("watch", run_id, exit_code=1)
    assert hut("logs", run_id, "t").stdout == "out\n"


def test_a_line_per_change_goes_to_stderr(hut: Hut) -> None:
    file = hut.write(
        [
            {"id": "long", "command": "sleep 0.4"},
            {"id": "short", "command": "true"},
            {"id": "bad", "command": "sleep 0.4; exit 3", "retries": 1},
            {"id": "after", "command": "true", "deps": ["bad"]},
            {"id": "later", "command": "true", "deps": ["after"]},
        ]
    )
    done = hut("run", file, "--max-concurrent", "5", exit_code=1)
    told = Counter(changes(done.stderr))
    assert told["running", "long"] == told["completed", "long"] == told["completed", "short"] == 1
    assert told["running", "bad"] == 2
    assert told["pending", "bad"] == told["failed", "bad"] == 1
    assert told["dep_failed", "after"] == told["dep_failed", "later"] == 1
    assert max(told.values()) == 2
    assert "exit code 3" in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) - sum(told.values()) <= 2  # the target, and the run's id
    for word in ("running", "pending", "sleep"):
        assert word not in done.stdout


@pytest.mark.parametrize(
    "environment", [{}, {"NO_COLOR": "1"}, {"TERM": "xterm-256color", "COLORTERM": "truecolor"}]
)
def test_no_control_codes_without_a_terminal(hut: Hut, environment: dict[str, str]) -> None:
    hut.environment = environment
    file = hut.write([{"id": "a", "command": "sleep 0.3"}, {"id": "b", "command": "exit 2"}])
    done = [hut("run", file, exit_code=1)]
    done += [hut(*line.split()) for line in ("show last", "tasks last", "runs", "why last b")]
    done += [hut("doctor"), hut("--help"), hut("plan", file, "--scripts")]
    done += [hut("show", "zzz", exit_code=2), hut("nosuch", exit_code=2)]
    for one in done:
        assert "\x1b" not in one.stdout + one.stderr
        assert "\r" not in one.stdout + one.stderr


def test_the_target_is_said_once_unless_it_was_given(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "true"}])
    assert hut("run", file).stderr.count("using local") == 1
    assert "using local" not in hut("run", file, "--target", "local").stderr


def test_the_summary_names_what_failed_why_and_what_to_type_next(hut: Hut) -> None:
    bad = "for i in 1 2 3 4 5 6 7 8 9; do echo line $i >&2; done; echo 'no such input' >&2; exit 3"
    file = hut.write(
        [
            {"id": "good", "command": "true"},
            {"id": "bad", "command": bad},
            {"id": "talks", "command": "echo only on stdout; exit 4"},
            {"id": "mute", "command": "exit 5"},
            {"id": "slow", "command": "sleep 60", "time_limit": "0.3s"},
            {"id": "after", "command": "true", "deps": ["bad"]},
        ]
    )
    done = hut("run", file, exit_code=1)
    run_id = hut.json("show", "last")["id"]
    head = done.stdout.splitlines()[0]
    for part in ("w", run_id, "failed", "1 completed", "4 failed", "1 dep_failed"):
        assert part in head
    assert "bad: exit code 3" in done.stdout
    assert "no such input" in done.stdout
    assert "line 9" in done.stdout
    assert "line 1\n" not in done.stdout
    assert f"hutctl logs {run_id} bad --error" in done.stdout
    assert "only on stdout" in done.stdout
    assert f"hutctl logs {run_id} talks\n" in done.stdout
    assert "mute: exit code 5" in done.stdout
    assert re.search(r"slow: .*time limit", done.stdout)
    assert f"hutctl retry {run_id}" in done.stdout
    assert f"hutctl why {run_id}" in done.stdout
    assert hut("show", "last").stdout.endswith(done.stdout)


def test_the_summary_of_a_completed_run_is_one_line(hut: Hut) -> None:
    done = hut("run", hut.write([{"id": "t", "command": "seq 100"}]))
    [line] = done.stdout.splitlines()
    assert "completed" in line
    assert hut.json("show", "last")["id"] in line


def test_hundreds_of_failures_stay_readable(hut: Hut) -> None:
    command = "seq 100 >&2; exit 1"
    file = hut.write([{"id": f"t{i:03}", "command": command} for i in range(500)])
    done = hut("run", file, exit_code=1)
    run_id = hut.json("show", "last")["id"]
    assert "500 failed" in done.stdout
    assert "490 more" in done.stdout
    assert f"hutctl tasks {run_id} --state failed" in done.stdout
    assert len(done.stdout.splitlines()) <= 100
    assert len(hut("tasks", "last", "--state", "failed").stdout.splitlines()) == 501
    assert len(hut.json("failures", "last")) == 500
    assert Counter(state for state, _ in changes(done.stderr))["failed"] == 500


def test_a_log_without_line_ends_does_not_flood_the_summary(hut: Hut) -> None:
    command = "head -c 100000 /dev/zero | tr '\\0' x; exit 1"
    done = hut("run", hut.write([{"id": "t", "command": command}]), exit_code=1)
    assert max(len(line) for line in done.stdout.splitlines()) < 2000


def test_logs_in_the_summary_can_not_write_to_the_terminal(hut: Hut) -> None:
    command = r"printf '10%%\r20%%\r30%% \033[2J\033]0;owned\007 end\n' >&2; exit 1"
    done = hut("run", hut.write([{"id": "t", "command": command}]), exit_code=1)
    assert "\x1b" not in done.stdout
    assert "\x07" not in done.stdout
    assert "\r" not in done.stdout
    assert "end" in done.stdout


def test_of_a_progress_bar_the_summary_shows_the_end(hut: Hut) -> None:
    command = r"echo 'out of memory' >&2; printf '10%%\r20%%\r30%%\r40%%\r50%%\r60%%\n' >&2; exit 1"
    done = hut("run", hut.write([{"id": "t", "command": command}]), exit_code=1)
    assert "60%" in done.stdout
    assert "20%" not in done.stdout
    assert "out of memory" in done.stdout


def test_a_name_is_one_printable_line_or_refused(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "true"}], name="w.json")
    done = hut("run", file, "--name", "two\nlines", exit_code=None)
    if done.returncode == 0:
        assert len(hut("runs").stdout.splitlines()) == 2
        assert len(done.stdout.splitlines()) == 1
    else:
        assert done.returncode == 2
