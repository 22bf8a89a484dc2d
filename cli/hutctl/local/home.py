"""Where Hut keeps its state on this machine: ``$HUT_HOME``, by default the XDG data folder.

``hut.db`` is the store; ``runs/<id>/`` holds the logs, the journal and the lock of a run. Only the
owner can read any of it: commands and logs may hold secrets.
"""

from __future__ import annotations

import errno
import os
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
        """Make the folder if it is missing, for its owner only."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except FileExistsError:
            raise NotADirectoryError(
                errno.ENOTDIR, "is a file, not a folder; set HUT_HOME to a folder", str(self.path)
            ) from None


def find_home() -> Home:
    """Return the home that the environment names."""
    named = os.environ.get("HUT_HOME")
    if named:
        return Home(Path(named).expanduser().absolute())
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Home(Path(data).expanduser() / "hut")
