"""What `hutctl doctor` looks at on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import tempfile
from pathlib import Path

from hut.model.states import TERMINAL_RUN, RunState
from hut.store.port import RunFilter
from hut.store.sqlite import SqliteStore
from hutctl.local.home import Home
from hutctl.local.lock import RunLock, holder_of
from hutctl.local.runner import usable_cores

__all__ = ["diagnose"]

_LEAST_FREE = 500 * 1024 * 1024


def diagnose(home: Home, store: SqliteStore) -> list[tuple[str, bool, str]]:
    """Return what was looked at, whether it is well, and what was found."""
    return [
        ("python", True, f"{platform.python_version()} on {platform.system()}"),
        ("cores", True, f"{usable_cores()}: so many tasks run at once"),
        _shell(),
        _space(home),
        _locks(home),
        ("sqlite", sqlite3.sqlite_version_info >= (3, 7, 0), sqlite3.sqlite_version),
        _store(store),
        _abandoned(home, store),
    ]


def _shell() -> tuple[str, bool, str]:
    bash = shutil.which("bash")
    if bash is None:
        return ("shell", False, "bash is not installed; tasks run with sh, maybe without pipefail")
    return ("shell", True, bash)


def _space(home: Home) -> tuple[str, bool, str]:
    free = shutil.disk_usage(home.path).free
    writable = os.access(home.path, os.W_OK)
    found = f"{home.path}, {free / 2**30:,.1f} GiB free"
    return ("home", writable and free > _LEAST_FREE, found + ("" if writable else ", not writable"))


def _locks(home: Home) -> tuple[str, bool, str]:
    """See whether locks work there: on some network file systems they don't."""
    with tempfile.TemporaryDirectory(dir=home.path, prefix=".doctor-") as folder:
        first, second = RunLock(Path(folder)), RunLock(Path(folder))
        works = first.acquire() and not second.acquire()
        first.release()
        second.release()
    found = "exclude each other" if works else "don't work here; put HUT_HOME on a local disk"
    return ("locks", works, found)


def _store(store: SqliteStore) -> tuple[str, bool, str]:
    fault = store.check()
    return ("store", fault is None, fault or "sound")


def _abandoned(home: Home, store: SqliteStore) -> tuple[str, bool, str]:
    open_states = [state for state in RunState if state not in TERMINAL_RUN]
    left = [
        run.id
        for run in store.list_runs(RunFilter(states=open_states, limit=100))
        if holder_of(home.run_folder(run.id)) is None
    ]
    if not left:
        return ("runs", True, "none is left without a hutctl that works on it")
    return ("runs", False, f"nobody works on {', '.join(left)}; hutctl resume or cancel them")
