"""Queries and scans of the simulated DynamoDB: where they start, what they may ask, page by page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.simulation.attribute_values import Item, checked_item, invalid
from tests.simulation.requests import Given
from tests.simulation.tables import Index, Record, Schema, Table

__all__ = ["page_of", "refuse_keys_in_filter", "starting_key"]

_LARGEST_PAGE = 1024 * 1024


def starting_key(table: Table, index: Index | None, arguments: Any) -> Item | None:
    """Return the key behind which a page begins."""
    start = arguments.get("ExclusiveStartKey")
    if start is None:
        return None
    schemas = [table.schema, *([index.schema] if index is not None else [])]
    kinds = {name: schema.kinds[name] for schema in schemas for name in schema.names}
    if start.keys() != kinds.keys() or any(kinds[name] not in start[name] for name in kinds):
        raise invalid("The provided starting key is invalid")
    return checked_item(start)[0]


def refuse_keys_in_filter(schema: Schema, given: Given) -> None:
    """Refuse a filter of what the key condition is for."""
    parsed = given.expressions.get("FilterExpression")
    for name in parsed.attributes(given.names) if parsed is not None else ():
        if name in schema.names:
            raise invalid(
                "Filter Expression can only contain non-primary key attributes: "
                f"Primary key attribute: {name}"
            )


def page_of(
    table: Table,
    index: Index | None,
    records: Iterable[Record],
    arguments: Any,
    given: Given,
) -> Any:
    """Return a page: as many records as are asked for, or as fit into 1 MB, and then those that pass."""
    limit = arguments.get("Limit")
    if limit is not None and limit < 1:
        raise invalid("1 validation error detected: 'limit' must be at least 1")
    found, size, scanned, more = [], 0, 0, None
    for record in records:
        scanned += 1
        size += record.size
        if given.holds(record.item, "FilterExpression"):
            found.append(record.item)
        if scanned == limit or size > _LARGEST_PAGE:
            more = record.item
            break
    answer: dict[str, Any] = {"Count": len(found), "ScannedCount": scanned}
    if arguments.get("Select") != "COUNT":
        answer["Items"] = [given.shown(item) for item in found]
    if more is not None:
        names = dict.fromkeys(table.schema.names + (index.schema.names if index else ()))
        answer["LastEvaluatedKey"] = {name: more[name] for name in names}
    return answer
