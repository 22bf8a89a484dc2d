"""Several calls at a time, where a service takes one thing per call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["each"]

_AT_A_TIME = 8

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def each(call: Callable[[_Item], _Answer], items: Sequence[_Item]) -> list[_Answer]:
    """Return what `call` returns for each item, in order; a few of the calls are made at a time."""
    if len(items) < 2:
        return [call(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(_AT_A_TIME, len(items))) as pool:
        return list(pool.map(call, items))
