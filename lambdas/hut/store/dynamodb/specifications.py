"""What a plan says of tasks and never changes: packed by segment, read once, kept.

A process that works on a run asks for the same segments again and again, so the last ones stay in
memory. What is kept was read when the task belonged to the run; it can't become another one within
the same number of withdrawals, which is a part of the key.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from hut.model.workflow import TaskSpec
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.keys import SEGMENT, segment_partition, specs_key
from hut.store.dynamodb.table import Pages, Table
from hut.store.dynamodb.values import Item
from hut.store.encoding import decode_spec

__all__ = ["Given", "Specifications"]

_Name = tuple[str, int, int]  # run, withdrawals, segment

_SAID = 6  # of a task; a later Hut may say more
_KEPT = 256  # segments
_MOST_TEXT = 30_000_000  # characters of what is kept: it is all in memory


@dataclass(slots=True)
class Given:
    """What a plan says of one task.

    Attributes
    ----------
    needs : int
        Nodes it waits for.
    by : int or None
        Position of the task that generated it.
    out : list or True
        Edges that leave it, as `blocks` writes them; True: they stand apart.
    """

    id: str
    needs: int
    priority: int
    backend: str
    created: float
    by: int | None
    out: Any
    text: str
    _spec: TaskSpec | None = None

    @property
    def spec(self) -> TaskSpec:
        """Return the task as the workflow has it; it is decoded when it is first asked for."""
        if self._spec is None:
            self._spec, self.text = decode_spec(self.id, self.text), ""
        return self._spec


class Specifications:
    """The plans of runs in one table."""

    def __init__(self, table: Table, bodies: Bodies) -> None:
        self._table = table
        self._bodies = bodies
        self._kept: OrderedDict[_Name, dict[int, Given]] = OrderedDict()
        self._lengths: dict[_Name, int] = {}

    def of(self, meta: Item, positions: Collection[int]) -> dict[int, Given]:
        """Return what is said of tasks; those of which nothing is said (yet) are left out."""
        by_segment: dict[int, list[int]] = {}
        for position in positions:
            by_segment.setdefault(position // SEGMENT, []).append(position)
        missing = [
            segment
            for segment, wanted in by_segment.items()
            if any(position not in self._segment(meta, segment) for position in wanted)
        ]
        found = {segment: self._segment(meta, segment) for segment in by_segment}
        found |= self._read(meta, missing)
        return {
            position: found[position // SEGMENT][position]
            for position in positions
            if position in found[position // SEGMENT]
        }

    def _segment(self, meta: Item, segment: int) -> dict[int, Given]:
        return self._kept.get(_name(meta, segment), {})

    def _read(self, meta: Item, segments: Collection[int]) -> dict[int, dict[int, Given]]:
        """Read segments anew, those that nothing has joined in one call."""
        own = meta["own_tasks"] if meta.get("grown") else meta["total"]
        plain = [
            segment for segment in segments if min((segment + 1) * SEGMENT, meta["total"]) <= own
        ]
        keys = {segment: specs_key(meta["id"], 0, segment * SEGMENT) for segment in plain}
        items = self._table.get_many(list(keys.values()))
        read: dict[int, dict[int, Given]] = {}
        for segment in segments:
            if segment in keys:
                item = items.get(keys[segment])
                read[segment] = self._unpack(meta, [] if item is None else [item])
            else:
                pk = segment_partition(meta["id"], segment * SEGMENT)
                read[segment] = self._unpack(meta, self._table.query(Pages(pk, "SPECS#")))
            self._keep(_name(meta, segment), read[segment])
        return read

    def _keep(self, name: _Name, segment: dict[int, Given]) -> None:
        self._kept[name] = segment
        self._kept.move_to_end(name)
        self._lengths[name] = sum(len(given.text) for given in segment.values())
        while len(self._kept) > _KEPT or (
            len(self._kept) > 1 and sum(self._lengths.values()) > _MOST_TEXT
        ):
            oldest, _ = self._kept.popitem(last=False)
            del self._lengths[oldest]

    def _unpack(self, meta: Item, items: Iterable[Item]) -> dict[int, Given]:
        found: dict[int, Given] = {}
        in_order = sorted(items, key=lambda item: (int(item["sk"].split("#")[1]), item["first"]))
        for item in in_order:
            if item["joined"] in meta.get("left", ()):
                continue
            created, by = float(item["created"]), item.get("by")
            entries = json.loads(self._bodies.unpack(item))
            for position, entry in enumerate(entries, item["first"]):
                if position >= meta["total"]:
                    break  # what stands behind may still become another task
                task_id, text, needs, priority, backend, out = entry[:_SAID]
                found[position] = Given(
                    task_id, needs, priority, backend or item["backend"], created, by, out, text
                )
        return found


def _name(meta: Item, segment: int) -> _Name:
    return meta["id"], meta.get("withdrawals", 0), segment
