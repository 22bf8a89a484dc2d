"""What the readers of ``HUT_BACKENDS`` entries have in common: each keeps all problems, with their places. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hut.model.problems import InvalidInput, Problem, did_you_mean

__all__ = ["EntryReader", "check_prefix", "faults_of"]

_PREFIX = re.compile(r"[a-z0-9]+", re.ASCII)


class EntryReader:
    """Reads the fields of an entry and keeps what is wrong; what it returns then is of no use.

    Parameters
    ----------
    place
        Where the entry stands, for messages.

    Attributes
    ----------
    problems : list of Problem
        What is missing, unknown or of the wrong kind, so far.
    """

    def __init__(self, entry: Mapping[str, Any], place: str) -> None:
        self._entry = entry
        self._place = place
        self.problems: list[Problem] = []

    def _check_keys(self, known: Sequence[str]) -> None:
        for key in self._entry:
            if key not in known:
                self._fault(str(key), f"unknown; {did_you_mean(str(key), known)}")

    def _text(self, key: str) -> str:
        return self._filled(self._entry.get(key), key)

    def _text_or_none(self, key: str) -> str | None:
        return None if self._entry.get(key) is None else self._text(key)

    def _filled(self, value: object, key: str) -> str:
        if isinstance(value, str) and value:
            return value
        self._fault(key, "must be a text that is not empty")
        return ""

    def _fault(self, key: str, message: str) -> None:
        self.problems.append(Problem(message, field=f"{self._place}.{key}"))


def check_prefix(prefix: str) -> None:
    """Hold that a deployment's prefix may be a part of names that are taken apart at dashes.

    Raises
    ------
    InvalidInput
    """
    if not _PREFIX.fullmatch(prefix):
        raise InvalidInput([Problem(f"{prefix!r} is no prefix; use small letters and digits")])


def faults_of(
    read_options: Callable[[Mapping[str, Any]], object], entry: Mapping[str, Any]
) -> list[Problem]:
    """Return what is wrong with an entry, with places inside of it."""
    try:
        read_options(entry)
    except InvalidInput as error:
        return [
            Problem(each.message, field=(each.field or "").removeprefix("backend."))
            for each in error.problems
        ]
    return []
