"""Nothing is lost and nothing runs twice: hutctl is killed, interrupted, and started twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.hutctl_process import Hut, alive, wait_until


def pids(hut: Hut) -> list[int]:
    return [int(line) for line in hut.lines("pids")]


def kill(process: subprocess.Popen[str]) -> None:
    """Kill hutctl as the system would when memory is short: it learns nothing of it."""
    process.kill()
    process.communicate()


def wait_for(process: subprocess.Popen[str], said: str) -> None:
    """Wait until hutctl has told a person something."""
    assert process.stderr is not None
    for line in process.stderr:
        if said in line:
            return
    raise AssertionError(f"it never said: {said}")


LONG = "echo $$ >> pids; echo $HUT_TASK_ID $HUT_ATTEMPT >> ran; sleep {}; echo done-$HUT_TASK_ID"
UNTIL_GO = LONG.replace("sleep {}", "until [ -e go ]; do sleep 0.02; done")


def test_a_killed_hutctl_leaves_its_tasks_running_and_resume_finds_them(hut: Hut) -> None:
    file = hut.write(
        [
            {"id": "first", "command": "echo first 1 >> ran"},
            {"id": "long", "command": UNTIL_GO, "deps": ["first"]},
            {"id": "last", "command": "echo last $HUT_ATTEMPT >> ran", "deps": ["long"]},
        ]
    )
    process = hut.popen("run", file)
    wait_until(lambda: pids(hut))
    kill(process)
    assert alive(pids(hut)[0])
    heir = hut.popen("resume", "last")
    wait_for(heir, "1 still running")
    (hut.folder / "go").touch()
    heir.communicate(timeout=60)
    assert heir.returncode == 0
    assert hut.lines("ran") == ["first 1", "long 1", "last 1"]
    task = hut.tasks()["long"]
    assert (task["state"], task["attempt"], task["exit_code"]) == ("completed", 1, 0)
    assert hut("logs", "last", "long").stdout == "done-long\n"


def test_what_ended_while_nobody_watched_is_not_run_again(hut: Hut) -> None:
    file = hut.write(
        [
            {"id": "good", "command": LONG.format(0.4)},
            {"id": "bad", "command": LONG.format(0.4) + "; exit 3"},
        ]
    )
    process = hut.popen("run", file, "--max-concurrent", "2")
    wait_until(lambda: len(pids(hut)) == 2)
    kill(process)
    wait_until(lambda: not any(alive(pid) for pid in pids(hut)))
    done = hut("resume", "last", exit_code=1)
    assert "2 ended meanwhile" in done.stderr
    tasks = hut.tasks()
    assert (tasks["good"]["state"], tasks["good"]["attempt"]) == ("completed", 1)
    assert (tasks["bad"]["state"], tasks["bad"]["exit_code"]) == ("failed", 3)
    assert sorted(hut.lines("ran")) == ["bad 1", "good 1"]
    assert hut("logs", "last", "good").stdout == "done-good\n"


def test_what_is_gone_without_a_trace_is_lost_and_tried_again(hut: Hut) -> None:
    # The child is there before the note: a kill must not fall into the moment of the fork.
    command = "[ $HUT_ATTEMPT -gt 1 ] || sleep 60 & echo $$ >> pids; wait"
    file = hut.write([{"id": "t", "command": command}])
    process = hut.popen("run", file)
    wait_until(lambda: pids(hut))
    kill(process)
    os.killpg(pids(hut)[0], signal.SIGKILL)
    done = hut("resume", "last")
    assert "1 lost" in done.stderr
    task = hut.tasks()["t"]
    assert (task["state"], task["attempt"]) == ("completed", 2)
    assert [(a["state"], a["reason"]) for a in task["attempts"]] == [
        ("failed", "lost"),
        ("completed", "exit"),
    ]


def test_grandchildren_of_a_lost_task_do_not_stay_behind(hut: Hut) -> None:
    command = (
        "[ $HUT_ATTEMPT -gt 1 ] || { sleep 60 & echo $! > grandchild; echo $$ >> pids; wait; }"
    )
    file = hut.write([{"id": "t", "command": command}])
    process = hut.popen("run", file)
    wait_until(lambda: pids(hut))
    kill(process)
    os.kill(pids(hut)[0], signal.SIGKILL)
    hut("resume", "last")
    assert not alive(int(hut.lines("grandchild")[0]))


@pytest.mark.parametrize("seed", range(4))
def test_killed_again_and_again_every_task_completes_and_runs_once(hut: Hut, seed: int) -> None:
    """The tasks outlive each hutctl, so none is lost, and none may run a second time."""
    chance = random.Random(seed)
    tasks = [
        {"id": f"t{i}", "command": f"echo t{i} >> ran; sleep {chance.uniform(0, 0.06):.3f}"}
        for i in range(60)
    ]
    tasks += [
        {"id": f"u{i}", "command": f"echo u{i} >> ran", "deps": [f"t{i}", f"t{59 - i}"]}
        for i in range(30)
    ]
    tasks.append({"id": "end", "command": "echo end >> ran", "deps": ["[tu]*"]})
    process = hut.popen("run", hut.write(tasks), "--max-concurrent", "4")
    wait_until(lambda: hut.lines("ran"))
    for _ in range(7):
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.12, 0.7))
        kill(process)
        process = hut.popen("resume", "last")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert set(hut.states().values()) == {"completed"}
    assert Counter(hut.lines("ran")) == Counter({task["id"]: 1 for task in tasks})
    assert hut.lines("ran")[-1] == "end"
    left = [p.name for p in Path(hut.folder, "home").rglob(".slot-*")]
    assert left == []


def test_the_time_limit_holds_for_a_task_that_was_found_again(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": LONG.format(60), "time_limit": "2s"}])
    process = hut.popen("run", file)
    wait_until(lambda: pids(hut))
    kill(process)
    hut("resume", "last", exit_code=1)
    assert hut.tasks()["t"]["reason"] == "timeout"
    assert not alive(pids(hut)[0])


def test_two_resumes_at_once_run_nothing_twice(hut: Hut) -> None:
    tasks = [{"id": f"t{i}", "command": f"echo t{i} >> ran; sleep 0.02"} for i in range(40)]
    kill_me = hut.popen("run", hut.write(tasks), "--max-concurrent", "2")
    wait_until(lambda: hut.lines("ran"))
    kill(kill_me)
    both = [hut.popen("resume", "last") for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert Counter(hut.lines("ran")) == Counter({task["id"]: 1 for task in tasks})


def test_resume_of_a_run_somebody_works_on_follows_it(hut: Hut) -> None:
    process = hut.popen("run", hut.write([{"id": "t", "command": UNTIL_GO}]))
    wait_until(lambda: pids(hut))
    follower = hut.popen("resume", "last")
    wait_for(follower, "another hutctl works on")
    (hut.folder / "go").touch()
    for each in (process, follower):
        each.communicate(timeout=60)
        assert each.returncode == 0
    assert hut.lines("ran") == ["t 1"]


def test_resume_of_an_ended_run_tells_how_it_ended(hut: Hut) -> None:
    hut("run", hut.write([{"id": "t", "command": "exit 4"}]), exit_code=1)
    assert hut("resume", "last", exit_code=1).stdout.startswith("w ")
    assert hut.tasks()["t"]["attempt"] == 1


def test_ctrl_c_cancels_cleanly(hut: Hut) -> None:
    command = "trap 'echo term >> ended; exit 9' TERM; echo $$ >> pids; sleep 60 & wait"
    file = hut.write([{"id": "a", "command": command}, {"id": "b", "command": "x", "deps": ["a"]}])
    process = hut.popen("run", file, "--json")
    wait_until(lambda: pids(hut))
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert '"state": "cancelled"' in out
    assert hut.lines("ended") == ["term"]
    assert not alive(pids(hut)[0])
    tasks = hut.tasks()
    assert {t["state"] for t in tasks.values()} == {"failed"}
    assert {t["reason"] for t in tasks.values()} == {"cancelled"}
    assert tasks["b"]["attempt"] == 0


def test_ctrl_c_ends_a_run_that_only_waits_for_a_retry(hut: Hut) -> None:
    file = hut.write([{"id": "a", "command": "exit 7", "retries": 1, "retry_delay": "1h"}])
    process = hut.popen("run", file)
    wait_until(lambda: hut("tasks", "last", exit_code=None).returncode == 0)
    wait_until(lambda: hut.tasks()["a"]["state"] == "pending" and hut.tasks()["a"]["attempt"] == 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert hut.states() == {"a": "failed"}


def test_a_second_ctrl_c_kills_what_does_not_listen(hut: Hut) -> None:
    (hut.folder / "hut.yaml").write_text("backends: [{name: local, type: local, kill_grace: 1h}]")
    command = "trap '' TERM; echo $$ >> pids; while :; do sleep 0.2; done"
    process = hut.popen("run", hut.write([{"id": "deaf", "command": command}]))
    wait_until(lambda: pids(hut))
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not alive(pids(hut)[0])


def test_term_cancels_like_ctrl_c(hut: Hut) -> None:
    process = hut.popen("run", hut.write([{"id": "t", "command": LONG.format(60)}]))
    wait_until(lambda: pids(hut))
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert hut.json("show", "last")["state"] == "cancelled"


def test_a_terminal_that_goes_away_takes_no_task_with_it(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": LONG.format(1.5)}])
    process = hut.popen("run", file)
    wait_until(lambda: pids(hut))
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert alive(pids(hut)[0])
    hut("resume", "last")
    assert hut.lines("ran") == ["t 1"]


def test_cancel_from_elsewhere_stops_a_run(hut: Hut) -> None:
    process = hut.popen("run", hut.write([{"id": "t", "command": LONG.format(60)}]))
    wait_until(lambda: pids(hut))
    assert hut.json("cancel", "last")["state"] == "cancelled"
    process.communicate(timeout=30)
    assert process.returncode == 3
    assert not alive(pids(hut)[0])


def test_cancel_ends_what_a_dead_hutctl_left_running(hut: Hut) -> None:
    file = hut.write(
        [{"id": "t", "command": LONG.format(60)}, {"id": "u", "command": "true", "deps": ["t"]}]
    )
    process = hut.popen("run", file)
    wait_until(lambda: pids(hut))
    kill(process)
    assert hut.json("cancel", "last")["state"] == "cancelled"
    assert not alive(pids(hut)[0])
    assert hut.states() == {"t": "failed", "u": "failed"}


def test_cancel_ends_a_run_whose_dead_hutctl_had_claimed_ahead(hut: Hut) -> None:
    """Claims that were never started are given back to a run that is stopped by then."""
    quick = [{"id": f"q{i}", "command": "true"} for i in range(300)]
    slow = [{"id": f"s{i}", "command": LONG.format(60)} for i in range(60)]
    process = hut.popen("run", hut.write([*quick, *slow]), "--max-concurrent", "2")
    wait_until(lambda: len(pids(hut)) == 2)
    kill(process)
    assert hut.json("cancel", "last")["state"] == "cancelled"
    assert not any(alive(pid) for pid in pids(hut))
    assert set(hut.states().values()) == {"completed", "failed"}


def test_a_cancelled_run_goes_on_with_retry(hut: Hut) -> None:
    command = "echo $$ >> pids; [ -e go ] || sleep 60"
    file = hut.write(
        [{"id": "a", "command": "echo a >> ran"}, {"id": "b", "command": command, "deps": ["a"]}]
    )
    process = hut.popen("run", file)
    wait_until(lambda: pids(hut))
    hut("cancel", "last")
    process.communicate(timeout=30)
    (hut.folder / "go").touch()
    hut("retry", "last")
    assert hut.lines("ran") == ["a"]
    assert hut.tasks()["b"]["attempt"] == 2


def test_a_detached_run_goes_on_by_itself(hut: Hut) -> None:
    done = hut("run", hut.write([{"id": "t", "command": UNTIL_GO}]), "--detach")
    run_id = done.stdout.strip()
    assert hut.json("show", run_id)["state"] == "running"
    (hut.folder / "go").touch()
    assert hut("watch", run_id).stdout.startswith("w ")
    assert hut.states(run_id) == {"t": "completed"}


def test_watch_says_when_nobody_works_on_a_run(hut: Hut) -> None:
    process = hut.popen("run", hut.write([{"id": "t", "command": LONG.format(60)}]))
    wait_until(lambda: pids(hut))
    kill(process)
    done = hut("watch", "last", exit_code=4)
    assert "hutctl resume" in done.stderr
    assert "hutctl resume" in hut("why", "last", "t").stdout
    assert "nobody works on" in hut("doctor", exit_code=1).stdout
    hut("cancel", "last")


def test_the_time_limit_of_a_run_ends_it(hut: Hut) -> None:
    file = hut.write([{"id": "t", "command": LONG.format(60)}], time_limit="1s")
    hut("run", file, exit_code=1)
    run = hut.json("show", "last")
    assert (run["state"], run["reason"]) == ("failed", "timeout")
    assert not alive(pids(hut)[0])


def test_retries_wait_and_are_numbered(hut: Hut) -> None:
    command = 'date +%s.%N >> at; [ "$HUT_ATTEMPT" = 3 ]'
    file = hut.write(
        [{"id": "t", "command": command, "retries": 4, "retry_delay": "0.3s", "retry_backoff": 2}]
    )
    hut("run", file)
    times = [float(line) for line in hut.lines("at")]
    assert len(times) == 3
    assert times[1] - times[0] >= 0.3
    assert times[2] - times[1] >= 0.6
    assert [a["exit_code"] for a in hut.tasks()["t"]["attempts"]] == [1, 1, 0]


def test_only_listed_failures_are_retried(hut: Hut) -> None:
    tasks = [
        {"id": "listed", "command": "exit 75", "retries": 2, "retry_on": [75]},
        {"id": "other", "command": "exit 1", "retries": 2, "retry_on": [75, "timeout"]},
        {
            "id": "late",
            "command": "sleep 9",
            "retries": 1,
            "retry_on": ["timeout"],
            "time_limit": "0.3s",
        },
    ]
    hut("run", hut.write(tasks), exit_code=1)
    assert {name: task["attempt"] for name, task in hut.tasks().items()} == {
        "listed": 3,
        "other": 1,
        "late": 2,
    }
