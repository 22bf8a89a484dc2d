"""The types of a task: the schemas made of them, and documents read and written by them. Pure.

With ``validate=False`` documents are JSON's own types, unchecked, and pydantic only makes the schemas.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Union, get_args, get_origin

from hut.task.declaring import Task
from hut.task.errors import (
    OutputValidationError,
    TaskDefinitionError,
    ValidationError,
    first_line,
)

if TYPE_CHECKING:
    import pydantic

__all__ = ["call", "definition_of", "definitions_of"]

_PLAIN = {str, int, float, bool, None, type(None), Any, object, list, dict}
_NOT_IN_JSON = (b"NaN", b"Infinity")
_MOST_DETAILS = 100
"""Faults of one document that are told."""


def definitions_of(
    tasks: Sequence[Task], commands: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Return the definitions of tasks, as HQS Tasks spells them.

    Raises
    ------
    TaskDefinitionError
        For every type no schema can be made of.
    """
    definitions = []
    problems: list[str] = []
    for task, command in zip(tasks, commands, strict=True):
        try:
            definitions.append(definition_of(task, command))
        except TaskDefinitionError as error:
            problems.append(str(error))
    if problems:
        raise TaskDefinitionError(problems)
    return definitions


def definition_of(task: Task, command: Sequence[str]) -> dict[str, Any]:
    """Return the definition of a task.

    Parameters
    ----------
    command
        What runs the task, before the arguments with the files.
    """
    problems: list[str] = []
    schemas: dict[str, Any] = {}
    modes: dict[str, Literal["validation", "serialization"]] = {"return": "serialization"}
    if task.parameter is not None:
        modes = {task.parameter: "validation", **modes}
    for part, mode in modes.items():
        try:
            schemas[part] = _adapter(task, part).json_schema(mode=mode)
        except TaskDefinitionError as error:
            problems.append(str(error))
        except Exception as error:  # noqa: BLE001 - authors' types take part in making their schemas
            problems.append(_of_type(task, part, error))
    if problems:
        raise TaskDefinitionError(dict.fromkeys(problems))
    names = task.arguments
    given = None
    if task.parameter is not None:
        given = {"file_argument": names.input, "json_schema": schemas[task.parameter]}
    return {
        "name": task.name,
        "description": task.description,
        "version": task.version,
        "input": given,
        "output": {"file_argument": names.output, "json_schema": schemas["return"]},
        "error": {"file_argument": names.error},
        "command": list(command),
        "provisioning_defaults": dict(task.provisioning),
    }


def call(task: Task, document: bytes | None) -> bytes:
    """Call a task's function with its input and return the output document.

    Parameters
    ----------
    document
        The input; None where there is none, which is right for a task without one or with a default.

    Raises
    ------
    ValidationError
        If the input is not JSON or violates its type; the function was not called then.
    OutputValidationError
        If what the function returned violates its type or can't be said in JSON.
    TaskDefinitionError
        If a type can't be used.
    BaseException
        Whatever the function raises.
    """
    result_type = None if not task.validate else _adapter(task, "return")
    if result_type is None:
        _hint(task, "return")
    if task.parameter is None or document is None:
        result = task.function()
    else:
        result = task.function(_read(task, task.parameter, document))
    return _write(result_type, result)


def _read(task: Task, parameter: str, document: bytes) -> Any:
    if any(word in document for word in _NOT_IN_JSON) or not task.validate:
        plain = _plain(document)  # pydantic would take NaN, and a text may well say "NaN"
        if not task.validate:
            _hint(task, parameter)
            return plain
    adapter = _adapter(task, parameter)
    from pydantic import ValidationError as Refused

    try:
        return adapter.validate_json(document, strict=True)
    except Refused as error:
        refused = error
    # To JSON schema 3.0 is an integer, to pydantic it is not: seldom, so only looked at now.
    try:
        return adapter.validate_json(json.dumps(_plain(document, whole=True)), strict=True)
    except Refused:
        details = _details_of(refused) or []
    raise ValidationError(f"the input violates its schema: {_said_of(details)}", details)


