"""The SQLite store: what is done to a run as a whole.

Every public operation is one ``BEGIN IMMEDIATE`` transaction, or part of the one that `batch` has
open: writers exclude each other, and what a condition read still holds when its write happens. The
file is in WAL mode with ``synchronous=NORMAL``: a killed process loses nothing it committed, a power
cut may lose the last moments but never leaves half a transaction.
"""

from __future__ import annotations

import sqlite3

from hut.lifecycle.run import end_of_run, may_end
from hut.model.records import RunRecord
from hut.model.states import Reason, read_reason
from hut.planning.plan import Extension
from hut.store.additions import check_close, check_room, check_whole
from hut.store.encoding import encode_settings
from hut.store.port import (
    IdempotencyConflict,
    NewRun,
    RunExists,
    StoreError,
)
from hut.store.sqlite.attempts import Attempts
from hut.store.sqlite.dependencies import recount
from hut.store.sqlite.growth import add_tasks, withdraw_generated
from hut.store.sqlite.registry import SqliteRegistry
from hut.store.sqlite.twins import Twins
from hut.store.sqlite.writing import STATES

__all__ = ["SqliteStore"]


class SqliteStore(Attempts, Twins):
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
                for state in STATES
            )
            self._connection.execute(
                "UPDATE runs SET state = 'pending', reason = NULL, message = '', ended_at = NULL, "
                "stop_reason = NULL, stopped_at = NULL, started_at = NULL, "
                f"total = (SELECT count(*) FROM tasks WHERE run = ?1), {sums} WHERE run = ?1",
                (run,),
            )
            return len(rows)
