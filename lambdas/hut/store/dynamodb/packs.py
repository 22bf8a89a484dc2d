"""Packs: the states of `PACK` tasks that stand side by side, in one item.

DynamoDB bills a write by the item's size in full kilobytes, so tasks that change together should
stand together. A pack holds only what changes; what a workflow says of its tasks is written once (see
`specifications`). Sixteen tasks that have ended, each with a job's id, a log's name and times, take
less than 1 KB. A pack is written by units of work alone, whole, so the condition on the run's ``seq``
protects it (see `unit`). The two exceptions write what nobody sees yet: the registration of a run,
and tasks that are about to join.

What a later Hut has added, to the item or to its tasks, is written back as it was read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from hut.store.dynamodb.columns import read_columns, write_columns
from hut.store.dynamodb.keys import PACK, pack_key
from hut.store.dynamodb.values import Item

__all__ = ["MOST_INSIDE", "MOST_PACKS", "Pack", "by_packs", "fresh"]

_T = TypeVar("_T")

MOST_PACKS = 80
"""Packs that one change should touch: there is room for what comes with their tasks."""

MOST_INSIDE = 120
"""Characters of a message that stand in the pack; all of a longer one in an item of its own."""

_TIMES = ("submitted", "started", "ended", "wanted")
_FIELDS = (
    "state",
    "attempt",
    "epoch",
    "submitted",
    "started",
    "ended",
    "handle",
    "log",
    "reason",
    "code",
    "message",
    "more",
    "cause",
    "not_before",
    "retries",
    "losses",
    "ready",
    "own",
    "archived",
    "grew",
    "counted",
    "wanted",
    "cost",
)
_ID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}")
_PLAIN, _DASHED = "~", "*"  # what stands for an id without and with dashes
_MARK = re.compile(r"[~*]")
_WITH_IDS = ("handle", "log")
_ATTRIBUTES = frozenset({"pk", "sk", "kind", "generation", "ttl", "states", "ids"})


@dataclass(slots=True)
class Pack:
    """Tasks of one pack as they are now.

    Attributes
    ----------
    number : int
        Which pack of the run it is.
    tasks : list of dict
        From the pack's first position on: what changes of each, with its position and generation.
    others : tuple of str
        What the tasks have beside what this Hut knows.
    rest : dict
        Attributes the item has beside those this Hut knows.
    """

    number: int
    tasks: list[Item]
    others: Sequence[str] = ()
    rest: Item = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, item: Item, total: int) -> Pack:
        """Return what an item holds, but for tasks that don't belong to the run (any more).

        Parameters
        ----------
        total
            Tasks of the run.
        """
        first = number * PACK
        rows = read_columns(item["states"], _TIMES)[: max(total - first, 0)]
        _put_ids_back(rows, item.get("ids", b""))
        same = {"generation": item["generation"]}
        tasks = [row | same | {"position": first + i} for i, row in enumerate(rows)]
        others = dict.fromkeys(name for row in rows for name in row if name not in _FIELDS)
        rest = {name: value for name, value in item.items() if name not in _ATTRIBUTES}
        return cls(number, tasks, tuple(others), rest)

    def task(self, position: int) -> Item | None:
        """Return one of its tasks."""
        offset = position - self.number * PACK
        return self.tasks[offset] if 0 <= offset < len(self.tasks) else None

    def item(self, run_id: str, ttl: int) -> Item:
        """Return the item that holds the pack."""
        key = pack_key(run_id, self.number)
        (generation,) = {task["generation"] for task in self.tasks}
        rows = [_shortened(task) for task in self.tasks]
        ids = _take_ids_out(rows)
        item = {"pk": key.pk, "sk": key.sk, "kind": "pack", "generation": generation, "ttl": ttl}
        states = write_columns(rows, [*_FIELDS, *self.others], _TIMES)
        return self.rest | item | {"states": states, "ids": ids or None}


def fresh(position: int, generation: int, earlier: int | None) -> Item:
    """Return what a pack says of a task that has just come.

    Parameters
    ----------
    earlier
        Attempts that a withdrawn task of its id had.
    """
    return {
        "position": position,
        "generation": generation,
        "state": "pending",
        "attempt": earlier or 0,
        "archived": earlier,
        "epoch": 0,
    }


def by_packs(
    entries: Sequence[_T], position_of: Callable[[_T], int], most: int = MOST_PACKS
) -> Iterator[Sequence[_T]]:
    """Yield entries in their order, cut where they would touch more than `most` packs."""
    start, seen = 0, set[int]()
    for at, entry in enumerate(entries):
        seen.add(position_of(entry) // PACK)
        if len(seen) > most:
            yield entries[start:at]
            start, seen = at, {position_of(entry) // PACK}
    if start < len(entries):
        yield entries[start:]


def _shortened(task: Item) -> Item:
    message = task.get("message")
    if message is None or len(message) <= MOST_INSIDE:
        return dict(task)
    return task | {"message": message[:MOST_INSIDE], "more": True}


# Job ids and names of logs are mostly random hexadecimal digits, which as text take twice the place
# and don't compress. What occurs once stands as 16 bytes; what several share compresses by itself.


def _take_ids_out(rows: Iterable[Item]) -> bytes:
    """Put a mark in place of each id that occurs once; return those."""
    texts = [(row, name) for row in rows for name in _WITH_IDS if row.get(name)]
    if any(_MARK.search(row[name]) for row, name in texts):
        return b""  # it would be taken for an id
    seen = Counter(match[0] for row, name in texts for match in _ID.finditer(row[name]))
    found: list[str] = []

    def take(match: re.Match[str]) -> str:
        if seen[match[0]] > 1:
            return match[0]
        found.append(match[0].replace("-", ""))
        return _DASHED if match[1] else _PLAIN

    for row, name in texts:
        row[name] = _ID.sub(take, row[name])
    return bytes.fromhex("".join(found))


def _put_ids_back(rows: Iterable[Item], ids: bytes) -> None:
    digits = _digits(ids)

    def put(match: re.Match[str]) -> str:
        text = next(digits)
        if match[0] == _PLAIN:
            return text
        return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))

    if ids:
        for row in rows:
            for name in _WITH_IDS:
                if name in row:
                    row[name] = _MARK.sub(put, row[name])


def _digits(ids: bytes) -> Iterator[str]:
    for start in range(0, len(ids), 16):
        yield ids[start : start + 16].hex()
