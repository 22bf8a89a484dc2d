"""Tasks that stand for a task of a program: ``task: NAME[@VERSION]`` and ``input`` instead of a command.

What the registry knows is asked for here, and bound into the task: program, resources the user did not
give, dependencies that the input's references imply. An input without references is held against its
schema at once; one with references when the task is about to start (`hut.lifecycle.task_program`).
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from hut.model.problems import Problem, did_you_mean
from hut.model.quantities import Gres
from hut.model.schema_faults import Check, Fault, UnusableSchema
from hut.model.task_definition import (
    TaskDefinition,
    canonical,
    highest,
    read_definition,
    split_name,
)
from hut.model.workflow import TaskCall, TaskSpec
from hut.planning.references import Reference, find_references, resolve_references

__all__ = [
    "Definitions",
    "FrozenDefinitions",
    "bind_call",
    "check_input",
    "check_references",
    "digest_of",
    "freeze",
    "references_of",
]

_FAULTS_TOLD = 20


class Definitions(Protocol):
    """The task definitions that a workflow may name."""

    def find(self, label: str) -> TaskDefinition | str:
        """Return what ``NAME[@VERSION]`` means, or why there is none: a sentence."""

    def all(self) -> Sequence[TaskDefinition]:
        """Return all there are."""

    def check(self, schema: Any, document: Any) -> Sequence[Fault]:
        """Return how a document violates a schema; may raise `UnusableSchema`."""


class FrozenDefinitions:
    """Those that a run was submitted with: for tasks that join it, and to start its tasks.

    Parameters
    ----------
    documents
        By ``NAME@VERSION``.
    check
        Holds documents against schemas.
    """

    def __init__(
        self,
        documents: Mapping[str, Mapping[str, object]],
        check: Check,
    ) -> None:
        self._documents = documents
        self._read: dict[str, TaskDefinition] = {}
        self.check = check

    def find(self, label: str) -> TaskDefinition | str:
        """Return what ``NAME[@VERSION]`` means, or why there is none."""
        name, version = split_name(label)
        versions = [v for n, v in map(split_name, self._documents) if n == name and v is not None]
        if version is None and versions:
            version = highest(versions)
        found = f"{name}@{version}"
        if found not in self._documents:
            hint = did_you_mean(label, tuple(self._documents)) or "it was submitted with none"
            return f"the run knows no task {label!r} of a program; {hint}"
        if found not in self._read:
            problems: list[Problem] = []
            definition = read_definition(self._documents[found], problems)
            if definition is None:
                return f"the definition of {found} can't be used: {'; '.join(map(str, problems))}"
            self._read[found] = definition
        return self._read[found]

    def all(self) -> list[TaskDefinition]:
        """Return all there are."""
        found = (self.find(label) for label in self._documents)
        return [each for each in found if not isinstance(each, str)]


def freeze(
    definitions: Definitions | None, tasks: Sequence[TaskSpec], *, grows: bool
) -> dict[str, Mapping[str, object]]:
    """Return the definitions that a run is to keep: those its tasks name, all if tasks may join it."""
    if definitions is None:
        return {}
    if grows:
        return {each.label: each.document for each in definitions.all()}
    labels = {task.call.label for task in tasks if task.call is not None}
    found = (definitions.find(label) for label in sorted(labels))
    return {each.label: each.document for each in found if not isinstance(each, str)}


def bind_call(
    fields: dict[str, Any],
    wanted: Mapping[str, Any],
    definitions: Definitions | None,
) -> Iterator[tuple[str, str]]:
    """Put the program of a task's definition, and what it implies, into the fields of the task.

    Parameters
    ----------
    fields
        Of the task: ``task`` and ``input`` are taken out, what they mean is put in.
    wanted
        The resources that the user gave, by the names of workflow fields.

    Yields
    ------
    tuple of str
        Field and message of each problem.
    """
    label, text = fields.pop("task"), fields.pop("input", None)
    yield from _misfits(fields)
    if definitions is None:
        yield "task", "tasks of programs can't be named here; there is no registry of them"
        return
    definition = definitions.find(label)
    if isinstance(definition, str):
        yield "task", definition
        return
    text, problems = _bound_input(definition, text, definitions, fields)
    yield from problems
    fields["command"] = shlex.join(definition.command)
    digest = digest_of(definition)
    fields["call"] = TaskCall(definition.name, definition.version, text, digest)
    wants = definition.wants
    defaults: dict[str, Any] = {
        "cpus": wants.vcpu,
        "memory": wants.memory,
        "time_limit": None if wants.timeout is None else float(wants.timeout),
        "gres": (Gres("gpu", wants.gpu),) if wants.gpu else None,
    }
    given = {name for name in defaults if name in wanted}
    fields.update(
        (name, value) for name, value in defaults.items() if value is not None and name not in given
    )


def _misfits(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what does not go with ``task``."""
    if "command" in fields:
        yield "task", "says what to run, and so does 'command'; keep one of them"
    if "generates_source" in fields:
        yield "generates_source", "does not go with 'task', whose result is its output document"
    if fields.get("dedupe"):
        yield "dedupe", "does not go with 'task'; `hutctl task run` finds earlier executions"


