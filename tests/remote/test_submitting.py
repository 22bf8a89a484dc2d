"""``run``, ``plan`` and what they send: envelope, environments, keys, large files, problems."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from tests.hutctl_process import Hut, wait_until
from tests.remote.documents import RUN, change, changes, run
from tests.remote.fake_aws import DROP, FakeAws, Reply, Request, problem

TASK = {"id": "t", "command": "true"}
PLAN = {
    "workflow": "w",
    "total": 1,
    "levels": 1,
    "max_concurrent": None,
    "backend": "batch",
    "cost": None,
    "deps_expanded": True,
    "warnings": [],
    "tasks": [{"id": "t", "name": "t", "level": 0, "deps": [], "command": "true"}],
}


def accept(aws: FakeAws, *before: Any, warnings: tuple[str, ...] = ()) -> None:
    """Let the API take a run that has completed by the first look at it."""
    stored = {**run("pending", pending=1), "warnings": list(warnings)}
    aws.on("POST", "/runs", *before, Reply(201, stored))
    done = run("completed")
    aws.on(
        "GET",
        f"/runs/{RUN}/changes",
        changes(done, 2, change("t", "running"), change("t", "completed")),
        changes(done, 2),
    )


def test_run_sends_the_files_text_with_what_is_said_beside_it(lab: Hut, aws: FakeAws) -> None:
    accept(aws, warnings=("task 't': is odd",))
    (lab.folder / "study").mkdir()
    text = '[{"id": "t",  "command": "echo ü"}]\n'
    (lab.folder / "study" / "w.json").write_text(text)
    (lab.folder / "study" / "hut.yaml").write_text(
        "environments:\n"
        "  - {name: lab, variables: {VERSION: 1.10, ON: true}, extra_init: module load x}\n"
        "backends:\n  - {name: here, type: local, max_concurrent: 2}\n"
    )
    done = lab(
        *("run", "study/w.json", "--env", "A=1", "--tag", "k=v", "--max-concurrent", "7"),
        *("--name", "night", "--backend", "batch", "--idempotency-key", "mine"),
    )
    (request,) = aws.seen("POST", "/runs")
    assert request.json == {
        "workflow": text,
        "filename": "w.json",
        "name": "night",
        "max_concurrent": 7,
        "env_vars": {"A": "1"},
        "tags": {"k": "v"},
        "backend": "batch",
        "environments": {
            "lab": {
                "variables": {"VERSION": "1.10", "ON": "true"},
                "extra_init": "module load x",
            }
        },
    }
    assert request.headers["idempotency-key"] == "mine"
    assert request.headers["content-type"] == "application/json"
    said = done.stderr.splitlines()
    assert said[:2] == ["warning: task 't': is odd", f"run {RUN}: w, 1 task"]
    assert [line.split()[1:3] for line in said[2:]] == [["running", "t"], ["completed", "t"]]
    assert f"w {RUN} completed" in done.stdout


def test_what_is_not_said_is_not_sent(lab: Hut, aws: FakeAws) -> None:
    accept(aws)
    lab("run", "-", given="- {id: t, command: 'true'}\n")
    (request,) = aws.seen("POST", "/runs")
    assert request.json == {
        "workflow": "- {id: t, command: 'true'}\n",
        "filename": "stdin.yaml",
    }


def test_a_configuration_may_be_named_and_is_told_when_it_is_broken(lab: Hut, aws: FakeAws) -> None:
    accept(aws)
    (lab.folder / "other.yaml").write_text("environments: [{name: e, variables: {A: b}}]\n")
    lab("run", lab.write([TASK]), "--config", "other.yaml")
    (request,) = aws.seen("POST", "/runs")
    assert request.json["environments"] == {"e": {"variables": {"A": "b"}, "extra_init": ""}}
    (lab.folder / "other.yaml").write_text("environments: [{nam: e}]\n")
    done = lab("run", "w.json", "--config", "other.yaml", exit_code=2)
    assert "other.yaml" in done.stderr
    assert len(aws.seen("POST", "/runs")) == 1


def test_a_key_of_its_own_makes_it_one_run_however_often_it_is_sent(lab: Hut, aws: FakeAws) -> None:
    accept(aws, DROP, Reply(500, {}))
    lab("run", lab.write([TASK]))
    keys = [request.headers["idempotency-key"] for request in aws.seen("POST", "/runs")]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(keys[0]) >= 32
    accept(aws)
    lab("run", "w.json")
    assert aws.seen("POST", "/runs")[-1].headers["idempotency-key"] not in keys


def test_a_run_that_was_stored_before_its_answer_was_lost_is_told_from_the_start(
    lab: Hut, aws: FakeAws
) -> None:
    accept(aws)
    aws.on("POST", "/runs", DROP, Reply(200, {**run("pending", pending=1), "warnings": []}))
    said = lab("run", lab.write([TASK])).stderr.splitlines()
    assert [line.split()[1] for line in said[1:]] == ["running", "completed"]


def test_a_lost_answer_leaves_the_key_with_which_to_find_out(lab: Hut, aws: FakeAws) -> None:
    aws.on("POST", "/runs", DROP)
    done = lab("run", lab.write([TASK]), exit_code=4)
    key = aws.seen("POST", "/runs")[0].headers["idempotency-key"]
    assert f"--idempotency-key {key}" in done.stderr
    aws.stop()
    assert "--idempotency-key" not in lab("run", "w.json", exit_code=4).stderr


def test_ctrl_c_before_the_answer_leaves_the_key_too(lab: Hut, aws: FakeAws) -> None:
    aws.on("POST", "/runs", Reply(503, {}, {"Retry-After": "60"}))
    process = lab.popen("run", lab.write([TASK]))
    wait_until(lambda: aws.seen("POST", "/runs"))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--idempotency-key {aws.seen('POST', '/runs')[0].headers['idempotency-key']}" in said
    assert "Traceback" not in said


def test_detach_prints_the_id_and_returns(lab: Hut, aws: FakeAws) -> None:
    accept(aws)
    aws.on("GET", f"/runs/{RUN}", run("pending", pending=1))
    done = lab("run", lab.write([TASK]), "--detach")
    assert done.stdout == f"{RUN}\n"
    assert not aws.seen("GET", f"/runs/{RUN}/changes")
    assert lab.json("run", "w.json", "--detach")["id"] == RUN


PROBLEMS = [
    {"task": "a", "field": "memroy", "line": 3, "message": "unknown field; did you mean 'memory'?"},
    {"task": None, "field": None, "line": None, "message": "the workflow has no tasks"},
]


@pytest.mark.parametrize("command", ["run", "plan", "run --dry-run"])
@pytest.mark.parametrize("status", [400, 413, 422])
def test_problems_are_told_as_locally(lab: Hut, aws: FakeAws, command: str, status: int) -> None:
    for route in ("/runs", "/plan"):
        aws.on("POST", route, problem(status, "invalid-workflow", "2 problems", *PROBLEMS))
    aws.on("POST", "/uploads", Reply(201, upload(aws)))
    aws.on("PUT", "/bucket/u1", Reply(200))
    word, *options = command.split()
    done = lab(word, lab.write([TASK]), *options, exit_code=2)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-3:] == [
        "hutctl: w.json: 2 problems; nothing was submitted",
        "  line 3, task 'a', field 'memroy': unknown field; did you mean 'memory'?",
        "  the workflow has no tasks",
    ]
    assert lab.json(word, "w.json", *options, exit_code=2) == {"errors": [
        {"task": "a", "field": "memroy", "line": 3, "message": PROBLEMS[0]["message"]},
        {"task": None, "field": None, "line": None, "message": PROBLEMS[1]["message"]},
    ]}  # fmt: skip


def test_the_same_file_is_refused_in_the_same_words_here_and_there(lab: Hut, aws: FakeAws) -> None:
    (lab.folder / "w.json").write_text('[{"id": "a", "memroy": 1}]')
    here = lab("run", "w.json", "--target", "local", exit_code=2).stderr
    errors = lab.json("run", "w.json", "--target", "local", exit_code=2)["errors"]
    aws.on("POST", "/runs", problem(422, "invalid-workflow", "...", *errors))
    assert lab("run", "w.json", exit_code=2).stderr == here


def test_a_key_that_was_used_for_another_file_is_2(lab: Hut, aws: FakeAws) -> None:
    aws.on("POST", "/runs", problem(409, "idempotency-conflict", "the key was used before"))
    done = lab("run", lab.write([TASK]), "--idempotency-key", "k", exit_code=2)
    assert done.stderr == "hutctl: the key was used before\n"


def test_a_key_that_is_known_follows_its_run(lab: Hut, aws: FakeAws) -> None:
    aws.on("POST", "/runs", Reply(200, {**run("completed"), "warnings": []}))
    aws.on("GET", f"/runs/{RUN}/changes", changes(run("completed"), 9, change("t", "completed")))
    done = lab("run", lab.write([TASK]), "--idempotency-key", "k")
    assert f"w {RUN} completed" in done.stdout
    assert len(done.stderr.splitlines()) == 1  # what happened before is not told again


def upload(aws: FakeAws, name: str = "u1") -> dict[str, Any]:
    return {
        "id": name,
        "method": "PUT",
        "url": f"{aws.host}/bucket/{name}?X-Amz-Signature=abc",
        "headers": {"Content-Type": "application/octet-stream"},
        "expires_at": "2026-03-01T10:15:00Z",
    }


def test_a_hundred_thousand_tasks_go_over_the_bucket(lab: Hut, aws: FakeAws) -> None:
    accept(aws)
    aws.on("POST", "/uploads", Reply(201, upload(aws)))
    aws.on("PUT", "/bucket/u1", Reply(200))
    file = lab.write([{"id": f"t{i}", "command": f"echo {i} of many"} for i in range(100_000)])
    lab("run", file, "--env", "A=b")
    assert aws.bucket["/bucket/u1"].decode() == (lab.folder / file).read_text()
    (request,) = aws.seen("POST", "/runs")
    assert request.json == {"upload": "u1", "filename": "w.json", "env_vars": {"A": "b"}}
    (put,) = aws.seen("PUT", "/bucket/u1")
    assert "authorization" not in put.headers
    assert put.headers["content-type"] == "application/octet-stream"


def test_a_body_that_is_too_large_there_goes_over_the_bucket(lab: Hut, aws: FakeAws) -> None:
    def take(request: Request) -> Reply:
        if "workflow" in request.json:
            return Reply(413, {"message": "Request Too Long"})
        return Reply(201, {**run("pending", pending=1), "warnings": []})

    aws.on("POST", "/runs", take)
    aws.on("GET", f"/runs/{RUN}", run())
    aws.on("POST", "/uploads", Reply(201, upload(aws, "u1")), Reply(201, upload(aws, "u2")))
    aws.on("PUT", "/bucket/u1", Reply(500, b""), Reply(403, b"<Error>Request has expired</Error>"))
    aws.on("PUT", "/bucket/u2", DROP, Reply(200))
    lab("run", lab.write([TASK]), "--detach")
    first, second = aws.seen("POST", "/runs")
    assert second.json == {"upload": "u2", "filename": "w.json"}
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_a_bucket_that_refuses_is_4(lab: Hut, aws: FakeAws) -> None:
    aws.on("POST", "/plan", Reply(413, {"message": "Request Too Long"}))
    aws.on("POST", "/uploads", Reply(201, upload(aws)))
    aws.on("PUT", "/bucket/u1", Reply(403, b"<Error>AccessDenied</Error>"))
    done = lab("plan", lab.write([TASK]), exit_code=4)
    assert "could not be uploaded (status 403): <Error>AccessDenied" in done.stderr
    assert len(aws.seen("PUT", "/bucket/u1")) == 2


def test_plan_prints_what_the_control_plane_says(lab: Hut, aws: FakeAws) -> None:
    script = "#!/bin/sh\ntrue\n"
    scripted = {**PLAN, "tasks": [{**PLAN["tasks"][0], "script": script}]}  # type: ignore[index]
    aws.on("POST", "/plan", lambda r: Reply(200, scripted if r.query.get("scripts") else PLAN))
    assert lab.json("plan", lab.write([TASK])) == PLAN
    assert "w: 1 task in 1 level, on batch" in lab("run", "w.json", "--dry-run").stdout
    assert script in lab("plan", "w.json", "--scripts").stdout
    assert not aws.seen("POST", "/runs")


def test_a_plan_that_does_not_fit_says_what_is_missing(lab: Hut, aws: FakeAws) -> None:
    cut = {**PLAN, "total": 9, "truncated": True, "scripts_left_out": True}
    aws.on("POST", "/plan", cut)
    said = lab("plan", lab.write([TASK]), "--scripts").stderr
    assert "only the first 1 tasks" in said
    assert "scripts" in said
    unknown = {**PLAN, "tasks": [{**PLAN["tasks"][0], "script": None}]}  # type: ignore[index]
    aws.on("POST", "/plan", unknown)
    lab("plan", "w.json", "--scripts")


def test_the_text_is_sent_byte_for_byte(lab: Hut, aws: FakeAws) -> None:
    accept(aws)
    text = '\ufeff[{"id": "t", "command": "echo \\ud83d\\ude00 \\u0000 \u2028"}]\r\n'
    (lab.folder / "w.json").write_bytes(text.encode())
    lab("run", "w.json")
    assert json.loads(aws.seen("POST", "/runs")[0].body)["workflow"] == text
