"""NativeLink's cases about identical actions, with real processes of hutctl on one machine.

Each task writes a line when its command begins, so what is counted is what was executed.
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.hutctl_process import Hut, wait_until

COMMAND = "echo start >> starts; echo said; while [ ! -e go ]; do sleep 0.02; done; exit $(cat go)"


@pytest.fixture
def hut(tmp_path: Path) -> Hut:
    folder = tmp_path / "a folder"
    folder.mkdir()
    return Hut(folder)


class Twins:
    """Two clients that submit the same task, each as a run of its own."""

    def __init__(self, hut: Hut, *, dedupe: bool = True) -> None:
        self.hut = hut
        for name in ("first", "second"):
            hut.write([{"id": name, "command": COMMAND, "dedupe": dedupe}], f"{name}.json")
        self.first = self.begin("first.json")
        wait_until(lambda: self.starts == 1)
        self.second = self.begin("second.json")

    def begin(self, name: str) -> subprocess.Popen[str]:
        return self.hut.popen("run", name, "--name", name)

    @property
    def starts(self) -> int:
        path = self.hut.folder / "starts"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def go(self, code: int = 0) -> None:
        (self.hut.folder / "new").write_text(str(code))
        (self.hut.folder / "new").rename(self.hut.folder / "go")

    def run_of(self, name: str) -> str:
        (run,) = self.hut.json("runs", "--workflow", f"{name}.json")
        return str(run["id"])

    def task(self, name: str) -> dict[str, object]:
        return dict(self.hut.tasks(self.run_of(name))[name])

    def joined(self) -> bool:
        """Look into the store: a process of hutctl for each look would be slow."""
        with closing(sqlite3.connect(self.hut.folder / "home" / "hut.db")) as store:
            query = "SELECT 1 FROM tasks WHERE state = 'submitted' AND handle LIKE 'twin:%'"
            return store.execute(query).fetchone() is not None


def ended(*processes: subprocess.Popen[str]) -> list[int]:
    codes = []
    for process in processes:
        process.communicate(timeout=60)
        codes.append(process.returncode)
    return codes


def test_two_clients_with_the_same_digest_are_one_start_and_two_ids(hut: Hut) -> None:
    twins = Twins(hut)
    wait_until(twins.joined)
    second = twins.run_of("second")
    why = hut("why", second, "second").stdout
    assert f"second joined the identical task first of run {twins.run_of('first')} (running)" in why
    assert hut("logs", second, "second").stdout == "said\n"
    twins.go(3)
    assert ended(twins.first, twins.second) == [1, 1], "the exit code is that of both"
    assert twins.starts == 1
    first = twins.run_of("first")
    assert first != second
    task = twins.task("second")
    assert task["message"] == f"joined task first of run {first}: exit code 3"
    assert (task["exit_code"], task["attempt"]) == (3, 1)
    assert hut("logs", second, "second").stdout == "said\n"

    # A rerun after completion executes anew.
    assert ended(twins.begin("second.json")) == [1]
    assert twins.starts == 2


def test_a_late_duplicate_drop_keeps_the_twin_alive(hut: Hut) -> None:
    twins = Twins(hut)
    wait_until(twins.joined)
    twins.second.send_signal(signal.SIGINT)
    assert ended(twins.second) == [130]
    assert twins.task("second")["reason"] == "cancelled"
    assert twins.task("first")["state"] == "running"
    twins.go()
    assert ended(twins.first) == [0]
    assert twins.starts == 1


def test_who_joined_a_cancelled_task_executes_it(hut: Hut) -> None:
    twins = Twins(hut)
    wait_until(twins.joined)
    twins.first.send_signal(signal.SIGINT)
    assert ended(twins.first) == [130]
    wait_until(lambda: twins.starts == 2)
    twins.go()
    assert ended(twins.second) == [0]
    assert (twins.task("second")["attempt"], twins.task("second")["message"]) == (1, "")


def test_who_joined_a_task_of_a_killed_hutctl_executes_it(hut: Hut) -> None:
    twins = Twins(hut)
    wait_until(twins.joined)
    twins.first.kill()
    ended(twins.first)
    wait_until(lambda: twins.starts == 2)
    twins.go()
    assert ended(twins.second) == [0]
    assert hut("resume", twins.run_of("first")).returncode == 0
    assert twins.starts == 2


def test_a_killed_hutctl_that_joined_joins_again_when_its_run_is_resumed(hut: Hut) -> None:
    twins = Twins(hut)
    wait_until(twins.joined)
    twins.second.kill()
    ended(twins.second)
    resumed = hut.popen("resume", twins.run_of("second"))
    assert resumed.stderr is not None
    wait_until(lambda: "never started" in resumed.stderr.readline())  # and so given back
    wait_until(twins.joined)
    twins.go()
    assert ended(twins.first, resumed) == [0, 0]
    assert twins.starts == 1


def test_uncacheable_never_joins(hut: Hut) -> None:
    twins = Twins(hut, dedupe=False)
    wait_until(lambda: twins.starts == 2)
    twins.go()
    assert ended(twins.first, twins.second) == [0, 0]


def test_identical_tasks_of_one_run_are_executed_once_whatever_the_slots(hut: Hut) -> None:
    tasks = [{"id": f"t{n}", "command": "echo x >> starts", "dedupe": True} for n in range(50)]
    hut.write([*tasks, {"id": "end", "command": "cat starts", "deps": ["t*"]}])
    hut("run", "w.json", "--max-concurrent", "2")
    assert set(hut.states().values()) == {"completed"}
    # While one is under way the others join it; one that becomes ready later is another execution.
    executed = (hut.folder / "starts").read_text().count("x")
    joined = sum(bool(task["message"]) for task in hut.tasks().values())
    assert executed + joined == 50
    assert joined > 0
