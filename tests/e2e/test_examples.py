"""Each example gives the same on AWS as on this machine: exit codes, states, logs and files.

What the examples' numbers should be is tested in tests/examples.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.remote_hut import RemoteHut
from tests.hutctl_process import Hut

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(entry.parent.name for entry in EXAMPLES.glob("*/workflow.json"))
LEFTOVERS = shutil.ignore_patterns("results", "__pycache__", "east.csv")
SMALL = ["--env", "SAMPLES=2000", "--env", "STREAMS=4", "--env", "FOLDS=2"]
EXIT_CODES = {"failing": 1}
# What an example measures of the machine: processor times.
MEASURED = {
    "digits": re.compile(rb'(?<="fit_seconds": )\S+|(?<="read_seconds": )\S+|\b\d\.\d{3}\b')
}
NEEDS = {"digits": ("sklearn", "matplotlib")}


@dataclass(frozen=True)
class Place:
    """Where an example runs: hutctl, and the folder in which its tasks begin."""

    name: str
    hut: Hut
    folder: Path

    def do(self, *arguments: str, exit_code: int) -> dict[str, Any]:
        """Run or repeat the example; return all that can be seen of it, without the run's id."""
        run = self.hut.json(*arguments, exit_code=exit_code)
        tasks = self.hut.tasks(run["id"])
        return {
            "run": [run[key] for key in ("workflow", "state", "reason", "message", "total")],
            "counts": run["counts"],
            "tasks": {name: _seen(task) for name, task in tasks.items()},
            "logs": {name: self.printed(run["id"], name) for name in _last(tasks)},
            "files": self.files(run["id"]),
            "documents": [
                self.hut("task", "output", run["id"], name).stdout
                for name, task in tasks.items()
                if "task" in task
            ],
        }

    def printed(self, run: str, task: str) -> list[str]:
        """Return the lines a task wrote; a log on AWS mixes stdout and stderr."""
        kinds: list[list[str]] = [[]] if isinstance(self.hut, RemoteHut) else [[], ["--error"]]
        done = [self.hut("logs", run, task, *kind).stdout for kind in kinds]
        text = self.plain("".join(done).encode(), run).decode()
        return sorted(line for line in text.splitlines() if line)  # logs on AWS have no empty lines

    def files(self, run: str) -> dict[str, bytes]:
        """Return what the run left in the folder."""
        left = sorted(path for path in self.folder.glob("results/**/*") if path.is_file())
        return {
            str(path.relative_to(self.folder)).replace(run, "RUN"): self.plain(
                path.read_bytes(), run
            )
            for path in left
        }

    def plain(self, content: bytes, run: str) -> bytes:
        """Leave out what two runs of the same example may differ in."""
        measured = MEASURED.get(self.name)
        content = content.replace(run.encode(), b"RUN")
        return content if measured is None else measured.sub(b"", content)


def _last(tasks: dict[str, Any]) -> list[str]:
    """Return the task that stands last, where examples sum up, if it ran."""
    return [name for name, task in list(tasks.items())[-1:] if task["attempt"]]


def _seen(task: dict[str, Any]) -> Any:
    keys = ("name", "state", "reason", "exit_code", "attempt", "deps", "command")
    attempts = [
        [attempt[key] for key in ("attempt", "state", "reason", "exit_code")]
        for attempt in task["attempts"]
    ]
    return [task[key] for key in keys], attempts


@contextmanager
def two_places(hut: RemoteHut, name: str) -> Iterator[tuple[Place, Place]]:
    """Copy an example to this machine and to where jobs begin."""
    here = hut.folder / name
    shutil.copytree(EXAMPLES / name, here, ignore=LEFTOVERS)
    if (EXAMPLES / name / "inbox").exists():
        shutil.copytree(EXAMPLES / name / "inbox", here / "inbox", dirs_exist_ok=True)
    shutil.copytree(here, hut.bed.home, dirs_exist_ok=True)
    (hut.bed.home / "workflow.json").unlink()
    local, remote = Hut(here, {"PYTHON": sys.executable}), hut
    if name == "hqs":
        for each, options in ((local, ("--target", "local")), (remote, ())):
            each("task", "register", "--replace", *options, sys.executable, str(here / "heat.py"))
    yield Place(name, local, here), Place(name, remote, hut.bed.home)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_gives_the_same_as_on_this_machine(hut: RemoteHut, name: str) -> None:
    if any(find_spec(module) is None for module in NEEDS.get(name, ())):
        pytest.skip("needs more packages; install them with `make digits`")
    file = str(EXAMPLES / name / "workflow.json")
    code = EXIT_CODES.get(name, 0)
    with two_places(hut, name) as (here, there):
        local = here.do("run", "workflow.json", "--target", "local", *SMALL, exit_code=code)
        remote = there.do("run", file, *SMALL, exit_code=code)
        for what, found in local.items():
            assert remote[what] == found
        assert remote["files"] or remote["documents"]


def test_what_failed_is_mended_and_repeated(hut: RemoteHut) -> None:
    file = str(EXAMPLES / "failing/workflow.json")
    with two_places(hut, "failing") as (here, there):
        here.hut("run", "workflow.json", "--target", "local", exit_code=1)
        there.hut("run", file, exit_code=1)
        told = [
            " ".join(place.hut("why", "last", task).stdout.split())
            for place in (here, there)
            for task in ("check.east", "report")
        ]
        assert "data/east.csv: no such file" in told[2]
        assert told[1].startswith("report") == told[3].startswith("report")
        assert "check.east" in told[1]
        assert "check.east" in told[3]
        for place in (here, there):
            shutil.copy(place.folder / "inbox/east.csv", place.folder / "data")
        local = here.do("retry", "last", "--target", "local", exit_code=0)
        assert there.do("retry", "last", exit_code=0) == local
