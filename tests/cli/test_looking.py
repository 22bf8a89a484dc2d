"""``show tasks logs why script failures``: what one learns of runs and tasks, and how to name them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import pytest

from tests.hutctl_process import Hut, wait_until


def run_of_each_letter(hut: Hut) -> list[str]:
    """Run until two ids begin with the same letter; return the ids, oldest first."""
    file = hut.write([{"id": "t", "command": "true"}])
    ids: list[str] = []
    while len({name[0] for name in ids}) == len(ids):
        ids.append(hut("run", file, "--detach").stdout.strip())
    return ids


def test_a_run_is_named_by_its_id_the_beginning_of_it_or_last(hut: Hut) -> None:
    ids = run_of_each_letter(hut)
    *_, newest = ids
    shared = newest[0]
    twins = [name for name in ids if name.startswith(shared)]
    assert hut.json("show", "last")["id"] == newest
    assert hut.json("show", newest)["id"] == newest
    assert hut.json("show", ids[0])["id"] == ids[0]
    length = next(n for n in range(1, 11) if twins[0][:n] != twins[1][:n])
    for name in twins:
        assert hut.json("show", name[:length])["id"] == name
    done = hut("show", shared, exit_code=2)
    assert done.stdout == ""
    for name in twins:
        assert name in done.stderr
    hut("cancel", shared, exit_code=2)
    hut("show", f"{newest}x", exit_code=2)
    hut("show", newest.upper() + "?", exit_code=2)
    for pattern in ("*", "%", "_", f"{newest[:-1]}_"):
        hut("show", pattern, exit_code=2)


def test_an_empty_text_names_no_run(ended: Hut) -> None:
    ended("show", "", exit_code=2)


def test_tasks_by_state_and_by_pattern(ended: Hut) -> None:
    def ids(*options: str) -> list[str]:
        return [task["id"] for task in ended.json("tasks", "last", *options)]

    assert ids("--match", "map.*") == ["map.1", "map.2"]
    assert ids("--match", "map.[2-9]") == ["map.2"]
    assert ids("--match", "good") == ["good"]
    assert ids("--match", "*") == list(ended.states())
    assert ids("--match", "goo") == []
    assert ids("--state", "failed,dep_failed") == ["bad", "after", "end"]
    assert ids("--state", "failed", "--state", "dep_failed") == ["bad", "after", "end"]
    assert ids("--state", "completed", "--match", "?????") == ["flaky", "map.1", "map.2"]
    text = ended("tasks", "last", "--match", "[bf]*")
    lines = text.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["TASK", "bad", "flaky"]
    assert "exit code 3" in lines[1]
    nothing = ended("tasks", "last", "--match", "x")
    assert nothing.stdout == ""
    assert "no tasks match" in nothing.stderr


def test_tasks_says_what_a_task_waits_for(under_way: Hut) -> None:
    [line] = [line for line in under_way("tasks", "last").stdout.splitlines() if "blocked" in line]
    assert "hold" in line


def test_logs_of_each_kind_and_attempt(ended: Hut) -> None:
    numbers = "".join(f"{i}\n" for i in range(1, 31))
    assert ended("logs", "last", "good").stdout == numbers
    assert ended("logs", "last", "good", "--error").stdout == "careful\n"
    assert ended("logs", "last", "flaky").stdout == "this is 2\n"
    assert ended("logs", "last", "flaky", "--attempt", "1").stdout == "this is 1\n"
    assert ended("logs", "last", "flaky", "--attempt", "2").stdout == "this is 2\n"
    assert ended("logs", "last", "good", "-f").stdout == numbers


@pytest.mark.parametrize(("count", "first"), [("1", 30), ("3", 28), ("30", 1), ("31", 1)])
def test_tail_prints_the_last_lines(ended: Hut, count: str, first: int) -> None:
    expected = "".join(f"{i}\n" for i in range(first, 31))
    assert ended("logs", "last", "good", "--tail", count).stdout == expected


def test_tail_of_nothing_prints_nothing(ended: Hut) -> None:
    assert ended("logs", "last", "good", "--tail", "0").stdout == ""
    assert ended("logs", "last", "silent", "--tail", "0").stdout == ""
    assert ended("logs", "last", "silent", "--tail", "5").stdout == ""


def test_tail_0_does_not_claim_that_nothing_was_printed(ended: Hut) -> None:
    assert "nothing" not in ended("logs", "last", "good", "--tail", "0").stderr


def test_tail_of_long_and_odd_logs(hut: Hut) -> None:
    command = (
        "head -c 9000000 /dev/zero | tr '\\0' 'x'; echo; echo; printf 'a\\rb\\n'; printf 'no end'"
    )
    hut("run", hut.write([{"id": "t", "command": command}]))
    assert hut("logs", "last", "t", "--tail", "1").stdout == "no end"
    whole = hut("logs", "last", "t").stdout
    assert len(whole) == 9_000_000 + 2 + 4 + 6
    assert len(hut("logs", "last", "t", "--tail", "4").stdout) == len(whole)
    assert len(hut("logs", "last", "t", "--tail", "3").stdout) == 1 + 4 + 6


def test_bytes_that_are_no_text_pass_through(hut: Hut) -> None:
    hut("run", hut.write([{"id": "t", "command": r"printf '\377\000\200'; printf '\303' >&2"}]))
    done = hut.popen("logs", "last", "t")
    assert done.stdout is not None
    assert done.stdout.buffer.read() == b"\xff\x00\x80"
    done.communicate()


def test_logs_say_why_there_is_nothing(ended: Hut) -> None:
    silent = ended("logs", "last", "silent")
    assert silent.stdout == ""
    assert "printed nothing" in silent.stderr
    assert "without --error" in ended("logs", "last", "map.1", "--error").stderr
    for options in ([], ["-f"], ["--tail", "3"], ["--error"]):
        unstarted = ended("logs", "last", "after", *options)
        assert unstarted.stdout == ""
        assert "has not started" in unstarted.stderr
        assert "hutctl why" in unstarted.stderr


def test_logs_of_a_task_that_has_not_started_yet(under_way: Hut) -> None:
    done = under_way("logs", "last", "blocked")
    assert done.stdout == ""
    assert "not started" in done.stderr
    wait_until(lambda: under_way("logs", "last", "hold").stdout == "printed\n")


def test_follow_begins_before_the_task_and_ends_with_it(hut: Hut) -> None:
    file = hut.write(
        [
            {"id": "first", "command": "until [ -e one ]; do sleep 0.05; done"},
            {
                "id": "t",
                "command": "echo begun; until [ -e two ]; do echo goes on; sleep 0.1; done; "
                "printf ended",
                "deps": ["first"],
            },
        ]
    )
    run = hut.popen("run", file)
    wait_until(lambda: hut("tasks", "last", exit_code=None).returncode == 0)
    follower = hut.popen("logs", "last", "t", "-f")
    tail = hut.popen("logs", "last", "t", "-f", "--tail", "0")
    (hut.folder / "one").touch()
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begun\n"
    assert follower.poll() is None
    assert hut("logs", "last", "t").stdout.startswith("begun\n")
    assert tail.stdout is not None
    assert tail.stdout.readline() in ("begun\n", "goes on\n")  # it follows
    (hut.folder / "two").touch()
    assert follower.communicate(timeout=30)[0].endswith("goes on\nended")
    assert follower.returncode == 0
    assert tail.communicate(timeout=30)[0].endswith("ended")
    run.communicate(timeout=30)
    assert run.returncode == 0


def test_why_a_task_waits(under_way: Hut) -> None:
    blocked = under_way.json("why", "last", "blocked")
    assert blocked["state"] == "pending"
    assert sorted(blocked["waiting_for"]) == ["again", "hold"]
    assert "hold (running)" in blocked["why"]
    again = under_way("why", "last", "again").stdout
    assert "retry 1 of 2" in again
    assert "exit code 7" in again
    assert re.search(r"waits (1h|[1-5]?\dm)", again)  # of an hour
    assert "is running" in under_way("why", "last", "hold").stdout


def test_why_a_claimed_task_waits(under_way: Hut) -> None:
    for name in under_way.states():
        if name.startswith("ready."):
            text = under_way("why", "last", name).stdout
            assert "max_concurrent" in text or "slot" in text


@pytest.mark.parametrize("whose", ["run", "machine"])
def test_why_says_which_cap_holds_a_task_back(hut: Hut, whose: str) -> None:
    hold = "touch on; until [ -e go ]; do sleep 0.05; done"
    tasks = [{"id": "hold", "command": hold, "priority": 1}]
    tasks += [{"id": f"r{i}", "command": "true"} for i in range(5)]
    if whose == "machine":
        (hut.folder / "hut.yaml").write_text(
            "backends:\n  - {name: here, type: local, max_concurrent: 1}\n"
        )
        file, told = hut.write(tasks), "1 of 1 are taken"
    else:
        file, told = hut.write(tasks, max_concurrent=1), "max_concurrent of 1 is reached"
    process = hut.popen("run", file)
    wait_until((hut.folder / "on").exists)
    pending = [name for name, state in hut.states().items() if state == "pending"]
    assert pending
    assert told in hut("why", "last", pending[-1]).stdout
    (hut.folder / "go").touch()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_why_a_task_ended_as_it_did(ended: Hut) -> None:
    assert ended("why", "last", "good").stdout.startswith("good completed")
    bad = ended("why", "last", "bad").stdout
    assert "exit code 3" in bad
    assert "no such \\ input" in bad
    assert "20" in bad
    flaky = ended("why", "last", "flaky").stdout
    assert "attempt 2" in flaky
    assert "Attempt 1: exit code 1" in flaky


def test_why_names_the_root_cause_not_the_task_between(ended: Hut) -> None:
    for name in ("after", "end"):
        text = ended("why", "last", name).stdout
        assert "bad failed: exit code 3" in text
        assert "hutctl retry" in text
        assert "no such \\ input" in text
        assert "after failed" not in text


def important(script: str) -> list[str]:
    """Return the lines of a script that are the task's, not the bookkeeping of the machine."""
    return [line for line in script.splitlines() if "/journal/" not in line]


