"""What task scripts note of their own start and end, so that nothing depends on one process living.

A script's first act is to append its start to a file in the folder ``live``, its last to append its
exit code to the file ``ends``; each is one small append. Whoever takes over from a killed engine
renames ``live`` first (`fence`): a script that has not noted its start by then can't, and ends
without having run anything. So after the fence, the notes name every attempt that ever ran.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hut.script import Journal

__all__ = ["JournalFiles", "NotedEnd", "NotedStart"]


@dataclass(frozen=True, slots=True)
class NotedStart:
    """A script said that it runs as process `pid` and writes to slot `slot`."""

    pid: int
    at: float | None
    slot: str


@dataclass(frozen=True, slots=True)
class NotedEnd:
    """A script said that it ends with `exit_code`."""

    exit_code: int
    at: float | None


class JournalFiles:
    """The journal of one run.

    Parameters
    ----------
    folder
        Belongs to the run; made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends = folder / "ends"

    def open(self) -> None:
        """Let scripts note their starts."""
        (self._folder / "live").mkdir(parents=True, exist_ok=True)

    @property
    def paths(self) -> Journal:
        """Where scripts note what they do."""
        return Journal(str(self._folder / "live" / "starts"), str(self._ends))

    def fence(self) -> dict[str, NotedStart]:
        """Shut out scripts that have not started yet; return all that have, of this run's life."""
        live = self._folder / "live"
        fences = sum(1 for _ in self._folder.glob("fenced-*"))
        with suppress(FileNotFoundError):
            live.rename(self._folder / f"fenced-{fences}")
        found: dict[str, NotedStart] = {}
        for number in range(fences + 1):
            folder = self._folder / f"fenced-{number}"
            for words in _entries(folder / "starts", "S"):
                found[words[1]] = NotedStart(int(words[2]), _time(words[3]), words[4])
        return found

    def ends(self) -> dict[str, NotedEnd]:
        """Return the ends that scripts have noted so far."""
        return {
            words[1]: NotedEnd(int(words[2]), _time(words[3]))
            for words in _entries(self._ends, "E")
        }


def _entries(path: Path, kind: str) -> list[list[str]]:
    """Return the words of each complete line, at least five; a torn last line is left out."""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return []
    lines = (line.split(" ") for line in text.split("\n")[:-1])
    return [
        [*words, "", ""]
        for words in lines
        if len(words) >= 3 and words[0] == kind and words[2].isdigit()
    ]


def _time(text: str) -> float | None:
    """Read ``$EPOCHREALTIME``: empty in old shells, with a comma in some locales."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None
