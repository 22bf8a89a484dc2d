"""From the document of a ``hut.yaml`` to a `Configuration`, with every problem and its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from hut.model.configuration import (
    BACKEND_TYPES,
    SOURCE_TYPES,
    Backend,
    Configuration,
    EnvironmentEntry,
    LocalBackendEntry,
    NamedWorkflow,
    Pricing,
    SchedulerEntry,
    Section,
    Settings,
    Source,
    plain,
)
from hut.model.documents import Document, MalformedDocument, Path, dotted, format_of, read_document
from hut.model.problems import InvalidInput, Problem, did_you_mean
from hut.model.scheduler_checks import scheduler_faults

__all__ = ["configuration_of", "read_configuration"]

_Entry = TypeVar("_Entry", bound=Section)


def read_configuration(text: str, *, filename: str) -> Configuration:
    """Read a configuration file; an empty one is a valid one.

    Parameters
    ----------
    text
        YAML, or JSON where the ending of `filename` says so.

    Raises
    ------
    InvalidInput
        With every problem of the file, each with its line.
    """
    try:
        document = read_document(text, format=format_of(filename), with_lines=True)
    except MalformedDocument as error:
        if not text.strip("\ufeff \t\r\n") or _only_comments(text.lstrip("\ufeff")):
            return Configuration()
        raise InvalidInput([Problem(error.message, line=error.line)], source=filename) from None
    return configuration_of(document, source=filename)


def configuration_of(
    document: Document, *, source: str | None = None, whole: bool = True
) -> Configuration:
    """Return the configuration a document holds.

    Parameters
    ----------
    whole
        It is all there is; else it may name schedulers that are elsewhere.

    Raises
    ------
    InvalidInput
        With every problem, in the order of the lines where these are known.
    """
    reader = _Reader(document, whole=whole)
    configuration = reader.read()
    if reader.problems:
        in_order = sorted(reader.problems, key=lambda problem: problem.line or 0)
        raise InvalidInput(in_order, source=source)
    return configuration


def _only_comments(text: str) -> bool:
    return all(line.lstrip().startswith("#") or not line.strip() for line in text.splitlines())


class _Reader:
    def __init__(self, document: Document, *, whole: bool) -> None:
        self._document = document
        self._whole = whole
        self.problems: list[Problem] = list(document.problems)

    def read(self) -> Configuration:
        data = self._document.data
        if data is None:
            return Configuration()
        if not isinstance(data, dict):
            known = ", ".join(Configuration.model_fields)
            self._fault((), f"the file must be a mapping with the sections {known}")
            return Configuration()
        for name in data.keys() - Configuration.model_fields.keys():
            hint = did_you_mean(name, tuple(Configuration.model_fields))
            self._fault((name,), f"unknown section; {hint}")
        sections: dict[str, Any] = {
            "environments": self._entries("environments", {None: EnvironmentEntry}),
            "schedulers": self._entries("schedulers", {None: SchedulerEntry}),
            "backends": self._entries("backends", BACKEND_TYPES),
            "sources": self._entries("sources", SOURCE_TYPES),
            "workflows": self._entries("workflows", {None: NamedWorkflow}),
            "settings": self._entry(("settings",), data.get("settings"), Settings) or Settings(),
            "pricing": self._entry(("pricing",), data.get("pricing"), Pricing),
        }
        self._check_backends(sections["backends"], sections["sources"])
        if self._whole:
            self._check_schedulers(sections["schedulers"], sections["backends"])
        return Configuration.model_construct(**sections)

    def _entries(self, section: str, types: Mapping[Any, type[_Entry]]) -> list[_Entry]:
        """Read a section that is a list of named entries."""
        data = self._document.data
        assert isinstance(data, dict)  # noqa: S101 - read() has looked
        entries = data.get(section)
        if entries is None:
            return []
        if not isinstance(entries, list):
            self._fault((section,), "is not a list; begin each entry with '- name: ...'")
            return []
        found: list[_Entry] = []
        places: dict[str, int] = {}
        for index, entry in enumerate(entries):
            path: Path = (section, index)
            name = entry.get("name") if isinstance(entry, dict) else None
            if isinstance(name, str):
                first = places.setdefault(name, index)
                if first != index:
                    line = self._document.line_of((section, first))
                    self._fault((*path, "name"), f"{name!r} is used twice, first on line {line}")
            kind = types.get(None) or self._type_of(path, entry, types)
            if kind is not None and (read := self._entry(path, entry, kind)) is not None:
                found.append(read)
        return found

    def _type_of(
        self, path: Path, entry: Any, types: Mapping[Any, type[_Entry]]
    ) -> type[_Entry] | None:
        if not isinstance(entry, dict):
            self._fault(path, "is not a mapping with name and type")
            return None
        if "type" not in entry:
            self._fault((*path, "type"), f"is missing; known: {', '.join(types)}")
            return None
        kind = types.get(entry["type"]) if isinstance(entry["type"], str) else None
        if kind is None:
            hint = did_you_mean(str(entry["type"]), tuple(types))
            self._fault((*path, "type"), f"unknown type {entry['type']!r}; {hint}")
        return kind

    def _entry(self, path: Path, entry: Any, kind: type[_Entry]) -> _Entry | None:
        if entry is None and not path[1:]:
            return None
        if not isinstance(entry, dict):
            self._fault(path, "is not a mapping of fields")
            return None
        try:
            return kind.model_validate(entry)
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                self._report(path, kind, fault)
            return None

    def _report(self, path: Path, kind: type[BaseModel], fault: Any) -> None:
        """Turn one of pydantic's errors into a problem in the words of this project."""
        inner: Path = tuple(part for part in fault["loc"] if part != "[key]")
        message = str(fault["msg"])
        if fault["type"] == "extra_forbidden":
            known = _fields_at(kind, inner[:-1])
            message = f"unknown field; {did_you_mean(str(inner[-1]), known, list_up_to=20)}"
        elif fault["type"] == "missing":
            message = "is missing"
        elif fault["type"] in ("value_error", "assertion_error"):
            message = message.removeprefix("Value error, ")
        else:
            message = f"{_show(fault['input'])}: {message[0].lower()}{message[1:]}"
        self._fault((*path, *inner), message)

    def _check_backends(self, backends: Sequence[Backend], sources: Sequence[Source]) -> None:
        names = ["local", *self._names_in("backends")]
        local = [entry.name for entry in backends if isinstance(entry, LocalBackendEntry)]
        if len(local) > 1:
            message = f"{' and '.join(local)} are both of type local; keep one"
            self._fault(("backends",), message)
        for entry in backends:
            if entry.name == "local" and not isinstance(entry, LocalBackendEntry):
                self._fault(
                    ("backends",), f"'local' names this machine, not a {entry.type} backend"
                )
        for index, source in enumerate(sources):
            if source.backend is not None and source.backend not in names:
                hint = did_you_mean(source.backend, names)
                message = f"unknown backend {source.backend!r}; {hint}"
                self._fault(("sources", index, "backend"), message)

    def _check_schedulers(
        self, schedulers: Sequence[SchedulerEntry], backends: Sequence[Backend]
    ) -> None:
        if not backends:
            return
        data = self._document.data
        assert isinstance(data, dict)  # noqa: S101 - read() has looked
        entries = enumerate(data["backends"])  # a list: some of it could be read
        places = {each.get("name"): index for index, each in entries if isinstance(each, dict)}
        faults = scheduler_faults(
            [plain(entry) for entry in schedulers],
            [plain(entry) for entry in backends],
            known=self._names_in("schedulers"),
        )
        for name, path, message in faults:
            self._fault(("backends", places[name], *path), message)

    def _names_in(self, section: str) -> list[str]:
        """Return the names of a section's entries, those of faulty ones too."""
        data = self._document.data
        entries = data.get(section) if isinstance(data, dict) else None
        entries = entries if isinstance(entries, list) else []  # anything else is told already
        found = [e.get("name") for e in entries if isinstance(e, dict)]
        return [name for name in found if isinstance(name, str)]

    def _fault(self, path: Path, message: str) -> None:
        line = self._document.line_of(path)
        self.problems.append(Problem(message, field=dotted(path) or None, line=line))


def _show(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(kind: type[BaseModel], path: Path) -> tuple[str, ...]:
    """Return the names of the fields that the part of `kind` at `path` has."""
    found: Any = kind
    for part in path:
        is_section = isinstance(found, type) and issubclass(found, BaseModel)
        found = _bare(
            found.model_fields[str(part)].annotation if is_section else _entries_of(found)
        )
    return tuple(found.model_fields)


def _bare(annotation: Any) -> Any:
    """Return a type without what it is annotated with, and without None."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        annotation = next(each for each in get_args(annotation) if each is not NoneType)
    return annotation


def _entries_of(container: Any) -> Any:
    """Return the type of what a mapping or a list holds."""
    return get_args(container)[-1]
