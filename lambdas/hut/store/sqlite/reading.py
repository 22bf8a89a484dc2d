"""Queries of the SQLite store: rows become records. Nothing here writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any

from hut.model.records import Attempt, Change, Outcome, RunRecord, RunSettings, TaskRecord
from hut.model.states import Reason, RunState, TaskState, read_reason
from hut.planning.patterns import IdIndex, is_pattern
from hut.store.additions import check_key
from hut.store.encoding import decode_settings, decode_spec
from hut.store.port import Dependency, RunFilter, TaskFilter, UnknownRun
from hut.store.sqlite.growth import find_positions

__all__ = ["Reading"]

_CHUNK = 500  # below SQLite's oldest limit of 999 bound values

_RUN = """
    SELECT r.run, r.id, r.workflow, r.state, r.reason, r.message, r.owner, r.created_at,
           r.started_at, r.ended_at, r.total, r.pending, r.submitted, r.running, r.completed,
           r.failed, r.dep_failed, r.stopped_at, r.epoch, r.cost, r.cost_lost, r.losses,
           r.open, r.held
    FROM runs r
"""
_TASK = """
    SELECT t.pos, s.id, s.body, t.state, t.reason, t.message, t.exit_code, t.attempt, t.remaining,
           t.not_before, t.retries_used, t.losses, s.created_at, t.submitted_at, t.started_at,
           t.ended_at, t.epoch, t.backend, t.handle, s.generated_by, t.cause
    FROM tasks t JOIN specs s USING (run, pos)
