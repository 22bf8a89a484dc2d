"""What a task program says of its tasks: definitions as HQS Tasks spells them, read and compared. Pure.

A definition is kept as it was written, unknown keys too; what Hut needs of it is read into fields. Two
are the same if they say the same as JSON, in whatever order their keys stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hut.model.limits import LONGEST_DESCRIPTION
from hut.model.problems import Problem, is_one_line

__all__ = [
    "LARGEST_DEFINITION",
    "MOST_DEFINITIONS",
    "TaskDefinition",
    "Wants",
    "canonical",
    "highest",
    "in_order",
    "read_definition",
    "read_definitions",
    "sort_key",
    "split_name",
]

LARGEST_DEFINITION = 256 * 1024
"""Characters of a definition as JSON: it travels with every run that names it."""

MOST_DEFINITIONS = 1000
"""Of one program."""

_LONGEST_NAME = 200
_LONGEST_WORD = 4096
_MOST_WORDS = 1000
_LEAST = {"vcpu": 1, "memory": 1, "gpu": 0, "timeout": 1}
_MOST = {"vcpu": 100_000, "memory": 2**31, "gpu": 10_000, "timeout": 30 * 86400}


@dataclass(frozen=True, slots=True)
class Wants:
    """What a task needs where its user asks for nothing else; None where it does not say.

    Attributes
    ----------
    vcpu, memory, gpu, timeout : int or None
        Threads, MiB, GPUs and seconds.
    """

    vcpu: int | None = None
    memory: int | None = None
    gpu: int | None = None
    timeout: int | None = None


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """A task of a program. Name and version are its identity.

    Attributes
    ----------
    command : tuple of str
        What runs it, before the options with the files. No shell sees it.
    input_option : str or None
        What stands before the input's path; None for a task without input.
    input_schema, output_schema
        JSON schemas; ``True`` takes any document.
    document : mapping
        The definition as it was written.
    """

    name: str
    version: str
    command: tuple[str, ...]
    output_option: str
    error_option: str
    input_option: str | None = None
    input_schema: Any = True
    output_schema: Any = True
    description: str = ""
    wants: Wants = Wants()
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label(self) -> str:
        """Name and version as people write them."""
        return f"{self.name}@{self.version}"

    def says(self) -> str:
        """Return all that the definition says, so that equal ones are equal texts."""
        return canonical(self.document)


def canonical(document: Any) -> str:
    """Return a JSON document as the one text that all equal documents have."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_definitions(data: Any, problems: list[Problem]) -> list[TaskDefinition]:
    """Read what ``--dump-task-definitions`` writes: an array of definitions, maybe an empty one.

    Parameters
    ----------
    problems
        All that is wrong is appended to it; then what comes back is not all there is.
    """
    if not isinstance(data, list):
        message = (
            "is no JSON array; a program dumps an array of task definitions, [] if it has none"
        )
        problems.append(Problem(message))
        return []
    if len(data) > MOST_DEFINITIONS:
        message = f"has {len(data):,} definitions; at most {MOST_DEFINITIONS:,} are taken"
        problems.append(Problem(message))
        return []
    found: dict[tuple[str, str], TaskDefinition] = {}
    for number, entry in enumerate(data, 1):
        definition = read_definition(entry, problems, f"#{number}")
        if definition is None:
            continue
        identity = definition.name, definition.version
        if identity in found:
            message = f"stands twice; name and version ({definition.label}) are a task's identity"
            problems.append(Problem(message, task=definition.name))
        found[identity] = definition
    return list(found.values())


def read_definition(
    data: Any, problems: list[Problem], place: str | None = None
) -> TaskDefinition | None:
    """Read one definition; None if something is wrong with it, which `problems` says then.

    Parameters
    ----------
    place
        What names the definition in messages as long as it has no name.
    """
    before = len(problems)
    if not isinstance(data, Mapping):
        problems.append(Problem("is no object; a task definition is one", task=place))
        return None
    reader = _Reader(data, problems, place)
    name = reader.line("name")
    version = reader.line("version")
    if name is not None and "@" in name:
        reader.fault("name", "has an '@', which stands between a name and a version")
    if version is not None and "@" in version:
        reader.fault("version", "has an '@', which stands between a name and a version")
    description = reader.text("description")
    command = reader.command()
    given = reader.part("input", optional=True, schema=True)
    output = reader.part("output", schema=True)
    error = reader.part("error")
    options = [part[0] for part in (given, output, error) if part is not None]
    if len(set(options)) < len(options):
        reader.fault(None, f"its file_arguments must differ, each names one file: {options}")
    wants = reader.wants()
    if len(problems) == before and len(canonical(data)) > LARGEST_DEFINITION:
        reader.fault(None, f"has more than {LARGEST_DEFINITION:,} characters")
    if len(problems) > before or name is None or version is None or not output or not error:
        return None
    return TaskDefinition(
        name=name,
        version=version,
        command=command,
        output_option=output[0],
        error_option=error[0],
        input_option=None if given is None else given[0],
        input_schema=True if given is None else given[1],
        output_schema=output[1],
        description=description,
        wants=wants,
        document=data,
    )


