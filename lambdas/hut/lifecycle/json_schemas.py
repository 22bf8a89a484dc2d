"""JSON Schema, draft 2020-12: what is wrong with a schema, and with a document under one. Pure.

The one place that knows jsonschema, which is imported when it is needed: it costs a tenth of a second.
Schemas are strangers' texts. So references stay inside the schema, nothing is fetched; size and depth are
bounded, and so are the steps of a check. A pattern whose search may take for ever can't be stopped from
inside: `may_take_long` tells such schemas, and `hut.checking` checks with one where it can be ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from hut.model.schema_faults import Fault, UnusableSchema

if TYPE_CHECKING:
    from jsonschema import ValidationError

__all__ = [
    "DIALECT",
    "LARGEST_SCHEMA",
    "MOST_FAULTS",
    "faults_of",
    "may_take_long",
    "schema_problems",
]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LARGEST_SCHEMA = 10_000
"""Objects, arrays and values of a schema."""

MOST_FAULTS = 100
"""Of a document that are told."""

_DEEPEST_SCHEMA = 100
_LONGEST_PATTERN = 1000
_LONGEST_SAID = 500
_FEWEST_STEPS = 20_000
_STEPS_FOR_EACH = 50  # value of a document
_LITERAL = frozenset({"const", "enum", "default", "examples"})  # keys whose values are no schemas
_REFERENCES = ("$ref", "$dynamicRef")
_PATTERNS = ("pattern", "patternProperties")


def schema_problems(schema: Any) -> list[str]:
    """Return what is wrong with a schema: each with its place, nothing if it can be used."""
    problems: list[str] = []
    anchored = True  # pointers start at the schema itself
    for count, (value, place, depth) in enumerate(_walk(schema), 1):
        if count > LARGEST_SCHEMA:
            return [*problems, f"has more than {LARGEST_SCHEMA:,} parts"]
        if depth > _DEEPEST_SCHEMA:
            return [*problems, f"is nested more than {_DEEPEST_SCHEMA} levels deep"]
        if isinstance(value, Mapping):
            problems += [f"at {place or '/'}: {told}" for told in _of_keywords(value)]
            anchored = anchored and (not place or not isinstance(value.get("$id"), str))
    if anchored and not problems:
        problems += _dangling(schema)
    if problems:
        return problems
    from jsonschema import Draft202012Validator as Validator
    from jsonschema.exceptions import best_match

    try:
        found = best_match(Validator(Validator.META_SCHEMA).iter_errors(schema))
        if found is not None:
            problems.append(f"at {_pointer(found.absolute_path) or '/'}: {_said(found)}")
        else:
            faults_of(schema, None)  # references that lead nowhere, or in a circle
    except UnusableSchema as error:
        problems.append(str(error))
    return problems


def _of_keywords(value: Mapping[str, Any]) -> Iterator[str]:
    dialect = value.get("$schema", DIALECT)
    if not isinstance(dialect, str) or dialect.rstrip("#") != DIALECT:
        yield f"its $schema is {dialect!r:.100}; Hut checks by {DIALECT}"
    for name in _REFERENCES:
        reference = value.get(name)
        if isinstance(reference, str) and not reference.startswith("#"):
            yield f"{name} leads to {reference!r:.100}, outside of the schema; only '#...' is followed"
    for pattern in _patterns_of(value):
        if len(pattern) > _LONGEST_PATTERN:
            yield f"a pattern has more than {_LONGEST_PATTERN:,} characters"
            continue
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            yield f"the pattern {pattern!r:.100} can't be used: {error}"


def _dangling(schema: Any) -> Iterator[str]:
    """Yield what is wrong with pointers into a schema that lead nowhere."""
    for value, place, _ in _walk(schema):
        reference = value.get("$ref") if isinstance(value, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/") or "%" in reference:
            continue
        found = schema
        for part in reference[2:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, Mapping) and key in found:
                found = found[key]
            else:
                yield f"at {place or '/'}: $ref leads to {reference!r:.100}, which is not there"
                break


def _patterns_of(value: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(pattern := value.get("pattern"), str):
        yield pattern
    if isinstance(properties := value.get("patternProperties"), Mapping):
        yield from properties


def _walk(schema: Any) -> Iterator[tuple[Any, str, int]]:
    waiting: list[tuple[Any, str, int]] = [(schema, "", 0)]
    while waiting:
        value, place, depth = waiting.pop()
        yield value, place, depth
        if isinstance(value, Mapping):
            waiting += [
                (each, f"{place}/{key}", depth + 1)
                for key, each in value.items()
                if key not in _LITERAL or isinstance(each, Mapping)
            ]
        elif isinstance(value, list):
            waiting += [(each, f"{place}/{n}", depth + 1) for n, each in enumerate(value)]


def faults_of(schema: Any, document: Any) -> list[Fault]:
    """Return how a document violates a schema, the first of its faults; none if it does not.

    Raises
    ------
    UnusableSchema
        If the schema itself is at fault.
    """
    if schema is True or schema == {}:
        return []
    from jsonschema.exceptions import UndefinedTypeCheck
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # A registry of its own, or what is not known would be fetched.
    validator = _counting()(schema, registry=Registry())
    _left[0] = _FEWEST_STEPS + _STEPS_FOR_EACH * sum(1 for _ in _values(document))
    found: list[Fault] = []
    try:
        for error in validator.iter_errors(document):
            found.append({"path": _pointer(error.absolute_path), "message": _said(error)})
            if len(found) == MOST_FAULTS:
                break
    except Unresolvable as error:
        raise UnusableSchema(f"a reference leads nowhere: {error}"[:_LONGEST_SAID]) from None
    except _TooMuch:
        raise UnusableSchema("it takes too many steps; let it be simpler") from None
    except RecursionError:
        raise UnusableSchema(
            "it refers to itself without an end, or is nested too deeply"
        ) from None
    except (re.error, UndefinedTypeCheck, TypeError, ValueError, OverflowError) as error:
        raise UnusableSchema(f"it can't be used: {error}"[:_LONGEST_SAID]) from None
    return sorted(found, key=lambda fault: fault["path"])


class _TooMuch(Exception):  # noqa: N818 - says what it is
    """A check has taken more steps than it may."""


_left = [0]
"""Steps that the check of this process may still take; checks are made one by one."""


@cache
def _counting() -> Any:
    """Return a validator that counts its steps: schemas may refer to themselves in many ways at once."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    def counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
        def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
            _left[0] -= 1
            if _left[0] < 0:
                raise _TooMuch
            return keyword(validator, value, instance, schema)

        return check

    known = Draft202012Validator.VALIDATORS
    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {name: counted(each) for name, each in known.items()}
    )


