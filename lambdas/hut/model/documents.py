"""JSON and YAML text becomes plain data, strictly: what is ambiguous is refused, with its line.

Only dicts with string keys, lists, strings, numbers, booleans and None come out. What the data
means is not judged here. YAML, and its rules, are in `hut.model.yaml_documents`, which is loaded
only when a YAML document is read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, Self

from hut.model.limits import DEEPEST, LARGEST_DOCUMENT
from hut.model.problems import Problem

__all__ = [
    "Document",
    "MalformedDocument",
    "Path",
    "WrittenFloat",
    "decode_text",
    "dotted",
    "format_of",
    "read_document",
]

Path = tuple[str | int, ...]

TOO_DEEP = f"the document is nested too deeply; at most {DEEPEST} levels are allowed"


class MalformedDocument(ValueError):  # noqa: N818 - reads as what it is
    """The text is not a document at all.

    Attributes
    ----------
    message : str
        What is wrong, without the place.
    line, column : int or None
        1-based.
    """

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        self.message = message
        self.line = line
        self.column = column
        super().__init__(message if line is None else f"line {line}: {message}")


class WrittenFloat(float):
    """A number whose ``str`` is what was written: ``1.10`` does not become ``1.1``.

    It matters where a number becomes text, as in an environment variable that holds a version.
    """

    __slots__ = ("_written",)

    _written: str

    def __new__(cls, written: str) -> Self:  # noqa: D102
        number = super().__new__(cls, written)
        number._written = written
        return number

    def __str__(self) -> str:
        return self._written

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]  # made from text, not a float
        return (self._written,)


def read_float(literal: str) -> float:
    """Return the number of a literal, which remembers its form where that differs from Python's."""
    number = float(literal)
    return number if repr(number) == literal else WrittenFloat(literal)


