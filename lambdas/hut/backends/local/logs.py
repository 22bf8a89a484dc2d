"""The log files of attempts: ``<position>-<task>.<attempt>.out`` and ``.err`` in the run's folder.

The position in front keeps ids apart that a file system would take for the same, or for a path.

Creating or renaming a file is by far the dearest part of starting a short task, so an attempt writes
into the open files of its *slot* first. They get the attempt's name as soon as they hold something
(`publish`, a few times per second, and when it ends), and the slot gets new ones. An attempt that
printed nothing leaves no file. Whoever takes over from a killed engine learns from the journal which
attempt had which slot, and gives the files their names then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hut.store.port import AttemptKey

__all__ = ["LogFiles", "Slot", "log_path"]

KINDS = ("out", "err")


def log_path(folder: Path, position: int, task_id: str, attempt: int, kind: str) -> Path:
    """Return where an attempt's output (``out``) or errors (``err``) are."""
    return folder / f"{position}-{task_id}.{attempt}.{kind}"


@dataclass(slots=True)
class Slot:
    """The two open files an attempt writes to.

    Attributes
    ----------
    name : str
        Unique among all engines of the run.
    descriptors : list of int
        For output and errors.
    stem : str
        Path of the attempt's files without their ending.
    named : list of bool
        Which of the files have got the attempt's name.
    """

    name: str
    descriptors: list[int] = field(default_factory=lambda: [-1, -1])
    stem: str = ""
    named: list[bool] = field(default_factory=lambda: [False, False])


class LogFiles:
    """Hands out slots and names what was written.

    Parameters
    ----------
    folder
        Made if it is missing.
    epoch
        The run's epoch: engines of one run use different files.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        self._folder = str(folder)
        self._epoch = epoch
        self._free: list[Slot] = []
        self._slots: list[Slot] = []
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def stem(self, position: int, task_id: str, attempt: int) -> str:
        """Return the path of an attempt's files without their ending."""
        return f"{self._folder}/{position}-{task_id}.{attempt}"

    def take(self, stem: str) -> Slot:
        """Return a slot for an attempt whose files are to have the path `stem`."""
        if not self._free:
            slot = Slot(f"{self._epoch}-{len(self._slots)}")
            self._slots.append(slot)
            self._free.append(slot)
        slot = self._free.pop()
        for index, kind in enumerate(KINDS):
            if slot.descriptors[index] < 0:
                slot.descriptors[index] = os.open(
                    self._path(slot.name, kind),
                    os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND,
                    0o600,
                )
        slot.stem = stem
        return slot

    def publish(self, slots: Iterable[Slot], *, empty_too: bool = False) -> None:
        """Give the files of running attempts their names once they hold something."""
        for slot in slots:
            for index, kind in enumerate(KINDS):
                if not slot.named[index] and (
                    empty_too or os.fstat(slot.descriptors[index]).st_size
                ):
                    try:
                        os.rename(self._path(slot.name, kind), f"{slot.stem}.{kind}")
                    except FileNotFoundError:  # the run's folder was removed: nobody reads it
                        os.ftruncate(slot.descriptors[index], 0)
                        continue
                    slot.named[index] = True

    def give_back(self, slot: Slot) -> None:
        """Take the slot of an ended attempt back; what the attempt wrote keeps its name."""
        self.publish((slot,))
        for index, named in enumerate(slot.named):
            if named:
                os.close(slot.descriptors[index])
                slot.descriptors[index] = -1
                slot.named[index] = False
        self._free.append(slot)

    def close(self) -> None:
        """Close all files and remove those that nobody wrote to."""
        for slot in self._slots:
            for index, descriptor in enumerate(slot.descriptors):
                if descriptor >= 0:
                    os.close(descriptor)
                    slot.descriptors[index] = -1
        for slot in self._free:
            for kind in KINDS:
                _remove(self._path(slot.name, kind))
        self._slots.clear()
        self._free.clear()

    def name_left_behind(self, slot_name: str, key: AttemptKey, task_id: str) -> None:
        """Name the files of an attempt whose engine died before it could."""
        for kind in KINDS:
            path = self._path(slot_name, kind)
            target = f"{self._folder}/{key.position}-{task_id}.{key.attempt}.{kind}"
            if os.path.exists(path) and not os.path.exists(target):
                os.rename(path, target)

    def remove_left_behind(self) -> None:
        """Remove slot files of dead engines that belong to no attempt any more."""
        for entry in os.scandir(self._folder):
            if entry.name.startswith(".slot-") and not entry.name.startswith(
                f".slot-{self._epoch}-"
            ):
                _remove(entry.path)

    def _path(self, name: str, kind: str) -> str:
        return f"{self._folder}/.slot-{name}.{kind}"


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
