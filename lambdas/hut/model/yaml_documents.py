"""YAML text becomes plain data: the YAML half of `hut.model.documents`.

The rules are those of YAML 1.2's core schema, and where a reader could still be surprised the text
stays what it is: ``yes``, ``on``, ``1:30:00``, dates, ``012``, ``0x1F``, ``1_000`` and ``.inf`` are
strings. Keys are always the text that was written. Aliases and merge keys (``<<``) work, tags do
not. The text is read event by event, so neither deep nesting nor aliases of aliases of aliases
can exhaust the stack or the memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from hut.model.documents import (
    TOO_DEEP,
    Document,
    MalformedDocument,
    Path,
    read_float,
    repeated_key,
)
from hut.model.limits import DEEPEST, LARGEST_YAML, MOST_REPEATED
from hut.model.problems import Problem

__all__ = ["read_yaml"]

_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,300}", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*|(?=[eE])))([eE][-+]?[0-9]+)?", re.ASCII
)
_WORDS: dict[str, object] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_CORE = "tag:yaml.org,2002:"
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MERGE = "<<"
_PLAIN = (None, "")  # the two parsers of PyYAML name the style of unquoted text differently


def read_yaml(text: str) -> Document:
    """Read one YAML document.

    Raises
    ------
    MalformedDocument
        If it is not valid, uses what is not supported, or is not exactly one document.
    """
    if len(text) > LARGEST_YAML:
        raise MalformedDocument(
            f"the YAML has {len(text):,} characters, at most {LARGEST_YAML:,} are allowed; "
            "write JSON, which is read much faster"
        )
    if bad := _NOT_TEXT.search(text):
        raise MalformedDocument(
            f"not valid YAML: the character {bad[0]!a} can't stand here; "
            "write it as an escape in double quotes",
            text.count("\n", 0, bad.start()) + 1,
        )
    reader = _Reader()
    for event in _events(text):
        reader.take(event)
    if not reader.documents:
        raise MalformedDocument("the document is empty")
    return Document(reader.root, reader.lines, tuple(reader.problems))


def _events(text: str) -> Iterator[Any]:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = error.problem or error.context or "the text can't be read"
        if mark is None:
            raise MalformedDocument(f"not valid YAML: {message}") from None
        if _indented_by_tab(text, mark.line):
            message = "a tab in the indentation; indent with spaces"
        last = text.count("\n") + (not text.endswith("\n"))  # the mark of an early end lies behind
        raise MalformedDocument(
            f"not valid YAML: {message}", min(mark.line + 1, last), mark.column + 1
        ) from None
    except yaml.YAMLError as error:
        raise MalformedDocument(f"not valid YAML: {error}") from None
    except (ValueError, OverflowError):  # PyYAML without libyaml: an escape above Unicode
        raise MalformedDocument("not valid YAML: an escape spells no character") from None


def _check_unicode(text: str, line: int) -> None:
    """Refuse half characters, which an escape can spell: no file and no terminal can hold them."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise MalformedDocument(f"{text[error.start]!a} is half a character", line) from None


def _indented_by_tab(text: str, line: int) -> bool:
    lines = text.split("\n", line + 1)
    written = lines[line] if line < len(lines) else ""
    return "\t" in written[: len(written) - len(written.lstrip())]


@dataclass(slots=True)
class _Open:
    """A mapping or a sequence whose end was not read yet."""

    path: Path
    line: int
    anchor: str | None
    mapping: dict[str, object] | None
    sequence: list[object]
    key: str | None = None  # the key whose value comes next
    merging: bool = False  # ... and that key is <<
    first_lines: dict[str, int] = field(default_factory=dict)
    merged: list[dict[str, object]] = field(default_factory=list)
    size: int = 1  # entries in it, those of aliases counted again