@dataclass(frozen=True, slots=True)
class Document:
    """A document that was read.

    Attributes
    ----------
    data : object
        Parts that a YAML alias repeats are shared: copy before you change anything.
    lines : mapping of path to int
        1-based line of each entry, by the keys and 0-based indices that lead to it. Filled for
        YAML, and for JSON on request.
    problems : tuple of Problem
        Faults that leave the rest readable, such as a key that stands twice.
    """

    data: object
    lines: Mapping[Path, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    def line_of(self, path: Path) -> int | None:
        """Return the line of an entry or, where it has none, of what it would stand in."""
        for end in range(len(path), -1, -1):
            if (line := self.lines.get(path[:end])) is not None:
                return line
        return None


def format_of(filename: str) -> Literal["json", "yaml"]:
    """Return the format that a file name's ending tells."""
    return "yaml" if filename.lower().endswith((".yaml", ".yml")) else "json"


def dotted(path: Iterable[str | int]) -> str:
    """Return a path as messages show it: ``backends[1].aws.region``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def decode_text(content: bytes) -> str:
    """Return the text of a file's content, which must be UTF-8.

    Raises
    ------
    MalformedDocument
        With the line of the first byte that is not.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise MalformedDocument("the file is UTF-16; save it as UTF-8") from None
        byte = content[error.start]
        line = content.count(b"\n", 0, error.start) + 1
        raise MalformedDocument(
            f"the file is not UTF-8 text: byte 0x{byte:02x}; save it as UTF-8", line
        ) from None


def read_document(
    text: str,
    *,
    format: Literal["json", "yaml"],  # noqa: A002 - the word people use
    with_lines: bool | Collection[Path] = False,
) -> Document:
    """Read a document.

    Parameters
    ----------
    text
        A byte order mark at its start is dropped.
    format
        What it is written in; see `format_of`.
    with_lines
        Fill ``lines`` for JSON too. It takes several times as long: ask for it once there is a
        problem to locate, and where the paths in question are known pass them; then ``lines`` holds
        these and what is cheap to have.

    Raises
    ------
    MalformedDocument
        If the text can't be read as `format`.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > LARGEST_DOCUMENT:
        raise MalformedDocument(
            f"the document has {len(text):,} characters; "
            f"at most {LARGEST_DOCUMENT >> 20} MiB are allowed"
        )
    if not text or text.isspace():
        raise MalformedDocument("the document is empty")
    if (place := _not_unicode(text)) is not None:
        raise MalformedDocument(
            f"the text is not valid Unicode: {text[place]!a} stands alone", *_at(text, place)
        )
    if format == "json":
        return _read_json(text, with_lines)
    from hut.model.yaml_documents import read_yaml  # JSON users don't pay for it

    return read_yaml(text)


def _not_unicode(text: str) -> int | None:
    """Return the place of the first character that no file can hold, if there is one."""
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def _at(text: str, place: int) -> tuple[int, int]:
    """Return the 1-based line and column of a place in `text`."""
    return text.count("\n", 0, place) + 1, place - text.rfind("\n", 0, place)


# JSON -------------------------------------------------------------------------------------------


class _BadNumber(ValueError):  # noqa: N818 - see MalformedDocument
    """A number that JSON does not know; its arguments are the message and the number's text."""


def _read_json(text: str, with_lines: bool | Collection[Path]) -> Document:
    repeats = False

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        result = dict(pairs)
        if len(result) != len(pairs):
            repeats = True
        return result

    try:
        data = json.loads(
            text, object_pairs_hook=build, parse_constant=_refuse_constant, parse_float=_finite
        )
    except json.JSONDecodeError as error:
        message, place = _json_fault(text, error)
        raise MalformedDocument(f"not valid JSON: {message}", *_at(text, place)) from None
    except RecursionError:
        raise MalformedDocument(TOO_DEEP) from None
    except _BadNumber as error:
        message, literal = error.args
        place = next((at for at, token in _tokens(text) if token == literal), 0)
        raise MalformedDocument(f"not valid JSON: {message}", *_at(text, place)) from None
    except ValueError:  # Python reads no integer of thousands of digits
        place = next((at for at, token in _tokens(text) if _HUGE.fullmatch(token)), 0)
        raise MalformedDocument("a number has too many digits", *_at(text, place)) from None
    if _is_too_deep(data):
        raise MalformedDocument(TOO_DEEP)
    _check_escapes(text)
    lines: dict[Path, int] = {}
    problems: list[Problem] = []
    if repeats:
        lines, problems = _locate(text)
    elif with_lines:
        lines, _ = _locate(text, None if isinstance(with_lines, bool) else with_lines)
    return Document(data, lines if with_lines else {}, tuple(problems))


def _is_too_deep(data: object) -> bool:
    """Say whether there are more levels than allowed; how many Python can read differs."""
    level: list[Any] = [data] if isinstance(data, (dict, list)) else []
    depth = 0
    while level and depth <= DEEPEST:
        depth += 1
        inside = (one.values() if isinstance(one, dict) else one for one in level)
        level = [each for ones in inside for each in ones if isinstance(each, (dict, list))]
    return depth > DEEPEST


def _refuse_constant(name: str) -> NoReturn:
    raise _BadNumber(f"{name} is not a number in JSON", name)


def _finite(literal: str) -> float:
    number = read_float(literal)
    if math.isinf(number):
        raise _BadNumber(f"the number {literal[:20]} is too large", literal)
    return number


_HUGE = re.compile(r"-?[0-9]{640,}")  # 640 digits is the least limit Python can be set to
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>u[dD][89a-fA-F]..)|.)", re.DOTALL
)


def _check_escapes(text: str) -> None:
    """Refuse escapes that spell half a character: no file and no terminal can hold it."""
    if not _SURROGATE_ESCAPE.search(text):
        return
    for match in _ESCAPE.finditer(text):
        if match["half"]:
            raise MalformedDocument(f"{match[0]} is half a character", *_at(text, match.start()))


