"""Tasks that tell in a file when they begin and end, and what must hold of what they tell.

Each line is one append: ``begin TASK ATTEMPT PID``, ``beside TASK ATTEMPT N`` (attempts that lived at
that moment, itself among them), ``twice TASK ...`` (another attempt of the same task lived) and
``end TASK ATTEMPT CODE``. The test adds ``killed TASK ATTEMPT PID``, ``cancelled`` and ``repeated``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hut.lifecycle.retry import MOST_LOSSES
from hut.model.records import RunRecord, TaskRecord
from hut.model.states import TERMINAL, TaskState
from hut.store.port import TaskFilter
from hut.store.sqlite import SqliteStore
from hutctl.local.logs import read_attempt_log
from tests.histories.replay import dependencies_of, disagreements, generators_of, play
from tests.hutctl_process import wait_until

__all__ = ["Line", "Witnesses", "lives"]

# No process is started here: a task takes little longer than bash.
_SCRIPT = """
echo "begin $HUT_TASK_ID $HUT_ATTEMPT $$" >> lines
echo "out $HUT_TASK_ID $HUT_ATTEMPT"
echo "err $HUT_TASK_ID $HUT_ATTEMPT" >&2
beside=0
while read -r what task attempt pid; do
  [ "$what" = begin ] || continue
  { read -r _ _ state _ < "/proc/$pid/stat"; } 2> /dev/null || continue
  [ "$state" != Z ] || continue
  beside=$((beside + 1))
  if [ "$task" = "$HUT_TASK_ID" ] && [ "$pid" != "$$" ]; then
    echo "twice $task $attempt $pid" >> lines
  fi
