"""Key conditions of queries: which partition, and which sort keys of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.simulation.attribute_values import comparable, invalid
from tests.simulation.expressions import Call, Constant, Node, Parsed, Path, parts_of
from tests.simulation.tables import Bounds, Schema

__all__ = ["bounds_of"]

_NOT_SUPPORTED = "Query key condition not supported"
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}


def bounds_of(
    parsed: Parsed, schema: Schema, names: Mapping[str, str], values: Mapping[str, Any]
) -> tuple[Any, Bounds]:
    """Return the partition and the bounds of the sort keys that are asked for.

    Raises
    ------
    ClientError
        If the condition is not one of exactly one partition and of one range of it.
    """
    partition, bounds = None, None
    for call in _conditions(parsed.tree):
        name, relation, operands = _turned(call, names)
        given = [values[operand.name] for operand in operands]
        if name not in schema.names:
            raise invalid(_missed(schema, parsed, names))
        if any(schema.kinds[name] not in value for value in given):
            raise invalid(
                "One or more parameter values were invalid: Condition parameter type does not "
                "match schema type"
            )
        compared = [comparable(value) for value in given]
        if any(value in ("", b"") for value in compared) and relation != "begins_with":
            message = "The AttributeValue for a key attribute cannot contain an empty string value."
            raise invalid(f"One or more parameter values are not valid. {message} Key: {name}")
        if name == schema.partition:
            if relation != "=":
                raise invalid(_NOT_SUPPORTED)
            if partition is not None:
                raise invalid(_once(parsed))
            partition = compared[0]
        elif bounds is not None:
            raise invalid(_once(parsed))
        else:
            bounds = _range(relation, compared)
    if partition is None:
        raise invalid(_missed(schema, parsed, names))
    return partition, bounds or Bounds()


def _once(parsed: Parsed) -> str:
    return f"Invalid {parsed.kind}: KeyConditionExpressions must only contain one condition per key"


def _missed(schema: Schema, parsed: Parsed, names: Mapping[str, str]) -> str:
    for name in schema.names:
        if name not in parsed.attributes(names):
            return f"Query condition missed key schema element: {name}"
    return _NOT_SUPPORTED


def _conditions(node: Node) -> Iterator[Call]:
    assert isinstance(node, Call), "a condition is a call"
    if node.name != "AND":
        yield node
        return
    for operand in node.operands:
        yield from _conditions(operand)


def _turned(call: Call, names: Mapping[str, str]) -> tuple[str, str, tuple[Constant, ...]]:
    """Return of a condition the attribute, how it is compared and with what."""
    relation, (left, *others) = call.name, call.operands
    if relation in _MIRRORED and isinstance(left, Constant):
        relation, left, others = _MIRRORED[relation], others[0], [left]
    is_range = relation in _MIRRORED or relation in {"BETWEEN", "begins_with"}
    is_plain = isinstance(left, Path) and len(left.parts) == 1
    if not is_range or not is_plain or not all(isinstance(each, Constant) for each in others):
        raise invalid(f"Invalid operator used in KeyConditionExpression: {relation}")
    return str(parts_of(left, names)[0]), relation, tuple(others)


def _range(relation: str, given: list[Any]) -> Bounds:
    if relation == "BETWEEN" and given[0] > given[1]:
        raise invalid(
            "Invalid KeyConditionExpression: The BETWEEN operator requires upper bound to be "
            "greater than or equal to lower bound"
        )
    if relation == "begins_with":
        return Bounds(prefix=given[0])
    if relation in {"=", "BETWEEN"}:
        return Bounds(low=given[0], high=given[-1])
    if relation in {">", ">="}:
        return Bounds(low=given[0], includes_low=relation == ">=")
    return Bounds(high=given[0], includes_high=relation == "<=")
