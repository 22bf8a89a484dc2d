"""Finds what an attempt printed: in the run's log files, or where its task sent it."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from hut.backends.local.logs import log_path
from hut.model.records import Attempt, RunRecord, TaskRecord
from hut.model.states import ACTIVE, TERMINAL
from hut.store.port import StoreError
from hutctl.client import LogPart
from hutctl.local.launching import resolve

__all__ = ["attempt_log_tail", "read_attempt_log"]

_MOST_BYTES = 8 * 1024 * 1024


def read_attempt_log(
    folder: Path,
    run: RunRecord,
    task: TaskRecord,
    kind: str,
    *,
    attempts: Sequence[Attempt],
    attempt: int | None,
    offset: int,
) -> LogPart:
    """Read a log from a byte on, a few MiB at most.

    Parameters
    ----------
    folder
        Where the run's logs are.
    kind
        ``out`` or ``err``.
    attempts
        Those of the task that have ended.
    attempt
        Whose log; None for the latest.
    offset
        Bytes to leave out; negative counts from the end.

    Raises
    ------
    StoreError
        If there is no such attempt, or a later one has overwritten its log.
    """
    number = task.attempt if attempt is None else attempt
    if not 0 <= number <= task.attempt or (attempt is not None and number == 0):
        known = f"1 to {task.attempt}" if task.attempt else "none yet"
        raise StoreError(f"task {task.spec.id!r} has no attempt {attempt}; there are: {known}")
    if number == 0:
        return LogPart(0, b"", ended=task.state in TERMINAL)
    ended = any(known.number == number for known in attempts) or task.state not in ACTIVE
    spec = task.spec
    named = spec.output_file if kind == "out" else spec.error_file
    if named is None:
        path = str(_find_log(folder, task, number, kind))
    elif number == task.attempt:
        path = resolve(run, spec, named)
    else:
        raise StoreError(
            f"the log of attempt {number} is gone: attempt {task.attempt} wrote {named} anew"
        )
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size + offset, 0) if offset < 0 else offset)
            content = file.read(_MOST_BYTES)
            rest = size - file.tell()
    except (FileNotFoundError, NotADirectoryError):  # what printed nothing has no file
        return LogPart(number, b"", ended)
    except OSError as error:
        raise StoreError(f"the log {path} can't be read: {error.strerror}") from None
    return LogPart(number, content, ended and rest <= 0)


def attempt_log_tail(folder: Path, position: int, task_id: str, attempt: int, most: int) -> str:
    """Return the end of what an attempt complained, or else printed; empty if that is not known."""
    for kind in ("err", "out"):
        try:
            with log_path(folder, position, task_id, attempt, kind).open("rb") as file:
                file.seek(max(os.fstat(file.fileno()).st_size - most, 0))
                if text := file.read(most).decode("utf-8", "replace").strip():
                    return text
        except OSError:  # what printed nothing has no file
            continue
    return ""


def _find_log(folder: Path, task: TaskRecord, number: int, kind: str) -> Path:
    """Return where the log of an attempt is.

    A task that was generated again may stand at another position than its earlier attempts did.
    """
    path = log_path(folder, task.position, task.spec.id, number, kind)
    if task.generated_by is None or number == task.attempt or path.exists():
        return path
    rest = f"-{task.spec.id}.{number}.{kind}"
    named = folder.glob(f"*{glob.escape(rest)}")
    return next((other for other in named if other.name.removesuffix(rest).isdigit()), path)
