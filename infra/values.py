"""Readers of single context values: from JSON in cdk.json, or text on the command line.

Each reader takes a value and returns it in its type, or raises ValueError with what would be right.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

__all__ = [
    "Reader",
    "arn",
    "as_written",
    "flag",
    "mapping",
    "matching",
    "number",
    "one_of",
    "text",
    "texts",
]

Reader = Callable[[object], object]


def text(value: object) -> str:
    """Return a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"must be a text, not {value!r}")
    return value.strip()


def matching(pattern: str, meaning: str) -> Callable[[object], str]:
    """Return a reader of texts of one form, told to people as `meaning`."""

    def read(value: object) -> str:
        found = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(found, str) or not re.fullmatch(pattern, found):
            raise ValueError(f"must be {meaning}, not {value!r}")
        return found

    return read


def one_of(*choices: str) -> Callable[[object], str]:
    """Return a reader of one of few words."""

    def read(value: object) -> str:
        if value not in choices:
            raise ValueError(f"must be {' or '.join(choices)}, not {value!r}")
        return str(value)

    return read


def number(low: int, high: int) -> Callable[[object], int]:
    """Return a reader of whole numbers between two bounds, both included."""

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {value!r}")
        return value

    return read


def flag(value: object) -> bool:
    """Return true or false."""
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r}")
    return value


def texts(pattern: str, meaning: str) -> Callable[[object], tuple[str, ...]]:
    """Return a reader of lists; on the command line, values with commas between them."""

    def read(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")]
        if not isinstance(value, list) or not value:
            raise ValueError(f"must be a list of {meaning}, not {value!r}")
        for item in value:
            if not isinstance(item, str) or not re.fullmatch(pattern, item):
                raise ValueError(f"must be a list of {meaning}; {item!r} is none")
        return tuple(value)

    return read


def mapping(value: object) -> Mapping[str, object]:
    """Return an object; on the command line, as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"must be a JSON object ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"must be an object, not {value!r}")
    return value


def as_written(value: object) -> object:
    """Return any value; on the command line objects, lists and numbers are written as JSON."""
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except json.JSONDecodeError:
            return value
        return found if isinstance(found, dict | list | int) else value
    return value


def arn(service: str, resource: str) -> Callable[[object], str]:
    """Return a reader of ARNs of one service, whose last part begins with `resource`."""
    form = rf"arn:aws[a-z-]*:{service}:[a-z0-9-]*:\d{{12}}:{re.escape(resource)}\S+"
    return matching(form, f"an ARN such as arn:aws:{service}:...:{resource}name")
