"""The tables of the simulated DynamoDB: items by partition in the order of their sort keys, and indexes.

Items are in wire form and are replaced, never changed, so whoever was given one may keep it. An index
is brought up to date when it is read: with all changes that are old enough by then.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.simulation.attribute_values import (
    Item,
    checked,
    comparable,
    invalid,
    size_of_item,
    wrong,
)

__all__ = ["Bounds", "Index", "Place", "Record", "Schema", "Table"]

_LONGEST = {"HASH": 2048, "RANGE": 1024}  # bytes
_MISMATCH = "The provided key element does not match the schema"


class Place(NamedTuple):
    """Where an item is: its key's values as they compare."""

    partition: Any
    sort: Any


class Record(NamedTuple):
    """An item as it is stored, and its size in bytes."""

    item: Item
    size: int


class Bounds(NamedTuple):
    """Which sort keys are asked for; None: no bound."""

    low: Any = None
    high: Any = None
    includes_low: bool = True
    includes_high: bool = True
    prefix: Any = None


@dataclass(frozen=True, slots=True)
class Schema:
    """The attributes of a key.

    Attributes
    ----------
    sort : str or None
        None if a partition is one item.
    kinds : mapping of str to str
        Types of both.
    """

    partition: str
    sort: str | None
    kinds: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.partition,) if self.sort is None else (self.partition, self.sort)

    def key_of(self, item: Item) -> Item:
        """Return of an item only the key."""
        return {name: item[name] for name in self.names}

    def place_of(self, item: Item) -> Place | None:
        """Return where an item belongs; None if it lacks a part of the key."""
        partition = item.get(self.partition)
        sort = "" if self.sort is None else item.get(self.sort)
        if partition is None or sort is None:
            return None
        return Place(comparable(partition), sort if sort == "" else comparable(sort))

    def place_of_key(self, key: Any) -> Place:
        """Return where a key points to, if it is one of this table."""
        if len(key) != len(self.names):
            raise invalid(_MISMATCH)
        values = {}
        for name in self.names:
            if name not in key or self.kinds[name] not in key[name]:
                raise invalid(_MISMATCH)
            values[name] = checked(key[name])
        return self._checked_place(values)

    def place_of_new(self, item: Item) -> Place:
        """Return where an item that is to be stored belongs."""
        for name in self.names:
            if name not in item:
                raise wrong(f"Missing the key {name} in the item")
            if self.kinds[name] not in item[name]:
                (actual,) = item[name]
                expected = self.kinds[name]
                raise wrong(f"Type mismatch for key {name} expected: {expected} actual: {actual}")
        return self._checked_place(item)

    def _checked_place(self, item: Item) -> Place:
        for name, role in zip(self.names, _LONGEST, strict=False):
            kind = self.kinds[name]
            content = item[name][kind]
            if content in {"", b""}:
                what = "a binary" if kind == "B" else "an empty string"
                raise invalid(
                    "One or more parameter values are not valid. The AttributeValue for a key "
                    f"attribute cannot contain {what} value. Key: {name}"
                )
            if len(content) * 4 > _LONGEST[role]:
                self._check_length(content, role)
        place = self.place_of(item)
        assert place is not None, "the key was there"
        return place

    @staticmethod
    def _check_length(content: Any, role: str) -> None:
        if len(content.encode() if isinstance(content, str) else content) > _LONGEST[role]:
            what = "hashkey" if role == "HASH" else "rangekey"
            raise wrong(
                f"Size of {what} has exceeded the maximum size limit of{_LONGEST[role]} bytes"
            )


class _Ordered:
    """Records in the order of something."""

    __slots__ = ("order", "records")

    def __init__(self) -> None:
        self.records: dict[Any, Record] = {}
        self.order: list[Any] = []

    def put(self, at: Any, record: Record) -> None:
        if at not in self.records:
            if not self.order or at > self.order[-1]:
                self.order.append(at)
            else:
                insort(self.order, at)
        self.records[at] = record

    def remove(self, at: Any) -> None:
        if self.records.pop(at, None) is not None:
            del self.order[bisect_left(self.order, at)]

    def between(self, bounds: Bounds, sort_of: Any) -> tuple[int, int]:
        """Return where the records within bounds begin and end."""
        order, first, last = self.order, 0, len(self.order)
        low = bounds.low if bounds.prefix is None else bounds.prefix
        if low is not None:
            search = bisect_left if bounds.includes_low else bisect_right
            first = search(order, low, key=sort_of)
        if bounds.prefix is not None:

            def is_behind(at: Any) -> bool:
                return not (sort_of(at) if sort_of else at).startswith(bounds.prefix)

            last = bisect_left(order, True, first, key=is_behind)
        elif bounds.high is not None:
            search = bisect_right if bounds.includes_high else bisect_left
            last = search(order, bounds.high, key=sort_of)
        return first, max(first, last)