def test_the_printed_script_does_what_the_task_did(ended: Hut) -> None:
    for name, exit_code in (("good", 0), ("bad", 3), ("flaky", 0)):
        text = "\n".join(important(ended("script", "last", name).stdout))
        done = subprocess.run(
            ["bash"],
            input=text,
            env={"PATH": os.environ["PATH"], "HOME": "/elsewhere"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == exit_code
        assert done.stdout == ended("logs", "last", name).stdout
        assert done.stderr == ended("logs", "last", name, "--error").stdout


def test_the_printed_script_is_the_one_that_ran(hut: Hut) -> None:
    """A task copies its own script, be it a file or an argument of the shell."""
    copy = 'echo "${BASH_EXECUTION_STRING:-$(cat "$0")}" > seen.$HUT_TASK_ID'
    command = f"{copy} # it's '$HOME'\necho \"a\tb\""
    (hut.folder / "hut.yaml").write_text(
        "environments:\n  - {name: lab, variables: {D: 4}, extra_init: 'echo init'}\n"
    )
    (hut.folder / "sub dir").mkdir()
    rich = {
        "id": "rich",
        "command": command,
        "environment": "lab",
        "env_vars": {"A": 'it\'s\n"two" $LINES'},
        "working_dir": "sub dir",
    }
    hut("run", hut.write([rich, {"id": "plain", "command": command}]), "--env", "C=3")
    hut("run", hut.write([{"id": "bare", "command": command}]))
    newest, first = [run["id"] for run in hut.json("runs")]
    for name, folder in (("bare", ""), ("rich", "sub dir"), ("plain", "")):
        script = hut("script", newest if name == "bare" else first, name).stdout
        assert command in script
        assert f"HUT_TASK_ID={name}" in script
        assert (hut.folder / folder / f"seen.{name}").read_text().strip() == script.strip()
    assert hut("logs", first, "rich").stdout == "init\na\tb\n"


def test_the_script_of_a_task_that_never_ran_and_of_the_latest_attempt(ended: Hut) -> None:
    unstarted = ended("script", "last", "after").stdout
    assert "HUT_ATTEMPT=1" in unstarted
    assert unstarted.endswith("true\n")
    assert "HUT_ATTEMPT=2" in ended("script", "last", "flaky").stdout


def test_failures_are_commands_one_per_line(ended: Hut) -> None:
    lines = ended("failures", "last").stdout.splitlines()
    assert len(lines) == 2
    assert sum("$HUT_ATTEMPT = 2" in line for line in lines) == 1
    [line] = ended("failures", "last", "--final").stdout.splitlines()
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout == ended("logs", "last", "bad").stdout
    assert done.stderr == ended("logs", "last", "bad", "--error").stdout


def test_failures_with_tags_stay_commands(ended: Hut) -> None:
    [line] = ended("failures", "last", "--final", "--with-tags").stdout.splitlines()
    command, _, tags = line.rpartition("# HUT: ")
    assert tags.split() == [
        *("id:bad", "attempt:1", "reason:exit", "exit:3"),
        *("timeout:3600s", "kind:second", "urgent"),
    ]
    assert shlex.split(command, posix=False)[0] == "bash"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    both = ended("failures", "last", "--with-tags").stdout.splitlines()
    assert len(both) == 2
    assert any("id:flaky attempt:1 reason:exit exit:1" in line for line in both)


def test_tags_that_a_task_file_reads_as_fields_are_told_and_left_out(hut: Hut) -> None:
    hut("run", hut.write([{"id": "t", "command": "false", "tags": {"cores": "all"}}]), exit_code=1)
    told = hut("failures", "last", "--with-tags")
    assert "cores:" not in told.stdout
    assert "t: a task file can't hold the tags 'cores'" in told.stderr


def test_failures_with_odd_tags_stay_one_line(hut: Hut) -> None:
    task = {"id": "t", "command": "false", "tags": {"note": "two\nrm -rf things"}}
    hut("run", hut.write([task]), exit_code=1)
    assert len(hut("failures", "last", "--with-tags").stdout.splitlines()) == 1


def test_what_was_cancelled_is_no_failure_and_what_a_retry_mended_is_not_final(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": "[ $HUT_ATTEMPT = 2 ]"}])
    hut("run", file, exit_code=1)
    assert len(hut.json("failures", "last", "--final")) == 1
    hut("retry", "last")
    assert hut("failures", "last", "--final").stdout == ""
    assert hut("failures", "last").stdout == "[ $HUT_ATTEMPT = 2 ]\n"


def test_commands_whose_last_characters_matter_stay_lines_of_their_own(hut: Hut) -> None:
    commands = ["false # why", "exit 2 \\", "cat <<'X'\n'q' \\n \t\nX\nexit 3", "exit 4 &&\ntrue"]
    tasks = [{"id": f"t{i}", "command": command} for i, command in enumerate(commands)]
    hut("run", hut.write(tasks), "--max-concurrent", "1", exit_code=1)
    lines = hut("failures", "last").stdout.splitlines()
    assert len(lines) == 4
    for exit_code, line in enumerate(lines, 1):
        done = subprocess.run(
            ["bash"], input=f"{line}\n", capture_output=True, text=True, check=False
        )
        assert done.returncode == exit_code, line
    tagged = hut("failures", "last", "--with-tags").stdout.splitlines()
    assert len(tagged) == 4


def test_runs_and_show_in_words(ended: Hut) -> None:
    run = ended.json("show", "last")
    text = ended("runs").stdout.splitlines()
    assert len(text) == 2
    for part in (run["id"], "mixed", "failed", "5 completed", "1 failed", "2 dep_failed"):
        assert part in text[1]
    shown = ended("show", "last").stdout
    for part in (run["id"], run["created_at"], "mixed", "bad: exit code 3", "hutctl retry"):
        assert part in shown


def test_logs_of_a_running_task_that_is_mute_so_far_say_so(under_way: Hut) -> None:
    said = under_way("logs", "last", "hold", "--error", "--tail", "5").stderr
    assert "yet" in said or "so far" in said


def test_runs_that_a_filter_hides_are_not_denied(ended: Hut) -> None:
    for options in (("--state", "cancelled"), ("--workflow", "other")):
        done = ended("runs", *options)
        assert done.stdout == ""
        assert "begin with" not in done.stderr
