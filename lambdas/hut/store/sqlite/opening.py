"""How the SQLite file is opened: for its owner only, in WAL mode, never one that a newer Hut wrote."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import suppress
from pathlib import Path

from hut.store.port import StoreError
from hut.store.sqlite.schema import check_version, migrate

__all__ = ["open_file"]

_LOCK_SECONDS = 60.0


def open_file(path: Path) -> sqlite3.Connection:
    """Open the file, or make it, in today's form.

    Raises
    ------
    StoreError
        If the file can't be opened or is from a newer version.
    """
    try:
        _keep_private(path)
        connection = sqlite3.connect(
            path, timeout=_LOCK_SECONDS, isolation_level=None, cached_statements=256
        )
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"can't open the store {path}: {error}") from error
    try:
        check_version(connection)  # before anything is written to a newer file
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages; each one syncs
        migrate(connection)
    except (sqlite3.Error, StoreError) as error:
        connection.close()
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"can't open the store {path}: {error}") from error
    return connection


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
