"""The writing half of the SQLite store.

Every public operation is one ``BEGIN IMMEDIATE`` transaction, or part of the one that `batch` has
open: writers exclude each other, and what a condition read still holds when its write happens. The
file is in WAL mode with ``synchronous=NORMAL``: a killed process loses nothing it committed, a power
cut may lose the last moments but never leaves half a transaction.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hut.lifecycle.money import spending
from hut.lifecycle.retry import Spent
from hut.lifecycle.run import end_of_run, may_end
from hut.model.records import RunRecord
from hut.model.states import Reason, TaskState, read_reason
from hut.planning.plan import Extension
from hut.scheduling.room import is_spent, room
from hut.scheduling.twins import speaks_of
from hut.store.additions import check_close, check_room, check_whole
from hut.store.encoding import decode_spec, encode_settings
from hut.store.port import (
    AttemptKey,
    Claim,
    ClaimRequest,
    End,
    IdempotencyConflict,
    NewRun,
    RunExists,
    Start,
    StoreError,
    UnknownRun,
)
from hut.store.sqlite.dependencies import propagate_failure, recount, release
from hut.store.sqlite.growth import add_tasks, join_tasks, withdraw_generated
from hut.store.sqlite.reading import Reading
from hut.store.sqlite.registry import SqliteRegistry
from hut.store.sqlite.rows import GONE, Active, attempt_row, end_change, task_row
from hut.store.sqlite.schema import check_version, migrate
from hut.store.sqlite.twins import Twins

__all__ = ["SqliteStore"]

_LOCK_SECONDS = 60.0
_STATES = tuple(TaskState)
_ADD_COUNTS = "UPDATE runs SET " + ", ".join(f"{s} = {s} + ?" for s in _STATES) + " WHERE run = ?"
_CHUNK = 500  # below SQLite's oldest limit of 999 bound values


class SqliteStore(Reading, Twins):
    """Runs in one SQLite file.

    Parameters
    ----------
    path
        The file; created if it does not exist. Only its owner can read it: commands may hold secrets.

    Raises
    ------
    StoreError
        If the file can't be opened or is from a newer version.
    """

    def __init__(self, path: Path) -> None:
        try:
            _keep_private(path)
            self._connection = sqlite3.connect(
                path, timeout=_LOCK_SECONDS, isolation_level=None, cached_statements=256
            )
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"can't open the store {path}: {error}") from error
        try:
            check_version(self._connection)  # before anything is written to a newer file
            _use_wal(self._connection)
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages; each one syncs
            migrate(self._connection)
        except (sqlite3.Error, StoreError) as error:
            self._connection.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"can't open the store {path}: {error}") from error
        self._depth = 0
        self._edges_of: dict[int, bool] = {}
        self._settings = {}

    def run_of_key(self, key: str) -> str | None:
        """Return the id of the run that was created under an idempotency key."""
        row = self._connection.execute(
            "SELECT r.id FROM idempotency i JOIN runs r USING (run) WHERE i.key = ?", (key,)
        ).fetchone()
        return None if row is None else str(row[0])

    @property
    def registry(self) -> SqliteRegistry:
        """The task registry, in the same file."""
        return SqliteRegistry(self._connection, self.batch)

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

    def create_run(self, new: NewRun) -> RunRecord:
        """Store a run with all its tasks, or nothing of it."""
        with self.batch():
            if new.idempotency_key is not None:
                known = self._connection.execute(
                    "SELECT r.id, i.body_digest FROM idempotency i JOIN runs r USING (run) "
                    "WHERE i.key = ?",
                    (new.idempotency_key,),
                ).fetchone()
                if known is not None:
                    if known[1] != (new.body_digest or ""):
                        raise IdempotencyConflict(
                            f"the idempotency key {new.idempotency_key!r} was used for run "
                            f"{known[0]} with another workflow; use a new key"
                        )
                    return self.get_run(known[0])
            try:
                cursor = self._connection.execute(
                    "INSERT INTO runs (id, workflow, state, owner, created_at, total, pending, "
                    "open, held, first_change) SELECT ?, ?, 'pending', ?, ?, 0, 0, ?, ?, "
                    "(SELECT ifnull(max(n), 0) FROM changes)",
                    (
                        *(new.id, new.workflow, new.owner, new.created_at),
                        *(new.settings.open, new.settings.held),
                    ),
                )
            except sqlite3.IntegrityError:
                raise RunExists(f"there is a run {new.id!r} already") from None
            run = cursor.lastrowid
            if run is None:  # pragma: no cover - SQLite always knows the row it inserted
                raise StoreError("the run could not be stored")
            self._connection.execute(
                "INSERT INTO settings (run, body) VALUES (?, ?)",
                (run, encode_settings(new.settings)),
            )
            add_tasks(
                self._connection, run, new.tasks, new.graph, new.created_at, new.settings.backend
            )
            if new.idempotency_key is not None:
                self._connection.execute(
                    "INSERT INTO idempotency (key, run, body_digest) VALUES (?, ?, ?)",
                    (new.idempotency_key, run, new.body_digest or ""),
                )
            return self.get_run(new.id)

    def begin_epoch(self, run_id: str, now: float) -> RunRecord:
        """Note that an engine takes the run up; claims of earlier epochs can be told apart."""
        with self.batch():
            self._connection.execute(
                "UPDATE runs SET epoch = epoch + 1, started_at = ifnull(started_at, ?), "
                "state = CASE state WHEN 'pending' THEN 'running' ELSE state END WHERE id = ?",
                (now, run_id),
            )
            return self.get_run(run_id)

    def claim(self, request: ClaimRequest) -> list[Claim]:
        """Take ready tasks: higher priority first, then by their rank, then document order."""
        with self.batch():
            row = self._connection.execute(
                "SELECT run, submitted + running, stop_reason, cost, held FROM runs WHERE id = ?",
                (request.run_id,),
            ).fetchone()
            if row is None:
                raise UnknownRun(f"there is no run {request.run_id!r}")
            run, active, stopped, cost, held = row
            if stopped is not None or held or is_spent(cost, request.caps):
                return []
            on_backend = 0
            if request.caps.backend is not None:
                (on_backend,) = self._connection.execute(
                    "SELECT count(*) FROM tasks "
                    "WHERE state IN ('submitted', 'running') AND backend = ?",
                    (request.backend,),
                ).fetchone()
            wanted = room(
                request.at_most,
                request.caps,
                active_in_run=active,
                active_on_backend=on_backend,
            )
            if not wanted:
                return []
            rows = self._connection.execute(
                "SELECT t.pos, s.id, s.body, t.attempt, t.retries_used, t.losses "
                "FROM tasks t JOIN specs s USING (run, pos) "
                "WHERE t.run = ? AND t.state = 'pending' AND t.remaining = 0 "
                "AND t.not_before <= ? AND t.backend = ? "
                "ORDER BY t.priority DESC, t.rank, t.pos LIMIT ?",
                (run, request.now, request.backend, wanted),
            ).fetchall()
            self._connection.executemany(
                "UPDATE tasks SET state = 'submitted', attempt = ?, epoch = ?, submitted_at = ?, "
                "started_at = NULL, ended_at = NULL, reason = NULL, message = NULL, "
                "exit_code = NULL, handle = NULL, cause = NULL WHERE run = ? AND pos = ?",
                [
                    (attempt + 1, request.epoch, request.now, run, pos)
                    for pos, _, _, attempt, _, _ in rows
                ],
            )
            if self._settings_of(run).record == "all":
                self._log(
                    run, request.now, [(r[0], r[3] + 1, "submitted", None, None) for r in rows]
                )
            self._count(run, {TaskState.PENDING: -len(rows), TaskState.SUBMITTED: len(rows)})
            return [
                Claim(
                    AttemptKey(pos, attempt + 1, request.epoch),
                    decode_spec(task_id, body),
                    Spent(retries, losses),
                )
                for pos, task_id, body, attempt, retries, losses in rows
            ]

    def release_claims(self, run_id: str, keys: Sequence[AttemptKey]) -> int:
        """Give claims back whose attempts never started. The attempt does not count."""
        with self.batch():
            run, released = self._number(run_id), 0
            for key in keys:
                released += self._connection.execute(
                    "UPDATE tasks SET state = 'pending', attempt = attempt - 1, epoch = 0, "
                    "submitted_at = NULL, handle = NULL WHERE run = ? AND pos = ? AND attempt = ? "
                    "AND epoch = ? AND state = 'submitted'",
                    (run, key.position, key.attempt, key.epoch),
                ).rowcount
            self._count(run, {TaskState.SUBMITTED: -released, TaskState.PENDING: released})
            if released:
                self._end_pending_if_stopped(run)
            return released

    def move_tasks(self, run_id: str, positions: Sequence[int], old: str, new: str) -> int:
        """Let tasks be claimed under another backend: only pending ones that stand under `old`."""
        with self.batch():
            run = self._number(run_id)
            return sum(
                self._connection.execute(
                    "UPDATE tasks SET backend = ? "
                    "WHERE run = ? AND pos = ? AND backend = ? AND state = 'pending'",
                    (new, run, position, old),
                ).rowcount
                for position in positions
            )

    def record_started(self, run_id: str, starts: Sequence[Start]) -> None:
        """Note that attempts run."""
        with self.batch():
            run = self._number(run_id)
            active = self._active(run, [start.key for start in starts])
            # Popped, so that the second of two starts of one attempt finds nothing.
            known = [s for s in starts if active.pop(s.key, GONE).state == TaskState.SUBMITTED]
            self._connection.executemany(
                "UPDATE tasks SET state = 'running', started_at = ?, handle = ? "
                "WHERE run = ? AND pos = ?",
                [(start.at, start.handle, run, start.key.position) for start in known],
            )
            if self._settings_of(run).record == "all":
                self._log_at(
                    run,
                    [(s.at, s.key.position, s.key.attempt, "running", None, None) for s in known],
                )
            self._count(run, {TaskState.SUBMITTED: -len(known), TaskState.RUNNING: len(known)})

    def record_ended(self, run_id: str, ends: Sequence[End]) -> list[bool]:
        """Note how attempts ended; say for each end whether it was the first to be told."""
        with self.batch():
            run = self._number(run_id)
            settings = self._settings_of(run)
            active = self._active(run, [end.key for end in ends])
            applied: list[bool] = []
            first: list[tuple[End, Active]] = []
            counts: Counter[TaskState] = Counter()
            for end in ends:
                # Popped, so that the second of two ends of one attempt finds nothing.
                before = active.pop(end.key, None)
                if before is not None and not speaks_of(before.handle, end.handle):
                    before = None
                applied.append(before is not None)
                if before is not None:
                    first.append((end, before))
                    counts[TaskState(before.state)] -= 1
                    counts[end.next.state] += 1
            told = first
            if settings.record == "failures":
                told = [each for each in first if each[0].outcome.state is TaskState.FAILED]
            self._connection.executemany(
                "INSERT INTO attempts (run, task, attempt, state, reason, exit_code, message, "
                "submitted_at, started_at, ended_at, backend, handle, cost) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [attempt_row(run, end, before) for end, before in told],
            )
            self._connection.executemany(
                "UPDATE tasks SET state = ?, reason = ?, message = ?, exit_code = ?, "
                "started_at = ?, ended_at = ?, handle = ?, not_before = ?, retries_used = ?, "
                "losses = ?, rank = ? WHERE run = ? AND pos = ?",
                [task_row(run, end, before, settings.retry_order) for end, before in first],
            )
            self._log_at(run, [end_change(end) for end, _ in told])
            self._count(run, counts)
            self._add_up(run, [end for end, _ in first])
            self._follow_up(run, [end for end, _ in first])
            if counts[TaskState.PENDING] > 0 or any(end.adds is not None for end, _ in first):
                self._end_pending_if_stopped(run)
            return applied

    def _add_up(self, run: int, ends: Sequence[End]) -> None:
        """Add what attempts cost, and how many were lost, to the run; mostly there is nothing."""
        spent = spending((end.outcome, end.cost) for end in ends)
        if spent.cost is None and not spent.losses:
            return
        row = self._connection.execute("SELECT cost, cost_lost FROM runs WHERE run = ?", (run,))
        cost, lost = spent.added_to(*row.fetchone())
        self._connection.execute(
            "UPDATE runs SET cost = ?, cost_lost = ?, losses = losses + ? WHERE run = ?",
            (cost, lost, spent.losses, run),
        )

    def _follow_up(self, run: int, ends: Sequence[End]) -> None:
        """Do what follows from ends: tasks that join, dependents that are released or fail."""
        completed = [end for end in ends if end.next.state is TaskState.COMPLETED]
        failed = [end for end in ends if end.next.state is TaskState.FAILED]
        if self._has_edges(run):
            if completed:
                release(self._connection, run, [end.key.position for end in completed])
            if failed:
                now = max(end.at for end in failed)
                roots = {end.key.position: end.key.position for end in failed}
                self._fail_dependents(run, roots, now)
        # Last: tasks that join see all these ends as they stand, and must not be told of them again.
        for end in completed:
            if end.adds is not None and end.adds.tasks:
                self._extend(run, end)

    def _active(self, run: int, keys: Sequence[AttemptKey]) -> dict[AttemptKey, Active]:
        """Return those of `keys` that are active: the condition of every write to an attempt.

        It holds until the end of the transaction, since writers exclude each other.
        """
        found: dict[AttemptKey, Active] = {}
        for start in range(0, len(keys), _CHUNK):
            positions = [key.position for key in keys[start : start + _CHUNK]]
            marks = ", ".join("?" * len(positions))
            for pos, attempt, epoch, *rest in self._connection.execute(
                "SELECT t.pos, t.attempt, t.epoch, t.state, t.submitted_at, t.started_at, "
                "t.backend, t.handle, s.id FROM tasks t JOIN specs s USING (run, pos) "
                f"WHERE t.run = ? AND t.pos IN ({marks}) AND t.state IN ('submitted', 'running')",
                (run, *positions),
            ):
                found[AttemptKey(pos, attempt, epoch)] = Active(*rest)
        return found

    def add_tasks(
        self, run_id: str, adds: Extension, *, key: str, now: float, digest: str = ""
    ) -> bool:
        """Let tasks join an open or a held run, all of them or none."""
        with self.batch():
            run, record = self._number(run_id), self.get_run(run_id)
            if self.has_added(run_id, key, digest):
                return False
            check_room(record)
            self._join(run, adds, now, record.settings.backend)
            self._connection.execute(
                "INSERT INTO additions (run, key, digest, first) VALUES (?, ?, ?, ?)",
                (run, key, digest, adds.graph.first),
            )
            return True

    def release_run(self, run_id: str, now: float) -> RunRecord:  # noqa: ARG002 - others note it
        """Let the tasks of a held run be claimed; one that is not held stays as it is."""
        with self.batch():
            check_whole(self.get_run(run_id))
            self._connection.execute("UPDATE runs SET held = 0 WHERE id = ?", (run_id,))
            return self.get_run(run_id)

    def close_run(self, run_id: str, now: float) -> RunRecord:  # noqa: ARG002 - others note it
        """Take no more tasks into an open run: it ends when those it has do."""
        with self.batch():
            check_close(self.get_run(run_id))
            self._connection.execute("UPDATE runs SET open = 0 WHERE id = ?", (run_id,))
            return self.get_run(run_id)

    def settle(self, run_id: str, now: float) -> RunRecord:
        """End the run if all its tasks have ended; dependents were released with each end."""
        record = self.get_run(run_id)
        if not may_end(record):
            return record
        with self.batch():
            (stopped,) = self._connection.execute(
                "SELECT stop_reason FROM runs WHERE id = ?", (run_id,)
            ).fetchone()
            record = self.get_run(run_id)
            end = end_of_run(record.counts, stopped=read_reason(stopped))
            if end is None or not may_end(record):
                return record
            self._connection.execute(
                "UPDATE runs SET state = ?, reason = ?, message = ?, ended_at = ? WHERE id = ?",
                (end.state, end.reason, end.message, now, run_id),
            )
            self._connection.execute("DELETE FROM twins WHERE run = ?", (self._number(run_id),))
            return self.get_run(run_id)

    def cancel_run(self, run_id: str, reason: Reason, now: float) -> RunRecord:
        """Stop the run: pending tasks end at once, no attempt starts any more."""
        with self.batch():
            if self.get_run(run_id).ended_at is not None:
                return self.get_run(run_id)
            run = self._number(run_id)
            self._connection.execute(
                "UPDATE runs SET stop_reason = ifnull(stop_reason, ?), "
                "stopped_at = ifnull(stopped_at, ?), open = 0 WHERE run = ?",
                (reason, now, run),
            )
            self._end_pending_if_stopped(run)
            return self.get_run(run_id)

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

    def reset_tasks(self, run_id: str, now: float, *, everything: bool = False) -> int:
        """Make tasks that did not complete (or all) pending again; return how many.

        With `everything`, tasks that other tasks generated are withdrawn: their generators run
        again and generate them anew. Their ended attempts stay, and numbering goes on behind them.
        """
        with self.batch():
            run, record = self._number(run_id), self.get_run(run_id)
            if record.ended_at is None:
                raise StoreError(f"run {run_id} has not ended; cancel it, or wait for its end")
            check_whole(record)
            states = "'failed', 'dep_failed'" + (", 'completed'" if everything else "")
            if everything:
                withdraw_generated(self._connection, run)
            rows = self._connection.execute(
                f"SELECT pos, attempt FROM tasks WHERE run = ? AND state IN ({states})",
                (run,),
            ).fetchall()
            if not rows:
                return 0
            self._connection.executemany(
                "UPDATE tasks SET state = 'pending', reason = NULL, message = NULL, "
                "exit_code = NULL, cause = NULL, submitted_at = NULL, started_at = NULL, "
                "ended_at = NULL, handle = NULL, not_before = 0, retries_used = 0, losses = 0, "
                "rank = 1, remaining = 0 WHERE run = ? AND pos = ?",
                [(run, pos) for pos, _ in rows],
            )
            recount(self._connection, run)
            self._log(run, now, [(pos, attempt, "pending", None, None) for pos, attempt in rows])
            sums = ", ".join(
                f"{state} = (SELECT count(*) FROM tasks WHERE run = ?1 AND state = '{state}')"
                for state in _STATES
            )
            self._connection.execute(
                "UPDATE runs SET state = 'pending', reason = NULL, message = '', ended_at = NULL, "
                "stop_reason = NULL, stopped_at = NULL, started_at = NULL, "
                f"total = (SELECT count(*) FROM tasks WHERE run = ?1), {sums} WHERE run = ?1",
                (run,),
            )
            return len(rows)

    def _fail_dependents(self, run: int, failed: Mapping[int, int], now: float) -> None:
        reached = propagate_failure(self._connection, run, failed, now)
        self._log(run, now, [(pos, 0, "dep_failed", "dependency", None) for pos in reached])
        self._count(run, {TaskState.PENDING: -len(reached), TaskState.DEP_FAILED: len(reached)})

    def _extend(self, run: int, end: End) -> None:
        """Let tasks join; those behind a task that has failed already are ``dep_failed``."""
        assert end.adds is not None  # noqa: S101 - the caller checked
        (backend,) = self._connection.execute(
            "SELECT backend FROM tasks WHERE run = ? AND pos = ?", (run, end.key.position)
        ).fetchone()
        self._join(run, end.adds, end.at, backend, end.key.position)

    def _join(
        self, run: int, adds: Extension, now: float, backend: str, generator: int | None = None
    ) -> None:
        failed = join_tasks(self._connection, run, adds, now, backend=backend, generator=generator)
        self._edges_of.pop(run, None)
        if failed:
            self._fail_dependents(run, failed, now)

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
            deltas = [changes.get(state, 0) for state in _STATES]
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


def _keep_private(path: Path) -> None:
    """Make the file if it is missing, and take it and what lies beside it from all but its owner.

    It is never opened here if it exists: closing it would let go of the locks that this process has on it.
    New files beside it get its mode from SQLite.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with suppress(FileNotFoundError, PermissionError):  # it is gone again, or another user's
            if stat.S_IMODE(each.stat().st_mode) & 0o077:
                each.chmod(0o600)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Set the journal mode, which the file keeps.

    SQLite does not wait for a lock here, whatever its timeout: another process that opens the same
    new file may be in the way for a moment.
    """
    until = time.monotonic() + _LOCK_SECONDS
    while True:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            return
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return  # also where WAL is not to be had: in memory, on some file systems
