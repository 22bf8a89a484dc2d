"""What one learns of runs on AWS: logs, scripts, why a task is where it is."""

from __future__ import annotations

import subprocess

import pytest

from tests.e2e.remote_hut import HOLD, RemoteHut, until

MANY = 25_000


def test_a_long_log_comes_whole_and_page_by_page(hut: RemoteHut) -> None:
    command = f"echo attempt $HUT_ATTEMPT; seq 1 {MANY}; [ $HUT_ATTEMPT = 2 ]"
    run = hut.start(
        [
            {"id": "talks", "command": command, "retries": 1},
            {"id": "other", "command": "echo of another task; sleep 1"},
        ]
    )
    hut.ended(run)
    numbers = [str(number) for number in range(1, MANY + 1)]
    assert hut("logs", run, "talks").stdout.splitlines() == ["attempt 2", *numbers]
    first = hut("logs", run, "talks", "--attempt", "1").stdout.splitlines()
    assert first == ["attempt 1", *numbers]
    assert hut("logs", run, "talks", "--tail", "2").stdout.splitlines() == numbers[-2:]
    assert hut("logs", run, "other").stdout == "of another task\n"

    path, pages, cursor = f"/runs/{run}/tasks/talks/logs/output", [], None
    while True:
        query = {} if cursor is None else {"cursor": cursor}
        page = hut.get(path, attempt=1, limit=4000, **query).document
        assert page["attempt"] == 1
        assert len(page["content"].splitlines()) <= 4000
        pages.append(page["content"])
        if page["ended"]:
            break
        cursor = page["cursor"]
    assert "".join(pages).splitlines() == first
    assert len(pages) > MANY // 4000


def test_logs_are_followed_while_they_are_written(hut: RemoteHut) -> None:
    run = hut.start([{"id": "a", "command": f"echo begun; {HOLD}; seq 1 3000; echo over"}])
    follower = hut.popen("logs", run, "a", "-f")
    assert follower.stdout is not None
    assert follower.stdout.readline() == "begun\n"
    assert hut.task(run, "a")["state"] in ("submitted", "running")
    hut.go()
    rest, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0
    assert rest.splitlines() == [*map(str, range(1, 3001)), "over"]


@pytest.mark.parametrize("command", ["logs -f", "why", "script"])
def test_a_task_is_known_as_soon_as_its_run_is(hut: RemoteHut, command: str) -> None:
    # Register reads the plan from S3, which is slow just now.
    slow = {"service": "s3", "operation": "GetObject", "delay": 3.0, "times": 1}
    hut.bed.hook("faults", slow)
    run = hut.start([{"id": "a", "command": "echo here"}])
    name, *options = command.split()
    assert hut(name, run, "a", *options).stdout


def test_output_in_files_and_both_streams_in_the_log(hut: RemoteHut) -> None:
    tasks = [
        {"id": "both", "command": "echo out; echo err >&2"},
        {
            "id": "files",
            "command": "echo out; echo err >&2",
            "output_file": "out.txt",
            "error_file": "err.txt",
        },
    ]
    run = hut.run(tasks)["id"]
    both = hut("logs", run, "both", "--error")
    assert sorted(both.stdout.splitlines()) == ["err", "out"]
    assert "one log" in both.stderr
    assert (hut.lines("out.txt"), hut.lines("err.txt")) == (["out"], ["err"])
    assert hut("logs", run, "files").stdout == ""


def test_why_says_what_a_task_waits_for(hut: RemoteHut) -> None:
    hut.bed.hook("batch/slots", {"jobs": 1})
    tasks = [
        {"id": "runs", "command": HOLD, "priority": 9},
        {"id": "queued", "command": "true"},
        {"id": "full", "command": "true", "priority": -1},
        {"id": "blocked", "command": "true", "deps": ["runs", "queued"]},
    ]
    run = hut.start(tasks, "--max-concurrent", "2")
    hut.reached(run, "runs", "running")
    until(lambda: hut.task(run, "queued")["job_id"], "its job is there")
    assert "is running" in hut("why", run, "runs").stdout
    assert "queued" in hut("why", run, "queued").stdout
    assert "max_concurrent of 2" in hut("why", run, "full").stdout
    blocked = hut.json("why", run, "blocked")
    assert blocked["waiting_for"] == ["runs", "queued"]
    jobs = {job["task"]: job["state"] for job in hut.json("jobs")}
    assert jobs == {"runs": "running", "queued": "submitted"}
    hut.go()
    hut.ended(run)
    assert "completed" in hut("why", run, "blocked").stdout


def test_why_says_that_a_job_waits_in_its_queue(hut: RemoteHut) -> None:
    hut.bed.hook("batch/slots", {"jobs": 0})
    run = hut.start([{"id": "a", "command": "true"}])
    until(lambda: [job for job in hut.jobs(run) if job["status"] == "RUNNABLE"], "it is queued")
    hut.reached(run, "a", "submitted")
    until(lambda: hut.task(run, "a")["job_id"], "its job is noted")
    assert "RUNNABLE" in hut("why", run, "a").stdout


def test_why_shows_the_end_of_the_log_of_what_failed(hut: RemoteHut) -> None:
    tasks = [
        {"id": "bad", "command": "seq 1 500; echo 'no such input' >&2; exit 3"},
        {"id": "after", "command": "true", "deps": ["bad"]},
    ]
    run = hut.run(tasks, exit_code=1)["id"]
    for task in ("bad", "after"):
        said = hut("why", run, task).stdout
        assert "exit code 3" in said
        assert "no such input" in said
        assert "    500" in said


def test_the_script_is_what_ran(hut: RemoteHut) -> None:
    command = 'echo "it\'s $COLOUR" > seen'
    task = {"id": "a", "command": command, "env_vars": {"COLOUR": 'dark "blue" & $HOME'}}
    run = hut.run([task])["id"]
    assert hut.lines("seen") == ['it\'s dark "blue" & $HOME']
    (hut.bed.home / "seen").unlink()
    script = hut("script", run, "a").stdout
    assert command in script
    subprocess.run(["sh", "-c", script], check=True, env={"HOME": str(hut.bed.home)})
    assert hut.lines("seen") == ['it\'s dark "blue" & $HOME']


def test_a_script_too_large_for_batch_runs_all_the_same(hut: RemoteHut) -> None:
    text = "'" + "x" * 90_000 + "'"
    tasks = [
        {"id": "script", "command": f"text={text}\nprintf %s $text | wc -c"},
        {"id": "variables", "command": 'printf %s "$TEXT" | wc -c', "env_vars": {"TEXT": text}},
    ]
    run = hut.run(tasks)["id"]
    assert int(hut("logs", run, "script").stdout) == 90_000
    assert int(hut("logs", run, "variables").stdout) == 90_002


def test_the_target_is_well(hut: RemoteHut) -> None:
    said = hut("doctor").stdout
    assert hut.deployment.url in said
    [target] = [each for each in hut.json("target", "list") if each["name"] == "bed"]
    assert target["url"] == hut.deployment.url
