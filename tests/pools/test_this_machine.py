"""Pools on one machine, with real engines and real workers: who dies, who drains, who comes back."""

from __future__ import annotations

import http.client
import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hutctl.local.pool.places import Endpoint, PoolFolder
from tests.conformance.test_hqs_runner import BREAKER, SH
from tests.hutctl_process import Hut, alive, wait_until

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hut(tmp_path: Path) -> Hut:
    folder = tmp_path / "a folder"
    folder.mkdir()
    return Hut(folder, {"HUT_TARGET": "local"})


@pytest.fixture
def start(hut: Hut) -> Iterator[Start]:
    """Start hutctl; whatever lives at the end is killed."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        started.append(hut.popen(*arguments))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def worker(start: Start) -> Start:
    def worker(name: str, *options: str) -> subprocess.Popen[str]:
        return start("worker", "--pool", "p", "--name", name, "--slots", "1", *options)

    return worker


def pool(hut: Hut) -> PoolFolder:
    return PoolFolder(hut.folder / "home" / "pools" / "p")


def endpoint(hut: Hut) -> Endpoint:
    wait_until(lambda: any(one.lives for one in pool(hut).endpoints()))
    (found,) = pool(hut).endpoints()
    return found


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


def holds(hut: Hut, name: str) -> Callable[[], bool]:
    return (hut.folder / name).exists


def test_workers_run_what_a_run_sends_to_their_pool(hut: Hut, worker: Start) -> None:
    """Results, output, errors, exit codes, variables and dependencies are as without a pool."""
    hut.write(
        [
            *(
                {"id": f"t{n}", "command": f'echo "$HUT_WORKER $HUT_POOL {n}" >> who'}
                for n in range(8)
            ),
            {"id": "bad", "command": "echo out; echo err >&2; exit 3"},
            {"id": "late", "command": "sleep 20", "time_limit": "1s"},
            {"id": "nowhere", "command": "true", "working_dir": "/no such folder"},
            {"id": "after", "command": "wc -l < who", "deps": ["t*"], "env_vars": {"A": "b c"}},
        ]
    )
    workers = [worker("w1", "--once"), worker("w2", "--once")]
    hut("run", "w.json", "--pool", "p", exit_code=1)
    tasks = hut.tasks()
    assert {tasks[f"t{n}"]["state"] for n in range(8)} == {"completed"}
    assert (tasks["bad"]["exit_code"], tasks["bad"]["reason"]) == (3, "exit")
    assert tasks["late"]["reason"] == "timeout"
    assert tasks["nowhere"]["reason"] == "launch_failed"
    assert tasks["after"]["backend"] == "p"
    assert tasks["after"]["job_id"].partition("/")[0] in ("w1", "w2")
    assert hut("logs", "last", "after").stdout == "8\n"
    assert hut("logs", "last", "bad", "--error").stdout == "err\n"
    assert {line.split()[1] for line in hut.lines("who")} == {"p"}
    for process in workers:
        assert process.wait(60) == 0
    assert list(pool(hut).endpoints()) == []
    assert os.listdir(pool(hut).path / "workers") == []


def test_workers_run_task_programs(hut: Hut, worker: Start) -> None:
    for name, text in {"sq.sh": SH.replace("VERSION", "1.2"), "breaker.sh": BREAKER}.items():
        path = hut.folder / name
        path.write_text(text)
        path.chmod(0o755)
        hut("task", "register", str(path))
    hut.write(
        [
            {"id": "a", "task": "sq", "input": 3},
            {"id": "b", "task": "sq", "input": {"$output": "a"}},
            {"id": "c", "task": "break", "input": "reports"},
            {"id": "d", "task": "break", "input": {"$output": "a"}},
        ]
    )
    worker("w1", "--once")
    hut("run", "w.json", "--pool", "p", exit_code=1)
    assert hut("task", "output", "last", "b").stdout == "81\n"
    tasks = hut.tasks()
    assert [tasks[task_id]["reason"] for task_id in "abcd"] == [
        *("exit", "exit", "reported", "invalid_input")
    ]
    assert [report["type"] for report in tasks["c"]["attempts"][0]["reports"]] == ["E", "F"]


def test_a_worker_that_is_killed_loses_what_it_had_and_nothing_of_it_survives(
    hut: Hut, start: Start, worker: Start
) -> None:
    script = 'echo $$ >> pids; sleep 61 & echo $! >> pids; [ "$HUT_ATTEMPT" = 2 ] || wait'
    hut.write([{"id": "t", "command": script}])
    first = worker("w1")
    run = start("run", "w.json", "--pool", "p")
    wait_until(lambda: len(hut.lines("pids")) == 2)
    first.kill()
    pids = [int(line) for line in hut.lines("pids")]
    wait_until(lambda: not any(alive(pid) for pid in pids))
    worker("w2")
    run.communicate(timeout=60)
    assert run.returncode == 0
    (lost, done) = hut.tasks()["t"]["attempts"]
    assert (lost["reason"], lost["message"]) == ("lost", "worker w1 disconnected")
    assert done["state"] == "completed"


def test_an_engine_that_is_killed_is_followed_by_one_that_gets_what_was_done_meanwhile(
    hut: Hut, start: Start, worker: Start
) -> None:
    hut.write(
        [
            {"id": "short", "command": "echo x >> short; until [ -e go ]; do sleep 0.05; done"},
            {"id": "long", "command": "echo x >> long; until [ -e end ]; do sleep 0.05; done"},
            {"id": "after", "command": "true", "deps": ["short", "long"]},
        ]
    )
    worker("w1")
    worker("w2")
    engine = start("run", "w.json", "--pool", "p")
    wait_until(lambda: hut.lines("short") and hut.lines("long"))
    engine.kill()
    engine.communicate()
    (hut.folder / "go").touch()  # ends while nobody is there to hear of it
    heir = start("resume", "last")
    wait_until(lambda: hut.states()["short"] == "completed")
    (hut.folder / "end").touch()
    heir.communicate(timeout=60)
    assert heir.returncode == 0
    assert (hut.lines("short"), hut.lines("long")) == (["x"], ["x"])
    assert {len(task["attempts"]) for task in hut.tasks().values()} == {1}


def test_a_draining_worker_finishes_what_runs_and_gives_the_rest_back(
    hut: Hut, start: Start, worker: Start
) -> None:
    first = worker("w1", "--bundle", "3")
    hut.write(
        [
            {"id": f"t{n}", "command": f"touch t{n}; until [ -e go ]; do sleep 0.05; done"}
            for n in range(4)
        ]
    )
    run = start("run", "w.json", "--pool", "p")
    wait_until(holds(hut, "t0"))
    first.send_signal(signal.SIGUSR1)
    second = worker("w2")
    wait_until(holds(hut, "t1"))  # it was given back: the second one has it
    (hut.folder / "go").touch()
    assert "draining" in first.communicate(timeout=60)[1]
    assert first.returncode == 0
    run.communicate(timeout=60)
    assert run.returncode == 0
    tasks = hut.tasks()
    assert [task["attempt"] for task in tasks.values()] == [1] * 4
    assert tasks["t0"]["job_id"].startswith("w1/")
    assert tasks["t1"]["job_id"].startswith("w2/")
    end(second)
    assert second.returncode == 0


def test_a_second_signal_stops_the_tasks_which_run_elsewhere(
    hut: Hut, start: Start, worker: Start
) -> None:
    hut.write([{"id": "t", "command": 'echo $$ >> pids; [ "$HUT_ATTEMPT" = 2 ] || sleep 61'}])
    first = worker("w1")
    run = start("run", "w.json", "--pool", "p")
    wait_until(lambda: hut.lines("pids"))
    first.send_signal(signal.SIGTERM)
    wait_until(lambda: pool(hut).endpoints())
    end(first, signal.SIGINT)
    assert first.returncode == 130
    worker("w2")
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert hut.tasks()["t"]["attempts"][0]["message"] == "worker w1 left"


def test_cancelling_a_run_stops_its_tasks_on_the_workers(
    hut: Hut, start: Start, worker: Start
) -> None:
    hut.write([{"id": f"t{n}", "command": "echo $$ >> pids; sleep 61"} for n in range(3)])
    worker("w1")
    run = start("run", "w.json", "--pool", "p")
    wait_until(lambda: hut.lines("pids"))
    end(run, signal.SIGINT)
    assert run.returncode == 130
    assert {task["reason"] for task in hut.tasks().values()} == {"cancelled"}
    wait_until(lambda: not alive(int(hut.lines("pids")[0])))


def test_pools_are_looked_at_and_drained_from_the_command_line(
    hut: Hut, start: Start, worker: Start
) -> None:
    worker("w1", "--property", "gpu=2")
    hut.write(
        [
            {"id": "t", "command": "touch t; until [ -e go ]; do sleep 0.05; done"},
            {"id": "u", "command": "true"},
        ]
    )
    run = start("run", "w.json", "--pool", "p", "--max-concurrent", "1")
    wait_until(holds(hut, "t"))
    (found,) = hut.json("pool", "list")
    assert (found["name"], found["slots"], found["running"]) == ("p", 1, 1)
    shown = hut.json("pool", "drain", "p", "--worker", "w1")
    (one,) = shown["workers"]
    assert (one["name"], one["properties"], one["draining"]) == ("w1", {"gpu": "2"}, True)
    assert [lease["task"] for lease in one["leases"]] == ["t"]
    (hut.folder / "go").touch()
    wait_until(lambda: hut.states()["t"] == "completed")
    wait_until(lambda: hut.json("pool", "show", "p")["queued"] == 1)
    hut("pool", "resume", "p", "--worker", "w1")
    run.communicate(timeout=60)
    assert run.returncode == 0
    assert "no pool 'q'" in hut("pool", "show", "q", exit_code=2).stderr
    assert "no worker 'x'" in hut("pool", "drain", "p", "--worker", "x", exit_code=2).stderr


def test_who_has_no_token_or_says_nonsense_is_refused(hut: Hut, start: Start) -> None:
    hut.write([{"id": "t", "command": "true"}])
    start("run", "w.json", "--pool", "p")
    there = endpoint(hut)
    (path,) = (pool(hut).path / "runs").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def ask(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", there.port, timeout=30)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        answer = response.status, json.loads(response.read())
        kind = response.headers["Content-Type"]
        assert kind == ("application/json" if response.status < 400 else "application/problem+json")
        connection.close()
        return answer

    token = {"Authorization": f"Bearer {there.token}"}
    join = {"name": "w", "slots": 1}
    assert ask("POST", "/pools/p/workers", join)[0] == 401
    assert ask("POST", "/pools/p/workers", join, Authorization="Bearer x")[0] == 401
    assert ask("GET", "/pools/p")[0] == 401
    assert ask("GET", "/pools/p", **token)[0] == 200
    status, problem = ask("POST", "/pools/p/workers", {"slots": 0, "nam": "w"}, **token)
    assert status == 422
    assert [fault["field"] for fault in problem["errors"]] == ["nam", "name", "slots"]
    assert ask("POST", "/pools/p/workers", b"{", **token)[0] == 400
    assert ask("POST", "/pools/p/workers", b"[" * 100_000, **token)[0] == 400
    assert ask("POST", "/pools/q/workers", join, **token)[0] == 404
    assert ask("PUT", "/pools/p/workers", join, **token)[0] == 404
    assert ask("POST", "/elsewhere", join, **token)[0] == 404
    too_large = {**token, "Content-Length": str(5 << 20)}
    assert ask("POST", "/pools/p/workers", b"", **too_large)[0] == 413
    assert ask("POST", "/pools/p/workers/x/turn", {"want": 1}, **token)[1]["gone"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--pool", "../x"], "--pool"),
        (["--pool", "p", "--name", "a/b"], "--name"),
        (["--pool", "p", "--property", "gpu", "--property", "=2"], "2 problems"),
        (["--pool", "p", "--slots", "0"], "--slots"),
    ],
)
def test_wrong_options_are_told(hut: Hut, arguments: list[str], told: str) -> None:
    assert told in hut("worker", *arguments, exit_code=2).stderr


def test_a_worker_without_work_leaves_if_it_was_told_to(hut: Hut, worker: Start) -> None:
    idle = worker("w1", "--idle-exit", "0.2")
    assert "nothing to do" in idle.communicate(timeout=60)[1]
    assert idle.returncode == 0


def test_a_worker_that_comes_when_all_is_done_leaves_if_it_is_to_work_once(
    hut: Hut, start: Start, worker: Start
) -> None:
    """Of two that are started with a run, one may do it all before the other is there."""
    hut.write([{"id": "t", "command": "true"}])
    slow = worker("slow", "--once")
    slow.send_signal(signal.SIGSTOP)
    fast = worker("fast", "--once")
    hut("run", "w.json", "--pool", "p")
    assert fast.wait(60) == 0
    slow.send_signal(signal.SIGCONT)
    assert slow.wait(60) == 0


def test_a_worker_that_is_to_work_once_waits_for_a_run(hut: Hut, worker: Start) -> None:
    hut.write([{"id": "t", "command": "true"}])
    early = worker("early")
    hut("run", "w.json", "--pool", "p")
    waits = worker("waits", "--once")
    wait_until(lambda: "waits" in {name for name, *_ in pool(hut).workers()})
    end(early)
    with pytest.raises(subprocess.TimeoutExpired):
        waits.wait(1)
    hut("run", "w.json", "--pool", "p")
    assert waits.wait(60) == 0


def test_why_says_what_each_worker_lacks(hut: Hut, start: Start, worker: Start) -> None:
    (hut.folder / "hut.yaml").write_text(
        "schedulers:\n"
        "  - name: MAIN\n"
        "    simple: {supported_platform_properties: {gpu: minimum, arch: exact}}\n"
        "backends: [{name: p, type: workers, scheduler: MAIN}]\n"
    )
    tasks: list[dict[str, Any]] = [
        {"id": "big", "command": "true", "properties": {"gpu": 4, "arch": "arm64"}},
        {"id": "small", "command": "touch small; sleep 60", "properties": {"gpu": 2}},
        {"id": "next", "command": "true", "properties": {"gpu": 1}},
        {"id": "after", "command": "true", "deps": ["big"]},
    ]
    hut.write(tasks)
    start("run", "w.json", "--pool", "p")
    endpoint(hut)
    why = hut("why", "last", "big").stdout
    assert why.startswith("big is ready and waits for a worker of pool p.\n")
    assert "the pool says: p has no worker" in why
    assert "start a worker: hutctl worker --pool p" in why
    worker("w1", "--slots", "2", "--property", "gpu=2", "--property", "arch=arm64")
    wait_until(holds(hut, "small"))
    why = hut("why", "last", "big").stdout
    assert "worker w1 lacks gpu >= 4 (0 of 2 are left)" in why
    assert "--property gpu=4 --property arch=arm64" in why
    why = hut("why", "last", "next").stdout
    assert "worker w1 lacks gpu >= 1 (0 of 2 are left)" in why
    assert "after waits for 1 task: big" in hut("why", "last", "after").stdout


def test_a_worker_that_was_frozen_is_given_up_and_gives_up_when_it_wakes(
    hut: Hut, start: Start, worker: Start
) -> None:
    """Its task runs elsewhere meanwhile; what it still has of it is killed, and its report is no news."""
    (hut.folder / "hut.yaml").write_text(
        "schedulers: [{name: MAIN, simple: {worker_timeout_s: 1}}]\n"
        "backends: [{name: p, type: workers}]\n"
    )
    script = 'echo "$HUT_WORKER $$" >> who; [ "$HUT_ATTEMPT" = 2 ] || sleep 61'
    hut.write([{"id": "t", "command": script}, {"id": "u", "command": "true", "deps": ["t"]}])
    frozen = worker("w1")
    run = start("run", "w.json", "--pool", "p")
    wait_until(lambda: len(hut.lines("who")) == 1)
    frozen.send_signal(signal.SIGSTOP)
    other = worker("w2")
    run.communicate(timeout=60)
    assert run.returncode == 0
    frozen.send_signal(signal.SIGCONT)
    pid = int(hut.lines("who")[0].split()[1])
    wait_until(lambda: not alive(pid))
    assert [line.split()[0] for line in hut.lines("who")] == ["w1", "w2"]
    (lost, done) = hut.tasks()["t"]["attempts"]
    assert (lost["reason"], lost["message"]) == ("lost", "worker w1 disconnected")
    assert done["state"] == "completed"
    for process in (frozen, other):
        end(process)
        assert process.returncode == 0
