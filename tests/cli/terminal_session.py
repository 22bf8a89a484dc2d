"""hutctl on a terminal of its own: a pseudo-terminal that keeps everything written to it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator

from tests.hutctl_process import Hut

ROWS, COLUMNS = 30, 100
CTRL_C = b"\x03"
_MOVES = re.compile(r"\x1b\[(\d*)([A-Z])|\x1b\[[\d;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+|\x1b")


class Terminal:
    """A terminal in which one hutctl runs; `screen` is what it has written so far."""

    def __init__(self, pid: int, master: int) -> None:
        self.pid = pid
        self.screen = ""
        self._master = master
        self._written = bytearray()
        self._status: int | None = None

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def wait_for(self, condition: Callable[[str], object], seconds: float = 30.0) -> None:
        """Read until the screen satisfies a condition; fail if it never does."""
        until = time.monotonic() + seconds
        while not condition(self.screen):
            assert time.monotonic() < until, f"it never came:\n{self.screen!r}"
            if not self._read(0.05) and self._ended():
                assert condition(self.screen), f"it ended before:\n{self.screen!r}"
                return

    def end(self, seconds: float = 60.0) -> int:
        """Read to the end of the process; return its exit code."""
        until = time.monotonic() + seconds
        while not self._ended():
            assert time.monotonic() < until, f"it never ended:\n{self.screen!r}"
            self._read(0.05)
        while self._read(0.05):
            pass
        assert self._status is not None
        return os.waitstatus_to_exitcode(self._status)

    def visible(self) -> list[str]:
        """Return the lines a person sees, after all that was overwritten and erased."""
        lines, row, column = [""], 0, 0
        for match in _MOVES.finditer(self.screen):
            part, count, move = match[0], int(match[1] or 1), match[2]
            if part == "\r":
                column = 0
            elif part == "\n":
                row += 1
                if row == len(lines):
                    lines.append("")
            elif move == "A":
                row = max(row - count, 0)
            elif move == "K":
                lines[row] = ""
            elif not part.startswith("\x1b"):
                line = lines[row].ljust(column)
                lines[row] = line[:column] + part + line[column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in lines]

    def close(self) -> None:
        """Leave nothing behind."""
        if not self._ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._master)

    def _ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status is not None

    def _read(self, seconds: float) -> bool:
        """Take in what was written; say whether anything was."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            part = os.read(self._master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # how Linux says that nobody holds the other side
                raise
            return False
        self._written += part
        self.screen = self._written.decode(errors="replace")
        return bool(part)


@contextlib.contextmanager
def on_terminal(hut: Hut, *arguments: str, **environment: str) -> Iterator[Terminal]:
    """Run hutctl in a terminal of 100 columns and 30 rows."""
    env = {**hut.env, "TERM": "xterm-256color", **environment}
    for name in ("COLUMNS", "LINES"):
        env.pop(name, None)
    if "NO_COLOR" not in environment:
        env.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "hutctl", *arguments]
    ready, go = os.pipe()
    pid, master = pty.fork()
    if pid == 0:  # the child: nothing but system calls until it is hutctl
        try:
            os.read(ready, 1)  # the size is set by now
            os.chdir(hut.folder)
            os.execve(command[0], command, env)
        finally:
            os._exit(127)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    os.write(go, b"1")
    os.close(go)
    os.close(ready)
    terminal = Terminal(pid, master)
    try:
        yield terminal
    finally:
        terminal.close()