def _json_fault(text: str, error: json.JSONDecodeError) -> tuple[str, int]:
    """Say what is wrong, and where, in words that help more than the parser's."""
    place = error.pos
    # Python 3.13 points at a trailing comma, older ones at what follows it.
    if text[place : place + 1] == "," and text[place + 1 :].lstrip()[:1] in ("]", "}"):
        return _TRAILING_COMMA, place
    rest = text[place:].lstrip()
    place = len(text) - len(rest)
    before = text[:place].rstrip()
    if not rest:
        return "the text ends too early; a bracket is not closed", max(len(before) - 1, 0)
    if rest.startswith(("//", "/*", "#")):
        return "comments are not JSON; remove them, or write YAML", place
    if before.endswith(",") and rest.startswith(("]", "}")):
        return _TRAILING_COMMA, len(before) - 1
    for start, message in _JSON_HINTS:
        if rest.startswith(start):
            return message, place
    for start, message in _JSON_MESSAGES:
        if error.msg.startswith(start):
            return message, place
    return error.msg[0].lower() + error.msg[1:], place


_TRAILING_COMMA = "a comma before a closing bracket; remove it (trailing commas are not JSON)"
_JSON_HINTS = (
    ("'", 'strings stand in double quotes: "text"'),
    ("True", "write true"),
    ("False", "write false"),
    ("None", "write null"),
)
_JSON_MESSAGES = (
    ("Extra data", "the document has ended, but more text follows"),
    ("Unterminated string", "the string that starts here has no closing quote"),
    ("Invalid control character", "a line break or tab inside a string; write \\n or \\t"),
    ("Invalid \\escape", "a backslash in a string stands for itself only when doubled: \\\\"),
    ("Expecting property name", 'expected a key in double quotes: "key"'),
    ("Expecting ':'", "expected a colon after the key"),
    ("Expecting ','", "expected a comma or a closing bracket"),
    ("Expecting value", "expected a value"),
)

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    for match in _TOKEN.finditer(text):
        yield match.start(), match[0]


def _locate(
    text: str, wanted: Iterable[Path] | None = None
) -> tuple[dict[Path, int], list[Problem]]:
    """Return the line of each entry of a valid JSON text, and the keys that stand twice.

    Where only some paths are `wanted`, what lies beside them is skipped at the parser's speed.
    """
    inside = None if wanted is None else {path[:i] for path in wanted for i in range(len(path))}
    skip = json.JSONDecoder().raw_decode
    lines: dict[Path, int] = {}
    problems: list[Problem] = []
    open_ones: list[tuple[Path, dict[str, int] | None]] = []  # and the keys seen in an object
    path: Path = ()
    expect_key = False
    line = 1
    last = 0
    position = 0
    while match := _TOKEN.search(text, position):
        place, position = match.span()
        piece = match[0]
        if piece == ":":
            continue
        if piece == ",":
            parent, keys = open_ones[-1]
            expect_key = keys is not None
            if keys is None:
                path = (*parent, int(path[-1]) + 1)
            continue
        if piece in ("]", "}"):
            path = open_ones.pop()[0]
            expect_key = False
            continue
        line += text.count("\n", last, place)
        last = place
        if expect_key:
            parent, keys = open_ones[-1]
            key = json.loads(piece)
            path = (*parent, key)
            if keys is not None and keys.setdefault(key, place) != place:
                first = text.count("\n", 0, keys[key]) + 1
                problems.append(repeated_key(path, line, first))
            lines[path] = line
            expect_key = False
            continue
        lines.setdefault(path, line)
        if piece in ("[", "{") and inside is not None and path not in inside:
            _, position = skip(text, place)
        elif piece == "{":
            open_ones.append((path, {}))
            expect_key = True
        elif piece == "[":
            open_ones.append((path, None))
            path = (*path, 0)
    return lines, problems


def repeated_key(path: Path, line: int, first: int) -> Problem:
    """Return the problem of a key that stands twice in one object or mapping."""
    return Problem(
        f"stands twice here, first on line {first}; keep one", field=dotted(path), line=line
    )
