"""Where the sides of a pool find each other: ``$HUT_HOME/pools/<pool>/``, for its owner only.

``runs/<run>.json`` says how to reach the engine that serves a run, with the token it asks for. The file
is locked as long as the engine lives, however it dies; one that ended its run has removed it. The
folder ``workers/<name>/`` is a worker's own, with a lock of the same kind; ``draining`` in either folder
says that the pool, or the worker, takes nothing new. ``ended`` is touched when a run of the pool has ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from hutctl.local.home import Home

__all__ = ["POOL_NAME", "Endpoint", "HeldFile", "PoolFolder", "list_pools"]

POOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""How pools of this machine and workers may be called: it names a folder."""

_DRAINING = "draining"
_ENDED = "ended"


class Endpoint(NamedTuple):
    """How to reach an engine; `token` is what it asks for."""

    run: str
    port: int
    token: str
    pid: int
    lives: bool = True


class HeldFile:
    """A file that says something as long as its process lives: others see by its lock whether it does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def write(self, document: dict[str, Any]) -> None:
        """Write the file, whole or not at all, and hold it."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, json.dumps(document).encode())
        os.replace(partial, self.path)
        self._descriptor = descriptor

    def release(self, *, remove: bool) -> None:
        """Hold the file no more; leave it, so that others see that its process is gone, or remove it."""
        if self._descriptor < 0:
            return
        if remove:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self.path), os.fstat(self._descriptor)):
                    self.path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1


def read_held(path: Path) -> tuple[dict[str, Any], bool] | None:
    """Return what a held file says, and whether its process lives; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            lives = False
        except BlockingIOError:
            lives = True
        try:
            document = json.loads(file.read(100_000))
        except ValueError:
            return None
    return (document, lives) if isinstance(document, dict) else None


@dataclass(frozen=True, slots=True)
class PoolFolder:
    """The folder of a pool."""

    path: Path

    @classmethod
    def of(cls, home: Home, pool: str) -> Self:
        """Return the folder of a pool; it need not be there."""
        return cls(home.path / "pools" / pool)

    @property
    def name(self) -> str:
        """What the pool is called."""
        return self.path.name

    def create(self) -> None:
        """Make the folder if it is missing, for its owner only."""
        for folder in (self.path.parent, self.path, self.path / "runs", self.path / "workers"):
            folder.mkdir(exist_ok=True, mode=0o700)

    def endpoint_file(self, run_id: str) -> HeldFile:
        """Return the file by which workers find a run's engine."""
        return HeldFile(self.path / "runs" / f"{run_id}.json")

    def endpoints(self) -> Iterator[Endpoint]:
        """Yield how to reach the engines there are, those included that died."""
        for path in sorted((self.path / "runs").glob("[!.]*.json")):
            if (found := read_held(path)) is not None:
                document, lives = found
                with suppress(KeyError, TypeError, ValueError):
                    yield Endpoint(
                        str(document["run"]),
                        int(document["port"]),
                        str(document["token"]),
                        int(document["pid"]),
                        lives,
                    )

    def note_end(self) -> None:
        """Note that a run has ended here."""
        (self.path / _ENDED).touch(mode=0o600)

    def has_ended_since(self, at: float) -> bool:
        """Say whether a run has ended here after a time, in seconds since 1970."""
        try:
            return (self.path / _ENDED).stat().st_mtime >= at
        except FileNotFoundError:
            return False

    def worker_folder(self, name: str) -> Path:
        """Return the folder of a worker."""
        return self.path / "workers" / name

    def workers(self) -> Iterator[tuple[str, dict[str, Any], bool]]:
        """Yield name, what is said of it, and whether it lives, of each worker that left a trace."""
        for path in sorted((self.path / "workers").glob("*/worker.json")):
            if (found := read_held(path)) is not None:
                yield path.parent.name, *found

    def is_draining(self, worker: str | None = None) -> bool:
        """Say whether the pool, or a worker, is to take nothing new."""
        return self._flag(worker).exists()

    def drain(self, worker: str | None, draining: bool) -> None:
        """Say that the pool, or a worker, is to take nothing new, or again."""
        if draining:
            self._flag(worker).touch(mode=0o600)
        else:
            self._flag(worker).unlink(missing_ok=True)

    def _flag(self, worker: str | None) -> Path:
        return (self.path if worker is None else self.worker_folder(worker)) / _DRAINING


def list_pools(home: Home) -> list[PoolFolder]:
    """Return the folders of all pools of this machine, by name."""
    folder = home.path / "pools"
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return [PoolFolder.of(home, name) for name in names if POOL_NAME.fullmatch(name)]