done < lines
echo "beside $HUT_TASK_ID $HUT_ATTEMPT $beside" >> lines
end() {
  echo "last $HUT_TASK_ID $HUT_ATTEMPT"
  echo "end $HUT_TASK_ID $HUT_ATTEMPT $1" >> lines
  exit "$1"
}
"""


class Line(NamedTuple):
    what: str
    task: str = ""
    attempt: int = 0
    number: int = 0


@dataclass
class Witnesses:
    """What tasks told in a folder, beside what the store there says.

    Attributes
    ----------
    home : Path
        That of hutctl.
    seen : dict
        Ended attempts, as they stood in the file when they were seen first.
    repeats_all : bool
        Whether completed tasks were made to run again on purpose.
    """

    folder: Path
    cap: int
    home: Path
    seen: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)
    repeats_all: bool = False

    def __post_init__(self) -> None:
        (self.folder / "witness.sh").write_text(_SCRIPT)
        (self.folder / "lines").touch()

    def note(self, line: str) -> None:
        with (self.folder / "lines").open("a") as file:
            file.write(f"{line}\n")

    def lines(self) -> list[Line]:
        lines = [line.split() for line in (self.folder / "lines").read_text().splitlines()]
        return [Line(*words[:2], *map(int, words[2:4])) for words in lines]

    def living(self) -> list[Line]:
        """Return the beginnings of attempts that live."""
        return [line for line in self.lines() if line.what == "begin" and lives(line.number)]

    def check(self, store: SqliteStore, run_id: str) -> RunRecord:
        """Check what must hold at any moment, whoever lives or is dead."""
        with _one_moment(store):
            run = store.get_run(run_id)
            tasks = store.list_tasks(run_id, TaskFilter())
            changes, _ = store.changes(run_id, 0, 100_000)
            rows = store._connection.execute(
                "SELECT a.* FROM attempts a JOIN runs r USING (run) WHERE r.id = ?", (run_id,)
            ).fetchall()
        self._check_states(run, tasks)
        # Where generated tasks come again at other positions, the log takes them for each other.
        if not self.repeats_all:
            played = play(changes, dependencies_of(tasks), generators_of(tasks))
            states = {task.spec.id: (task.state, task.attempt) for task in tasks}
            assert disagreements(played, states) == []
        attempts = {row[:3]: row for row in rows}
        changed = {key: row for key, row in self.seen.items() if attempts.get(key) != row}
        assert not changed, f"ended attempts changed: {changed}"
        self.seen = attempts
        self._check_lines(self.lines(), tasks)  # read last: what the store knows was told before
        return run

    def _check_states(self, run: RunRecord, tasks: list[TaskRecord]) -> None:
        counted = Counter(task.state for task in tasks)
        assert run.counts == {state: counted[state] for state in TaskState}
        assert run.total == len(tasks)
        assert run.ended_at is None or all(task.state in TERMINAL for task in tasks)
        assert all(task.losses <= MOST_LOSSES for task in tasks)

    def _check_lines(self, lines: list[Line], tasks: list[TaskRecord]) -> None:
        assert not [line for line in lines if line.what == "twice"], "two attempts of a task lived"
        beside = max((line.number for line in lines if line.what == "beside"), default=0)
        assert beside <= self.cap, f"{beside} at once"
        dependencies = dependencies_of(tasks)
        completed: set[str] = set()
        begun: set[tuple[str, int]] = set()
        stopped = False
        for line in lines:
            if line.what == "begin":
                early = dependencies.get(line.task, set()) - completed
                assert not early, f"{line.task} began before {early} completed"
                assert (line.task, line.attempt) not in begun, f"{line} began twice"
                assert not stopped, f"{line} began after the run was cancelled"
                begun.add((line.task, line.attempt))
            elif line.what == "killed":
                begun.discard((line.task, line.attempt))
            elif line.what == "end" and line.number == 0:
                completed.add(line.task)
            elif line.what in ("cancelled", "repeated"):
                stopped = line.what == "cancelled"
        if self.repeats_all:
            return
        for (_, task, attempt, *_), row in self.seen.items():
            if row[3] == "completed":
                assert task in completed, f"{task} completed without having said so"
                again = [a for name, a in begun if name == task and a > attempt]
                assert not again, f"{task} completed and ran again as {again}"

    def check_end(self, store: SqliteStore, run_id: str) -> None:
        """Check what must hold when the run has ended and every hutctl has left."""
        assert self.check(store, run_id).ended_at is not None
        assert not self.living(), "tasks outlived their run"
        # What was killed may take a moment until it is gone.
        wait_until(lambda: not list(_processes_of(self.folder)))
        (answer,) = store._connection.execute("PRAGMA integrity_check").fetchone()
        assert answer == "ok"
        home = self.home / "runs" / run_id
        assert [path.name for path in home.rglob(".slot-*")] == []
        run, tasks = store.get_run(run_id), store.list_tasks(run_id, TaskFilter())
        attempts = store.list_attempts(run_id, [task.position for task in tasks])
        for task in tasks:
            known = attempts.get(task.position, [])
            for number in (each.number for each in known if each.outcome.exit_code == 0):
                said = f"{task.spec.id} {number}"
                for kind, whole in (
                    ("out", f"out {said}\nlast {said}\n"),
                    ("err", f"err {said}\n"),
                ):
                    part = read_attempt_log(
                        home / "logs", run, task, kind, attempts=known, attempt=number, offset=0
                    )
                    assert part.content.decode() == whole, f"the log of {said}"


def lives(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@contextmanager
def _one_moment(store: SqliteStore) -> Iterator[None]:
    """Let everything that is read inside be as it stood at one moment."""
    store._connection.execute("BEGIN")
    try:
        yield
    finally:
        store._connection.execute("COMMIT")


def _processes_of(folder: Path) -> Iterator[str]:
    """Yield the command lines of processes that work for a folder."""
    for name in os.listdir("/proc"):
        if not name.isdigit() or not lives(int(name)):
            continue
        try:
            if os.readlink(f"/proc/{name}/cwd") == str(folder) and int(name) != os.getpid():
                yield Path(f"/proc/{name}/cmdline").read_text()
        except OSError:  # it has ended, or is somebody else's
            continue
