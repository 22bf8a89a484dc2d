"""The life of attempts in the SQLite store: claimed, given back, started, ended.

Its transactions protect what each condition has read: writers exclude each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hut.lifecycle.money import spending
from hut.lifecycle.retry import Spent
from hut.model.states import TaskState
from hut.scheduling.room import is_spent, room
from hut.scheduling.twins import speaks_of
from hut.store.encoding import decode_spec
from hut.store.port import AttemptKey, Claim, ClaimRequest, End, Start, UnknownRun
from hut.store.sqlite.dependencies import release
from hut.store.sqlite.rows import GONE, Active, attempt_row, end_change, task_row
from hut.store.sqlite.writing import Writing

__all__ = ["Attempts"]

_CHUNK = 500  # below SQLite's oldest limit of 999 bound values


class Attempts(Writing):
    """The part of `SqliteStore` that begins and ends attempts."""

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

    def _extend(self, run: int, end: End) -> None:
        """Let tasks join; those behind a task that has failed already are ``dep_failed``."""
        assert end.adds is not None  # noqa: S101 - the caller checked
        (backend,) = self._connection.execute(
            "SELECT backend FROM tasks WHERE run = ? AND pos = ?", (run, end.key.position)
        ).fetchone()
        self._join(run, end.adds, end.at, backend, end.key.position)
