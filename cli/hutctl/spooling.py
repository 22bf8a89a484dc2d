"""Reads a task file into a spool: validated as a whole before anything is stored, and never in memory.

A line of the spool is a task without its id. What is made of it are workflow files: one for all tasks,
or pieces that are added one after the other to a run that is held until the last has come.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO

from hut.model.limits import MOST_PROBLEMS, MOST_TASKS
from hut.model.problems import TOO_MANY_PROBLEMS, InvalidInput, Problem
from hut.planning.task_files import LONGEST_LINE, LineFields, TaskFileReader, TaskLine

__all__ = ["PIECE", "Common", "Spool", "options_digest", "read_lines", "read_spool"]

PIECE = 1000
"""Tasks that are added at once."""

_PIECE_BYTES = 1024 * 1024
_IN_MEMORY = 1024 * 1024
_SKIPPED = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Common:
    """What holds for all tasks of a submission.

    Attributes
    ----------
    timeout : float
        Seconds, where no line says it.
    prefix : str
        Begins the ids of tasks that join a run.
    """

    fields: LineFields
    timeout: float
    retries: int = 0
    prefix: str = ""

    def defaults(self) -> dict[str, Any]:
        """Return the defaults of a workflow file."""
        found: dict[str, Any] = {"time_limit": f"{self.fields.timeout or self.timeout:.9g}s"}
        if self.fields.cores is not None:
            found["cpus"] = self.fields.cores
        if self.fields.memory is not None:
            found["memory"] = self.fields.memory
        if self.retries:
            found["retries"] = self.retries
        if self.fields.tags:
            found["tags"] = dict(self.fields.tags)
        return found

    def entry(self, line: TaskLine) -> str:
        """Return a task as JSON, without its id and with a comma at its beginning."""
        return "," + json.dumps(line.document(self.fields), ensure_ascii=False)[1:]

    def text(self, tasks: list[str]) -> str:
        """Return a workflow file with these tasks."""
        return f'{{"defaults":{json.dumps(self.defaults())},"tasks":[{",".join(tasks)}]}}'


@dataclass(slots=True)
class Spool:
    """Tasks that are valid, in a temporary file.

    Attributes
    ----------
    groups : mapping of int to int
        How many tasks are in each group.
    """

    common: Common
    file: IO[str]
    groups: dict[int, int] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def count(self) -> int:
        """Number of tasks."""
        return sum(self.groups.values())

    @property
    def ordered(self) -> bool:
        """Whether there are groups, so that tasks wait for others."""
        return len(self.groups) > 1

    def put(self, line: TaskLine) -> None:
        """Append a task."""
        group = line.fields.group or 0
        self.groups[group] = self.groups.get(group, 0) + 1
        text = f"{line.number} {group} {self.common.entry(line)}\n"
        self.file.write(text)
        self.digest.update(text.encode())

    def tasks(self) -> Iterator[str]:
        """Yield the tasks of a workflow file.

        Where there are groups, ids begin with them, and a task waits for all of the group before.
        """
        before: dict[int, int] = dict(
            zip(sorted(self.groups)[1:], sorted(self.groups), strict=False)
        )
        prefix = self.common.prefix
        self.file.seek(0)
        for text in self.file:
            number, group, entry = text.split(" ", 2)
            entry = entry[:-1]
            if not self.ordered:
                yield f'{{"id":"{prefix}{number}"{entry}'
            elif (earlier := before.get(int(group))) is None:
                yield f'{{"id":"{prefix}{group}.{number}"{entry}'
            else:
                wait = f'"deps":["{prefix}{earlier}.*"]'
                yield f'{{"id":"{prefix}{group}.{number}",{wait}{entry}'

    def text(self) -> str:
        """Return one workflow file with all tasks."""
        return self.common.text(list(self.tasks()))

    def pieces(self) -> Iterator[str]:
        """Yield workflow files that hold all tasks together."""
        piece: list[str] = []
        size = 0
        for task in self.tasks():
            if len(piece) >= PIECE or size > _PIECE_BYTES:
                yield self.common.text(piece)
                piece, size = [], 0
            piece.append(task)
            size += len(task)
        if piece:
            yield self.common.text(piece)


def read_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file with their numbers; of one that is too long only the beginning."""
    number = 0
    while line := stream.readline(LONGEST_LINE + 3):
        number += 1
        yield number, line
        while not line.endswith(b"\n") and len(line) >= LONGEST_LINE:
            line = stream.readline(_SKIPPED)
            if not line or line.endswith(b"\n"):
                break


def read_spool(stream: BinaryIO, reader: TaskFileReader, common: Common, *, source: str) -> Spool:
    """Read all of a task file.

    Raises
    ------
    InvalidInput
        With every problem of it; then nothing of it is to be stored.
    """
    # The spool is closed, and so gone, when nothing refers to it any more.
    file = tempfile.SpooledTemporaryFile(  # noqa: SIM115
        _IN_MEMORY, "w+", encoding="utf-8", newline="\n", prefix="hutctl-"
    )
    spool = Spool(common, file)
    taken = 0
    for number, content in read_lines(stream):
        line = reader.read(number, content)
        if len(reader.problems) >= MOST_PROBLEMS:
            reader.problems.append(Problem(TOO_MANY_PROBLEMS))
            break
        if line is None:
            continue
        taken += 1
        if taken > MOST_TASKS:
            message = f"is one task too many: at most {MOST_TASKS:,} are allowed; split the file"
            reader.problems.append(Problem(message, line=number))
            break
        if not reader.problems:
            spool.put(line)
    if reader.problems:
        raise InvalidInput(reader.problems, source=source)
    return spool


def options_digest(spool: Spool, options: Mapping[str, object]) -> str:
    """Return what a submission of the same tasks with the same options has in common with this one."""
    digest = spool.digest.copy()
    digest.update(
        json.dumps([spool.common.defaults(), options], sort_keys=True, default=str).encode()
    )
    return str(digest.hexdigest())
