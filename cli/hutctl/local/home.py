"""Where Hut keeps its state on this machine: ``$HUT_HOME``, by default the XDG data folder.

``hut.db`` is the store; ``runs/<id>/`` holds the logs, the journal and the lock of a run. Only the
owner can read any of it, whatever the umask is: commands and logs may hold secrets. Whoever can put
files into the folder decides what `hutctl` runs, so one that others can write to is refused.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Home", "find_home"]


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of the local state."""

    path: Path

    @property
    def database(self) -> Path:
        """The store's file."""
        return self.path / "hut.db"

    def run_folder(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.path / "runs" / run_id

    def create(self) -> None:
        """Make the folder if it is missing, for its owner only.

        Raises
        ------
        PermissionError
            If it is another user's, or if everybody may write to it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except FileExistsError:
            raise NotADirectoryError(
                errno.ENOTDIR, "is a file, not a folder; set HUT_HOME to a folder", str(self.path)
            ) from None
        _refuse_shared(self.path)
        runs = self.path / "runs"
        runs.mkdir(exist_ok=True, mode=0o700)
        if stat.S_IMODE(runs.stat().st_mode) != 0o700:
            runs.chmod(0o700)


def _refuse_shared(folder: Path) -> None:
    """Refuse a folder in which others could replace what `hutctl` reads, sticky or not."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        told = "belongs to another user; set HUT_HOME to a folder of your own"
    elif found.st_mode & stat.S_IWOTH:
        told = "can be written by everybody; set HUT_HOME to a folder inside it, or take that away"
    else:
        return
    raise PermissionError(errno.EPERM, told, str(folder))


def find_home() -> Home:
    """Return the home that the environment names."""
    named = os.environ.get("HUT_HOME")
    if named:
        return Home(Path(named).expanduser().absolute())
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Home(Path(data).expanduser() / "hut")
