"""`hutctl submit` as a process: what HyperShell's server does with its options, and what is added here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.hutctl_process import Hut

LIMIT = 60  # seconds


def until(look: Any) -> Any:
    """Return what `look` finds, as soon as it finds something."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


@pytest.mark.parametrize(
    "options",
    [
        "--forever --restart", "--forever --no-db", "--restart --no-db", "--initdb --no-db",
        "--print -f x", "--restart t.txt", "--forever t.txt", "missing.txt", "-b 0", "-w -1", "-r x",
        "--to last --name x t.txt", "--detach --print t.txt",
    ],
)  # fmt: skip
def test_what_excludes_each_other_is_a_usage_error(hut: Hut, options: str) -> None:
    (hut.folder / "t.txt").write_text("true\n")
    done = hut("submit", *options.split(), exit_code=2)
    assert "Error: " in done.stderr
    assert not (hut.folder / "x").exists()


def test_an_input_without_tasks_is_done_at_once(hut: Hut) -> None:
    done = hut("submit", "-", given="\n# nothing\n")
    assert "there are no tasks" in done.stderr
    assert "nothing remains" in hut("submit", "--restart").stderr
    assert hut.json("runs") == []


def test_what_has_no_use_is_accepted_and_says_so(hut: Hut) -> None:
    done = hut(
        "submit", "-H", "0.0.0.0", "-p", "1", "-k", "key", "--initdb", "--no-confirm", "--", "true"
    )
    assert done.stderr.count("no use here") == 3


def test_a_command_is_a_task_and_its_words_arrive_as_they_are(hut: Hut) -> None:
    hut("submit", "--", "sh", "-c", 'printf "%s|" "$@" > out', "x", "a b", "$HOME", "it's")
    assert (hut.folder / "out").read_text() == "a b|$HOME|it's|"


def test_groups_run_one_after_the_other_and_stop_at_a_failure(hut: Hut) -> None:
    lines = ["echo 2 >> out # HUT: group:2", "echo 0 >> out", "echo 1 >> out; false # HUT: group:1"]
    hut("submit", "-", given="\n".join(lines), exit_code=1)
    assert (hut.folder / "out").read_text() == "0\n1\n"
    states = {task["id"]: task["state"] for task in hut.json("tasks", "last")}
    assert states == {"2.1": "dep_failed", "0.2": "completed", "1.3": "failed"}


def test_failed_commands_are_written_in_the_order_in_which_they_ended(hut: Hut) -> None:
    lines = ["until [ -e go ]; do sleep 0.05; done; exit 1", "touch go; exit 2", "true"]
    hut("submit", "-", "-N", "2", "-f", "failed.txt", given="\n".join(lines), exit_code=1)
    assert (hut.folder / "failed.txt").read_text().splitlines() == [lines[1], lines[0]]


def test_failed_commands_are_written_while_others_run(hut: Hut) -> None:
    """The second one ends only when it has read the first one's command there."""
    waits = "for _ in $(seq 600); do grep -q 7 failed.txt && exit 0; sleep 0.05; done; exit 1"
    hut("submit", "-", "-N", "2", "-f", "failed.txt", given=f"exit 7\n{waits}\n", exit_code=1)
    assert (hut.folder / "failed.txt").read_text() == "exit 7\n"


def test_failures_and_the_run_as_json_do_not_share_an_output(hut: Hut) -> None:
    done = hut("submit", "-", "--print", "--json", given="true\n", exit_code=2)
    assert "--json and --print both write to stdout; write: -f PATH" in done.stderr


def test_what_failed_is_a_task_file_of_the_same_tasks(hut: Hut) -> None:
    """Cores, memory, time limit, group and tags are asked for again."""
    lines = [
        "exit 3 # HUT: cores:2 memory:512M timeout:90s group:1 site:eu",
        "exit 4 # HUT: group:1 timeout:1h",
        "true",
    ]
    hut("submit", "-", given="\n".join(lines), exit_code=1)
    asked = ("command", "cpus", "memory", "time_limit", "group")

    def failed() -> list[list[object]]:
        tasks = [task for task in hut.json("tasks", "last") if task["state"] == "failed"]
        return [
            [*(task[name] for name in asked), task.get("tags", {}).get("site")] for task in tasks
        ]

    first = failed()
    assert [entry[1:] for entry in first] == [
        [2, "512M", "90s", "1", "eu"],
        [1, "4096M", "1:00:00", "1", None],
    ]
    again = hut("failures", "last", "--final", "--with-tags").stdout
    hut("submit", "-", given=again, exit_code=1)
    assert failed() == first


def test_retries_are_attempts_and_failures_are_told_for_each(hut: Hut) -> None:
    done = hut("submit", "-", "-r", "2", "--print", given="exit 3\n", exit_code=1)
    assert done.stdout == "exit 3\n" * 3


def test_an_open_run_gets_lines_while_they_come_and_ends_when_it_is_closed(hut: Hut) -> None:
    """The timer flushes lines though the pipe is silent and the bundle is not full."""
    process = hut.popen("submit", "--forever", "-", "-b", "100", "-w", "0.2", stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write("echo one > one\necho 'x\n")
    process.stdin.flush()
    until((hut.folder / "one").exists)
    more = "echo late > late # HUT: group:1\necho early > early\n"
    hut("submit", "--to", "last", "-", given=more)
    until(
        (hut.folder / "late").exists
    )  # it waited for the other, in a run that had no edges before
    assert (hut.folder / "early").exists()
    hut("close", "last")
    said = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 1  # a line was refused
    assert "refused: line 2: the quote ' at column 6" in said
    assert {task["state"] for task in hut.json("tasks", "last")} == {"completed"}
    assert "has ended" in hut("submit", "--to", "last", "--", "true", exit_code=2).stderr


_READS = """
import json, resource, sys
from hut.planning.task_files import NO_FIELDS, TaskFileReader
from hutctl.spooling import Common, read_spool

class Endless:
    def __init__(self, count): self.left = count
    def readline(self, _most):
        self.left -= 1
        return b"process input-%d # HUT: k:v\\n" % self.left if self.left >= 0 else b""

spool = read_spool(Endless(int(sys.argv[1])), TaskFileReader(), Common(NO_FIELDS, 60.0), source="x")
pieces = sum(1 for _ in spool.pieces())
print(spool.count, pieces, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_reading_takes_the_same_memory_however_many_lines_there_are(tmp_path: Path) -> None:
    peaks = []
    for count in (5_000, 50_000):
        done = subprocess.run(
            [sys.executable, "-c", _READS, str(count)],
            capture_output=True, text=True, check=True, timeout=LIMIT, cwd=tmp_path, env=dict(os.environ),
        )  # fmt: skip
        lines, pieces, peak = map(int, done.stdout.split())
        assert (lines, pieces) == (count, count // 1000)
        peaks.append(peak)
    assert peaks[1] < peaks[0] * 1.2


def test_many_lines_are_sent_in_pieces_into_a_run_that_begins_whole(hut: Hut) -> None:
    lines = "".join(f"exit {n % 2}\n" for n in range(10_001))
    (hut.folder / "t.txt").write_text(lines + "echo 'open\n")
    assert "line 10002" in hut("submit", "t.txt", exit_code=2).stderr
    assert hut.json("runs") == []
    (hut.folder / "t.txt").write_text(lines)
    done = hut("submit", "t.txt", "--detach", "-N", "1", "--json")
    run = json.loads(done.stdout)
    assert run["total"] == 10_001
    hut("cancel", run["id"])
