"""What a worker that was killed left running, and who ends it.

A worker notes what it starts. Beside it a shell waits for its end: one that did not say that all is well is
followed by this module, as a program, which kills what is noted. So does the next worker of the pool on this
machine, for all that died.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from hut.backends.local import LocalBackend, LocalOptions
from hutctl.local.pool.places import PoolFolder, read_held

__all__ = ["Warden", "end_leftovers", "tidy"]

_WATCH = 'read -r word || exec "$@"'


class Warden:
    """The shell that watches over a worker."""

    def __init__(self, folder: Path) -> None:
        reader, self._writer = os.pipe()
        command = [sys.executable, "-m", "hutctl.worker.leftovers", str(folder)]
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "sh", *command],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reader)

    def dismiss(self) -> None:
        """Say that nothing is left."""
        with suppress(OSError):
            os.write(self._writer, b"done\n")
        os.close(self._writer)
        self._shell.wait()


def end_leftovers(folder: Path) -> int:
    """Kill what a dead worker left running, and remove its folder; return how many it was.

    A worker that lives is left alone.
    """
    found = read_held(folder / "worker.json")
    if found is not None and found[1]:
        return 0
    count = LocalBackend(LocalOptions(folder)).kill_noted()
    shutil.rmtree(folder, ignore_errors=True)
    return count


def tidy(folder: PoolFolder) -> int:
    """End what all dead workers of a pool on this machine left running; return how much it was."""
    return sum(
        end_leftovers(folder.worker_folder(name))
        for name, _, lives in folder.workers()
        if not lives
    )


if __name__ == "__main__":
    end_leftovers(Path(sys.argv[1]))
