"""``runs show tasks logs script why failures jobs`` of a control plane in AWS."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import pytest

from tests.hutctl_process import Hut
from tests.remote.documents import RUN, log, run, task
from tests.remote.fake_aws import FakeAws, Reply, Request, problem

TASKS = f"/runs/{RUN}/tasks"
LOG = f"{TASKS}/t/logs/output"


@pytest.fixture
def there(lab: Hut, aws: FakeAws) -> Hut:
    """A target with a run in which one task failed."""
    aws.on("GET", f"/runs/{RUN}", run("failed", completed=1, failed=1))
    aws.on("GET", f"{TASKS}/t", task("t", "failed"))
    return lab


def paged(entries: list[Any], size: int) -> Any:
    """Answer a list page by page, with cursors nobody can guess."""

    def answer(request: Request) -> Reply:
        begin = int(request.query.get("cursor", "c:0").removeprefix("c:"))
        size_now = min(size, int(request.query.get("limit", size)))
        end = begin + size_now
        following = {"X-Next-Cursor": f"c:{end}"} if end < len(entries) else {}
        return Reply(200, entries[begin:end], following)

    return answer


def test_a_run_is_named_by_its_id_the_beginning_of_it_or_last(there: Hut, aws: FakeAws) -> None:
    others = [run(run_id="aaaaaaaaaa"), run(run_id="aabbbbbbbb")]

    def listed(request: Request) -> Reply:
        begin = request.query.get("prefix")
        if begin is None:
            assert request.query == {"limit": "1"}
            return Reply(200, others[:1])
        return Reply(200, [entry for entry in others if entry["id"].startswith(begin)])

    aws.on("GET", "/runs", listed)
    aws.on("GET", "/runs/zzzzzzzzzz", problem(404, "unknown-run", "there is no run"))
    assert there.json("show", RUN)["id"] == RUN
    assert there.json("show", "last")["id"] == "aaaaaaaaaa"
    assert there.json("show", "aab")["id"] == "aabbbbbbbb"
    said = there("show", "aa", exit_code=2).stderr
    assert "begins the ids of several runs: aaaaaaaaaa, aabbbbbbbb" in said
    for name in ("zz", "zzzzzzzzzz"):
        said = there("show", name, exit_code=2).stderr
        assert said == f"hutctl: there is no run '{name}'; see: hutctl runs\n"
    asked = len(aws.requests)
    for name in ("", "*", "%", "AAA", "a/b", "..", "é"):
        there("show", name, exit_code=2)
    assert len(aws.requests) == asked
    aws.on("GET", "/runs", [])
    assert "no runs yet" in there("show", "last", exit_code=2).stderr


def test_runs_are_read_as_far_as_asked(there: Hut, aws: FakeAws) -> None:
    entries = [run(run_id=f"r{i:09}") for i in range(25)]
    aws.on("GET", "/runs", paged(entries, 10))
    assert [r["id"] for r in there.json("runs", "--limit", "15")] == [
        entry["id"] for entry in entries[:15]
    ]
    assert len(aws.seen("GET", "/runs")) == 2
    assert len(there.json("runs", "--limit", "900")) == 25
    assert len(there("runs").stdout.splitlines()) == 21
    there("runs", "--state", "failed,running", "--workflow", "w")
    query = aws.seen("GET", "/runs")[-1].query
    assert (query["state"], query["workflow"]) == ("failed,running", "w")
    there("runs", "--owner", "user/alice", "--tag", "project=x")
    query = aws.seen("GET", "/runs")[-1].query
    assert (query["owner"], query["tag"]) == ("user/alice", "project=x")
    assert "write it as --tag KEY=VALUE" in there("runs", "--tag", "x", exit_code=2).stderr


def test_tasks_are_read_to_the_end(there: Hut, aws: FakeAws) -> None:
    entries = [task(f"t{i}") for i in range(1203)]
    aws.on("GET", TASKS, paged(entries, 500))
    assert [t["id"] for t in there.json("tasks", RUN)] == [t["id"] for t in entries]
    assert len(aws.seen("GET", TASKS)) == 3
    there("tasks", RUN, "--state", "failed,dep_failed", "--match", "map.*")
    query = aws.seen("GET", TASKS)[-1].query
    assert (query["state"], query["match"]) == ("failed,dep_failed", "map.*")


def test_script_and_why(there: Hut, aws: FakeAws) -> None:
    text = "#!/bin/sh\necho ü\n"
    plain = Reply(200, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
    aws.on("GET", f"{TASKS}/t/script", plain)
    assert there("script", RUN, "t").stdout == text
    assert there.json("script", RUN, "t") == {"run": RUN, "task": "t", "script": text}
    answer = {
        "task": "t",
        "state": "failed",
        "reason": "exit",
        "why": "t failed: exit code 3",
        "details": ["attempt 1 of 1"],
        "waiting_for": [],
        "cause": None,
    }
    aws.on("GET", f"{TASKS}/t/why", answer)
    aws.on("GET", f"{TASKS}/t/logs/error", log("careful\nbroken\n", merged=True))
    done = there("why", RUN, "t")
    assert done.stdout.splitlines() == [
        "t failed: exit code 3",
        "  attempt 1 of 1",
        "The end of the log of t:",
        "    careful",
        "    broken",
    ]
    assert there.json("why", RUN, "t") == answer


@pytest.mark.parametrize("command", ["script", "why", "logs"])
def test_an_unknown_task_is_2_in_the_words_of_the_api(
    there: Hut, aws: FakeAws, command: str
) -> None:
    detail = f"run {RUN} has no task 'x'; did you mean 't'?"
    for route in ("script", "why", "logs/output"):
        aws.on("GET", f"{TASKS}/x/{route}", problem(404, "unknown-task", detail))
    assert there(command, RUN, "x", exit_code=2).stderr == f"hutctl: {detail}\n"


def test_failures(there: Hut, aws: FakeAws) -> None:
    entry = {
        "task": "t",
        "attempt": 2,
        "command": "a\nb",
        "reason": "exit",
        "exit_code": 3,
        "message": "exit code 3",
        "tags": {"k": "v"},
        "final": True,
    }
    aws.on("GET", f"/runs/{RUN}/failures", paged([entry, {**entry, "task": "u"}], 1))
    assert [f["task"] for f in there.json("failures", RUN)] == ["t", "u"]
    done = there("failures", RUN, "--final", "--with-tags")
    assert done.stdout.splitlines()[0] == (
        "bash -c \"$(printf %b 'a\\nb')\"  # HUT: id:t attempt:2 reason:exit exit:3 k:v"
    )
    assert aws.seen("GET", f"/runs/{RUN}/failures")[-1].query["final"] == "true"


def test_jobs(there: Hut, aws: FakeAws) -> None:
    job = {
        "job_id": "j-1",
        "run": RUN,
        "task": "t",
        "attempt": 1,
        "state": "running",
        "backend": "batch",
        "submitted_at": "2026-03-01T10:00:00Z",
        "started_at": None,
    }
    aws.on("GET", "/jobs", paged([job] * 7, 3))
    assert there.json("jobs") == [job] * 7
    assert len(there.json("jobs", "--limit", "2")) == 2
    line = there("jobs").stdout.splitlines()[1].split()
    assert line[:4] == [RUN, "t", "1", "running"]
    aws.on("GET", "/jobs", [])
    assert "nothing is submitted or runs now" in there("jobs").stderr


def test_jobs_of_this_machine_have_the_same_shape(there: Hut) -> None:
    hut = Hut(there.folder, {**there.environment, "HUT_TARGET": "local"})
    command = f"{shlex.quote(sys.executable)} -m hutctl jobs --json >jobs.json"
    hut("run", hut.write([{"id": "a", "command": command}, {"id": "b", "command": "true"}]))
    entries = json.loads((hut.folder / "jobs.json").read_text())
    (entry,) = [entry for entry in entries if entry["task"] == "a"]
    assert entry.keys() == {
        *("job_id", "run", "task", "attempt", "state", "backend", "submitted_at", "started_at")
    }
    assert entry["state"] == "running"
    assert hut.json("jobs") == []


ACT = {
    "id": "0f0e",
    "at": "2026-11-26T08:45:12.034567Z",
    "action": "retry",
    "who": "role/Dev/alice@example.org",
    "source_ip": "192.0.2.1",
    "user_agent": "hutctl/0.1.0",
    "run": RUN,
    "detail": {"all": 1, "tasks": 3},
    "outcome": "done",
    "ended_at": "2026-11-26T08:45:12.234567Z",
}


def test_the_audit_record_is_listed_and_filtered(there: Hut, aws: FakeAws) -> None:
    aws.on("GET", "/audit", paged([ACT] * 5, 2))
    assert there.json("audit") == [ACT] * 5
    assert len(there.json("audit", "--limit", "3")) == 3
    line = there("audit").stdout.splitlines()[1]
    assert line.split()[:6] == [
        *("2026-11-26", "08:45:12", "retry", "role/Dev/alice@example.org", "done", RUN)
    ]
    assert line.endswith("192.0.2.1  all=1 tasks=3")
    filters = {"since": "2026-11-01", "until": "2026-11-02T00:00:00Z", "who": "user/a"}
    filters |= {"action": "cancel", "run": RUN}
    there("audit", *[word for name, value in filters.items() for word in (f"--{name}", value)])
    assert aws.seen("GET", "/audit")[-3].query.items() >= filters.items()


def test_an_act_without_an_outcome_is_told_as_that(there: Hut, aws: FakeAws) -> None:
    aws.on("GET", "/audit", [{**ACT, "outcome": None, "ended_at": None, "run": None}], [])
    assert there("audit").stdout.splitlines()[1].split()[4] == "?"
    assert "nothing of that kind is on record" in there("audit").stderr


def test_the_audit_record_is_asked_for_in_time_and_place(there: Hut, aws: FakeAws) -> None:
    for option in ("--since", "--until"):
        said = there("audit", option, "yesterday", exit_code=2).stderr
        assert "write a day, 2026-11-23" in said
    assert not aws.seen("GET", "/audit")
    said = there("audit", "--target", "local", exit_code=2).stderr
    assert "this machine keeps no record of who did what" in said


PAGES = ["one\ntwo\n", "three ü\n", "four\nfive\n"]


def log_of(pages: list[str], **fields: Any) -> Any:
    """Answer a log page by page; the last page has a cursor to go on from, as CloudWatch has."""

    def answer(request: Request) -> Reply:
        place = int(request.query.get("cursor", "f/0").removeprefix("f/"))
        content = pages[place] if place < len(pages) else ""
        following = f"f/{min(place + 1, len(pages))}"
        return Reply(200, log(content, following, **fields))

    return answer


def test_logs_are_read_by_their_cursors_to_the_end(there: Hut, aws: FakeAws) -> None:
    aws.on("GET", LOG, log_of(PAGES))
    done = there("logs", RUN, "t")
    assert done.stdout == "".join(PAGES)
    assert done.stderr == ""
    asked = [(r.query.get("cursor"), r.query.get("attempt")) for r in aws.seen("GET", LOG)]
    assert asked == [(None, None), ("f/1", "1"), ("f/2", "1"), ("f/3", "1")]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 9])
def test_the_tail_of_a_log_in_pages(there: Hut, aws: FakeAws, count: int) -> None:
    aws.on("GET", LOG, log_of(PAGES))
    lines = "".join(PAGES).splitlines(keepends=True)
    assert there("logs", RUN, "t", "--tail", str(count)).stdout == "".join(
        lines[len(lines) - min(count, 5) :]
    )


def test_a_log_without_more_cursors_and_one_with_empty_pages(there: Hut, aws: FakeAws) -> None:
    aws.on("GET", LOG, log("all\n"))
    assert there("logs", RUN, "t").stdout == "all\n"
    assert there("logs", RUN, "t", "--tail", "1").stdout == "all\n"
    aws.on("GET", LOG, log_of(["", "one\n", "", "", "two\n", ""]))
    assert there("logs", RUN, "t").stdout == "one\ntwo\n"
    assert there("logs", RUN, "t", "--tail", "1").stdout == "two\n"


def test_an_attempt_is_asked_for_by_its_number(there: Hut, aws: FakeAws) -> None:
    aws.on("GET", LOG, log("x\n", attempt=2))
    there("logs", RUN, "t", "--attempt", "2")
    assert {r.query["attempt"] for r in aws.seen("GET", LOG)} == {"2"}
    aws.on("GET", LOG, problem(404, "unknown-attempt", "task 't' has no attempt 9"))
    assert "no attempt 9" in there("logs", RUN, "t", "--attempt", "9", exit_code=2).stderr


def test_error_says_once_that_both_streams_are_one(there: Hut, aws: FakeAws) -> None:
    aws.on("GET", f"{TASKS}/t/logs/error", log_of(PAGES, merged=True))
    done = there("logs", RUN, "t", "--error")
    assert done.stdout == "".join(PAGES)
    assert done.stderr == "stdout and stderr are one log there; this is both\n"


def test_a_log_of_nothing_says_so(there: Hut, aws: FakeAws) -> None:
    for kind in ("output", "error"):
        aws.on("GET", f"{TASKS}/t/logs/{kind}", log("", merged=True))
    assert there("logs", RUN, "t").stderr == "attempt 1 of t printed nothing\n"
    waiting = task("t", "pending", attempt=0)
    aws.on("GET", f"{TASKS}/t", waiting)
    aws.on("GET", LOG, {"attempt": 0, "content": "", "cursor": None, "ended": False})
    assert f"t has not started; hutctl why {RUN} t" in there("logs", RUN, "t").stderr


def test_following_a_log_waits_for_the_attempt_and_for_more(there: Hut, aws: FakeAws) -> None:
    waiting, runs = task("t", "pending", attempt=0), task("t", "running", attempt=1)
    aws.on("GET", f"{TASKS}/t", waiting, runs)
    aws.on(
        "GET",
        LOG,
        log("", None, ended=False),
        log("one\n", "f/1", ended=False),
        log("", "f/1", ended=False),
        Reply(500, {}),
        log("two\n", "f/2", ended=False),
        log("three\n", None, ended=True),
        log("three\n", None, ended=True),
    )
    assert there("logs", RUN, "t", "-f").stdout == "one\ntwo\nthree\n"
    assert [r.query.get("cursor") for r in aws.seen("GET", LOG)] == [
        *(None, None, "f/1", "f/1", "f/1", "f/2", "f/2"),
    ]