def _plain(document: bytes, *, whole: bool = False) -> Any:
    """Return a document as JSON's own types; `whole` makes integers of numbers that are."""
    try:
        return json.loads(
            document.decode("utf-8"),
            parse_constant=_no_number,
            parse_float=_whole if whole else None,
        )
    except (ValueError, RecursionError) as error:
        raise ValidationError(f"the input is no JSON document: {first_line(error)}") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _whole(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _write(adapter: pydantic.TypeAdapter[Any] | None, result: object) -> bytes:
    try:
        if adapter is not None:
            value = adapter.validate_python(result, strict=True)
            result = adapter.dump_python(value, mode="json", by_alias=True, warnings="error")
        # NaN and lone surrogates end here: JSON can't say them, and null is not what was meant.
        return json.dumps(result, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        details = _details_of(error)
        said = " ".join(str(error).split()) if details is None else _said_of(details)
        raise OutputValidationError(
            f"what the task returned can't be its output: {said}", details
        ) from None


def _details_of(error: Exception) -> list[dict[str, object]] | None:
    """Return each fault that pydantic found with its place; None if it is another's error."""
    from pydantic import ValidationError as Refused

    if not isinstance(error, Refused):
        return None
    return [
        {"path": list(each["loc"]), "message": each["msg"]}
        for each in error.errors(include_url=False, include_context=False, include_input=False)[
            :_MOST_DETAILS
        ]
    ]


def _said_of(details: Iterable[Mapping[str, object]]) -> str:
    said = []
    for each in details:
        path = each["path"]
        assert isinstance(path, list)  # noqa: S101 - as made above
        said.append(": ".join(filter(None, (".".join(map(str, path)), str(each["message"])))))
    return "; ".join(said)


def _adapter(task: Task, part: str) -> pydantic.TypeAdapter[Any]:
    hint = _hint(task, part)
    from pydantic import TypeAdapter

    try:
        adapter: pydantic.TypeAdapter[Any] = TypeAdapter(hint)
        if hasattr(adapter, "rebuild"):  # from 2.10 on; before, the line above said what is missing
            adapter.rebuild(raise_errors=True)
    except Exception as error:  # noqa: BLE001 - pydantic asks authors' types, which may raise anything
        raise TaskDefinitionError([_of_type(task, part, error)]) from None
    return adapter


def _hint(task: Task, part: str) -> Any:
    """Return the type of a parameter, or of the result (``return``)."""
    try:
        hint = typing.get_type_hints(task.function, include_extras=True)[part]
    except Exception as error:  # noqa: BLE001 - an annotation may be any expression
        raise TaskDefinitionError([_of_type(task, part, error)]) from None
    if not task.validate and not _is_plain(hint):
        own = "dict, list, str, int, float, bool, None, Any, TypedDict"
        where = f"task {task.name}, {_part(part)}"
        raise TaskDefinitionError(
            [
                f"{where}: with validate=False its type must be made of JSON's own ({own}), not {hint!r}"
            ]
        )
    return hint


def _is_plain(hint: Any, within: tuple[Any, ...] = ()) -> bool:
    """Say whether what `json.loads` returns can be of a type; `within` are those around it."""
    origin = get_origin(hint)
    if origin is None:
        if hasattr(hint, "__required_keys__"):  # a TypedDict, of typing or of typing_extensions
            return hint in within or all(
                _is_plain(each, (*within, hint)) for each in typing.get_type_hints(hint).values()
            )
        return any(hint is each for each in _PLAIN)
    if origin is Literal:
        return all(isinstance(each, str | int | None) for each in get_args(hint))
    if origin is typing.Annotated:
        return _is_plain(get_args(hint)[0], within)
    if origin is dict:
        return get_args(hint)[0] is str and _is_plain(get_args(hint)[1], within)
    return origin in {list, Union, types.UnionType} and all(
        _is_plain(each, within) for each in get_args(hint)
    )


def _of_type(task: Task, part: str, error: Exception) -> str:
    return (
        f"task {task.name}, {_part(part)}: its type can't be used: {first_line(error)} "
        "(it must be one pydantic makes a JSON schema of, and be known where the function stands)"
    )


def _part(part: str) -> str:
    return "its result" if part == "return" else f"parameter {part!r}"
