"""Wildcard dependencies: which task ids a pattern means.

``*`` (crosses dots), ``?`` and ``[..]`` match case-sensitively as in file name patterns. A thousand
patterns over a hundred thousand ids must not cost their product, so the ids are sorted once and a
pattern only looks at the ids that share its literal beginning or its literal end.
"""

from __future__ import annotations

import fnmatch
import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property

from hut.model.limits import MOST_COMPARISONS

__all__ = ["IdIndex", "TooManyComparisons", "is_pattern"]

_SPECIAL = re.compile(r"[*?\[]")
_LITERALS = re.compile(r"[*?]|\[.*", re.DOTALL)
_ABOVE_ALL_IDS = "\U0010ffff"
_MATCH_COSTS = 10  # comparisons with a literal; measured on ids of 10 to 200 characters


class TooManyComparisons(ValueError):  # noqa: N818 - named after what it says
    """The patterns look at more ids than there is time for."""


def is_pattern(dependency: str) -> bool:
    """Say whether an entry of `deps` is a pattern rather than a task id."""
    return "*" in dependency or "?" in dependency or "[" in dependency


class IdIndex:
    """Task ids in document order, prepared for matching many patterns.

    Parameters
    ----------
    ids
        Distinct task ids; a match answers with positions in this sequence.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids
        self._left = MOST_COMPARISONS

    @cached_property
    def _by_start(self) -> tuple[list[str], list[int]]:
        order = sorted(range(len(self._ids)), key=self._ids.__getitem__)
        return [self._ids[i] for i in order], order

    @cached_property
    def _by_end(self) -> tuple[list[str], list[int]]:
        backwards = [task_id[::-1] for task_id in self._ids]
        order = sorted(range(len(backwards)), key=backwards.__getitem__)
        return [backwards[i] for i in order], order

    def match(self, pattern: str) -> list[int]:
        """Return the positions of the ids that match `pattern`, ascending.

        Raises
        ------
        TooManyComparisons
            If this and the patterns before it are too many for so many ids.
        """
        start = _SPECIAL.split(pattern, maxsplit=1)[0]
        tail = re.split(r"[*?\]]", pattern)[-1]
        end = "" if _SPECIAL.search(tail) else tail
        candidates = self._with_prefix(self._by_start, start)
        if end and len(candidates) > 64:
            from_end = self._with_prefix(self._by_end, end[::-1])
            candidates = min(candidates, from_end, key=len)
        if pattern != start + "*":
            # What must stand in an id as it is leaves few of them, at a tenth of the cost.
            literal = max(_LITERALS.split(pattern), key=len)
            self._spend(len(candidates))
            candidates = [i for i in candidates if literal in self._ids[i]]
            self._spend(len(candidates) * _MATCH_COSTS)
            matches = re.compile(fnmatch.translate(pattern)).match
            candidates = [i for i in candidates if matches(self._ids[i])]
        return sorted(candidates)

    def _spend(self, comparisons: int) -> None:
        self._left -= comparisons
        if self._left < 0:
            raise TooManyComparisons

    @staticmethod
    def _with_prefix(index: tuple[list[str], list[int]], prefix: str) -> list[int]:
        keys, order = index
        if not prefix:
            return order
        low = bisect_left(keys, prefix)
        return order[low : bisect_left(keys, prefix + _ABOVE_ALL_IDS, low)]
