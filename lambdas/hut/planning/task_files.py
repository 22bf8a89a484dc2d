"""Task files, as HyperShell has them: a line is a command, its comment may hold tags.

Each line stands by itself, so a file of any length is read without holding it: a line goes in, and a
task comes out, or what is wrong with the line is noted. ``# HYPERSHELL: key:value flag`` and its equal
``# HUT: ...`` give tags; those named ``group``, ``cores``, ``memory`` and ``timeout`` are fields of the
task. On a line of their own they hold for all lines that follow (as HyperShell means them to).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from hut.model.limits import LARGEST_VALUE, LONGEST_COMMAND, LONGEST_NAME, MOST_TAGS
from hut.model.problems import Problem, in_one_line, is_one_line
from hut.model.quantities import parse_duration, parse_memory
from hut.model.workflow import EMPTY
from hut.planning.comments import SplitLine, split_line
from hut.planning.templates import Template

__all__ = [
    "FIELDS",
    "LONGEST_LINE",
    "NO_FIELDS",
    "LineFields",
    "TaskFileReader",
    "TaskLine",
    "read_field",
    "read_tag",
]

LONGEST_LINE: Final = LONGEST_COMMAND
"""Bytes of a line."""

_MARKER: Final = re.compile(r"#\s*(?:HYPERSHELL|HUT)(?::|\s|$)")
_CERTAIN_MARKER: Final = re.compile(r"#\s*(?:HYPERSHELL|HUT):")
_TAG: Final = re.compile(r"[A-Za-z0-9_.+-]{1,120}")
_FORM: Final = "letters, digits and _ . + -, at most 120 of them"
_WHOLE: Final = re.compile(r"-?[0-9]{1,9}")
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_BOM: Final = b"\xef\xbb\xbf"


class LineFields(NamedTuple):
    """What a task gets from tags; None where nothing says it.

    Attributes
    ----------
    memory : int or None
        MiB.
    timeout : float or None
        Seconds.
    """

    group: int | None = None
    cores: int | None = None
    memory: int | None = None
    timeout: float | None = None
    tags: Mapping[str, str] = EMPTY


NO_FIELDS = LineFields()


class TaskLine(NamedTuple):
    """A line that is a task.

    Attributes
    ----------
    number : int
        1-based place in the file.
    command : str
        What is run.
    args : str
        The line without its comment; with a template, what was put into it.
    """

    number: int
    command: str
    args: str
    fields: LineFields

    def document(self, common: LineFields) -> dict[str, Any]:
        """Return the task as a workflow file has it: without an id, and what `common` says for all."""
        fields = self.fields
        task: dict[str, Any] = {"command": self.command}
        if self.args != self.command:
            # A name that is the id says nothing: `hut.script.variables` would take it for none.
            is_id = self.args.rpartition(".")[2] == str(self.number)
            if not is_id and len(self.args) <= LONGEST_NAME and is_one_line(self.args):
                task["name"] = self.args
            else:
                task["env_vars"] = {"TASK_ARGS": self.args}
        if fields.group is not None:
            task["group"] = str(fields.group)
        if fields.cores != common.cores:
            task["cpus"] = fields.cores
        if fields.memory != common.memory:
            task["memory"] = fields.memory
        if fields.timeout != common.timeout:
            task["time_limit"] = f"{fields.timeout:.9g}s"
        if fields.tags != common.tags:
            task["tags"] = dict(fields.tags)
        return task


class TaskFileReader:
    """Reads the lines of one file, in order.

    Parameters
    ----------
    fields
        What holds for lines that don't say otherwise.
    template
        What each line is put into.

    Attributes
    ----------
    problems : list of Problem
        What is wrong with the lines so far.
    """

    def __init__(self, fields: LineFields = NO_FIELDS, template: Template | None = None) -> None:
        self._fields = fields
        self._template = template
        self.problems: list[Problem] = []

    def read(self, number: int, content: bytes) -> TaskLine | None:
        """Return the task of a line, or None if it has none or is wrong.

        Parameters
        ----------
        number
            1-based.
        content
            The line, with or without its end. One that is cut off behind `LONGEST_LINE` bytes is too
            long, whatever follows.
        """
        try:
            return self._read(number, content)
        except _Wrong as error:
            self.problems.append(Problem(error.message, field=error.field, line=number))
            return None

    def _read(self, number: int, content: bytes) -> TaskLine | None:
        line = _text_of(content, first=number == 1)
        if not line:
            return None
        split = split_line(line)
        args = split.command
        for at in split.joined:
            if _CERTAIN_MARKER.match(line, at):
                raise _Wrong(
                    f"the tags at column {at + 1} are a part of the word before them, as a shell "
                    "sees it; put a space in front of the '#'"
                )
        if self._template is None:
            _check_whole(split)
        elif split.unclosed and _CERTAIN_MARKER.search(line):
            what, column = split.unclosed
            raise _Wrong(
                f"the {what} at column {column} is never closed, so it can't be told whether the "
                "tags belong to the line"
            )
        fields = self._with_tags(split.comment)
        if not args:
            self._fields = fields
            return None
        command = args if self._template is None else self._expand(args)
        return TaskLine(number, command, args, fields)

    def _expand(self, args: str) -> str:
        assert self._template is not None  # noqa: S101 - the caller looked
        try:
            command = self._template.expand(args)
        except ValueError as error:
            raise _Wrong(str(error)) from None
        if len(command) > LONGEST_COMMAND:
            raise _Wrong(f"the command it becomes is longer than {LONGEST_COMMAND:,} characters")
        if len(args.encode()) > LARGEST_VALUE:
            raise _Wrong(f"is longer than {LARGEST_VALUE:,} bytes, so it can't be in $TASK_ARGS")
        if not command.strip():
            raise _Wrong("the command it becomes is empty")
        _check_whole(split_line(command), f"in the command it becomes, {_shown(command)}, ")
        return command

    def _with_tags(self, comment: str) -> LineFields:
        marker = _MARKER.search(comment) if comment else None
        if marker is None:
            return self._fields
        given: dict[str, Any] = {}
        tags = dict(self._fields.tags)
        for word in comment[marker.end() :].split():
            name, value = read_tag(word)
            if name in FIELDS:
                given[name] = read_field(name, value)
            else:
                tags[name] = value
        if len(tags) > MOST_TAGS:
            raise _Wrong(f"has {len(tags):,} tags; at most {MOST_TAGS} are allowed", "tags")
        return self._fields._replace(**given, tags=tags or EMPTY)


class _Wrong(ValueError):  # noqa: N818 - says what a line is
    """A line is wrong."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


