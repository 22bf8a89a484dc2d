"""Following a run: what changed since the last look, lost networks, expired credentials, Ctrl-C."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cli.terminal_session import CTRL_C, on_terminal
from tests.hutctl_process import Hut, wait_until
from tests.remote.conftest import add_target
from tests.remote.documents import RUN, change, changes, log, run, task
from tests.remote.fake_aws import (
    DROP,
    KEY,
    REGION,
    SECRET,
    FakeAws,
    Reply,
    Request,
    problem,
    refused,
)

CHANGES = f"/runs/{RUN}/changes"
EXPIRED = refused("ExpiredTokenException", "The security token included in the request is expired")


def submit(hut: Hut, aws: FakeAws, *followed: Any) -> None:
    """Write a workflow, let the API take it, and script what following it is answered."""
    hut.write([{"id": "t", "command": "true"}])
    aws.on("POST", "/runs", Reply(201, {**run("pending", pending=3), "warnings": []}))
    aws.on("GET", f"/runs/{RUN}", run("running", pending=1, running=2))
    aws.on("GET", CHANGES, *followed)


def told(text: str) -> list[list[str]]:
    """Return state and task of each change that was told."""
    lines = [line.split() for line in text.splitlines()]
    return [words[1:] for words in lines if words and words[0].count(":") == 2]


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def test_only_what_changed_since_the_last_look_is_asked_for(lab: Hut, aws: FakeAws) -> None:
    going, over = run("running", pending=1, running=2), run("completed", completed=3)
    submit(
        lab,
        aws,
        changes(going, 2, change("a", "submitted"), change("a", "running"), running=("a",)),
        changes(going, 2, running=("a",)),
        changes(going, 3, change("a", "completed")),
        changes(over, 5, change("b", "running"), change("b", "completed", attempt=2)),
        changes(over, 5),
    )
    done = lab("run", "w.json")
    assert told(done.stderr) == [
        ["submitted", "a"],
        ["running", "a"],
        ["completed", "a"],
        ["running", "b"],
        ["completed", "b", "(attempt", "2)"],
    ]
    assert [r.query["cursor"] for r in aws.seen("GET", CHANGES)] == ["0", "2", "2", "3", "5"]
    assert done.stdout.startswith(f"w {RUN} completed")


def test_what_takes_no_jobs_is_said_once(lab: Hut, aws: FakeAws) -> None:
    refusal = {
        "backend": "batch",
        "partition": "ec2",
        "message": "Job queue hut-ec2 is not ENABLED",
        "since": "2025-01-01T00:00:00Z",
        "at": "2025-01-01T00:01:00Z",
    }
    stuck = {**run("running", pending=3), "refusals": [refusal]}
    over = run("completed", completed=3)
    submit(lab, aws, changes(stuck, 1), changes(stuck, 1), changes(over, 2), changes(over, 2))
    said = lab("run", "w.json").stderr
    line = "batch takes no jobs for partition ec2 just now: Job queue hut-ec2 is not ENABLED"
    assert said.count(line) == 1


def test_what_happens_at_once_is_read_page_by_page(lab: Hut, aws: FakeAws) -> None:
    many = [change(f"t{i}", "completed") for i in range(1700)]

    def page(request: Request) -> Reply:
        begin, limit = int(request.query["cursor"]), int(request.query["limit"])
        part = many[begin : begin + limit]
        return Reply(200, changes(run("completed", completed=1700), begin + len(part), *part))

    submit(lab, aws, page)
    assert [words[1] for words in told(lab("run", "w.json").stderr)] == [
        f"t{i}" for i in range(1700)
    ]


@pytest.mark.parametrize(("state", "code"), [("completed", 0), ("failed", 1), ("cancelled", 3)])
def test_the_exit_code_is_the_runs(lab: Hut, aws: FakeAws, state: str, code: int) -> None:
    counts = {"failed": 1, "completed": 2} if state == "failed" else {"completed": 3}
    over = run(state, **counts)
    submit(lab, aws, changes(over, 0))
    aws.on("GET", f"/runs/{RUN}/tasks", [task("bad", "failed")])
    aws.on("GET", f"/runs/{RUN}/tasks/bad/logs/error", log("no such input\n", merged=True))
    done = lab("run", "w.json", exit_code=code)
    if state == "failed":
        assert "bad: exit code 3" in done.stdout
        assert "    no such input" in done.stdout
        assert f"hutctl logs {RUN} bad\n" in done.stdout  # both streams are one: no --error
        assert aws.seen("GET", f"/runs/{RUN}/tasks")[0].query["state"] == "failed"
    assert lab.json("run", "w.json", exit_code=code) == over
    assert lab.json("watch", RUN, exit_code=code) == over
    assert lab.json("resume", RUN, exit_code=code) == over


def test_who_comes_later_is_not_told_what_happened_before(lab: Hut, aws: FakeAws) -> None:
    going = run("running", pending=1, running=2)
    old = [change(f"old{i}", "completed") for i in range(500)]
    submit(
        lab,
        aws,
        changes(going, 500, *old),
        changes(going, 501, change("old", "completed")),
        changes(going, 502, change("new", "completed")),
        changes(run("completed", completed=3), 502),
    )
    assert told(lab("watch", RUN).stderr) == [["completed", "new"]]


def test_a_server_that_goes_and_comes_back_is_waited_for(lab: Hut, aws: FakeAws) -> None:
    going, over = run("running", running=3), run("completed", completed=3)
    submit(lab, aws, changes(going, 1, change("a", "running")))
    process = lab.popen("run", "w.json")
    said = ""
    assert process.stderr is not None
    while "running" not in said:
        said += process.stderr.readline()
    aws.stop()
    while "connection is lost" not in said:
        said += process.stderr.readline()
    assert f"run {RUN} goes on there; trying again" in said
    aws.on("GET", CHANGES, changes(over, 2, change("a", "completed")), changes(over, 2))
    aws.start()
    code, out, rest = ended(process)
    assert code == 0
    assert (said + rest).count("connection is lost") == 1
    assert f"following run {RUN} again" in rest
    assert told(rest) == [["completed", "a"]]
    assert "completed" in out


def test_a_control_plane_that_fails_for_a_while_is_waited_for(lab: Hut, aws: FakeAws) -> None:
    faults = [Reply(500, {}), Reply(429, {}), DROP, Reply(504, {})] * 2
    submit(lab, aws, *faults, changes(run("completed", completed=3), 0))
    said = lab("run", "w.json").stderr
    assert said.count("connection is lost") == 1


def test_expired_credentials_of_the_environment_end_it_with_the_id(lab: Hut, aws: FakeAws) -> None:
    submit(lab, aws, changes(run("running", running=3), 1), EXPIRED)
    done = lab("run", "w.json", exit_code=4)
    assert "have expired; set new ones" in done.stderr
    assert f"Run {RUN} goes on; follow it with: hutctl watch {RUN}" in done.stderr
    assert "Traceback" not in done.stderr


def test_expired_credentials_of_a_profile_are_waited_for(bare: Hut, aws: FakeAws) -> None:
    add_target(bare, aws.url, profile="lab")
    path = bare.folder / "aws-credentials"
    keys = f"[lab]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    path.write_text(f"{keys}aws_session_token = old\n")

    def look(request: Request) -> Reply:
        if request.headers["x-amz-security-token"] == "old":
            return EXPIRED
        return Reply(200, changes(run("completed", completed=3), 0))

    submit(bare, aws, look)
    process = bare.popen("run", "w.json")
    said = ""
    assert process.stderr is not None
    while "expired" not in said:
        said += process.stderr.readline()
    assert "the credentials of profile 'lab' have expired" in said
    assert "aws sso login --profile lab" in said
    assert f"Run {RUN} goes on there" in said
    path.write_text(f"{keys}aws_session_token = new\n")
    code, _, rest = ended(process)
    assert code == 0
    assert "have expired" not in rest


@pytest.mark.parametrize("fault", ["exit 1", "cat stale"])
def test_a_program_that_has_no_credentials_for_a_while_is_waited_for(
    bare: Hut, aws: FakeAws, fault: str
) -> None:
    add_target(bare, aws.url, profile="lab")
    later = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()  # refreshed at each request
    keys = {"Version": 1, "AccessKeyId": KEY, "SecretAccessKey": SECRET, "SessionToken": "t"}
    (bare.folder / "fresh").write_text(json.dumps({**keys, "Expiration": later}))
    (bare.folder / "stale").write_text(json.dumps({**keys, "Expiration": "2020-01-01T00:00:00Z"}))
    program = bare.folder / "program"
    program.write_text(
        f"cd {shlex.quote(str(bare.folder))}\nif [ -e out ]; then {fault}; else cat fresh; fi\n"
    )
    process = f"credential_process = sh {program}\nregion = {REGION}\n"
    (bare.folder / "aws-config").write_text(f"[profile lab]\n{process}")
    submit(bare, aws, changes(run("running", running=3), 1))
    started = bare.popen("run", "w.json")
    wait_until(lambda: aws.seen("GET", CHANGES))
    (bare.folder / "out").touch()
    said = ""
    assert started.stderr is not None
    while "profile 'lab' can't be had" not in said:
        said += started.stderr.readline()
    assert f"Run {RUN} goes on there" in said
    aws.on("GET", CHANGES, changes(run("completed", completed=3), 1))
    (bare.folder / "out").unlink()
    code, _, rest = ended(started)
    assert code == 0
    assert f"following run {RUN} again" in rest


def test_who_may_submit_but_not_look_is_told_the_id(lab: Hut, aws: FakeAws) -> None:
    submit(lab, aws, refused("AccessDeniedException", "User: ada is not authorized"))
    done = lab("run", "w.json", exit_code=4)
    assert "is not authorized" in done.stderr
    assert f"hutctl watch {RUN}" in done.stderr


def test_a_run_that_is_gone_is_2(lab: Hut, aws: FakeAws) -> None:
    submit(lab, aws, problem(404, "unknown-run", f"there is no run '{RUN}'"))
    assert "there is no run" in lab("run", "w.json", exit_code=2).stderr


@pytest.mark.parametrize("command", ["run w.json", f"watch {RUN}", f"resume {RUN}"])
@pytest.mark.parametrize("fault", [None, DROP])
def test_ctrl_c_lets_the_run_go_on_and_says_how_to_go_on(
    lab: Hut, aws: FakeAws, command: str, fault: str | None
) -> None:
    submit(lab, aws, fault or changes(run("running", running=3), 1, running=("a",)))
    process = lab.popen(*command.split())
    wait_until(lambda: aws.seen("GET", CHANGES))
    process.send_signal(signal.SIGINT)
    code, out, said = ended(process)
    assert code == 130
    assert f"run {RUN} goes on" in said
    assert f"hutctl watch {RUN}" in said
    assert f"hutctl cancel {RUN}" in said
    assert out == ""
    assert not aws.seen("POST", f"/runs/{RUN}/cancel")


def test_ctrl_c_with_json_prints_the_run_as_it_was_seen_last(lab: Hut, aws: FakeAws) -> None:
    going = run("running", running=3)
    submit(lab, aws, changes(going, 1))
    process = lab.popen("run", "w.json", "--json")
    wait_until(lambda: len(aws.seen("GET", CHANGES)) > 1)
    process.send_signal(signal.SIGINT)
    code, out, _ = ended(process)
    assert code == 130
    assert RUN in out
    assert '"ended_at": null' in out


def test_on_a_terminal_the_queue_is_shown_and_ctrl_c_leaves_the_run_alone(
    lab: Hut, aws: FakeAws
) -> None:
    going = run("running", pending=4, submitted=2, running=1)
    failed = change("bad", "failed", reason="timeout")
    submit(lab, aws, changes(going, 1, failed, running=("a",)), changes(going, 1, running=("a",)))
    with on_terminal(lab, "run", "w.json") as terminal:
        terminal.wait_for(lambda screen: "2 submitted" in screen and "  > " in screen)
        aws.stop()
        terminal.wait_for(lambda screen: "the connection is lost" in screen)
        terminal.type(CTRL_C)
        assert terminal.end() == 130
        lines = [line for line in terminal.visible() if line]
    assert "failed     bad (timeout)" in lines[1]
    assert lines[-2].endswith(f"run {RUN} goes on")
    assert "hutctl watch" in lines[-1]
    assert not any("submitted" in line for line in lines)  # the drawing is gone


def test_retry_repeats_and_follows(lab: Hut, aws: FakeAws) -> None:
    going = run("running", pending=2, completed=1)
    submit(lab, aws, changes(going, 7), changes(run("completed", completed=3), 7))
    aws.on("POST", f"/runs/{RUN}/retry", Reply(202, {"repeated": 2, "run": going}))
    done = lab("retry", RUN)
    assert f"run {RUN}: 2 tasks to repeat" in done.stderr
    assert aws.seen("POST", f"/runs/{RUN}/retry")[0].json == {"all": False}
    lab("retry", RUN, "--all", "--detach")
    assert aws.seen("POST", f"/runs/{RUN}/retry")[1].json == {"all": True}
    aws.on("POST", f"/runs/{RUN}/retry", Reply(202, {"repeated": 0, "run": run("completed")}))
    assert "nothing to repeat" in lab("retry", RUN).stderr


def test_a_retry_whose_answer_was_lost_is_found_again(lab: Hut, aws: FakeAws) -> None:
    going = run("running", pending=2, completed=1)
    submit(lab, aws, changes(run("completed", completed=3), 7))
    conflict = problem(409, "run-not-ended", f"run {RUN} has not ended")
    aws.on("POST", f"/runs/{RUN}/retry", DROP, conflict)
    aws.on("GET", f"/runs/{RUN}", run("failed", failed=2, completed=1), going)
    assert "2 tasks to repeat" in lab("retry", RUN).stderr
    aws.on("POST", f"/runs/{RUN}/retry", conflict)
    assert lab("retry", RUN, exit_code=2).stderr == f"hutctl: run {RUN} has not ended\n"


def test_cancel_waits_until_the_tasks_have_ended(lab: Hut, aws: FakeAws) -> None:
    going, over = run("running", running=3), run("cancelled", failed=3)
    aws.on("POST", f"/runs/{RUN}/cancel", Reply(202, going))
    aws.on("GET", f"/runs/{RUN}", going, going, Reply(500, {}), over)
    assert lab.json("cancel", RUN) == over
    assert len(aws.seen("POST", f"/runs/{RUN}/cancel")) == 1
    aws.on("GET", f"/runs/{RUN}", over)
    assert "has ended already: cancelled" in lab("cancel", RUN).stderr


def test_ctrl_c_while_a_cancel_ends_takes_nothing_back(lab: Hut, aws: FakeAws) -> None:
    aws.on("POST", f"/runs/{RUN}/cancel", Reply(202, run()))
    aws.on("GET", f"/runs/{RUN}", run())
    process = lab.popen("cancel", RUN)
    wait_until(lambda: len(aws.seen("GET", f"/runs/{RUN}")) > 1)
    process.send_signal(signal.SIGINT)
    code, _, said = ended(process)
    assert code == 130
    assert "is being cancelled" in said
