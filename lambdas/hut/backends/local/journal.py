"""What is noted of starts and ends, so that nothing depends on one process living.

The engine notes each start when it has happened; a script's last act is to note its own exit code.
Each is one small append. Before a script does anything it looks for the *gate* of its engine's
epoch. Whoever takes over from a killed engine removes all gates first (`fence`), and they are never
made again: a script that has not passed by then ends without having run anything. One that has
passed is either noted or, if its engine died in the moment between the start and the note, a process
that can be found by what its command line says.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hut.script import Journal

__all__ = ["JournalFiles", "NotedEnd", "NotedStart"]


@dataclass(frozen=True, slots=True)
class NotedStart:
    """An attempt runs as process `pid` and writes to slot `slot`."""

    pid: int
    at: float | None
    slot: str


@dataclass(frozen=True, slots=True)
class NotedEnd:
    """A script said that it ends with `exit_code`.

    Slot and process are what the note of its start says too, unless its engine died before that;
    scripts of an earlier Hut tell neither.
    """

    exit_code: int
    at: float | None
    slot: str = ""
    pid: int | None = None


class JournalFiles:
    """The journal of one run.

    Parameters
    ----------
    folder
        Belongs to the run; made if it is missing.
    epoch
        That of the engine which writes.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        self._folder = folder
        self._gate = folder / f"gate-{epoch}"
        self._starts = folder / "starts"
        self._ends = folder / "ends"
        self._descriptor = self._ended = -1

    def open(self) -> None:
        """Let scripts of this epoch begin."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(_open_healed(self._ends))
        self._descriptor = _open_healed(self._starts)
        self._gate.touch(mode=0o600)

    def close(self) -> None:
        """Stop noting starts; scripts that run may still note their ends."""
        for descriptor in (self._descriptor, self._ended):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._ended = -1

    @property
    def paths(self) -> Journal:
        """What scripts need to know."""
        return Journal(gate=str(self._gate), ends=str(self._ends))

    def note_start(self, name: str, start: NotedStart) -> None:
        """Note that an attempt runs."""
        line = f"S {name} {start.pid} {start.at} {start.slot} .\n".encode()
        if os.write(self._descriptor, line) < len(line):  # the next line would be a part of this
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._starts))

    def note_end(self, name: str) -> None:
        """Note that an attempt is over, where its script does not."""
        if self._ended < 0:
            self._ended = os.open(self._ends, os.O_WRONLY | os.O_APPEND)
        os.write(self._ended, f"E {name} 0 0 - .\n".encode("ascii"))

    def restart(self, living: Mapping[str, NotedStart]) -> None:
        """Forget all attempts but those that live."""
        partial = self._starts.with_suffix(".new")
        lines = (f"S {name} {one.pid} {one.at} {one.slot} .\n" for name, one in living.items())
        partial.write_text("".join(lines))
        partial.replace(self._starts)
        os.truncate(self._ends, 0)
        os.close(self._descriptor)
        self._descriptor = _open_healed(self._starts)

    def fence(self) -> dict[str, NotedStart]:
        """Shut out scripts that have not begun yet; return all noted starts of this run's life."""
        for gate in self._folder.glob("gate-*"):
            with suppress(FileNotFoundError):
                gate.unlink()
        return {
            words[1]: NotedStart(int(words[2]), _time(words[3]), words[4])
            for words in _entries(self._starts, "S")
        }

    def ends(self) -> dict[str, NotedEnd]:
        """Return the ends that scripts have noted so far."""
        return {
            words[1]: NotedEnd(int(words[2]), _time(words[3]), _slot(words[4]), _number(words[5:6]))
            for words in _entries(self._ends, "E")
        }


def _open_healed(path: Path) -> int:
    """Open a file to append to it; a torn last line gets an end, so that no other one suffers."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
    return descriptor


def _entries(path: Path, kind: str) -> list[list[str]]:
    """Return the words of each line that is whole: it ends with a full stop."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return []
    lines = (line.split(" ") for line in text.split("\n")[:-1])
    return [
        words
        for words in lines
        if len(words) >= 5 and words[0] == kind and words[-1] == "." and words[2].isdigit()
    ]


def _slot(text: str) -> str:
    """Read ``$HUT_SLOT``: a command may have set it to anything, and it is a part of paths."""
    epoch, _, number = text.partition("-")
    return text if epoch.isdigit() and number.isdigit() else ""


def _number(words: list[str]) -> int | None:
    return int(words[0]) if words and words[0].isdigit() else None


def _time(text: str) -> float | None:
    """Read ``$EPOCHREALTIME``: empty in old shells, with a comma in some locales."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None
