"""``@task``: what is said about a function to make a task of it, checked as far as it can be. Pure.

The function stays what it is, callable, typed and picklable; what was said is noted on it. Its types
are looked at later, where a schema is needed: they may not be complete yet.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict, TypeVar, cast, overload

from hut.task.errors import TaskDefinitionError

__all__ = [
    "DUMP_ALL",
    "DUMP_ONE",
    "HELP",
    "FileArguments",
    "Provisioning",
    "Task",
    "task",
    "tasks_of",
]

DUMP_ALL = "--dump-task-definitions"
DUMP_ONE = "--dump-task-definition"
HELP = ("--help", "-h")

_NOTED = "__hut_task__"
_NO_INPUT = inspect.Parameter.empty

F = TypeVar("F", bound=Callable[..., object])


class FileArguments(NamedTuple):
    """What stands before each file's name when a task is invoked; any words, dashes or none."""

    input: str = "--input-file"
    output: str = "--output-file"
    error: str = "--error-file"


class Provisioning(TypedDict, total=False):
    """What a task needs where its user asks for nothing else.

    Attributes
    ----------
    vcpu : int
        Threads.
    memory : int
        MiB.
    gpu : int
        GPUs.
    timeout : int
        Seconds.
    """

    vcpu: int
    memory: int
    gpu: int
    timeout: int


_LEAST = {"vcpu": 1, "memory": 1, "gpu": 0, "timeout": 1}


@dataclass(frozen=True, slots=True)
class _Said:
    """What the decorator was told."""

    name: str
    version: str | None
    description: str
    arguments: FileArguments
    provisioning: Provisioning
    validate: bool


@dataclass(frozen=True, slots=True)
class Task:
    """A function and what was said of it.

    Parameters
    ----------
    parameter
        Name of the function's parameter, which takes the input; None for a task without input.
    optional
        Whether the parameter has a default, so that the task can do without an input file.
    """

    function: Callable[..., object]
    name: str
    version: str
    description: str
    arguments: FileArguments
    provisioning: Provisioning
    validate: bool
    parameter: str | None
    optional: bool


@overload
def task(function: F, /) -> F: ...
@overload
def task(
    *,
    name: str | None = None,
    version: str | None = None,
    description: str | None = None,
    arguments: FileArguments = ...,
    provisioning: Provisioning | None = None,
    validate: bool = True,
) -> Callable[[F], F]: ...
def task(
    function: F | None = None,
    /,
    *,
    name: str | None = None,
    version: str | None = None,
    description: str | None = None,
    arguments: FileArguments = FileArguments(),  # noqa: B008 - a tuple
    provisioning: Provisioning | None = None,
    validate: bool = True,
) -> F | Callable[[F], F]:
    """Make a task of a function with one parameter, the input document, or with none.

    Parameters
    ----------
    name
        By default the function's. One line of any characters; a program's tasks differ in it.
    version
        By default what `main` is told. Name and version are the task's identity.
    description
        By default the first paragraph of the function's docstring.
    arguments
        The words that name the files.
    provisioning
        What the task needs by default.
    validate
        False hands the input over as `json.loads` reads it and writes what the function returns, both
        unchecked. Types must then be JSON's own: ``dict``, ``list``, ``str``, ``Any``, a TypedDict...

    Raises
    ------
    TaskDefinitionError
        All that is wrong with the function's form or with what was said.
    """

    def declare(function: F) -> F:
        said = _Said(
            getattr(function, "__name__", "") if name is None else name,
            version,
            _summary(function) if description is None else description,
            arguments,
            Provisioning() if provisioning is None else provisioning,
            validate,
        )
        place = getattr(function, "__qualname__", None) or repr(function)
        problems = [f"task {place}: {each}" for each in (*_of_form(function), *_of_words(said))]
        if problems:
            raise TaskDefinitionError(problems)
        setattr(function, _NOTED, said)
        return function

    return declare if function is None else declare(function)


