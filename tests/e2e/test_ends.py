"""How attempts end on Batch: exit codes, retries, limits, lack of memory, lost hosts."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.e2e.remote_hut import HOLD, RemoteHut, until
from tests.hutctl_process import alive


def last(task: dict[str, Any]) -> list[Any]:
    return [task[key] for key in ("state", "reason", "exit_code", "attempt")]


def ends(task: dict[str, Any]) -> list[Any]:
    """Return how each attempt ended."""
    return [[each[key] for key in ("state", "reason", "exit_code")] for each in task["attempts"]]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_failure_is_told_with_its_cause(hut: RemoteHut) -> None:
    file = hut.write(
        [
            {"id": "good", "command": "echo fine"},
            {"id": "bad", "deps": ["good"], "command": "echo 'no such input' >&2; exit 3"},
            {"id": "after", "deps": ["bad"], "command": "true"},
            {"id": "end", "deps": ["after"], "command": "true"},
            {"id": "aside", "deps": ["good"], "command": "true"},
        ]
    )
    said = hut("run", file, exit_code=1)
    assert "bad" in said.stdout
    assert "no such input" in said.stdout
    tasks = hut.tasks()
    assert {name: task["state"] for name, task in tasks.items()} == {
        "good": "completed",
        "bad": "failed",
        "after": "dep_failed",
        "end": "dep_failed",
        "aside": "completed",
    }
    assert last(tasks["bad"]) == ["failed", "exit", 3, 1]
    assert last(tasks["end"]) == ["dep_failed", "dependency", None, 0]
    assert hut.json("why", "last", "end")["cause"] == "bad"
    run = hut.json("show", "last")
    assert (run["state"], run["reason"]) == ("failed", "task_failed")
    until(lambda: hut.execution(run["id"])["status"] == "FAILED", "the execution failed")
    assert hut.execution(run["id"])["error"] == "failed"
    assert hut.execution(run["id"])["cause"] == run["message"]
    assert hut("failures", "last").stdout.splitlines() == ["echo 'no such input' >&2; exit 3"]


def test_a_task_is_retried_after_its_delay(hut: RemoteHut) -> None:
    command = "echo attempt $HUT_ATTEMPT; [ $HUT_ATTEMPT = 3 ] || exit 75"
    task = {"id": "flaky", "command": command, "retries": 5, "retry_delay": "1s"}
    run = hut.start([{**task, "retry_on": [75, "timeout"], "retry_backoff": 1.5}])
    assert hut.ended(run)["state"] == "completed"
    flaky = hut.task(run, "flaky")
    assert last(flaky) == ["completed", "exit", 0, 3]
    assert ends(flaky) == [["failed", "exit", 75]] * 2 + [["completed", "exit", 0]]
    first, second, third = flaky["attempts"]
    assert moment(second["submitted_at"]) >= moment(first["ended_at"]) + timedelta(seconds=1)
    assert moment(third["submitted_at"]) >= moment(second["ended_at"]) + timedelta(seconds=1.5)
    for attempt in (1, 2, 3):
        log = hut("logs", run, "flaky", "--attempt", str(attempt)).stdout
        assert log == f"attempt {attempt}\n"
    assert [job["status"] for job in hut.jobs(run)] == ["FAILED", "FAILED", "SUCCEEDED"]


def test_what_retry_on_does_not_name_is_not_retried(hut: RemoteHut) -> None:
    task = {"id": "a", "command": "exit 74", "retries": 5, "retry_on": [75, "timeout"]}
    run = hut.run([task], exit_code=1)
    assert ends(hut.task(run["id"], "a")) == [["failed", "exit", 74]]


def test_retries_are_used_up(hut: RemoteHut) -> None:
    run = hut.start([{"id": "a", "command": "exit 7", "retries": 2}])
    assert hut.ended(run)["state"] == "failed"
    assert ends(hut.task(run, "a")) == [["failed", "exit", 7]] * 3


def test_a_limit_too_short_for_batch_is_enforced_in_the_job(hut: RemoteHut) -> None:
    command = "trap '' TERM; echo begun; sleep 600 & echo $! > pid; wait; sleep 600"
    run = hut.run([{"id": "slow", "command": command, "time_limit": "1s"}], exit_code=1)
    slow = hut.task(run["id"], "slow")
    assert (slow["state"], slow["reason"]) == ("failed", "timeout")
    assert "time limit of 1s" in slow["message"]
    assert hut("logs", run["id"], "slow").stdout.splitlines()[0] == "begun"
    assert not alive(int(hut.lines("pid")[0]))


def test_a_longer_limit_is_enforced_by_batch(hut: RemoteHut) -> None:
    hut.bed.hook("batch/timeouts", {"scale": 0.02})  # a minute is 1.2 s
    again = {"retries": 1, "retry_on": ["timeout"]}
    run = hut.start([{"id": "slow", "command": HOLD, "time_limit": "1m", **again}])
    assert hut.ended(run)["state"] == "failed"
    slow = hut.task(run, "slow")
    assert [(end[0], end[1]) for end in ends(slow)] == [("failed", "timeout")] * 2
    assert "time limit of 60s" in slow["message"]
    assert {job["timeout"]["attemptDurationSeconds"] for job in hut.jobs(run)} == {60}


def test_lack_of_memory_is_told(hut: RemoteHut) -> None:
    run = hut.start([{"id": "big", "command": HOLD, "memory": "2G"}])
    hut.reached(run, "big", "running")
    reason = "OutOfMemoryError: Container killed due to memory usage"
    hut.force(hut.job(run, "big"), "FAILED", exitCode=137, reason=reason)
    assert hut.ended(run)["state"] == "failed"
    assert last(hut.task(run, "big")) == ["failed", "out_of_memory", 137, 1]
    assert "`memory`" in hut("why", run, "big").stdout


def test_a_lost_host_costs_no_retry(hut: RemoteHut) -> None:
    command = f"echo $HUT_ATTEMPT >> attempts; [ $HUT_ATTEMPT = 2 ] || {{ {HOLD}; }}"
    run = hut.start([{"id": "a", "command": command, "retries": 0}])
    hut.reached(run, "a", "running")
    until(lambda: hut.lines("attempts"), "the first attempt began")
    gone = "Host EC2 (instance i-0123456789abcdef0) terminated."
    hut.force(hut.job(run, "a"), "FAILED", statusReason=gone)
    assert hut.ended(run)["state"] == "completed"
    a = hut.task(run, "a")
    assert ends(a) == [["failed", "host_terminated", None], ["completed", "exit", 0]]
    assert gone in a["attempts"][0]["message"]
    assert hut.lines("attempts") == ["1", "2"]


def test_a_partition_that_does_not_exist_fails_the_task_with_a_reason(hut: RemoteHut) -> None:
    run = hut.run([{"id": "a", "command": "true", "partition": "gpu"}], exit_code=1)
    a = hut.task(run["id"], "a")
    assert (a["state"], a["reason"]) == ("failed", "unsatisfiable")
    assert "'gpu'" in a["message"]
    assert "fargate-spot" in a["message"]
    assert hut.jobs(run["id"]) == []


def test_what_fargate_does_not_have_fails_the_task_with_a_reason(hut: RemoteHut) -> None:
    run = hut.run([{"id": "a", "command": "true", "gres": "gpu:1"}], exit_code=1)
    a = hut.task(run["id"], "a")
    assert (a["state"], a["reason"]) == ("failed", "unsatisfiable")
    assert "gpu" in a["message"].lower()


def test_a_working_folder_that_is_missing_is_told(hut: RemoteHut) -> None:
    run = hut.run([{"id": "a", "command": "true", "working_dir": "~/nowhere"}], exit_code=1)
    a = hut.task(run["id"], "a")
    assert (a["state"], a["reason"]) == ("failed", "launch_failed")
    assert "nowhere" in a["message"]
