"""Documents of task programs on this machine: ``documents/`` in the run's folder, for its owner only.

An attempt works in a folder of its own, ``<position>.<attempt>.<epoch>``, which is new: neither output nor
error file is there before. When it is judged, what is kept gets a name that does not change any more,
``<position>-<task>.<attempt>.output.json`` and ``.errors.json``, and the folder goes.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hut.lifecycle.task_program import Judged, Left
from hut.script.calling import json_text
from hut.store.port import AttemptKey

__all__ = ["LARGEST", "Documents", "Files"]

LARGEST = 64 * 1024 * 1024
"""Bytes of an output or an error file."""

Kind = Literal["input", "output", "errors"]


class Files(NamedTuple):
    """Paths of the files that an attempt is invoked with."""

    input: Path
    output: Path
    error: Path


class Documents:
    """The documents of one run.

    Parameters
    ----------
    folder
        The run's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "documents"

    def begin(self, key: AttemptKey, document: str | None) -> Files:
        """Make the folder of an attempt anew, with its input document, if it has one."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = self.files(key)
        shutil.rmtree(files.input.parent, ignore_errors=True)
        files.input.parent.mkdir(mode=0o700)
        if document is not None:
            _write(files.input, document.encode())
        return files

    def left(self, key: AttemptKey) -> Left:
        """Return what an attempt left behind."""
        files = self.files(key)
        output, no_output = _read(files.output)
        error, no_error = _read(files.error)
        return Left(output, error, no_output, no_error)

    def keep(self, key: AttemptKey, task_id: str, judged: Judged) -> None:
        """Keep what an attempt came to; repeated, it comes to the same."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if judged.output is not None:
            _write(self._kept(key.position, task_id, key.attempt, "output"), judged.output)
        if judged.reports:
            reports = json_text(judged.reports).encode()
            _write(self._kept(key.position, task_id, key.attempt, "errors"), reports)

    def forget(self, key: AttemptKey) -> None:
        """Remove the folder of an attempt whose end is stored."""
        shutil.rmtree(self.files(key).input.parent, ignore_errors=True)

    def read(self, position: int, task_id: str, attempt: int, kind: Kind) -> bytes | None:
        """Return a document of an attempt that has ended; None if it has none."""
        with suppress(FileNotFoundError):
            return self._kept(position, task_id, attempt, kind).read_bytes()
        return None

    def reports(self, position: int, task_id: str, attempt: int) -> list[dict[str, Any]]:
        """Return the error reports of an attempt."""
        content = self.read(position, task_id, attempt, "errors")
        found: list[dict[str, Any]] = [] if content is None else json.loads(content)
        return found

    def files(self, key: AttemptKey) -> Files:
        """Return the paths of an attempt's files, whether they are there or not."""
        folder = self._folder / f"{key.position}.{key.attempt}.{key.epoch}"
        return Files(folder / "input.json", folder / "output.json", folder / "error.json")

    def _kept(self, position: int, task_id: str, attempt: int, kind: Kind) -> Path:
        return self._folder / f"{position}-{task_id}.{attempt}.{kind}.json"


def _write(path: Path, content: bytes) -> None:
    """Let a file be there, whole, for its owner only."""
    written = path.with_name(f".{os.urandom(8).hex()}.tmp")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        written.replace(path)
    except BaseException:
        with suppress(OSError):
            written.unlink()
        raise


def _read(path: Path) -> tuple[bytes | None, str]:
    """Return a file's content, or why it can't be read; a program may have put anything there."""
    try:
        # A pipe must not be waited for, and a link may lead to what is not the program's to give.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"can't be read: {error.strerror}"
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None, "is no regular file"
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(content) > LARGEST:
        return None, f"is larger than {LARGEST >> 20} MiB"
    return content, ""
