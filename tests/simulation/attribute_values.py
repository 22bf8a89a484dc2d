"""Attribute values as they stand on the wire: what is allowed, how large they are, how they compare.

Rules are those of "Supported data types and naming rules" and "DynamoDB item sizes and formats" in
AWS's developer guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow, Rounded
from functools import lru_cache
from typing import Any

from tests.aws.watched_client import refusal

__all__ = [
    "NUMBERS",
    "ORDERED",
    "SETS",
    "Item",
    "Value",
    "checked",
    "checked_item",
    "comparable",
    "equal",
    "from_number",
    "invalid",
    "size_of",
    "size_of_item",
    "to_number",
    "wrong",
]

Value = Mapping[str, Any]
Item = dict[str, Any]

ORDERED = frozenset({"S", "N", "B"})
SETS = frozenset({"SS", "NS", "BS"})
NUMBERS = Context(prec=38, traps=[InvalidOperation, Overflow, Inexact, Rounded])

_DEPTH = 32
_PLAIN = re.compile(r"(?:0|-?[1-9][0-9]{0,17}(?:\.[0-9]{0,18}[1-9])?|-?0\.[0-9]{0,18}[1-9])")
_SET_NAMES = {"SS": "string", "NS": "number", "BS": "binary"}


def invalid(message: str) -> Exception:
    """Return the error of a request that is wrong in itself."""
    return refusal("ValidationException", message)


def wrong(message: str) -> Exception:
    """Return the error of a request with a value that can't be."""
    return invalid(f"One or more parameter values were invalid: {message}")


def checked_item(item: Any) -> tuple[Item, int]:
    """Return an item as it is stored, and its size in bytes.

    The item itself, if nothing in it is written otherwise than DynamoDB does.
    """
    size, other = 0, None
    for name, value in item.items():
        stored, length = _checked(value, 1)
        if stored is not value:
            other = other or dict(item)
            other[name] = stored
        size += length + (len(name) if name.isascii() else len(name.encode()))
    return other or item, size


def checked(value: Any) -> Value:
    """Return a value as it is stored."""
    return _checked(value, 1)[0]


def size_of_item(item: Item) -> int:
    """Return the size of an item in bytes."""
    return sum(size_of(value) + len(name.encode()) for name, value in item.items())


def size_of(value: Value) -> int:
    """Return the size of a value in bytes, without its name."""
    return _checked(value, 1)[1]


def _checked(value: Any, depth: int) -> tuple[Value, int]:
    if not isinstance(value, dict) or len(value) != 1:
        raise invalid(
            "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
            if not value
            else "Supplied AttributeValue has more than one datatypes set, must contain exactly one"
            " of the supported datatypes"
        )
    ((kind, content),) = value.items()
    if kind == "S":
        return value, len(content) if content.isascii() else len(content.encode())
    if kind == "N":
        if _PLAIN.fullmatch(content):
            return value, len(content) // 2 + 2
        text = _normal(content)
        return {"N": text}, len(text) // 2 + 2
    if kind == "B":
        return (value if isinstance(content, bytes) else {"B": bytes(content)}), len(content)
    if kind in {"BOOL", "NULL"}:
        if kind == "NULL" and content is not True:
            raise wrong("Null attribute value types must have the value of true")
        return value, 1
    if kind in SETS:
        return _checked_set(value, kind, content)
    if kind in {"L", "M"}:
        return _checked_document(kind, content, depth)
    raise invalid(f"Unknown type of an attribute: {kind}")


def _checked_set(value: Value, kind: str, content: Any) -> tuple[Value, int]:
    if not content:
        raise wrong(
            "Binary sets should not be empty"
            if kind == "BS"
            else f"An {_SET_NAMES[kind]} set  may not be empty"
        )
    element = kind[0]
    size, entries, same = 0, [], True
    for entry in content:
        if element == "N" and _PLAIN.fullmatch(entry):
            entries.append(entry)
            size += len(entry) // 2 + 2
            continue
        stored, length = _checked({element: entry}, 1)
        entries.append(stored[element])
        same = same and stored[element] is entry
        size += length
    if len(set(entries)) < len(entries):
        raise wrong(f"Input collection [{', '.join(map(str, content))}] contains duplicates.")
    return (value if same and isinstance(content, list) else {kind: entries}), size


def _checked_document(kind: str, content: Any, depth: int) -> tuple[Value, int]:
    if depth > _DEPTH:
        raise invalid("Nesting Levels have exceeded supported limits")
    if kind == "L":
        entries = [_checked(entry, depth + 1) for entry in content]
        return {"L": [stored for stored, _ in entries]}, 3 + sum(size + 1 for _, size in entries)
    size, fields = 3, {}
    for name, entry in content.items():
        fields[name], length = _checked(entry, depth + 1)
        size += length + len(name.encode()) + 1
    return {"M": fields}, size


@lru_cache(8192)
def _normal(text: str) -> str:
    """Return a number without what says nothing: zeros, a plus, an exponent."""
    try:
        number = NUMBERS.create_decimal(text.strip())
    except Overflow:
        raise _too_large() from None
    except (Inexact, Rounded):
        try:
            number = NUMBERS.create_decimal(Decimal(text).normalize(Context(prec=1000)))
        except (Inexact, Rounded):
            message = "Attempting to store more than 38 significant digits in a Number"
            raise invalid(message) from None
    except InvalidOperation:
        message = f"The parameter cannot be converted to a numeric value: {text}"
        raise invalid(message) from None
    return from_number(number)


def from_number(number: int | Decimal) -> str:
    """Return a number as DynamoDB writes it."""
    if isinstance(number, int) and -(10**38) < number < 10**38:
        return str(number)
    number = Decimal(number)
    if not number.is_finite():
        raise invalid(f"The parameter cannot be converted to a numeric value: {number}")
    if not number:
        return "0"
    if number.adjusted() > 125:
        raise _too_large()
    if number.adjusted() < -130:
        message = "Number underflow. Attempting to store a number with magnitude smaller than"
        raise invalid(f"{message} supported range")
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _too_large() -> Exception:
    message = "Number overflow. Attempting to store a number with magnitude larger than"
    return invalid(f"{message} supported range")


def to_number(text: str) -> int | Decimal:
    """Return a stored number as one of Python's."""
    return Decimal(text) if "." in text else int(text)


def comparable(value: Value) -> Any:
    """Return what a text, number or binary is ordered by among those of its type."""
    ((kind, content),) = value.items()
    return to_number(content) if kind == "N" else content


def equal(one: Value | None, other: Value | None) -> bool:
    """Say whether two values are the same; a missing one is the same as none."""
    if one is None or other is None:
        return False
    ((kind, content),) = one.items()
    if kind not in other:
        return False
    theirs = other[kind]
    if kind in SETS:
        return len(content) == len(theirs) and set(content) == set(theirs)
    if kind == "L":
        return len(content) == len(theirs) and all(map(equal, content, theirs))
    if kind == "M":
        return content.keys() == theirs.keys() and all(
            equal(entry, theirs[name]) for name, entry in content.items()
        )
    return bool(content == theirs)
