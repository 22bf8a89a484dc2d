"""The ten defects seen in HyperShell 2.8.2, each as a case that goes well here: real processes."""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.hutctl_process import Hut

LIMIT = 60  # seconds


def tasks_of(hut: Hut, run: str = "last") -> dict[str, Any]:
    return {task["id"]: task for task in hut.json("tasks", run)}


def until(look: Any) -> Any:
    """Return what `look` finds, as soon as it finds something."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come")


def write(hut: Hut, name: str, *lines: str) -> str:
    (hut.folder / name).write_text("".join(f"{line}\n" for line in lines))
    return name


def test_1_a_second_file_is_never_skipped(hut: Hut) -> None:
    write(hut, "one.txt", "echo 1 >> out")
    write(hut, "two.txt", "echo 2 >> out")
    for name in ("one.txt", "two.txt", "one.txt"):
        hut("submit", name)
    assert (hut.folder / "out").read_text() == "1\n2\n1\n"


def test_2_two_who_work_on_the_same_file_run_each_task_once(hut: Hut) -> None:
    wait = "echo x >> out; until [ -e go ]; do sleep 0.05; done"
    write(hut, "t.txt", wait, *["echo x >> out"] * 7)
    first = hut.popen("submit", "t.txt", "-N", "1")
    until((hut.folder / "out").exists)
    second = hut.popen("submit", "t.txt", "-N", "1")
    assert second.stderr is not None
    assert any("has not ended; taking it up" in line for line in second.stderr)
    (hut.folder / "go").touch()
    for process in (first, second):
        process.communicate(timeout=LIMIT)
        assert process.returncode == 0
    assert (hut.folder / "out").read_text() == "x\n" * 8
    assert len(hut.json("runs")) == 1


def test_3_a_killed_worker_loses_no_task_without_records_either(hut: Hut) -> None:
    write(hut, "t.txt", "touch begun; until [ -e go ]; do sleep 0.05; done", *["echo x >> out"] * 5)
    process = hut.popen("submit", "t.txt", "--no-db", "-N", "1")
    until((hut.folder / "begun").exists)
    process.kill()
    process.communicate(timeout=LIMIT)
    (hut.folder / "go").touch()
    hut("submit", "--restart")
    assert {task["state"] for task in tasks_of(hut).values()} == {"completed"}
    assert (hut.folder / "out").read_text().split() == ["x"] * 5


def test_4_a_timeout_reaches_every_process_of_the_task(hut: Hut) -> None:
    write(
        hut,
        "t.txt",
        "sh -c 'sh -c \"echo \\$\\$ > pid; exec sleep 600\"; true'; true # HUT: timeout:1",
    )
    hut("submit", "t.txt", exit_code=1)
    pid = int((hut.folder / "pid").read_text())
    until(lambda: not is_running(pid))
    assert tasks_of(hut)["1"]["reason"] == "timeout"


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_5_a_retry_keeps_cores_memory_timeout_and_tags(hut: Hut) -> None:
    command = (
        'echo "$TASK_ATTEMPT $TASK_CORES $TASK_MEMORY $TASK_TIMEOUT $TASK_TAG_K" >> out; exit 1'
    )
    write(hut, "t.txt", f"{command} # HUT: cores:3 memory:2GB timeout:77 k:v")
    hut("submit", "t.txt", "-r", "1", exit_code=1)
    same = f"3 {2 << 30} 77 v"
    assert (hut.folder / "out").read_text().splitlines() == [f"1 {same}", f"2 {same}"]


def test_6_a_sharp_in_quotes_is_no_comment(hut: Hut) -> None:
    write(hut, "t.txt", 'echo "a # b" > out')
    hut("submit", "t.txt")
    assert (hut.folder / "out").read_text() == "a # b\n"


def test_7_a_line_with_only_tags_holds_for_those_that_follow(hut: Hut) -> None:
    write(hut, "t.txt", "echo 1$TASK_TAG_K > a", "# HYPERSHELL: k:v", "echo 2$TASK_TAG_K > b")
    hut("submit", "t.txt")
    assert [(hut.folder / name).read_text() for name in "ab"] == ["1\n", "2v\n"]


def test_8_a_bad_tag_in_the_middle_leaves_nothing_behind(hut: Hut) -> None:
    write(hut, "t.txt", *["touch ran"] * 20, "true # HYPERSHELL: k:a/b", "true # HUT: cores:x")
    done = hut("submit", "t.txt", exit_code=2)
    assert "line 21" in done.stderr
    assert "line 22" in done.stderr
    assert hut.json("runs") == []
    assert not (hut.folder / "ran").exists()


def test_9_a_cancelled_task_is_no_task_that_was_hung_up(hut: Hut) -> None:
    write(hut, "t.txt", "kill -HUP $$; sleep 9", "kill -KILL $$")
    hut("submit", "t.txt", exit_code=1)
    hung_up, killed = tasks_of(hut).values()
    write(hut, "u.txt", "touch begun; exec sleep 600")
    process = hut.popen("submit", "u.txt")
    until((hut.folder / "begun").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    cancelled = tasks_of(hut)["1"]
    assert hung_up["reason"] in ("exit", "signal")
    assert hung_up["exit_code"] > 128
    assert (killed["reason"], killed["exit_code"]) == ("signal", 137)
    assert cancelled["reason"] == "cancelled"


def test_10_the_exit_code_says_that_tasks_failed(hut: Hut) -> None:
    write(hut, "t.txt", "true", "exit 7", "true")
    done = hut("submit", "t.txt", "--print", exit_code=1)
    assert done.stdout == "exit 7\n"
