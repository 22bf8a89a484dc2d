"""The port of the task registry: definitions of task programs, by name and version.

A definition is registered once. The same one again changes nothing; another one under its name and version
is refused unless it is to replace it. Runs keep the definitions they were submitted with, so nothing that
happens here changes a run.

=========  ====================================================================================
operation  what protects it
=========  ====================================================================================
put        there is none of this name and version, or it is the same, or it is to be replaced
remove     it is there: of two who remove it, one is told that it was
=========  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from hut.checking import check_document
from hut.lifecycle.json_schemas import schema_problems
from hut.model.problems import Problem, did_you_mean
from hut.model.schema_faults import Fault
from hut.model.task_definition import TaskDefinition, sort_key, split_name
from hut.store.port import StoreError

__all__ = [
    "DefinitionExists",
    "KnownDefinitions",
    "Registered",
    "TaskRegistry",
    "UnknownDefinition",
    "find_definition",
    "in_order",
    "schema_problems_of",
]


class DefinitionExists(StoreError):  # noqa: N818 - says what it is
    """There is another definition of this name and version."""

    def __init__(self, definition: TaskDefinition, by: str) -> None:
        whose = f", registered by {by}" if by else ""
        super().__init__(
            f"there is another definition of {definition.label}{whose}; give yours another version, or "
            "replace it with --replace"
        )


class UnknownDefinition(StoreError):  # noqa: N818
    """There is no such task; the message names the nearest."""


class Registered(NamedTuple):
    """A definition, by whom it was registered and when (seconds since the epoch)."""

    definition: TaskDefinition
    by: str
    at: float


class TaskRegistry(Protocol):
    """Where definitions are; all that is listed comes by name, the highest version first."""

    def put(self, entry: Registered, *, replace: bool = False) -> bool:
        """Register a definition; say whether that changed anything.

        Raises
        ------
        DefinitionExists
            If there is another one of its name and version, and it is not to be replaced.
        """

    def remove(self, name: str, version: str) -> bool:
        """Remove a definition; say whether it was there."""

    def get(self, name: str, version: str) -> Registered | None:
        """Return a definition."""

    def versions(self, name: str) -> Sequence[Registered]:
        """Return the definitions of a name, the highest version first."""

    def all(self) -> Sequence[Registered]:
        """Return everything that is registered."""


def in_order(entries: Iterable[Registered]) -> list[Registered]:
    """Return entries by name, the highest version first."""
    found = sorted(entries, key=lambda each: sort_key(each.definition.version), reverse=True)
    return sorted(found, key=lambda each: each.definition.name)


def find_definition(registry: TaskRegistry, label: str) -> Registered:
    """Return what ``NAME`` or ``NAME@VERSION`` means; without a version it is the highest.

    Raises
    ------
    UnknownDefinition
    """
    name, version = split_name(label)
    found = None
    if version is not None:
        found = registry.get(name, version)
    elif known := registry.versions(name):
        found = known[0]
    if found is not None:
        return found
    versions = [each.definition.version for each in registry.versions(name)]
    if versions:
        hint = did_you_mean(version or "", versions) or f"the highest is {versions[0]!r}"
        raise UnknownDefinition(f"there is no version {version!r} of the task {name!r}; {hint}")
    names = list(dict.fromkeys(each.definition.name for each in registry.all()))
    hint = did_you_mean(name, names) or "register it with: hutctl task register PROGRAM"
    raise UnknownDefinition(f"there is no task {name!r}; {hint}")


def schema_problems_of(definition: TaskDefinition) -> list[Problem]:
    """Return what is wrong with the schemas of a definition."""
    parts = {"input": definition.input_schema, "output": definition.output_schema}
    return [
        Problem(told, task=definition.name, field=f"{part}.json_schema")
        for part, schema in parts.items()
        for told in schema_problems(schema)
    ]


class KnownDefinitions:
    """What a registry knows, as planning asks for it: `hut.planning.calls.Definitions`."""

    def __init__(self, registry: TaskRegistry) -> None:
        self._registry = registry
        self._found: dict[str, TaskDefinition | str] = {}

    def find(self, label: str) -> TaskDefinition | str:
        """Return what ``NAME[@VERSION]`` means, or why there is none."""
        if label not in self._found:
            try:
                definition = find_definition(self._registry, label).definition
            except UnknownDefinition as error:
                self._found[label] = str(error)
            else:
                # A version that is registered meanwhile must not split a workflow.
                self._found[label] = self._found[definition.label] = definition
        return self._found[label]

    def all(self) -> list[TaskDefinition]:
        """Return all there are."""
        return [each.definition for each in self._registry.all()]

    def check(self, schema: Any, document: Any) -> list[Fault]:
        """Return how a document violates a schema."""
        return check_document(schema, document)
