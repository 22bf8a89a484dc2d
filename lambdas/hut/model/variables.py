"""What environment variables people may set: names a shell knows, values that programs start with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from hut.model.limits import LARGEST_VALUE, LARGEST_VARIABLES, LONGEST_VARIABLE, MOST_VARIABLES

__all__ = ["is_variable", "variable_faults"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def is_variable(name: str) -> bool:
    """Say whether a shell can have a variable of this name."""
    return len(name) <= LONGEST_VARIABLE and _NAME.fullmatch(name) is not None


def variable_faults(variables: Mapping[str, str]) -> Iterator[tuple[str | None, str]]:
    """Yield what is wrong with a mapping of variables: at which name (None: at all), and what."""
    if len(variables) > MOST_VARIABLES:
        yield None, f"has {len(variables):,} variables; at most {MOST_VARIABLES:,} are allowed"
        return
    size = 0
    for name, value in variables.items():
        if not is_variable(name):
            message = (
                "is not the name of a variable; use letters, digits and '_', not starting with a "
                f"digit, at most {LONGEST_VARIABLE} characters"
            )
            yield name, message
        if "\0" in value:
            yield name, "a NUL character can't be passed to a shell; remove it"
        length = len(value) if value.isascii() else len(value.encode(errors="replace"))
        if length > LARGEST_VALUE:
            message = f"the value has {length:,} bytes, at most {LARGEST_VALUE:,} are allowed"
            yield name, f"{message}; put it into a file"
        size += len(name) + length
    if size > LARGEST_VARIABLES:
        yield None, f"has {size:,} bytes; at most {LARGEST_VARIABLES:,} are allowed together"
