"""A named environment: variables and init lines that tasks refer to by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Environment"]


@dataclass(frozen=True, slots=True)
class Environment:
    """An entry of ``environments`` in ``hut.yaml``.

    Attributes
    ----------
    variables : mapping of str to str
        Exported before the command.
    extra_init : str
        Shell lines that run before the command, as their author wrote them.
    """

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    extra_init: str = ""
