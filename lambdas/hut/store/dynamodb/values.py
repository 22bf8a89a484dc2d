"""Python values as DynamoDB attribute values, and back.

Numbers come back as int where they are whole: callers that want a float say so. An attribute that
would be None or an empty set is left out, because DynamoDB holds no empty sets. Types that Hut does not
use (lists, mappings) are kept as DynamoDB writes them: what a later Hut added must survive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Item", "Kept", "load", "load_item", "store", "store_item"]

Item = dict[str, Any]


class Kept(dict[str, Any]):
    """A value of a type that Hut does not use, as DynamoDB writes it."""


def store(value: Any) -> dict[str, Any]:
    """Return a value as DynamoDB writes it.

    Raises
    ------
    TypeError
        If it is of a type that items don't hold; lists and mappings are stored as JSON text.
    """
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str):
        return {"S": str(value)}
    if isinstance(value, (int, float)):
        return {"N": repr(value)}
    if isinstance(value, bytes):
        return {"B": value}
    if isinstance(value, (set, frozenset)) and value:
        if all(isinstance(entry, str) for entry in value):
            return {"SS": sorted(value)}
        return {"NS": [str(entry) for entry in sorted(value)]}
    if isinstance(value, Kept):
        return dict(value)
    raise TypeError(f"{type(value).__name__} can't be an attribute")


def load(value: Mapping[str, Any]) -> Any:
    """Return what `store` wrote."""
    ((kind, content),) = value.items()
    if kind == "N":
        return _number(content)
    if kind == "NS":
        return {_number(entry) for entry in content}
    if kind == "SS":
        return set(content)
    if kind == "B":
        return bytes(content)
    return content if kind in ("S", "BOOL") else Kept(value)


def store_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item as DynamoDB writes it."""
    return {
        name: store(value)
        for name, value in item.items()
        if value is not None and not (isinstance(value, (set, frozenset)) and not value)
    }


def load_item(attributes: Mapping[str, Any]) -> Item:
    """Return an item that DynamoDB answered."""
    return {name: load(value) for name, value in attributes.items()}


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
