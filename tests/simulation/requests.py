"""Calls of the simulated DynamoDB: which arguments they have, and the expressions among them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from tests.simulation.attribute_values import Item, checked, invalid
from tests.simulation.evaluation import condition_of, projected
from tests.simulation.expressions import Parsed, parse, parts_of

__all__ = [
    "PAGED",
    "PLACEHOLDERS",
    "READ",
    "REPORTS",
    "SINGLE",
    "WRITE",
    "Given",
    "allow",
    "given_in",
]

PLACEHOLDERS = frozenset({"ExpressionAttributeNames", "ExpressionAttributeValues"})
REPORTS = frozenset({"ReturnConsumedCapacity", "ReturnItemCollectionMetrics"})
WRITE = PLACEHOLDERS | {"TableName", "ConditionExpression", "ReturnValuesOnConditionCheckFailure"}
SINGLE = WRITE | REPORTS | {"ReturnValues"}
READ = PLACEHOLDERS | REPORTS | {"TableName", "ConsistentRead", "ProjectionExpression"}
PAGED = READ | {"IndexName", "Limit", "ExclusiveStartKey", "FilterExpression", "Select"}

_EXPRESSIONS = (
    "KeyConditionExpression",
    "FilterExpression",
    "ConditionExpression",
    "UpdateExpression",
    "ProjectionExpression",
)


class Given(NamedTuple):
    """The expressions of a call, with their placeholders."""

    names: Mapping[str, str]
    values: Mapping[str, Any]
    expressions: Mapping[str, Parsed]

    def holds(self, item: Item | None, kind: str = "ConditionExpression") -> bool:
        """Say whether a condition holds; one that is not there does."""
        parsed = self.expressions.get(kind)
        return parsed is None or condition_of(parsed)(item or {}, self.names, self.values)

    def shown(self, item: Item) -> Item:
        """Return of an item what is asked for."""
        parsed = self.expressions.get("ProjectionExpression")
        if parsed is None:
            return item
        return projected(item, [parts_of(path, self.names) for path in parsed.tree])


def allow(arguments: Mapping[str, Any], names: Collection[str]) -> None:
    """Refuse what botocore would refuse, and what is not modelled."""
    other = [name for name in arguments if name not in names]
    if other:
        raise TypeError(f"not a parameter of the simulated DynamoDB: {', '.join(sorted(other))}")


def given_in(arguments: Mapping[str, Any]) -> Given:
    """Read the expressions of a call and refuse what does not fit together."""
    names = arguments.get("ExpressionAttributeNames", {})
    values = arguments.get("ExpressionAttributeValues", {})
    expressions = {
        kind: parse(kind, arguments[kind])
        for kind in _EXPRESSIONS
        if arguments.get(kind) is not None
    }
    if not expressions and (names or values):
        kind = "Names" if names else "Values"
        message = f"ExpressionAttribute{kind} can only be specified when using expressions"
        raise invalid(message)
    values = {name: checked(value) for name, value in values.items()}
    used_names: set[str] = set()
    used_values: set[str] = set()
    for parsed in expressions.values():
        parsed.check(names, values)
        used_names.update(parsed.names)
        used_values.update(parsed.values)
    for what, given, used in (("Names", names, used_names), ("Values", values, used_values)):
        if len(given) > len(used):
            unused = ", ".join(sorted(given.keys() - used))
            raise invalid(
                f"Value provided in ExpressionAttribute{what} unused in expressions: "
                f"keys: {{{unused}}}"
            )
    return Given(names, values, expressions)