@dataclass
class Index:
    """A global secondary index.

    Attributes
    ----------
    projects : frozenset of str, or None
        Attributes it holds beside the keys; None: all.
    """

    name: str
    schema: Schema
    projects: frozenset[str] | None
    table: Schema
    partitions: dict[Any, _Ordered] = field(default_factory=dict)
    _entries: dict[Place, tuple[Any, Any]] = field(default_factory=dict)
    _behind: list[tuple[float, int, Place, Item | None]] = field(default_factory=list)
    _done: dict[Place, int] = field(default_factory=dict)
    _count: int = 0

    def check(self, item: Item) -> None:
        """Refuse an item whose attributes can't be keys of this index."""
        for name in self.schema.names:
            value = item.get(name)
            if value is None:
                continue
            expected = self.schema.kinds[name]
            if expected not in value:
                (actual,) = value
                raise wrong(
                    f"Type mismatch for Index Key {name} Expected: {expected} Actual: {actual} "
                    f"IndexName: {self.name}"
                )
            if value[expected] in {"", b""}:
                raise invalid(
                    "One or more parameter values are not valid. A value specified for a secondary "
                    "index key is not supported. The AttributeValue for a key attribute cannot "
                    f"contain an empty string value. IndexName: {self.name}, IndexKey: {name}"
                )

    def tell(self, place: Place, item: Item | None, now: float, lag: float) -> None:
        """Note a change that is to be seen some seconds later."""
        if not lag and not self._behind:
            self._store(place, item)
            return
        self._count += 1
        due = now + lag
        heapq.heappush(self._behind, (due, self._count, place, item))

    def catch_up(self, now: float) -> None:
        """Let all changes be seen whose time has come; of an item, never an older one after a newer."""
        while self._behind and self._behind[0][0] <= now:
            _, number, place, item = heapq.heappop(self._behind)
            if self._done.get(place, 0) < number:
                self._done[place] = number
                self._store(place, item)
        if not self._behind:
            self._done.clear()

    def _store(self, place: Place, item: Item | None) -> None:
        old = self._entries.pop(place, None)
        if old is not None:
            self.partitions[old[0]].remove(old[1])
        at = self.schema.place_of(item) if item is not None else None
        if at is None or item is None:
            return
        seen = item
        if self.projects is not None:
            kept = {*self.table.names, *self.schema.names, *self.projects}
            seen = {name: value for name, value in item.items() if name in kept}
        position = (at.sort, place)
        record = Record(seen, size_of_item(seen))
        self.partitions.setdefault(at.partition, _Ordered()).put(position, record)
        self._entries[place] = (at.partition, position)


@dataclass
class Table:
    """One table."""

    name: str
    schema: Schema
    indexes: dict[str, Index] = field(default_factory=dict)
    partitions: dict[Any, _Ordered] = field(default_factory=dict)

    def get(self, place: Place) -> Record | None:
        """Return an item and its size."""
        partition = self.partitions.get(place.partition)
        return None if partition is None else partition.records.get(place.sort)

    def put(self, place: Place, record: Record | None) -> None:
        """Store an item, or delete it."""
        partition = self.partitions.get(place.partition)
        if record is None:
            if partition is not None:
                partition.remove(place.sort)
                if not partition.order:
                    del self.partitions[place.partition]
            return
        if partition is None:
            partition = self.partitions[place.partition] = _Ordered()
        partition.put(place.sort, record)

    def records(self) -> Iterator[tuple[Place, Record]]:
        """Yield everything in the order of keys."""
        for name in sorted(self.partitions):
            partition = self.partitions[name]
            for sort in partition.order:
                yield Place(name, sort), partition.records[sort]

    def sought(
        self, index: Index | None, partition: Any, bounds: Bounds, start: Item | None, forward: bool
    ) -> Iterator[Record]:
        """Yield the records of a query, behind the one it starts at."""
        held = (index or self).partitions.get(partition)
        if held is None:
            return
        first, last = held.between(bounds, None if index is None else _sort_in_index)
        if start is not None:
            at = self._position(index, start)
            if forward:
                first = max(first, bisect_right(held.order, at))
            else:
                last = min(last, bisect_left(held.order, at))
        numbers = range(first, last)
        for number in numbers if forward else reversed(numbers):
            yield held.records[held.order[number]]

    def _position(self, index: Index | None, start: Item) -> Any:
        place = self.schema.place_of(start)
        assert place is not None, "starting keys are checked before"
        if index is None:
            return place.sort
        in_index = index.schema.place_of(start)
        assert in_index is not None, "starting keys are checked before"
        return (in_index.sort, place)


def _sort_in_index(at: Any) -> Any:
    return at[0]
