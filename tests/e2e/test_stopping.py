"""Runs that are stopped: by a person, by their time limit, by who stops their execution."""

from __future__ import annotations

import signal
from collections import Counter

from tests.e2e.remote_hut import HOLD, RemoteHut, until
from tests.hutctl_process import alive

LONG = "echo $$ > pid; sleep 600 & echo $! > child; wait; sleep 600"
WAITING = [
    {"id": "runs", "command": LONG, "priority": 9},
    {"id": "submitted", "command": "touch submitted"},
    {"id": "pending", "command": "touch pending", "deps": ["runs"]},
]


def begin(hut: RemoteHut, **fields: object) -> str:
    """Start a run with a task in each state before an end; return its id."""
    hut.bed.hook("batch/slots", {"jobs": 1})
    run = hut.start(WAITING, **fields)
    hut.reached(run, "runs", "running")
    hut.reached(run, "submitted", "submitted")
    until(lambda: hut.lines("child"), "the command began")
    return run


def nothing_is_left(hut: RemoteHut, run: str) -> None:
    until(lambda: all(job["stoppedAt"] for job in hut.jobs(run)), "the jobs ended")
    assert {job["status"] for job in hut.jobs(run)} == {"FAILED"}
    pids = [int(hut.lines(name)[0]) for name in ("pid", "child")]
    until(lambda: not any(alive(pid) for pid in pids), "the processes ended")
    assert not (hut.bed.home / "submitted").exists()
    assert not (hut.bed.home / "pending").exists()


def test_cancel_ends_what_runs_is_submitted_and_waits(hut: RemoteHut) -> None:
    run = begin(hut)
    follower = hut.popen("watch", run)
    document = hut.json("cancel", run)
    assert (document["state"], document["reason"]) == ("cancelled", "cancelled")
    follower.communicate(timeout=60)
    assert follower.returncode == 3
    nothing_is_left(hut, run)
    tasks = hut.tasks(run)
    assert {task["state"] for task in tasks.values()} == {"failed"}
    assert {task["reason"] for task in tasks.values()} == {"cancelled"}
    assert {name: task["attempt"] for name, task in tasks.items()} == {
        "runs": 1,
        "submitted": 1,
        "pending": 0,
    }
    assert "while it ran" in tasks["runs"]["message"]
    assert "before it started" in tasks["submitted"]["message"]
    hut.ended(run)
    assert hut.execution(run)["status"] == "FAILED"
    assert hut.execution(run)["error"] == "cancelled"
    assert "has ended already" in hut("cancel", run).stderr


def test_a_command_that_takes_no_notice_is_killed(hut: RemoteHut) -> None:
    run = hut.start([{"id": "a", "command": f"trap '' TERM; {LONG}"}])
    until(lambda: hut.lines("child"), "the command began")
    assert hut.json("cancel", run)["state"] == "cancelled"
    pid = int(hut.lines("pid")[0])
    child = int(hut.lines("child")[0])
    until(lambda: not alive(pid) and not alive(child), "the command ended")


def test_a_follower_that_is_interrupted_leaves_the_run_alone(hut: RemoteHut) -> None:
    follower = hut.popen("run", hut.write([{"id": "a", "command": HOLD}]))
    [run] = until(lambda: hut.get("/runs", state="running").document, "the run began")
    hut.reached(run["id"], "a", "running")
    follower.send_signal(signal.SIGINT)
    _, said = follower.communicate(timeout=60)
    assert follower.returncode == 130
    assert run["id"] in said
    assert hut.show(run["id"])["state"] == "running"
    hut.go()
    assert hut.ended(run["id"])["state"] == "completed"


def test_a_run_ends_at_its_time_limit(hut: RemoteHut) -> None:
    run = begin(hut, time_limit="4s")
    found = hut.ended(run)
    assert (found["state"], found["reason"]) == ("failed", "timeout")
    assert "time limit" in found["message"]
    nothing_is_left(hut, run)
    assert hut.task(run, "pending")["state"] == "failed"
    assert hut.execution(run)["status"] == "FAILED"
    assert hut.execution(run)["error"] == "failed"
    assert hut("watch", run, exit_code=1).stdout


def test_stopping_the_execution_cancels_the_run(hut: RemoteHut) -> None:
    run = begin(hut)
    hut.bed.client("stepfunctions").stop_execution(
        executionArn=hut.execution(run)["executionArn"], cause="a person in the console"
    )
    found = hut.ended(run)
    assert (found["state"], found["reason"]) == ("cancelled", "cancelled")
    nothing_is_left(hut, run)
    assert hut.execution(run)["status"] == "ABORTED"


def test_a_cancelled_run_goes_on_with_retry(hut: RemoteHut) -> None:
    command = f"echo $HUT_TASK_ID >> ran; {HOLD}"
    tasks = [
        {"id": "first", "command": "echo first >> ran"},
        {"id": "second", "command": command, "deps": ["first"]},
        {"id": "third", "command": command, "deps": ["second"]},
    ]
    run = hut.start(tasks)
    hut.reached(run, "second", "running")
    hut("cancel", run)
    hut.ended(run)
    hut.go()
    hut("retry", run)
    assert hut.states(run) == dict.fromkeys(("first", "second", "third"), "completed")
    assert Counter(hut.lines("ran")) == {"first": 1, "second": 2, "third": 1}
    assert hut.execution(run, generation=1)["status"] == "SUCCEEDED"


def test_retry_all_repeats_what_completed_too(hut: RemoteHut) -> None:
    tasks = [
        {"id": "a", "command": "echo a$HUT_ATTEMPT >> ran"},
        {"id": "b", "command": "echo b$HUT_ATTEMPT >> ran", "deps": ["a"]},
    ]
    run = hut.run(tasks)["id"]
    assert "nothing to repeat" in hut("retry", run).stderr
    repeated = hut.json("retry", run, "--all")
    assert repeated["state"] == "completed"
    assert hut.lines("ran") == ["a1", "b1", "a2", "b2"]
    assert [task["attempt"] for task in hut.tasks(run).values()] == [2, 2]
    assert hut.execution(run, generation=1)["status"] == "SUCCEEDED"
    for attempt in (1, 2):
        assert hut("logs", run, "a", "--attempt", str(attempt)).stdout == ""