def _values(document: Any) -> Iterator[Any]:
    waiting = [document]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, Mapping):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _pointer(path: Any) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def _said(error: ValidationError) -> str:
    text = str(error.message)
    return text if len(text) <= _LONGEST_SAID else f"{text[: _LONGEST_SAID - 3]}..."


# Patterns ----------------------------------------------------------------------------------------

_REPEATS = re.compile(r"[*+]|\{\d*,?\d*\}")
_DULL = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)


def may_take_long(schema: Any) -> bool:
    """Say whether looking for one of the schema's patterns may take a time without bound.

    It may where what is repeated holds another repetition, or a choice, or where a group is referred back to: the
    ways to match a text can double with each of its characters then. Most such patterns are harmless; these
    are told all the same.
    """
    return any(
        _is_risky(pattern)
        for value, _, _ in _walk(schema)
        if isinstance(value, Mapping)
        for pattern in _patterns_of(value)
    )


def _is_risky(pattern: str) -> bool:
    if re.search(r"\\[1-9]|\(\?P=|\(\?\(", pattern):
        return True
    text = _DULL.sub("x", pattern)  # classes and escapes repeat nothing
    inside: list[bool] = []  # for each open group, whether it holds a repetition or a choice
    top = 0
    at = 0
    while at < len(text):
        character = text[at]
        if character == "(":
            inside.append(False)
        elif character == "|" and inside:
            inside[-1] = True
        elif character == ")" and inside:
            holds = inside.pop()
            repeats = _REPEATS.match(text, at + 1) is not None
            if holds and repeats:
                return True
            if inside and (holds or repeats):
                inside[-1] = True
            top += repeats
        elif (match := _REPEATS.match(text, at)) is not None:
            if inside:
                inside[-1] = True
            top += 1
            at = match.end() - 1
        at += 1
    return top > 2
