"""One command runs an attempt; any other waits for it and tells the same result.

SSM has no idempotency token, so a command may come twice. Each attempt has a folder with a lock that its
command holds. The folder is made under another name, locked, and then renamed, which fails where it
exists already: so nobody ever sees it without the lock held, and there is one owner. The kernel gives a
lock back when its holder dies, with the instance too; who then gets it and finds no result knows
that the holder died, and tells what it left: a task that may have run is never run again.

    attempts/<name>/lock      held by the command that runs the attempt
    attempts/<name>/started   written before the task is started: its process or container
    attempts/<name>/output    what the task wrote, until it is shipped
    attempts/<name>/result    the report; until then there is room for it
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from typing import Any

from hut.backends.ec2.host.calls import Stop

__all__ = ["Attempt", "state_folder"]

_LOOK = 0.5
_ROOM = 64 * 1024  # bytes for the report, on a disk that the task may fill


def state_folder() -> str:
    """Return the folder the agent keeps what it knows in; only root can look into it."""
    return os.environ.get("HUT_HOST_DIR") or "/var/lib/hut"


class Attempt:
    """The folder of an attempt.

    Attributes
    ----------
    is_first
        Whether this command is the one to run it.
    """

    def __init__(self, name: str) -> None:
        parent = os.path.join(state_folder(), "attempts")
        os.makedirs(parent, mode=0o700, exist_ok=True)
        self.folder = os.path.join(parent, name)
        self.is_first = self._claim(os.path.join(parent, f".{name}.{os.getpid()}"))
        if self.is_first:
            _clear(parent, self.folder)

    @property
    def output(self) -> str:
        """The file the task writes to."""
        return os.path.join(self.folder, "output")

    def _claim(self, own: str) -> bool:
        if os.path.isdir(self.folder):
            self._lock = os.open(os.path.join(self.folder, "lock"), os.O_RDWR)
            return False
        shutil.rmtree(own, ignore_errors=True)
        os.mkdir(own, 0o700)
        self._lock = os.open(os.path.join(own, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        with open(os.path.join(own, "room"), "wb") as file:
            file.write(bytes(_ROOM))
        try:
            os.rename(own, self.folder)
        except OSError:  # somebody else was first: a folder that is not empty is not replaced
            os.close(self._lock)
            shutil.rmtree(own, ignore_errors=True)
            self._lock = os.open(os.path.join(self.folder, "lock"), os.O_RDWR)
            return False
        return True

    def wait(self, stop: Stop) -> None:
        """Wait until the command that came first has ended, or died.

        Raises
        ------
        Stopped
            If this agent is told to end; the first one goes on.
        """
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                stop.sleep(_LOOK)
            else:
                return

    def started(self) -> dict[str, Any] | None:
        """Return what is known about the task's process, if it may have been started."""
        return self._read("started")

    def note_started(self, what: dict[str, Any]) -> None:
        """Keep what another command needs to end the task, before it is started.

        Raises
        ------
        OSError
            If that can't be kept: then the task must not be started.
        """
        self._write("started", what)

    def note_process(self, pid: int, start: str, boot: str) -> None:
        """Keep which process the task is, if there is room for it."""
        with contextlib.suppress(OSError):
            self._write(
                "started", {**(self.started() or {}), "pid": pid, "start": start, "boot": boot}
            )

    def result(self) -> dict[str, Any] | None:
        """Return the report of the command that ran the attempt."""
        return self._read("result")

    def note_result(self, report: dict[str, Any]) -> None:
        """Keep the report for commands that come again, in the room that was kept for it.

        If it can't be kept all the same, only this command tells it.
        """
        with contextlib.suppress(OSError):
            os.remove(os.path.join(self.folder, "room"))
        with contextlib.suppress(OSError):
            self._write("result", report)

    def remove_output(self) -> None:
        """Remove what the task wrote: it is elsewhere now."""
        with contextlib.suppress(OSError):
            os.remove(self.output)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8") as file:
                return dict(json.load(file))
        except FileNotFoundError:
            return None
        except ValueError:  # writes are atomic; a disk that lost power may still hold nothing
            return {}

    def _write(self, name: str, what: dict[str, Any]) -> None:
        path = os.path.join(self.folder, name)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            json.dump(what, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.new", path)


def _clear(parent: str, own: str) -> None:
    """Remove what earlier attempts have written and could not ship; what they were stays known."""
    for name in os.listdir(parent):
        folder = os.path.join(parent, name)
        if folder != own and not _is_held(folder):
            with contextlib.suppress(OSError):
                os.remove(os.path.join(folder, "output"))


def _is_held(folder: str) -> bool:
    try:
        lock = os.open(os.path.join(folder, "lock"), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
