"""The tools that run many tasks, each with two slots and the command ``true``."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.measure import Command, CommandError

__all__ = ["SLOTS", "Contestant", "GnuParallel", "Hut", "HutWorkers", "HyperShell", "Xargs", "bash"]

SLOTS = 2


class Contestant(Protocol):
    """Something that runs tasks."""

    @property
    def name(self) -> str:
        """How figures call it."""

    def shown(self, count: int) -> str:
        """Return the command for `count` tasks as the report shows it."""

    def prepare(self, folder: Path, count: int) -> Command:
        """Write what a run needs into `folder`, remove what an earlier one left; not timed."""

    def check(self, folder: Path, count: int) -> None:
        """Raise `CommandError` unless the run that just ended did all its tasks; not timed."""


def bash() -> str:
    """Return the path of bash.

    Raises
    ------
    CommandError
        If there is none.
    """
    found = shutil.which("bash")
    if found is None:
        raise CommandError("there is no bash on the PATH")
    return found


@dataclass(frozen=True, slots=True)
class Xargs:
    """The baseline: one bash per task, nothing kept."""

    name: str = "xargs"

    def shown(self, count: int) -> str:
        """Return the pipeline."""
        return f"seq {count} | xargs -P{SLOTS} -n1 bash -c true"

    def prepare(self, folder: Path, count: int) -> Command:
        """Return the pipeline, run by bash."""
        return Command((bash(), "-c", f"set -o pipefail; {self.shown(count)}"), folder)

    def check(self, folder: Path, count: int) -> None:
        """Trust the exit code: xargs fails if any command does."""


@dataclass(frozen=True, slots=True)
class Hut:
    """Hut with an empty home for each run.

    Attributes
    ----------
    hutctl : Path
    """

    hutctl: Path
    name: str = "Hut"

    def shown(self, count: int) -> str:
        """Return the command; the file holds as many tasks."""
        del count
        return f"HUT_HOME=<empty folder> hutctl run workflow.json --max-concurrent {SLOTS}"

    def prepare(self, folder: Path, count: int) -> Command:
        """Write the workflow file and remove the home of the last run."""
        tasks = [{"id": f"t{number}", "command": "true"} for number in range(count)]
        (folder / "workflow.json").write_text(json.dumps({"tasks": tasks}), encoding="utf-8")
        home = folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        command = (str(self.hutctl), "run", "workflow.json", "--max-concurrent", str(SLOTS))
        return Command(command, folder, {"HUT_HOME": str(home)})

    def check(self, folder: Path, count: int) -> None:
        """Trust the exit code, but look that the run was kept where it was told."""
        del count
        if not (folder / "home" / "hut.db").exists():
            raise CommandError("hutctl kept no run in its home")


class HutWorkers:
    """Hut with two workers of one slot, and an empty home for each run.

    Parameters
    ----------
    hutctl
        Path of the command.
    """

    name = "Hut, two workers"

    def __init__(self, hutctl: Path) -> None:
        self._hutctl = hutctl

    def shown(self, count: int) -> str:
        """Return the commands; the file holds as many lines."""
        return self._script(count, "hutctl")

    @staticmethod
    def _script(count: int, hutctl: str) -> str:
        del count
        worker = f"{hutctl} worker --pool bench --slots 1 --once"
        return f"{worker} & {worker} & {hutctl} submit tasks.txt --pool bench && wait"

    def prepare(self, folder: Path, count: int) -> Command:
        """Write the lines and remove the home of the last run."""
        (folder / "tasks.txt").write_text("true\n" * count, encoding="utf-8")
        home = folder / "home"
        shutil.rmtree(home, ignore_errors=True)
        script = self._script(count, shlex.quote(str(self._hutctl)))
        return Command(
            (bash(), "-c", script), folder, {"HUT_HOME": str(home), "HUT_TARGET": "local"}
        )

    def check(self, folder: Path, count: int) -> None:
        """Count the attempts that were recorded as having gone well."""
        with closing(sqlite3.connect(folder / "home" / "hut.db")) as database:
            query = "select count(*) from attempts where exit_code = 0"
            (done,) = database.execute(query).fetchone()
        if done != count:
            raise CommandError(f"Hut recorded {done} of {count} tasks")


@dataclass(frozen=True, slots=True)
class HyperShell:
    """HyperShell's cluster on this machine with an empty SQLite database for each run.

    It flushes bundles and asks its database again after seconds; both are set to the one second
    that is the least its options take. It runs tasks with ``sh``, which starts faster than bash.

    Attributes
    ----------
    hsx : Path
    bundlesize : int
        Tasks that travel between its server and its client at once.
    """

    hsx: Path
    bundlesize: int

    @property
    def name(self) -> str:
        """Its name with the bundle size."""
        return f"HyperShell, bundles of {self.bundlesize}"

    @property
    def _options(self) -> tuple[str, ...]:
        return ("-N", str(SLOTS), "-b", str(self.bundlesize), "-w", "1", "-Q", "1")

    def shown(self, count: int) -> str:
        """Return the command; the file holds as many lines."""
        del count
        return " ".join(("HYPERSHELL_LOGGING_LEVEL=warning", "hsx", "tasks.txt", *self._options))

    def prepare(self, folder: Path, count: int) -> Command:
        """Write the lines and remove the database, but leave the TLS key of the first run."""
        (folder / "tasks.txt").write_text("true\n" * count, encoding="utf-8")
        for old in self._database(folder).parent.glob("main.db*"):
            old.unlink()
        site = folder / "site"
        return Command(
            (str(self.hsx), "tasks.txt", *self._options),
            folder,
            {
                "HYPERSHELL_SITE": str(site),
                "HYPERSHELL_CONFIG_FILE": str(site / "config.toml"),
                "HYPERSHELL_DATABASE_FILE": str(self._database(folder)),
                "HYPERSHELL_LOGGING_LEVEL": "warning",
            },
        )

    def check(self, folder: Path, count: int) -> None:
        """Count the tasks that its database says went well."""
        with closing(sqlite3.connect(self._database(folder))) as database:
            query = "select count(*) from task where exit_status = 0"
            (done,) = database.execute(query).fetchone()
        if done != count:
            raise CommandError(f"HyperShell did {done} of {count} tasks")

    @staticmethod
    def _database(folder: Path) -> Path:
        return folder / "site" / "lib" / "main.db"


@dataclass(frozen=True, slots=True)
class GnuParallel:
    """GNU parallel, told to use bash.

    Attributes
    ----------
    program : Path
    """

    program: Path
    name: str = "GNU parallel"

    def shown(self, count: int) -> str:
        """Return the command; the file holds as many lines."""
        del count
        return f"PARALLEL_SHELL=bash parallel -j{SLOTS} < tasks.txt"

    def prepare(self, folder: Path, count: int) -> Command:
        """Write the lines."""
        lines = folder / "tasks.txt"
        lines.write_text("true\n" * count, encoding="utf-8")
        own = folder / "parallel"
        own.mkdir(exist_ok=True)
        environment = {"PARALLEL_SHELL": bash(), "PARALLEL_HOME": str(own)}
        return Command((str(self.program), f"-j{SLOTS}"), folder, environment, lines)

    def check(self, folder: Path, count: int) -> None:
        """Trust the exit code: it is the number of tasks that failed."""
