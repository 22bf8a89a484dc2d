"""hutctl as a person runs it: a process of its own, with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LIMIT = 120  # seconds for one call


@dataclass
class Hut:
    """A folder with a home in it."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "HUT_HOME": str(self.folder / "home"),
            "XDG_CONFIG_HOME": str(self.folder / "xdg"),
            **self.environment,
        }

    def write(self, tasks: Sequence[Mapping[str, Any]], name: str = "w.json", **fields: Any) -> str:
        """Write a workflow file; return its name."""
        (self.folder / name).write_text(json.dumps({"tasks": tasks, **fields}))
        return name

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "hutctl", *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def __call__(
        self, *arguments: str, exit_code: int | None = 0, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run hutctl to its end and check its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "hutctl", *arguments],
            cwd=self.folder,
            env=self.env,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        if exit_code is not None:
            said = f"{arguments} -> {done.returncode}\n{done.stdout}\n{done.stderr}"
            assert done.returncode == exit_code, said
        return done

    def json(self, *arguments: str, exit_code: int | None = 0, given: str | None = None) -> Any:
        """Run hutctl with --json and return the document it prints."""
        return json.loads(self(*arguments, "--json", exit_code=exit_code, given=given).stdout)

    def tasks(self, run: str = "last") -> dict[str, Any]:
        return {task["id"]: task for task in self.json("tasks", run)}

    def states(self, run: str = "last") -> dict[str, str]:
        return {name: task["state"] for name, task in self.tasks(run).items()}

    def lines(self, name: str) -> list[str]:
        """Return the lines of a file tasks wrote to; none if it is not there."""
        try:
            return (self.folder / name).read_text().splitlines()
        except FileNotFoundError:
            return []


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for something to become true; fail if it never does."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return Path("/proc").exists() is False
