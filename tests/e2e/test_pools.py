"""Tasks on workers of the deployment's own pool: real processes that come for them, one of which is killed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.test_hqs_runner import CASES
from tests.e2e.deployment import ROOT
from tests.e2e.remote_hut import RemoteHut, until
from tests.e2e.test_task_programs import (
    FLOW,
    breaking,
    hold,
    hold_flow,
    register,
    tasks_of,
    write_programs,
)

QUICK = {"name": "QUICK", "simple": {"worker_timeout_s": 15, "unknown_property": "match"}}
GENERATED = [{"id": "inner", "command": "echo inner"}]
KINDS = [
    {"id": "fails", "command": "echo oh; exit 3"},
    {
        "id": "writes",
        "command": f"echo '{json.dumps(GENERATED)}' > w.json",
        "generates_source": "w.json",
    },
]


@contextmanager
def worker(hut: RemoteHut, name: str, slots: int = 4) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the deployment's own pool, as a process; killed at the end.

    The one called ``idle`` takes tasks and begins none; the others are agents.
    """
    arguments = [hut.deployment.url, hut.bed.url, "workers", name, str(slots)]
    command = [sys.executable, "-m", "tests.e2e.pool_client", *arguments]
    if name != "idle":
        told = ["--pool", "workers", "--name", name, "--slots", str(slots)]
        command = [sys.executable, "-m", "hutctl", "worker", *told]
    process = subprocess.Popen(command, cwd=ROOT, env=hut.env)
    try:
        until(lambda: name in {each["name"] for each in workers(hut)}, f"{name} has joined")
        yield process
    finally:
        process.kill()
        process.wait()


def workers(hut: RemoteHut) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = hut.get("/pools/workers").document["workers"]
    return found


def leases(hut: RemoteHut, name: str) -> list[dict[str, Any]]:
    return [lease for each in workers(hut) if each["name"] == name for lease in each["leases"]]


@pytest.fixture
def pool(hut: RemoteHut) -> Iterator[RemoteHut]:
    """The pool of the deployment, with a scheduler that soon takes workers for dead."""
    answer = hut.call("PUT", "/config", {"schedulers": [QUICK]}, headers={"If-Match": "*"})
    assert answer.status in (200, 201), answer.text
    yield hut
    hut.call("POST", "/pools/workers/resume")
    hut.call("PUT", "/config", {}, headers={"If-Match": "*"})


def test_three_hundred_short_tasks_on_two_workers_one_of_which_is_killed(pool: RemoteHut) -> None:
    hut = pool
    tasks = [{"id": f"t.{number:03}", "command": "echo $HUT_TASK_ID"} for number in range(300)]
    with worker(hut, "alive"), worker(hut, "idle") as idle:
        run = hut.start(tasks, backend="workers")
        until(lambda: leases(hut, "idle"), "it has something to do")
        idle.kill()
        ended = hut.ended(run, 90)
    assert (ended["state"], ended["counts"]["completed"]) == ("completed", 300)
    found = hut.tasks(run).values()
    again = [task for task in found if len(task["attempts"]) > 1]
    assert again
    for task in again:
        assert task["attempts"][0]["reason"] == "lost"
        assert task["attempts"][0]["message"] == "worker idle disconnected"
    assert hut("logs", run, "t.007").stdout == "t.007\n"
    assert [each["name"] for each in workers(hut)] == ["alive"]


def test_workers_run_task_programs(pool: RemoteHut, tmp_path: Path) -> None:
    hut = pool
    register(hut, write_programs(tmp_path / "task programs"))
    cases = [case for case in CASES if case.does in ("exit code", "both", "killed", "too long")]
    with worker(hut, "programs"):
        run = hut.run([*map(breaking, cases), *FLOW], exit_code=1, backend="workers")["id"]
    tasks = tasks_of(hut, run)
    for case in cases:
        hold(tasks, case)
    hold_flow(hut, run, tasks)


def test_a_pool_that_is_drained_gives_nothing_out_and_a_cancelled_run_is_stopped(
    pool: RemoteHut,
) -> None:
    hut = pool
    assert hut.call("POST", "/pools/workers/drain").document["draining"] is True
    run = hut.start([{"id": "a", "command": "sleep 600"}, *KINDS], backend="workers")
    with worker(hut, "w", 8):
        hut.reached(run, "a", "submitted")
        assert leases(hut, "w") == []
        assert "draining" in hut("why", run, "a").stdout
        hut.call("POST", "/pools/workers/resume")
        hut.reached(run, "a", "running")
        assert f"worker w on {socket.gethostname()}" in hut("why", run, "a").stdout
        hut.reached(run, "inner", "completed")
        assert hut.task(run, "fails")["exit_code"] == 3
        assert hut("logs", run, "writes").stdout == ""
        hut.call("POST", f"/runs/{run}/cancel")
        ended = hut.ended(run, 60)
    assert ended["state"] == "cancelled"
    assert hut.task(run, "a")["reason"] == "cancelled"
