"""Tables of the SQLite store, and how an older file becomes a current one.

``PRAGMA user_version`` holds the version of the file. Each migration runs in the transaction that
raises the version, so a crash leaves the old version or the new one, and two processes that open an
old file at once migrate it once.

The table ``form`` says which version a Hut must know to read and write the file. A migration that
others need not know of (a table, a column with a default) leaves that as it is, so the Hut before goes
on with the file; one that they must know of raises it, and then they refuse the file and leave it alone.
Statements name the columns they write, because there may be more (docs/decisions/018-forms.md).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hut.store.port import StoreError

__all__ = ["MIGRATIONS", "check_version", "migrate"]

_VERSION_1 = (
    # The row of a run is written in every batch: keep it short. Counts stand in columns of their
    # own, so that a transition adds to them instead of rewriting a document.
    """
    CREATE TABLE runs (
        run INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        workflow TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        message TEXT NOT NULL DEFAULT '',
        owner TEXT NOT NULL,
        created_at REAL NOT NULL,
        started_at REAL,
        ended_at REAL,
        total INTEGER NOT NULL,
        pending INTEGER NOT NULL,
        submitted INTEGER NOT NULL DEFAULT 0,
        running INTEGER NOT NULL DEFAULT 0,
        completed INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        dep_failed INTEGER NOT NULL DEFAULT 0,
        barriers INTEGER NOT NULL DEFAULT 0,
        has_edges INTEGER NOT NULL DEFAULT 0,
        first_change INTEGER NOT NULL DEFAULT 0,
        epoch INTEGER NOT NULL DEFAULT 0,
        stop_reason TEXT,
        stopped_at REAL
    )
    """,
    "CREATE INDEX runs_by_time ON runs (created_at, id)",
    # Settings are read once per command, but the row above is rewritten all the time.
    "CREATE TABLE settings (run INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    """
    CREATE TABLE idempotency (
        key TEXT PRIMARY KEY, run INTEGER NOT NULL, body_digest TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    # What never changes of a task is apart from what does: a transition rewrites ~100 bytes,
    # whatever the length of the command.
    """
    CREATE TABLE specs (
        run INTEGER NOT NULL,
        pos INTEGER NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        created_at REAL NOT NULL,
        generated_by INTEGER,
        PRIMARY KEY (run, pos)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX specs_by_id ON specs (run, id)",
    """
    CREATE TABLE tasks (
        run INTEGER NOT NULL,
        pos INTEGER NOT NULL,
        state TEXT NOT NULL,
        remaining INTEGER NOT NULL,
        priority INTEGER NOT NULL,
        backend TEXT NOT NULL,
        not_before REAL NOT NULL DEFAULT 0,
        attempt INTEGER NOT NULL DEFAULT 0,
        epoch INTEGER NOT NULL DEFAULT 0,
        retries_used INTEGER NOT NULL DEFAULT 0,
        losses INTEGER NOT NULL DEFAULT 0,
        reason TEXT,
        message TEXT,
        exit_code INTEGER,
        submitted_at REAL,
        started_at REAL,
        ended_at REAL,
        handle TEXT,
        cause INTEGER,
        PRIMARY KEY (run, pos)
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX tasks_ready ON tasks (run, priority DESC, pos)
        WHERE state = 'pending' AND remaining = 0
    """,
    "CREATE INDEX tasks_active ON tasks (run, pos) WHERE state IN ('submitted', 'running')",
    # source completes -> target waits for one less. Tasks are their position, barrier b is -1 - b.
    """
    CREATE TABLE edges (
        run INTEGER NOT NULL, source INTEGER NOT NULL, target INTEGER NOT NULL,
        PRIMARY KEY (run, source, target)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE barriers (
        run INTEGER NOT NULL,
        node INTEGER NOT NULL,
        remaining INTEGER NOT NULL,
        failed INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (run, node)
    ) WITHOUT ROWID
    """,
    # Written once, when an attempt has ended; no statement updates or deletes a row.
    """
    CREATE TABLE attempts (
        run INTEGER NOT NULL,
        task TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        exit_code INTEGER,
        message TEXT,
        submitted_at REAL,
        started_at REAL,
        ended_at REAL NOT NULL,
        backend TEXT NOT NULL,
        handle TEXT,
        PRIMARY KEY (run, task, attempt)
    ) WITHOUT ROWID
    """,
    # The log of all transitions, in order; the cursor of `changes` is its rowid.
    """
    CREATE TABLE changes (
        n INTEGER PRIMARY KEY,
        run INTEGER NOT NULL,
        at REAL NOT NULL,
        pos INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        exit_code INTEGER
    )
    """,
)

_VERSION_2 = (
    "ALTER TABLE runs ADD COLUMN cost REAL",
    "ALTER TABLE runs ADD COLUMN cost_lost REAL",
    "ALTER TABLE runs ADD COLUMN losses INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE attempts ADD COLUMN cost REAL",
)

_VERSION_3 = (
    "CREATE TABLE form (needs INTEGER NOT NULL)",
    "INSERT INTO form (needs) VALUES (3)",
)

_VERSION_4 = (
    "ALTER TABLE runs ADD COLUMN open INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE runs ADD COLUMN held INTEGER NOT NULL DEFAULT 0",
    # Where a ready task stands within its priority: see `hut.scheduling.order`, whose `NEW` is 1.
    "ALTER TABLE tasks ADD COLUMN rank INTEGER NOT NULL DEFAULT 1",
    "DROP INDEX tasks_ready",
    """
    CREATE INDEX tasks_ready ON tasks (run, priority DESC, rank, pos)
        WHERE state = 'pending' AND remaining = 0
    """,
    # Pieces of tasks that were added to runs, by the key each was sent under.
    """
    CREATE TABLE additions (
        run INTEGER NOT NULL, key TEXT NOT NULL, digest TEXT NOT NULL, first INTEGER NOT NULL,
        PRIMARY KEY (run, key)
    ) WITHOUT ROWID
    """,
)

# Which attempt leads those of identical tasks, until its run ends; whether it is under way, it says itself.
_VERSION_5 = (
    """
    CREATE TABLE twins (
        digest TEXT PRIMARY KEY,
        run INTEGER NOT NULL,
        pos INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        epoch INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX twins_by_run ON twins (run)",
)

_VERSION_6 = (
    """
    CREATE TABLE definitions (
        name TEXT NOT NULL, version TEXT NOT NULL, body TEXT NOT NULL, by TEXT NOT NULL,
        at REAL NOT NULL, PRIMARY KEY (name, version)
    )
    """,
)

MIGRATIONS: tuple[Sequence[str], ...] = (
    *(_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6),
)
"""Statements that lead from version i to version i + 1."""


def migrate(
    connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> None:
    """Bring the file to the newest version; one that is newer still and may be used stays as it is.

    Raises
    ------
    StoreError
        If the file needs a newer Hut.
    """
    newest = len(migrations)
    if check_version(connection, migrations) >= newest:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Again: another process may have migrated meanwhile.
        version = check_version(connection, migrations)
        for statements in migrations[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {max(version, newest)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def check_version(
    connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> int:
    """Return the version of the file.

    Raises
    ------
    StoreError
        If the file needs a newer Hut.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations) and (needs := _needs(connection, version)) > len(migrations):
        raise StoreError(
            f"the store has schema version {version} and needs a Hut that knows {needs}, but this "
            f"one knows {len(migrations)} at most; use the newer Hut, or another HUT_HOME"
        )
    return int(version)


def _needs(connection: sqlite3.Connection, version: int) -> int:
    """Return the version a Hut must know to use the file."""
    try:
        row = connection.execute("SELECT max(needs) FROM form").fetchone()
    except sqlite3.OperationalError:  # it has no such table
        return version
    return version if row[0] is None else int(row[0])