def tasks_of(functions: tuple[Callable[..., object], ...], version: str | None) -> list[Task]:
    """Return the tasks of a program.

    Raises
    ------
    TaskDefinitionError
        For functions that are no tasks, tasks without a version, and names that stand twice.
    """
    problems: list[str] = []
    tasks: dict[str, Task] = {}
    if version is not None and (wrong := _of_word("version", version)):
        problems.append(f"main(version=...): {wrong}")
    for function in functions:
        place = getattr(function, "__qualname__", None) or repr(function)
        said = getattr(function, _NOTED, None)
        if not isinstance(said, _Said):
            problems.append(f"{place} is no task; decorate it with @task")
            continue
        spoken = version if said.version is None else said.version
        if spoken is None:
            problems.append(
                f"task {place}: it has no version; say @task(version=...) or main(..., version=...)"
            )
        if said.name in tasks:
            other = tasks[said.name].function.__qualname__
            problems.append(f"task {place}: {other} has the name {said.name!r} already")
        names = list(inspect.signature(function).parameters.values())
        tasks[said.name] = Task(
            function,
            said.name,
            spoken or "",
            said.description,
            said.arguments,
            said.provisioning,
            said.validate,
            names[0].name if names else None,
            bool(names) and names[0].default is not _NO_INPUT,
        )
    if problems:
        raise TaskDefinitionError(problems)
    return list(tasks.values())


def _summary(function: Callable[..., object]) -> str:
    return " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())


def _of_form(function: object) -> Iterator[str]:
    """Yield what is wrong with a function's form."""
    if not inspect.isfunction(function):
        yield "only a function can be a task; write one that calls this"
        return
    if (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    ):
        yield "it must return its output; async functions and generators return something else"
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind not in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}:
            yield f"the parameter {parameter.name!r} can't be given by position, as the input is"
        elif parameter.annotation is parameter.empty:
            yield f"the parameter {parameter.name!r} has no type; the input's schema is made of it"
    if len(signature.parameters) > 1:
        yield (
            f"it has {len(signature.parameters)} parameters, and a task has one input; give it one of a "
            "type with these as its fields (a pydantic model, say)"
        )
    if signature.return_annotation is signature.empty:
        yield "its result has no type (-> ...); the output's schema is made of it"


def _of_words(said: _Said) -> Iterator[str]:
    """Yield what is wrong with what was said."""
    taken = {DUMP_ALL, DUMP_ONE, *HELP}
    for what, word in (
        ("name", said.name),
        ("version", said.version),
        *((f"argument of the {each}", word) for each, word in said.arguments._asdict().items()),
    ):
        if what == "version" and word is None:
            continue
        if wrong := _of_word(what, word):
            yield wrong
        elif what != "version" and word in taken:
            yield f"its {what} is {word!r}, which the program has a meaning for already"
    if len(set(said.arguments)) < len(said.arguments):
        yield f"its arguments must differ, so that each names one file: {list(said.arguments)}"
    if not isinstance(cast("object", said.description), str):
        yield "its description must be a text"
    yield from _of_provisioning(said.provisioning)


def _of_word(what: str, word: object) -> str | None:
    if not isinstance(word, str) or not word or not all(map(_stands_in_a_line, word)):
        return f"its {what} is {word!r}; it must be a text of one line, not empty, no control characters"
    return None


def _stands_in_a_line(character: str) -> bool:
    return not (
        character < " "
        or "\x7f" <= character < "\xa0"
        or character in "\u2028\u2029"
        or "\ud800" <= character <= "\udfff"  # no UTF-8 can say it
    )


def _of_provisioning(provisioning: Mapping[str, Any]) -> Iterator[str]:
    for key, value in provisioning.items():
        least = _LEAST.get(key)
        if least is None:
            yield f"its provisioning has {key!r}; known: {', '.join(_LEAST)}"
        elif not isinstance(value, int) or isinstance(value, bool) or value < least:
            yield f"its provisioning's {key!r} is {value!r}; it must be a whole number from {least} on"