def _bound_input(
    definition: TaskDefinition,
    text: str | None,
    definitions: Definitions,
    fields: dict[str, Any],
) -> tuple[str | None, list[tuple[str, str]]]:
    """Return the input's text, and what is wrong with it; its references become dependencies."""
    if definition.input_option is None:
        if text is None:
            return None, []
        return None, [("input", f"{definition.label} takes no input; leave it out")]
    document = None if text is None else json.loads(text)
    references, wrong = find_references(document)
    if wrong:
        return text, [("input", each) for each in wrong[:_FAULTS_TOLD]]
    if references:
        deps = fields.get("deps", ())
        implied = dict.fromkeys(each.task for each in references if each.task not in deps)
        fields["deps"] = (*deps, *implied)
        return text, []
    given = resolve_references(document, _never)
    problems = [("input", each) for each in check_input(definition, given, definitions)]
    if text is None and problems:
        problems = [("input", f"is missing; {definition.label} takes an input document")]
    return "null" if text is None else text, problems


def _never(task: str) -> None:
    raise AssertionError(task)


def check_input(
    definition: TaskDefinition, document: Any, definitions: Definitions
) -> Iterator[str]:
    """Yield how an input violates the schema of its task: sentences with their places."""
    try:
        faults = definitions.check(definition.input_schema, document)
    except UnusableSchema as error:
        yield f"can't be held against the schema of {definition.label}: {error}"
        return
    for fault in faults[:_FAULTS_TOLD]:
        place = f" at {fault['path']}" if fault["path"] else ""
        yield f"violates the schema of {definition.label}{place}: {fault['message']}"
    if len(faults) > _FAULTS_TOLD:
        yield f"has {len(faults) - _FAULTS_TOLD:,} faults more"


def references_of(call: TaskCall) -> list[Reference]:
    """Return the references of a task's input."""
    if call.input is None or '"$output"' not in call.input:
        return []
    return find_references(json.loads(call.input))[0]


def check_references(tasks: Sequence[TaskSpec], problems: list[Problem]) -> None:
    """Refuse references to tasks that have no output document."""
    if not any(task.call is not None for task in tasks):
        return
    plain = {task.id for task in tasks if task.call is None}
    for task in tasks:
        if task.call is None:
            continue
        for other in dict.fromkeys(each.task for each in references_of(task.call)):
            if other in plain:
                message = f"{other!r} has no output document; only a task with 'task' has one"
                problems.append(Problem(message, task=task.id, field="input"))


def digest_of(definition: TaskDefinition) -> str:
    """Return what tells two definitions under one name and version apart."""
    return hashlib.sha256(canonical(definition.document).encode()).hexdigest()[:16]
