"""Which of identical attempts leads, in SQLite. Its transactions protect what `hut.store.twins` asks for."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from hut.scheduling.twins import Follower, Twin, twin_handle
from hut.store.port import AttemptKey

__all__ = ["Twins"]


class _Writing(Protocol):
    """What the rest of the store gives."""

    _connection: sqlite3.Connection

    def batch(self) -> AbstractContextManager[None]: ...

    def release_claims(self, run_id: str, keys: Sequence[AttemptKey]) -> int: ...

    def _number(self, run_id: str) -> int: ...


class Twins:
    """The part of `SqliteStore` that implements `hut.store.twins`."""

    def lead(
        self: _Writing, wishes: Mapping[str, Twin], instead: Mapping[str, Twin] | None = None
    ) -> dict[str, Twin]:
        """Let attempts lead under digests that nobody leads under; return who does now, by digest."""
        leaders: dict[str, Twin] = {}
        with self.batch():
            for digest, twin in wishes.items():
                row = self._connection.execute(
                    "SELECT r.id, t.pos, t.attempt, t.epoch FROM twins t JOIN runs r USING (run) "
                    "WHERE t.digest = ?",
                    (digest,),
                ).fetchone()
                known = None if row is None else Twin(*row)
                if known is None or known == (instead or {}).get(digest):
                    self._connection.execute(
                        "INSERT OR REPLACE INTO twins (digest, run, pos, attempt, epoch) "
                        "VALUES (?, ?, ?, ?, ?)",
                        (digest, self._number(twin.run_id), *twin[1:]),
                    )
                    known = twin
                leaders[digest] = known
        return leaders

    def join(
        self: _Writing, run_id: str, joining: Sequence[tuple[str, Follower]]
    ) -> list[Follower]:
        """Let attempts of a run follow leaders, under digests; return those that do."""
        joined: list[Follower] = []
        with self.batch():
            run = self._number(run_id)
            for digest, follower in joining:
                twin, leader = follower
                changed = self._connection.execute(
                    "UPDATE tasks SET handle = ? WHERE run = ? AND pos = ? AND attempt = ? "
                    "AND epoch = ? AND state = 'submitted' AND handle IS NULL AND EXISTS ("
                    "SELECT 1 FROM twins t JOIN runs r USING (run) WHERE t.digest = ? "
                    "AND r.id = ? AND t.pos = ? AND t.attempt = ? AND t.epoch = ?)",
                    (twin_handle(leader), run, *twin[1:], digest, *leader),
                ).rowcount
                if changed:
                    joined.append(follower)
        return joined

    def leave(self: _Writing, run_id: str, followers: Sequence[Follower]) -> int:
        """Give back attempts of a run that follow; the attempt does not count. Return how many."""
        with self.batch():
            run = self._number(run_id)
            following = [
                AttemptKey(*twin[1:])
                for twin, leader in followers
                if self._connection.execute(
                    "SELECT 1 FROM tasks WHERE run = ? AND pos = ? AND attempt = ? AND epoch = ? "
                    "AND handle = ?",
                    (run, *twin[1:], twin_handle(leader)),
                ).fetchone()
            ]
            return self.release_claims(run_id, following)
