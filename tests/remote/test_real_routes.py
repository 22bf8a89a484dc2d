"""The command line and the API's real routes agree: one is put upon the other, over SQLite."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from tests.hutctl_process import Hut, wait_until
from tests.remote.fake_aws import FakeAws, Reply, Request
from tests.rest.api_world import COMPLETED, FAILED, Api, api_event

T = TypeVar("T")

TASKS = [
    {"id": "a", "command": "echo a", "environment": "lab", "tags": {"k": "v"}},
    {"id": "b", "command": "false"},
    {"id": "c", "command": "true", "deps": ["b"]},
]


class Behind:
    """The control plane behind the fake; all it does, it does in one thread."""

    def __init__(self, hut: Hut, aws: FakeAws) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._aws = aws
        self.api = self.do(lambda: Api(hut.folder))
        aws.on("GET", "/health", self.answer)
        aws.otherwise = self.answer

    def do(self, work: Callable[[], T]) -> T:
        return self._thread.submit(work).result()

    def answer(self, request: Request) -> Reply:
        event = api_event(
            request.method,
            request.path,
            query=request.query,  # type: ignore[arg-type]
            body=request.body.decode() or None,
            headers=request.headers,
        )
        answer = self.do(lambda: self.api.send(event))
        body = answer.body.replace("https://example.org/user/alice", f"{self._aws.host}/bucket")
        headers = {k: v for k, v in answer.headers.items() if k.lower() != "content-length"}
        return Reply(answer.status, body.encode(), headers)

    def attempt(self, run_id: str, task_id: str, outcome: Any) -> None:
        self.do(lambda: self.api.attempt(run_id, task_id, outcome))

    def close(self) -> None:
        self.do(self.api.store.close)
        self._thread.shutdown()


@pytest.fixture
def behind(lab: Hut, aws: FakeAws) -> Iterator[Behind]:
    (lab.folder / "hut.yaml").write_text("environments: [{name: lab, variables: {A: b}}]\n")
    world = Behind(lab, aws)
    yield world
    aws.stop()
    world.close()


def test_a_run_from_its_plan_to_its_retry(lab: Hut, behind: Behind) -> None:
    file = lab.write(TASKS)
    assert lab.json("plan", file, "--scripts")["total"] == 3
    process = lab.popen("run", file, "--env", "X=1", "--tag", "t=u", "--idempotency-key", "k")
    wait_until(lambda: behind.do(lambda: behind.api.store.find_runs("r")))
    run_id = lab.json("show", "last")["id"]
    assert lab("run", file, "--env", "X=1", "--tag", "t=u", "--idempotency-key", "k", "--detach",
               ).stdout == f"{run_id}\n"  # fmt: skip
    said = lab("run", file, "--idempotency-key", "k", exit_code=2).stderr
    assert "another body" in said
    behind.attempt(run_id, "a", COMPLETED)
    behind.attempt(run_id, "b", FAILED)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert [line.split()[1:3] for line in err.splitlines()[1:]] == [
        *(["submitted", "a"], ["submitted", "b"], ["running", "a"], ["completed", "a"]),
        *(["submitted", "b"], ["running", "b"], ["failed", "b"], ["dep_failed", "c"]),
    ]
    assert "b: exit code 1" in out
    (submission, setting) = behind.api.submissions[0]
    assert setting.environments["lab"].variables == {"A": "b"}
    assert (submission.env_vars, submission.tags) == ({"X": "1"}, {"t": "u"})
    assert lab.states() == {"a": "completed", "b": "failed", "c": "dep_failed"}
    assert list(lab.tasks()) == ["a", "b", "c"]
    assert [run["id"] for run in lab.json("runs", "--state", "failed,running")] == [run_id]
    assert lab.json("runs", "--workflow", "other") == []
    assert [task["id"] for task in lab.json("tasks", run_id[:4], "--match", "[ab]")] == ["a", "b"]
    assert [f["task"] for f in lab.json("failures", "last", "--final")] == ["b"]
    assert "echo a" in lab("script", "last", "a").stdout
    assert lab.json("why", "last", "c")["cause"] == "b"
    for line in ("show rx", "why last nope", "logs last a --attempt 7", "tasks r9"):
        done = lab(*line.split(), exit_code=2)
        assert done.stderr.startswith("hutctl: ")
    process = lab.popen("retry", "last")
    wait_until(lambda: lab.json("show", "last")["ended_at"] is None)
    assert lab("retry", "last", exit_code=2).stderr.startswith(f"hutctl: run {run_id} has not end")
    behind.attempt(run_id, "b", COMPLETED)
    behind.attempt(run_id, "c", COMPLETED)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def test_logs_page_by_page(lab: Hut, behind: Behind) -> None:
    run_id = behind.do(lambda: behind.api.run({"id": "t"}, {"id": "quiet"}))
    assert "has not started" in lab("logs", run_id, "t").stderr
    lines = [f"line {number}\n" for number in range(25_000)]
    behind.api.backend.logs["t/1"] = lines
    behind.attempt(run_id, "t", FAILED)
    behind.attempt(run_id, "quiet", FAILED)
    assert lab("logs", run_id, "t").stdout == "".join(lines)
    assert lab("logs", run_id, "t", "-f").stdout == "".join(lines)
    assert lab("logs", run_id, "t", "--tail", "3").stdout == "".join(lines[-3:])
    done = lab("logs", run_id, "t", "--error", "--tail", "1", "--attempt", "1")
    assert done.stdout == lines[-1]
    assert "one log" in done.stderr
    assert "printed nothing" in lab("logs", run_id, "quiet").stderr
    assert "    line 24999" in lab("why", run_id, "t").stdout
    assert "    line 24999" in lab("show", run_id).stdout


def test_problems_are_told_as_locally(lab: Hut, behind: Behind) -> None:
    tasks = [{"id": "a", "memroy": 1}, {"id": "b", "command": "x", "deps": ["c*"], "cpus": 0}]
    file = lab.write(tasks, colour="red")
    local = lab("run", file, "--target", "local", exit_code=2)
    there = lab("run", file, exit_code=2)
    assert there.stderr == local.stderr
    assert lab.json("plan", file, exit_code=2) == lab.json(
        "plan", file, "--target", "local", exit_code=2
    )
    for content in ('[{"id": "a",\n "command": "true"} // why\n]', "", '{"tasks": []}', "7"):
        (lab.folder / file).write_text(content)
        local = lab("run", file, "--target", "local", exit_code=2)
        assert lab("run", file, exit_code=2).stderr == local.stderr
    assert lab.json("runs") == []


def test_a_large_file_goes_over_the_bucket(lab: Hut, aws: FakeAws, behind: Behind) -> None:
    aws.on("PUT", "/bucket/up-1", lambda request: keep(request, behind))
    file = lab.write([{"id": f"t{n}", "command": f"echo {n} # {'.' * 2000}"} for n in range(2_500)])
    run_id = lab("run", file, "--detach").stdout.strip()
    assert lab.json("show", run_id)["total"] == 2_500
    assert sum(1 for _ in lab.json("tasks", run_id, "--match", "t*")) == 2_500


def keep(request: Request, behind: Behind) -> Reply:
    assert request.headers["x-a"] == "b"
    behind.api.uploads.texts["user/alice", "up-1"] = request.body.decode()
    return Reply(200)


def test_cancel_and_jobs(lab: Hut, behind: Behind) -> None:
    run_id = behind.do(lambda: behind.api.run({"id": "t"}, {"id": "u", "deps": ["t"]}))
    claim = behind.do(lambda: behind.api.claim(run_id))["t"]
    behind.do(lambda: behind.api.start(run_id, claim))
    (job,) = lab.json("jobs")
    assert (job["run"], job["task"], job["state"]) == (run_id, "t", "running")
    assert lab("jobs").stdout.splitlines()[1].startswith(run_id)
    process = lab.popen("cancel", run_id, "--json")
    wait_until(lambda: lab.json("show", run_id)["cancel_requested_at"])
    behind.do(lambda: behind.api.end(run_id, claim, FAILED))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["state"] == "cancelled"
    assert lab.json("watch", run_id, exit_code=3)["state"] == "cancelled"
