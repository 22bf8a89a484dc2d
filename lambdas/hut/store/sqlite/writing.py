"""What every write to the SQLite store is made of: its transaction, its counts, its change log.

Beside them stands what several writes bring about: tasks that join, dependents that fail, the end of
what waits in a stopped run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hut.model.states import TaskState
from hut.planning.plan import Extension
from hut.store.sqlite.dependencies import propagate_failure
from hut.store.sqlite.growth import join_tasks
from hut.store.sqlite.opening import open_file
from hut.store.sqlite.reading import Reading

__all__ = ["STATES", "Writing"]

STATES = tuple(TaskState)
_ADD_COUNTS = "UPDATE runs SET " + ", ".join(f"{s} = {s} + ?" for s in STATES) + " WHERE run = ?"


class Writing(Reading):
    """The part of `SqliteStore` under its writes. Every one is inside `batch`."""

    def __init__(self, path: Path) -> None:
        self._connection = open_file(path)
        self._depth = 0
        self._edges_of: dict[int, bool] = {}
        self._settings = {}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Write the calls inside in one transaction; an error inside undoes all of them."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._edges_of.clear()
            if self._connection.in_transaction:  # a full disk ends it by itself, mostly
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._depth = 0

    def _fail_dependents(self, run: int, failed: Mapping[int, int], now: float) -> None:
        reached = propagate_failure(self._connection, run, failed, now)
        self._log(run, now, [(pos, 0, "dep_failed", "dependency", None) for pos in reached])
        self._count(run, {TaskState.PENDING: -len(reached), TaskState.DEP_FAILED: len(reached)})

    def _join(
        self, run: int, adds: Extension, now: float, backend: str, generator: int | None = None
    ) -> None:
        failed = join_tasks(self._connection, run, adds, now, backend=backend, generator=generator)
        self._edges_of.pop(run, None)
        if failed:
            self._fail_dependents(run, failed, now)

    def _end_pending_if_stopped(self, run: int) -> None:
        """End what waits in a stopped run: nothing would ever start it.

        Not only the stop itself calls this. A claim that is given back, a retry that was decided
        before the stop and tasks that join may come after it.
        """
        (stopped_at,) = self._connection.execute(
            "SELECT stopped_at FROM runs WHERE run = ?", (run,)
        ).fetchone()
        if stopped_at is None:
            return
        pending = self._connection.execute(
            "SELECT pos, attempt FROM tasks WHERE run = ? AND state = 'pending'", (run,)
        ).fetchall()
        self._connection.execute(
            "UPDATE tasks SET state = 'failed', reason = 'cancelled', ended_at = ?, "
            "message = ?, exit_code = NULL, not_before = 0 WHERE run = ? AND state = 'pending'",
            (stopped_at, "cancelled before it started", run),
        )
        self._log(run, stopped_at, [(pos, n, "failed", "cancelled", None) for pos, n in pending])
        self._count(run, {TaskState.PENDING: -len(pending), TaskState.FAILED: len(pending)})

    def _has_edges(self, run: int) -> bool:
        known = self._edges_of.get(run)
        if known is None:
            (value,) = self._connection.execute(
                "SELECT has_edges FROM runs WHERE run = ?", (run,)
            ).fetchone()
            known = bool(value)
            # Another process may add tasks that wait to an open run; once there are some, they stay.
            if known or not self._settings_of(run).open:
                self._edges_of[run] = known
        return known

    def _count(self, run: int, changes: dict[TaskState, int] | Counter[TaskState]) -> None:
        if any(changes.values()):
            deltas = [changes.get(state, 0) for state in STATES]
            self._connection.execute(_ADD_COUNTS, (*deltas, run))

    def _log(
        self,
        run: int,
        at: float,
        rows: Sequence[tuple[int, int, str, str | None, int | None]],
    ) -> None:
        self._log_at(run, [(at, *row) for row in rows])

    def _log_at(
        self,
        run: int,
        rows: Sequence[tuple[float, int, int, str, str | None, int | None]],
    ) -> None:
        self._connection.executemany(
            "INSERT INTO changes (run, at, pos, attempt, state, reason, exit_code) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(run, *row) for row in rows],
        )