"""


class Reading:
    """The reading half of `SqliteStore`."""

    _connection: sqlite3.Connection
    _settings: dict[int, RunSettings]

    def get_run(self, run_id: str) -> RunRecord:
        """Return a run by its full id."""
        row = self._connection.execute(f"{_RUN} WHERE r.id = ?", (run_id,)).fetchone()
        if row is None:
            raise UnknownRun(f"there is no run {run_id!r}")
        return self._run(row)

    def find_runs(self, prefix: str, limit: int = 10) -> list[RunRecord]:
        """Return runs whose id begins with `prefix`, newest first."""
        rows = self._connection.execute(
            f"{_RUN} WHERE substr(r.id, 1, ?) = ? ORDER BY r.created_at DESC, r.id DESC LIMIT ?",
            (len(prefix), prefix, limit),
        )
        return [self._run(row) for row in rows]

    def list_runs(self, query: RunFilter) -> list[RunRecord]:
        """Return a page of runs, newest first."""
        where = ["1"]
        values: list[Any] = []
        if query.states is not None:
            where.append(f"r.state IN ({_marks(query.states)})")
            values.extend(query.states)
        if query.workflow is not None:
            where.append("r.workflow = ?")
            values.append(query.workflow)
        if query.owner is not None:
            where.append("r.owner = ?")
            values.append(query.owner)
        if query.before is not None:
            where.append("(r.created_at, r.id) < (?, ?)")
            values.extend(query.before)
        rows = self._connection.execute(
            f"{_RUN} WHERE {' AND '.join(where)} ORDER BY r.created_at DESC, r.id DESC LIMIT ?",
            (*values, -1 if query.tags else query.limit),
        )
        # Tags are in the settings: they are matched here, so the page is cut here.
        runs = (self._run(row) for row in rows)
        return list(islice(filter(query.has_tags, runs), query.limit))

    def list_tasks(self, run_id: str, query: TaskFilter) -> list[TaskRecord]:
        """Return a page of tasks in document order."""
        where = ["t.run = ?", "t.pos > ?"]
        values: list[Any] = [self._number(run_id), query.after]
        if query.states is not None:
            where.append(f"t.state IN ({_marks(query.states)})")
            values.extend(query.states)
        limit = query.limit
        if query.match is not None and not is_pattern(query.match):
            where.append("s.id = ?")
            values.append(query.match)
        elif query.match is not None:
            limit = None  # the pattern is matched here, so the page is cut here
        cursor = self._connection.execute(
            f"{_TASK} WHERE {' AND '.join(where)} ORDER BY t.pos LIMIT ?",
            (*values, -1 if limit is None else limit),
        )
        rows = cursor.fetchall()
        if query.match is not None and is_pattern(query.match):
            matching = IdIndex([row[1] for row in rows]).match(query.match)
            rows = [rows[i] for i in matching[: query.limit]]
        return [_task(row) for row in rows]

    def get_task(self, run_id: str, task_id: str) -> TaskRecord | None:
        """Return a task by its id."""
        row = self._connection.execute(
            f"{_TASK} WHERE s.run = ? AND s.id = ?", (self._number(run_id), task_id)
        ).fetchone()
        return None if row is None else _task(row)

    def get_tasks(self, run_id: str, positions: Collection[int]) -> dict[int, TaskRecord]:
        """Return tasks by their positions; those that don't exist are left out."""
        run, wanted = self._number(run_id), list(positions)
        found: dict[int, TaskRecord] = {}
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            rows = self._connection.execute(
                f"{_TASK} WHERE t.run = ? AND t.pos IN ({_marks(chunk)})", (run, *chunk)
            )
            found |= {row[0]: _task(row) for row in rows}
        return found

    def task_ids(self, run_id: str) -> list[str]:
        """Return the ids of all tasks in document order."""
        rows = self._connection.execute(
            "SELECT id FROM specs WHERE run = ? ORDER BY pos", (self._number(run_id),)
        )
        return [task_id for (task_id,) in rows]

    def find_positions(self, run_id: str, ids: Collection[str]) -> dict[str, int]:
        """Return the positions of those of `ids` that are tasks of the run; cheap for a few."""
        return find_positions(self._connection, self._number(run_id), ids)

    def has_added(self, run_id: str, key: str, digest: str = "") -> bool:
        """Say whether tasks joined a run under a key."""
        known = self._connection.execute(
            "SELECT digest FROM additions WHERE run = ? AND key = ?", (self._number(run_id), key)
        ).fetchone()
        if known is not None:
            check_key(key, known[0], digest)
        return known is not None

    def list_attempts(self, run_id: str, positions: Sequence[int]) -> dict[int, list[Attempt]]:
        """Return the ended attempts of tasks, oldest first; tasks without any are left out."""
        run = self._number(run_id)
        found: dict[int, list[Attempt]] = {}
        for start in range(0, len(positions), _CHUNK):
            chunk = positions[start : start + _CHUNK]
            for position, number, state, reason, code, message, *rest in self._connection.execute(
                f"""
                SELECT s.pos, a.attempt, a.state, a.reason, a.exit_code, a.message,
                       a.submitted_at, a.started_at, a.ended_at, a.backend, a.handle,
                       NULL, a.cost
                FROM specs s JOIN attempts a ON a.run = s.run AND a.task = s.id
                WHERE s.run = ? AND s.pos IN ({_marks(chunk)}) ORDER BY s.pos, a.attempt
                """,
                (run, *chunk),
            ):
                why = read_reason(reason) or Reason.OTHER
                outcome = Outcome(TaskState(state), why, code, message or "")
                found.setdefault(position, []).append(Attempt(number, outcome, *rest))
        return found

    def open_dependencies(
        self, run_id: str, position: int, limit: int
    ) -> tuple[list[Dependency], int]:
        """Return dependencies of a task that have not completed, the first few, and their number."""
        run = self._number(run_id)
        # Edges are stored by their source; looking for a target reads all of the run's. Only
        # people ask this.
        which = """
            FROM tasks t JOIN specs s USING (run, pos) WHERE t.run = ?1 AND t.state != 'completed'
            AND t.pos IN (
                SELECT source FROM edges WHERE run = ?1 AND source >= 0 AND (
                    target = ?2 OR target IN
                    (SELECT source FROM edges WHERE run = ?1 AND source < 0 AND target = ?2)))
        """
        rows = self._connection.execute(
            f"SELECT s.id, t.state {which} ORDER BY t.pos LIMIT ?3", (run, position, limit)
        ).fetchall()
        (total,) = self._connection.execute(f"SELECT count(*) {which}", (run, position)).fetchone()
        return [Dependency(task_id, TaskState(state)) for task_id, state in rows], total

    def next_retry(self, run_id: str, now: float) -> float | None:
        """Return when the next delayed retry may start, if one waits."""
        (at,) = self._connection.execute(
            "SELECT min(not_before) FROM tasks "
            "WHERE run = ? AND state = 'pending' AND remaining = 0 AND not_before > ?",
            (self._number(run_id), now),
        ).fetchone()
        return None if at is None else float(at)

    def changes(self, run_id: str, cursor: int, limit: int = 1000) -> tuple[list[Change], int]:
        """Return transitions behind `cursor` (0: from the start) and the cursor to go on from."""
        rows = self._connection.execute(
            """
            SELECT c.n, c.at, c.pos, s.id, c.attempt, c.state, c.reason, c.exit_code
            FROM runs r JOIN changes c ON c.run = r.run
            JOIN specs s ON s.run = c.run AND s.pos = c.pos
            WHERE r.id = ? AND c.n > max(?, r.first_change) ORDER BY c.n LIMIT ?
            """,
            (run_id, cursor, limit),
        ).fetchall()
        found = [
            Change(at, pos, task_id, attempt, TaskState(state), read_reason(reason), exit_code)
            for _, at, pos, task_id, attempt, state, reason, exit_code in rows
        ]
        return found, rows[-1][0] if rows else cursor

    def list_running(self, run_id: str, limit: int) -> list[tuple[str, int, float]]:
        """Return id, attempt and start of the tasks that have run longest."""
        rows = self._connection.execute(
            "SELECT s.id, t.attempt, t.started_at FROM tasks t JOIN specs s USING (run, pos) "
            "WHERE t.run = ? AND t.state = 'running' ORDER BY t.started_at LIMIT ?",
            (self._number(run_id), limit),
        )
        return rows.fetchall()

    def last_change(self) -> int:
        """Return the cursor behind everything that has happened in any run."""
        (number,) = self._connection.execute("SELECT ifnull(max(n), 0) FROM changes").fetchone()
        return int(number)

    def check(self) -> str | None:
        """Return what is wrong with the file, or None if SQLite finds it sound."""
        (answer,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        return None if answer == "ok" else str(answer)

    def data_version(self) -> int:
        """Return a number that differs once another process has written (cheap, no disk access)."""
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _run(self, row: Any) -> RunRecord:
        (
            number,
            run_id,
            workflow,
            state,
            reason,
            message,
            owner,
            created,
            started,
            ended,
            total,
        ) = row[:11]
        counts = dict(zip(TaskState, row[11:17], strict=True))
        stopped_at, epoch, cost, cost_lost, losses, is_open, held = row[17:]
        return RunRecord(
            id=run_id,
            workflow=workflow,
            state=RunState(state),
            reason=read_reason(reason),
            message=message,
            owner=owner,
            created_at=created,
            started_at=started,
            ended_at=ended,
            total=total,
            counts=counts,
            settings=self._settings_of(number),
            cancel_requested_at=stopped_at,
            epoch=epoch,
            cost=cost,
            cost_lost=cost_lost,
            losses=losses,
            open=bool(is_open),
            held=bool(held),
        )

    def _settings_of(self, run: int) -> RunSettings:
        """Return what was fixed when the run was submitted: it is read once."""
        settings = self._settings.get(run)
        if settings is None:  # they may hold large environments
            (body,) = self._connection.execute(
                "SELECT body FROM settings WHERE run = ?", (run,)
            ).fetchone()
            settings = self._settings[run] = decode_settings(body)
        return settings

    def _number(self, run_id: str) -> int:
        row = self._connection.execute("SELECT run FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise UnknownRun(f"there is no run {run_id!r}")
        return int(row[0])


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))


def _task(row: Any) -> TaskRecord:
    (pos, task_id, spec, state, reason, message, exit_code, attempt, remaining) = row[:9]
    (not_before, retries_used, losses, created, submitted, started, ended) = row[9:16]
    epoch, backend, handle, generated_by, cause = row[16:]
    return TaskRecord(
        position=pos,
        spec=decode_spec(task_id, spec),
        state=TaskState(state),
        reason=read_reason(reason),
        message=message or "",
        exit_code=exit_code,
        attempt=attempt,
        waiting_for=remaining,
        not_before=not_before,
        retries_used=retries_used,
        losses=losses,
        created_at=created,
        submitted_at=submitted,
        started_at=started,
        ended_at=ended,
        epoch=epoch,
        backend=backend,
        handle=handle,
        generated_by=generated_by,
        cause=cause,
    )