class _Reader:
    """Takes events in order; afterwards `root` is the data."""

    def __init__(self) -> None:
        self.root: object = None
        self.documents = 0
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[object, int] | None] = {}  # None while it is open
        self._repeated = 0

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            _check_unicode(str(event.value), line)
            if self._awaits_key():
                self._take_key(event, line)
            else:
                self._put(self._scalar(event, line), line, anchor=event.anchor)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._repeat(str(event.anchor), line)
        elif isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise MalformedDocument("a second document starts here (---); write one", line)

    def _awaits_key(self) -> bool:
        if not self._open:
            return False
        top = self._open[-1]
        return top.mapping is not None and top.key is None

    def _take_key(self, event: Any, line: int) -> None:
        self._check_tag(event, line, "str")
        top = self._open[-1]
        key = str(event.value)
        top.key = key
        top.merging = key == _MERGE and event.style in _PLAIN
        path = (*top.path, key)
        if event.anchor is not None:
            self._anchors[event.anchor] = (key, 1)
        if not top.merging:
            first = top.first_lines.setdefault(key, line)
            if top.mapping is not None and key in top.mapping:
                self.problems.append(repeated_key(path, line, first))
        self.lines[path] = line

    def _scalar(self, event: Any, line: int) -> object:
        self._check_tag(event, line, "str")
        text = str(event.value)
        if event.tag is not None or event.style not in _PLAIN:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(number := read_float(text)):
            return number
        return text

    def _begin(self, event: Any, line: int) -> None:
        if self._awaits_key():
            raise MalformedDocument("a key must be plain text", line)
        if len(self._open) >= DEEPEST:
            raise MalformedDocument(TOO_DEEP, line)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self._check_tag(event, line, "map" if is_mapping else "seq")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        opened = _Open(self._next_path(), line, event.anchor, {} if is_mapping else None, [])
        self.lines.setdefault(opened.path, line)
        self._open.append(opened)

    def _end(self) -> None:
        closed = self._open.pop()
        if closed.mapping is None:
            self._put(closed.sequence, closed.line, anchor=closed.anchor, size=closed.size)
            return
        for source in closed.merged:  # what is written in the mapping itself wins
            for key, value in source.items():
                closed.mapping.setdefault(key, value)
        self._put(closed.mapping, closed.line, anchor=closed.anchor, size=closed.size)

    def _repeat(self, anchor: str, line: int) -> None:
        if self._awaits_key():
            raise MalformedDocument("an alias can't be a key; write the key out", line)
        if anchor not in self._anchors:
            raise MalformedDocument(f"the alias *{anchor} has no anchor &{anchor} before it", line)
        found = self._anchors[anchor]
        if found is None:
            raise MalformedDocument(f"the alias *{anchor} stands within its own anchor", line)
        value, size = found
        self._repeated += size
        if self._repeated > MOST_REPEATED:
            raise MalformedDocument(
                f"the aliases add more than {MOST_REPEATED:,} entries to what is written", line
            )
        self._put(value, line, size=size)

    def _put(self, value: object, line: int, *, anchor: str | None = None, size: int = 1) -> None:
        """Store a finished value where it belongs."""
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        self.lines.setdefault(self._next_path(), line)
        if not self._open:
            self.root = value
            return
        parent = self._open[-1]
        parent.size += size
        if parent.mapping is None:
            parent.sequence.append(value)
        elif parent.merging:
            parent.merged.extend(_mappings(value, line))
        elif parent.key is not None:
            parent.mapping[parent.key] = value
        parent.key = None

    def _next_path(self) -> Path:
        """Return the path of the value that comes next."""
        if not self._open:
            return ()
        parent = self._open[-1]
        if parent.mapping is None:
            return (*parent.path, len(parent.sequence))
        return (*parent.path, parent.key or "")

    @staticmethod
    def _check_tag(event: Any, line: int, kind: str) -> None:
        if event.tag is not None and event.tag not in ("!", _CORE + kind):
            tag = str(event.tag)
            shown = tag.replace(_CORE, "!!") if tag.startswith(_CORE) else tag
            raise MalformedDocument(f"the tag {shown} is not allowed; write plain values", line)


def _mappings(value: object, line: int) -> list[dict[str, object]]:
    """Return the mappings a merge key names: one, or a list of them."""
    entries: list[object] = value if isinstance(value, list) else [value]
    found = [entry for entry in entries if isinstance(entry, dict)]
    if len(found) != len(entries):
        raise MalformedDocument("<< merges a mapping or a list of them, such as *defaults", line)
    return found
