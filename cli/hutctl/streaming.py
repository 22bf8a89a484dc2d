"""Adds the lines of a pipe to an open run while they come: after so many, or after so many seconds.

The timer is a real one: lines that were read go on their way though the pipe stays silent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, Queue
from typing import BinaryIO

from hut.model.problems import Problem
from hut.planning.task_files import TaskFileReader, TaskLine
from hut.store.port import RunClosed
from hutctl.client import Client, WorkflowFile
from hutctl.spooling import PIECE, Common, read_lines

__all__ = ["Source", "Stream"]

_Line = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """Lines that come over time.

    Attributes
    ----------
    pipe : BinaryIO
        Read by a thread of its own, which a silent pipe may hold for ever.
    size : int or None
        Lines that are added together; None: those that are there, a line at a time if need be.
    wait : float
        Seconds after which fewer are added.
    """

    pipe: BinaryIO
    reader: TaskFileReader
    common: Common
    size: int | None = None
    wait: float = 5.0


class Stream:
    """Lines on their way into one run.

    Parameters
    ----------
    new_client
        Makes a client for the thread that adds.
    say
        Tells a person something.

    Attributes
    ----------
    added, refused : int
        Lines that became tasks, and lines that did not.
    """

    def __init__(
        self,
        run_id: str,
        source: Source,
        new_client: Callable[[], Client],
        say: Callable[[str], None],
    ) -> None:
        self._run_id = run_id
        self._source = source
        self._reader = source.reader
        self._common = source.common
        self._new_client = new_client
        self._say = say
        self._lines: Queue[_Line | None] = Queue(maxsize=4 * PIECE)
        self.added = 0
        self.refused = 0

    def start(self) -> None:
        """Add lines beside what this process does otherwise."""
        threading.Thread(target=self._run_and_tell, daemon=True).start()

    def _run_and_tell(self) -> None:
        try:
            self.run()
        except Exception as error:  # noqa: BLE001 - nobody waits for this thread: it tells by itself
            self.refused += 1
            self._say(f"no more lines are added to run {self._run_id}: {error}")

    def run(self) -> None:
        """Add lines until there are no more, or the run takes no more."""
        threading.Thread(target=self._read, daemon=True).start()
        client = self._new_client()
        number = 0
        more = True
        while more:
            lines, more = self._batch()
            tasks = [self._task(line) for line in lines]
            self._tell_problems()
            if not tasks:
                continue
            file = WorkflowFile(self._common.text(tasks), "stdin.json", "")
            try:
                client.add_tasks(self._run_id, file, key=f"{self._common.prefix}{number}")
            except RunClosed as error:
                self._say(f"{error}; {len(tasks):,} lines were not added")
                self.refused += len(tasks)
                return
            number += 1
            self.added += len(tasks)

    def _read(self) -> None:
        for line in read_lines(self._source.pipe):
            self._lines.put(line)
        self._lines.put(None)

    def _batch(self) -> tuple[list[TaskLine], bool]:
        """Return the next lines, and whether there may be more."""
        found: list[TaskLine] = []
        most = min(self._source.size or PIECE, PIECE)
        until: float | None = None
        while len(found) < most:
            try:
                entry = self._lines.get(timeout=self._patience(until))
            except Empty:
                break
            if entry is None:
                return found, False
            line = self._reader.read(*entry)
            if line is None:
                self._tell_problems()
                continue
            if line.fields.group != self._common.fields.group:
                message = (
                    "groups order the tasks of a whole file; lines that come over time have none"
                )
                self._reader.problems.append(Problem(message, field="group", line=line.number))
                self._tell_problems()
                continue
            found.append(line)
            until = until or time.monotonic() + self._source.wait
        return found, True

    def _patience(self, until: float | None) -> float | None:
        """Return how long to wait for a line: for the first for ever, for others until the flush."""
        if until is None:
            return None
        return 0.001 if self._source.size is None else max(until - time.monotonic(), 0.001)

    def _task(self, line: TaskLine) -> str:
        return f'{{"id":"{self._common.prefix}{line.number}"{self._common.entry(line)}'

    def _tell_problems(self) -> None:
        for problem in self._reader.problems:
            self._say(f"refused: {problem}")
        self.refused += len(self._reader.problems)
        self._reader.problems.clear()
