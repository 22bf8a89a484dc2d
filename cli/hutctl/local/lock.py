"""One engine per run: a lock that the system lets go when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["RunLock", "holder_of"]


class RunLock:
    """An exclusive lock on a run's folder.

    Parameters
    ----------
    folder
        The run's folder; made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock; False if a living process has it."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let the lock go."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def holder_of(folder: Path) -> int | None:
    """Return the process id of the engine that drives a run, or None if there is none."""
    lock = RunLock(folder)
    if not (folder / "lock").exists() or lock.acquire():
        lock.release()
        return None
    try:
        return int((folder / "lock").read_text())
    except (OSError, ValueError):
        return 0  # it holds the lock, but has not written its number yet
