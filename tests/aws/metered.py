"""What calls to DynamoDB would cost: units as AWS counts them, from the sizes of items.

Sizes follow "DynamoDB item sizes and formats" in AWS's developer guide: names and texts in UTF-8, a
number by its digits, sets by their elements. A write is a unit for each KB of the larger of what was
there and what is there then, twice that in a transaction; a strongly consistent read one for each 4 KB
(BatchGetItem rounds each item, Query the page as a whole).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.aws.watched_client import WRITES, Call

__all__ = ["Cost", "Meter", "size_of"]

_KB = 1024


@dataclass
class Cost:
    """What was used since somebody began to look.

    Attributes
    ----------
    largest : int
        Bytes of the largest item that was written.
    """

    calls: int = 0
    writes: float = 0
    reads: float = 0
    largest: int = 0

    def per(self, tasks: int) -> tuple[float, float, float]:
        """Return calls, write units and read units for each of some tasks."""
        return self.calls / tasks, self.writes / tasks, self.reads / tasks


class Meter:
    """Goes around the calls of a `WatchedClient`.

    Parameters
    ----------
    client
        A client of its own, to look at items before and after they are changed.
    table
        The table's name.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table
        self._cost = Cost()

    @contextmanager
    def cost(self) -> Iterator[Cost]:
        """Count what is done inside."""
        self._cost = Cost()
        yield self._cost
        self._cost = Cost()

    def __call__(self, operation: str, arguments: dict[str, Any], call: Call) -> Any:
        cost = self._cost
        cost.calls += 1
        if operation not in WRITES:
            answer = call(**arguments)
            cost.reads += _read_units(operation, answer, self._table)
            return answer
        times, keys = _keys(operation, arguments, self._table)
        before = self._sizes(keys)
        answer = call(**arguments)
        after = self._sizes(keys)
        for key in map(_text, keys):
            larger = max(before.get(key, 0), after.get(key, 0))
            cost.writes += times * max(1, math.ceil(larger / _KB))
            cost.largest = max(cost.largest, after.get(key, 0))
        return answer

    def _sizes(self, keys: list[dict[str, Any]]) -> dict[str, int]:
        asked = {self._table: {"Keys": keys, "ConsistentRead": True}}
        answer = self._client.batch_get_item(RequestItems=asked)
        return {_text(_key(item)): size_of(item) for item in answer["Responses"][self._table]}


def size_of(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the bytes of an item, as AWS counts them."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


_SIZES: dict[str, Callable[[Any], int]] = {
    "S": lambda text: len(text.encode()),
    "B": len,
    "N": lambda text: _digits(text) // 2 + 1 + _digits(text) % 2,
    "BOOL": lambda _: 1,
    "SS": lambda texts: sum(len(text.encode()) for text in texts),
    "NS": lambda texts: sum(_SIZES["N"](text) for text in texts),
}


def _size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    return _SIZES[kind](content)


def _digits(text: str) -> int:
    return len(text.replace("-", "").replace(".", ""))


def _keys(operation: str, arguments: dict[str, Any], table: str) -> tuple[int, list[Any]]:
    """Return how often a write is counted, and the keys it writes."""
    if operation == "transact_write_items":
        bodies = [body for entry in arguments["TransactItems"] for body in entry.values()]
        return 2, [body.get("Key") or _key(body["Item"]) for body in bodies]
    if operation == "batch_write_item":
        requests = arguments["RequestItems"][table]
        bodies = [body for request in requests for body in request.values()]
        return 1, [body.get("Key") or _key(body["Item"]) for body in bodies]
    return 1, [arguments.get("Key") or _key(arguments["Item"])]


def _text(key: Mapping[str, Any]) -> str:
    return f"{key['pk']['S']} {key['sk']['S']}"


def _key(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("pk", "sk")}


def _read_units(operation: str, answer: dict[str, Any], table: str) -> float:
    four = 4 * _KB
    if operation == "query":
        total = sum(size_of(item) for item in answer["Items"])
        return max(1, math.ceil(total / four))
    if operation == "batch_get_item":
        items = answer["Responses"].get(table, [])
        return sum(math.ceil(size_of(item) / four) for item in items)
    return max(1, math.ceil(size_of(answer.get("Item", {})) / four))
