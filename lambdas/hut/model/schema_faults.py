"""What is said of a document that is held against a JSON schema; who does that is in `hut.checking`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Check", "Fault", "UnusableSchema"]

Fault = dict[str, str]
"""``path``, a JSON pointer into the document, and ``message``."""

Check = Callable[[Any, Any], Sequence[Fault]]
"""Says how a document violates a schema; may raise `UnusableSchema`."""


class UnusableSchema(ValueError):  # noqa: N818 - named after what it says
    """Nothing can be held against the schema; the message says why."""
