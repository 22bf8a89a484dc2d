"""Input documents that take values from the output documents of other tasks. Pure.

An object with the key ``$output`` is a reference: ``{"$output": "prepare", "path": "/rows"}`` stands for
what the JSON pointer (RFC 6901) finds in the output of the task ``prepare``; without ``path`` it is the whole
document. A key that is meant literally is written with another ``$`` in front: ``$$output``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from hut.model.limits import DEEPEST

__all__ = [
    "OUTPUT",
    "Reference",
    "Unresolved",
    "escape",
    "find_references",
    "point",
    "resolve_references",
]

OUTPUT = "$output"
_PATH = "path"
_ESCAPED = f"${OUTPUT}"
_LITERAL = re.compile(r"\$+output")


class Reference(NamedTuple):
    """A place in another task's output document.

    Attributes
    ----------
    task : str
        Its id.
    path : str
        A JSON pointer; empty for the whole document.
    """

    task: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.task}{self.path}"


class Unresolved(ValueError):  # noqa: N818 - named after what it says
    """A reference leads to nothing; the message says where and why."""


def find_references(document: Any) -> tuple[list[Reference], list[str]]:
    """Return the references of an input document, each once, and what is wrong with it."""
    found: dict[Reference, None] = {}
    problems: list[str] = []
    for value, place in _walk(document):
        if not isinstance(value, Mapping) or OUTPUT not in value:
            continue
        reference = _read(value, place, problems)
        if reference is not None:
            found[reference] = None
    return list(found), problems


def _walk(document: Any) -> Iterator[tuple[Any, str]]:
    """Yield each value with its place; not what stands inside a reference."""
    waiting: list[tuple[Any, str]] = [(document, "")]
    while waiting:
        value, place = waiting.pop()
        yield value, place
        if isinstance(value, Mapping):
            if OUTPUT not in value:
                entries = [(each, f"{place}/{_escaped(key)}") for key, each in value.items()]
                waiting.extend(reversed(entries))
        elif isinstance(value, list):
            entries = [(each, f"{place}/{number}") for number, each in enumerate(value)]
            waiting.extend(reversed(entries))


def _read(value: Mapping[str, Any], place: str, problems: list[str]) -> Reference | None:
    where = f"at {place}: " if place else ""
    before = len(problems)
    task, path = value[OUTPUT], value.get(_PATH, "")
    if not isinstance(task, str) or not task:
        problems.append(
            f"{where}{OUTPUT!r} is not the id of a task; write {_ESCAPED!r} for a key that is no reference"
        )
    if not isinstance(path, str) or not _is_pointer(path):
        problems.append(
            f"{where}{_PATH!r} is no JSON pointer; write it as \"/rows/0/name\" ('/' as ~1, '~' as ~0)"
        )
    if extra := [key for key in value if key not in (OUTPUT, _PATH)]:
        problems.append(
            f"{where}a reference has {OUTPUT!r} and {_PATH!r}, and not {extra[0]!r:.60}; "
            f"write {_ESCAPED!r} for a key that is no reference"
        )
    return Reference(task, path) if len(problems) == before else None


def _is_pointer(text: str) -> bool:
    rest = text.replace("~0", "").replace("~1", "")
    return (not text or text.startswith("/")) and "~" not in rest


def resolve_references(document: Any, output_of: Callable[[str], Any]) -> Any:
    """Return an input document with the values that its references stand for.

    Parameters
    ----------
    output_of
        Returns the output document of a task by its id.

    Raises
    ------
    Unresolved
        If a place is not there, or what it is put together is nested too deeply.
    """
    return _resolved(document, output_of, 0)


def _resolved(value: Any, output_of: Callable[[str], Any], depth: int) -> Any:
    if depth > DEEPEST:
        raise Unresolved(f"the input is nested more than {DEEPEST} levels deep")
    if isinstance(value, Mapping):
        if OUTPUT in value:
            reference = Reference(value[OUTPUT], value.get(_PATH, ""))
            return point(output_of(reference.task), reference)
        return {
            key[1:] if _LITERAL.fullmatch(key) else key: _resolved(each, output_of, depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_resolved(each, output_of, depth + 1) for each in value]
    return value


def point(document: Any, reference: Reference) -> Any:
    """Return what a pointer finds in a document.

    Raises
    ------
    Unresolved
        If there is nothing; the message says how far it led.
    """
    value, passed = document, ""
    for part in reference.path.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and _is_index(key) and int(key) < len(value):
            value = value[int(key)]
        else:
            raise Unresolved(
                f"the output of {reference.task!r} has nothing at {reference.path!r}: "
                f"{_what(value)} {f'at {passed!r} ' if passed else ''}has no {key!r:.60}"
            )
        passed += f"/{part}"
    return value


def _is_index(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) < 10 and (key == "0" or key[0] != "0")


def _what(value: Any) -> str:
    if isinstance(value, Mapping):
        return "the object"
    if isinstance(value, list):
        return f"the list of {len(value):,}"
    return "the document" if value is None else f"the {type(value).__name__}"


def escape(document: Any) -> Any:
    """Return an input document in which nothing is a reference: what is in it is meant literally."""
    if isinstance(document, Mapping):
        return {
            f"${key}" if _LITERAL.fullmatch(key) else key: escape(each)
            for key, each in document.items()
        }
    if isinstance(document, list):
        return [escape(each) for each in document]
    return document


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
