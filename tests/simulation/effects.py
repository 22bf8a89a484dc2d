"""Makes a process die before any one of its effects, by its number, as ``kill -9`` would.

An effect is what outlives the process: a commit, a file made, written, renamed or removed, a task
started, a signal sent. Between two effects a process only thinks, so dying before each of them in
turn is dying everywhere.
"""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["install"]

_write, _open = os.write, os.open


class _Fate:
    """Counts effects and ends the process before one of them.

    Parameters
    ----------
    dies_before
        Number of the effect that never happens, or how what is said of it begins; None to live.
    tears
        Of a write that never happens, the first half does.
    told
        Gets a line for each effect.
    """

    def __init__(
        self, dies_before: int | str | None, tears: bool, told: Path, full_from: int | None
    ) -> None:
        self.number = 0
        self.dies_before, self.tears, self.full_from = dies_before, tears, full_from
        self._told = _open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def meet(
        self, what: str, path: object = None, torn: Callable[[], object] | None = None
    ) -> None:
        self.number += 1
        fatal = self.dies_before
        dies = what.startswith(fatal) if isinstance(fatal, str) else self.number == fatal
        said = "dies before" if dies else ""
        _write(self._told, f"    {os.getpid()} {self.number:3} {said} {what}\n".encode())
        if self.full_from is not None and self.number >= self.full_from:
            if what == "commit":
                raise sqlite3.OperationalError("database or disk is full")
            if what.startswith(("make ", "write ")):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        if dies:
            if torn is not None and self.tears:
                torn()
            os.kill(os.getpid(), signal.SIGKILL)


def install(
    dies_before: int | str | None,
    told: Path,
    *,
    tears: bool = False,
    full_from: int | None = None,
) -> None:
    """Number the effects of this process from now on; it can't be undone.

    Parameters
    ----------
    full_from
        From this effect on there is no room on the disk.
    """
    fate = _Fate(dies_before, tears, told, full_from)

    def wrap(name: str, tell: Callable[..., str | None]) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if (what := tell(*arguments)) is not None:
                fate.meet(what, arguments[0])
            return real(*arguments, **options)

        setattr(os, name, call)

    wrap("posix_spawn", lambda _path, arguments, *_: f"start {_entry(arguments)}")
    wrap("rename", lambda old, new: f"rename {_name(old)} to {_name(new)}")
    wrap("unlink", lambda path: f"remove {_name(path)}")
    wrap("mkdir", lambda path, *_: f"make the folder {_name(path)}")
    wrap("killpg", lambda group, number: f"send {signal.Signals(number).name} to {group}")
    wrap("open", lambda path, flags, *_: f"make {_name(path)}" if flags & os.O_CREAT else None)

    def write(descriptor: int, content: bytes) -> int:
        half = content[: len(content) // 2]
        fate.meet(f"write {content!r}", torn=lambda: _write(descriptor, half))
        return _write(descriptor, content)

    os.write = write
    _watch_commits(fate)


def _watch_commits(fate: _Fate) -> None:
    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if sql == "COMMIT" or sql.startswith("PRAGMA journal_mode ="):
                fate.meet(sql.lower())
            return super().execute(sql, *values)

    real = sqlite3.connect

    def connect(path: Any, **options: Any) -> sqlite3.Connection:
        return real(path, factory=Connection, **options)

    sqlite3.connect = connect  # type: ignore[assignment]


def _name(path: Any) -> str:
    return os.path.basename(os.fspath(path))


def _entry(arguments: list[str]) -> str:
    """Name an attempt by its script: its second line says whose it is."""
    lines = arguments[-1].splitlines()
    return lines[1].rpartition(", task ")[2] if len(lines) > 1 else _name(arguments[-1])