class _Reader:
    """Reads the parts of one definition and collects what is wrong."""

    def __init__(self, data: Mapping[str, Any], problems: list[Problem], place: str | None) -> None:
        self._data = data
        self._problems = problems
        name = data.get("name")
        self._task = name[:_LONGEST_NAME] if isinstance(name, str) and name else place

    def fault(self, where: str | None, message: str) -> None:
        self._problems.append(Problem(message, task=self._task, field=where))

    def line(self, key: str) -> str | None:
        """Return a text of one line."""
        value = self._data.get(key)
        if not isinstance(value, str) or not value or not _is_word(value):
            what = "is missing" if value is None else "is not right"
            self.fault(key, f"{what}; it is a text of one line, not empty, no control characters")
            return None
        if len(value) > _LONGEST_NAME:
            self.fault(key, f"has more than {_LONGEST_NAME} characters")
            return None
        return value

    def text(self, key: str) -> str:
        value = self._data.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            self.fault(key, "is not a text")
            return ""
        if len(value) > LONGEST_DESCRIPTION:
            self.fault(key, f"has more than {LONGEST_DESCRIPTION:,} characters")
        return value

    def command(self) -> tuple[str, ...]:
        value = self._data.get("command")
        if not isinstance(value, list) or not value or not all(isinstance(w, str) for w in value):
            what = "is missing" if value is None else "is not right"
            self.fault("command", f"{what}; it is an array of texts, the program first")
            return ()
        if not value[0] or value[0].startswith("-"):
            self.fault("command", f"begins with {value[0]!r}, which names no program")
        if any("\0" in word for word in value):
            self.fault("command", "has a NUL character, which no program can be given")
        if len(value) > _MOST_WORDS or sum(map(len, value)) > _MOST_WORDS * 64:
            self.fault("command", "is too long")
        return tuple(value)

    def part(
        self, key: str, *, optional: bool = False, schema: bool = False
    ) -> tuple[str, Any] | None:
        """Return option and schema of one of the files; None if there is none, or a wrong one."""
        value = self._data.get(key)
        if value is None and optional:
            return None
        if not isinstance(value, Mapping):
            what = "is missing" if value is None else "is not right"
            self.fault(key, f"{what}; it is an object with file_argument{_AND if schema else ''}")
            return None
        option = value.get("file_argument")
        if not isinstance(option, str) or not option or "\0" in option:
            what = "is missing" if option is None else "is not right"
            self.fault(
                f"{key}.file_argument", f"{what}; it is the word that stands before the file's name"
            )
            return None
        if len(option) > _LONGEST_WORD:
            self.fault(f"{key}.file_argument", f"has more than {_LONGEST_WORD:,} characters")
        found = value.get("json_schema", True)
        if not isinstance(found, (Mapping, bool)):
            self.fault(f"{key}.json_schema", "is no JSON schema; that is an object, or true")
            return None
        return option, found

    def wants(self) -> Wants:
        value = self._data.get("provisioning_defaults")
        if value is None:
            return Wants()
        if not isinstance(value, Mapping):
            self.fault("provisioning_defaults", f"is not right; it has {', '.join(_LEAST)}")
            return Wants()
        found: dict[str, int] = {}
        for key, least in _LEAST.items():
            number = value.get(key)
            if number is None:
                continue
            if isinstance(number, float) and number.is_integer():
                number = int(number)  # JSON knows no difference
            if (
                isinstance(number, bool)
                or not isinstance(number, int)
                or not least <= number <= _MOST[key]
            ):
                self.fault(
                    f"provisioning_defaults.{key}",
                    f"is {number!r:.50}; it is a whole number from {least} to {_MOST[key]:,}",
                )
                continue
            found[key] = number
        return Wants(**found)


_AND = " and json_schema"


def _is_word(text: str) -> bool:
    return is_one_line(text) and not any("\ud800" <= c <= "\udfff" for c in text)


# Names and versions ------------------------------------------------------------------------------


def split_name(text: str) -> tuple[str, str | None]:
    """Return name and version of ``NAME@VERSION``; the version is None where none is written."""
    name, at, version = text.partition("@")
    return name, version if at else None


_NUMBERS = re.compile(r"[vV]?([0-9]{1,18}(?:\.[0-9]{1,18})*)")
_PIECES = re.compile(r"[0-9]+|[a-z]+")
_BEFORE = {"dev": 0, "a": 1, "alpha": 1, "b": 2, "beta": 2, "c": 3, "pre": 3, "preview": 3, "rc": 3}
_AFTER = {"post", "rev", "r", "patch"}


def sort_key(version: str) -> tuple[Any, ...]:
    """Return what versions are ordered by: numbers first, then what comes before and after a release.

    ``1.2`` is ``1.2.0``; ``1.2.dev1 < 1.2a1 < 1.2b1 < 1.2-rc.1 < 1.2 < 1.2.post1 < 1.10``, as PEP 440
    and semantic versioning agree. Behind ``+`` nothing counts but to break ties. What does not begin
    with a number is below all that does, in the order of its characters.
    """
    public, _, local = version.partition("+")
    match = _NUMBERS.match(public)
    if match is None:
        return (0, (), 0, (), version, "")
    numbers = [int(part) for part in match[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    rest = tuple(_piece(piece) for piece in _PIECES.findall(public[match.end() :].lower()))
    kind = 0  # a release
    if rest:
        first = rest[0]
        kind = 1 if isinstance(first[1], str) and first[1] in _AFTER else -1
    return (1, tuple(numbers), kind, rest, version, local)


def _piece(text: str) -> tuple[int, Any]:
    """Return a part of what follows the numbers: numbers are below words, as semver has it."""
    if text.isdigit():
        return 0, int(text[:18])
    return 1 + _BEFORE.get(text, 4), text


def highest(versions: Iterable[str]) -> str:
    """Return the highest version.

    Raises
    ------
    ValueError
        If there is none.
    """
    return max(versions, key=sort_key)


def in_order(definitions: Iterable[TaskDefinition]) -> Iterator[TaskDefinition]:
    """Yield definitions by name, the highest version first."""
    by_name: dict[str, list[TaskDefinition]] = {}
    for definition in definitions:
        by_name.setdefault(definition.name, []).append(definition)
    for name in sorted(by_name):
        yield from sorted(by_name[name], key=lambda each: sort_key(each.version), reverse=True)