def read_tag(word: str) -> tuple[str, str]:
    """Return name and value of ``name:value``; a bare ``name`` has the value ``""``.

    Raises
    ------
    ValueError
        If it has another form.
    """
    name, _, value = word.partition(":")
    shown = _shown(word)
    if not _TAG.fullmatch(name):
        raise _Wrong(f"{shown} is no tag; its name has to be {_FORM}: name:value or name", "tags")
    if value and not _TAG.fullmatch(value):
        raise _Wrong(f"{shown} is no tag; its value has to be {_FORM}", "tags")
    return name, value


def read_field(name: str, value: str) -> int | float:
    """Return the value of a tag that is a field of the task.

    Raises
    ------
    ValueError
        If it has another form.
    """
    if not value:
        raise _Wrong(f"has no value; write {name}:VALUE, without a space", name)
    try:
        return FIELDS[name](value)
    except ValueError as error:
        raise _Wrong(str(error), name) from None


def _group(value: str) -> int:
    if not _WHOLE.fullmatch(value):
        raise ValueError(f"{value!r} is no group; groups are whole numbers, the lowest runs first")
    return int(value)


def _cores(value: str) -> int:
    if not _WHOLE.fullmatch(value) or not 1 <= int(value) <= 100_000:
        raise ValueError(f"{value!r} is not a whole number of cores from 1 to 100,000")
    return int(value)


def _memory(value: str) -> int:
    if not value[-1:].isalpha():
        raise ValueError(
            f"{value!r} has no unit, and HyperShell would take it for bytes; write 512MB, 4GB, ..."
        )
    return parse_memory(value)


def _timeout(value: str) -> float:
    seconds = parse_duration(value, bare="seconds")
    if seconds == 0:
        raise ValueError("0 is no time at all; leave it out for no limit")
    return seconds


FIELDS: Final[Mapping[str, Callable[[str], int | float]]] = {
    "group": _group,
    "cores": _cores,
    "memory": _memory,
    "timeout": _timeout,
}
"""Tags that are fields of the task, and how their values are read."""


def _text_of(content: bytes, *, first: bool) -> str:
    """Return the text of a line, without its end and without what surrounds it."""
    if first and content.startswith(_UTF16):
        raise _Wrong("the file is UTF-16; save it as UTF-8")
    if first:
        content = content.removeprefix(_BOM)
    if len(content.rstrip(b"\r\n")) > LONGEST_LINE:
        raise _Wrong(
            f"is longer than {LONGEST_LINE:,} bytes, as no command may be; put it into a file"
        )
    if b"\0" in content:
        raise _Wrong("has a NUL character, which can't be passed to a shell; remove it")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise _Wrong(f"is not UTF-8 text: byte 0x{byte:02x}; save the file as UTF-8") from None
    text = text.rstrip("\r\n")
    if "\r" in text.rstrip():
        raise _Wrong("has a carriage return in its middle; end lines with LF, or with CR and LF")
    return text if text.strip() else ""


def _check_whole(split: SplitLine, where: str = "") -> None:
    """Refuse what is not a whole command by itself."""
    if split.unclosed:
        what, column = split.unclosed
        raise _Wrong(
            f"{where}the {what} at column {column} is never closed; a command stands on one line"
        )
    command = split.command
    if (len(command) - len(command.rstrip("\\"))) % 2:
        raise _Wrong(
            f"{where}a backslash stands at the end, as if it went on; a command stands on one line: "
            "join the lines"
        )


def _shown(text: str) -> str:
    return repr(in_one_line(text if len(text) <= 60 else f"{text[:57]}..."))
