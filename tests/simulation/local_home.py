"""A home with one run in it, hutctl processes that work on it and die, and the run's witnesses."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hut.model.records import RunRecord
from hut.model.states import TaskState
from hut.store.port import RunFilter, TaskFilter
from hut.store.sqlite import SqliteStore
from tests.simulation.nursery import Nursery, Process
from tests.simulation.witnesses import Line, Witnesses

__all__ = ["DIED", "LocalHome", "kill_task", "task"]

DIED = -signal.SIGKILL
_PATIENCE = 20.0


def task(task_id: str, does: str = "end 0", **fields: Any) -> dict[str, Any]:
    """Return a task that tells what becomes of it; `does` is what it does between."""
    return {"id": task_id, "command": f". ./witness.sh; {does}", **fields}


class LocalHome:
    """See the module's docstring.

    Parameters
    ----------
    folder
        Empty; becomes the workflow's folder.
    cap
        How many tasks may run at once.
    home
        If the home is shared with others.
    """

    def __init__(
        self,
        nursery: Nursery,
        folder: Path,
        tasks: Sequence[Mapping[str, Any]],
        *,
        cap: int,
        home: Path | None = None,
    ) -> None:
        self.folder, self._nursery = folder, nursery
        self.home = home or folder / "home"
        folder.mkdir(parents=True)
        (folder / "w.json").write_text(json.dumps({"tasks": tasks, "max_concurrent": cap}))
        (folder / "hut.yaml").write_text("backends: [{name: local, type: local, kill_grace: 1s}]")
        self.witnesses = Witnesses(folder, cap, self.home)
        self.processes: list[Process] = []
        self._store: SqliteStore | None = None

    def tell(self, line: str) -> None:
        """Add a line to the history."""
        with (self.folder / "history").open("a") as file:
            file.write(f"{line}\n")

    @property
    def history(self) -> str:
        """What hutctl was told and did, what it said, and what the tasks told."""
        said = [f"-- {' '.join(p.arguments)}: {p.code}\n{p.output}" for p in self.processes]
        parts = [
            (self.folder / "history").read_text(),
            *said,
            (self.folder / "lines").read_text(),
        ]
        return "\n".join(parts)

    def hutctl(self, *arguments: str, **dies: Any) -> Process:
        """Start hutctl; it may be told to die before one of its effects. ``last`` is the run here."""
        run = self.run()
        arguments = tuple(run.id if each == "last" and run else each for each in arguments)
        process = self._nursery.hutctl(self.folder, *arguments, home=self.home, **dies)
        self.tell(f"{' '.join(arguments)} is {process.pid} {dies or ''}")
        self.processes.append(process)
        return process

    def living(self) -> list[Process]:
        return [process for process in self.processes if process.lives]

    @property
    def store(self) -> SqliteStore | None:
        """The store, as soon as there is one."""
        if self._store is None and (self.home / "hut.db").exists():
            self._store = SqliteStore(self.home / "hut.db")
        return self._store

    def run(self) -> RunRecord | None:
        """Return the run, if it was stored."""
        runs = [] if self.store is None else self.store.list_runs(RunFilter())
        runs = [run for run in runs if run.settings.base_dir == str(self.folder)]
        assert len(runs) <= 1
        return runs[0] if runs else None

    def check(self) -> None:
        """Check what must hold at any moment."""
        if (run := self.run()) is not None:
            assert self.store is not None
            self.witnesses.check(self.store, run.id)

    def wait_for(self, more: int) -> list[Line]:
        """Wait until the tasks have told some more, or nobody lives who could start one."""
        wanted = len(self.witnesses.lines()) + more
        until = time.monotonic() + _PATIENCE
        while len(lines := self.witnesses.lines()) < wanted:
            if not self.living() or time.monotonic() > until:
                break
            time.sleep(0.004)
        return lines

    def finish(self) -> RunRecord:
        """Let hutctl take the run up until it has ended; check it then."""
        for process in self.processes:
            process.wait()
        run = self.run()
        if run is None:  # it died before the run was stored: a person says it again
            self.hutctl("run", "w.json").wait()
        elif run.ended_at is None:
            self.hutctl("resume", "last").wait()
        run = self.run()
        assert run is not None
        assert self.store is not None
        self.witnesses.check_end(self.store, run.id)
        for process in self.processes:
            assert process.code in (0, 1, 2, 3, 4, 130) or process.code in _SIGNALS, (
                process.arguments
            )
            assert "Traceback" not in process.output, process.output
        return run

    def ended(self) -> dict[str, tuple[TaskState, int]]:
        """Return how each task stands, and the number of its attempts."""
        run = self.run()
        assert run is not None
        assert self.store is not None
        tasks = self.store.list_tasks(run.id, TaskFilter())
        return {task.spec.id: (task.state, task.attempt) for task in tasks}

    def close(self) -> None:
        """Leave nothing behind, however it went."""
        for process in self.living():
            process.send(signal.SIGKILL)
        for line in self.witnesses.living():
            kill_task(line.number, group=True)
        if self._store is not None:
            self._store.close()


_SIGNALS = tuple(-number for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP))


def kill_task(pid: int, *, group: bool) -> None:
    """Kill a task's shell, or all of its group."""
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, signal.SIGKILL)
