"""A plan becomes items: packs of tasks, packed specifications, edges, barriers, positions by id.

Pure but for the bodies that are too large for an item. A plan is cut into blocks of `BLOCK` tasks,
which may be written in any order and more than once: none of it is seen before the run's own item
says that it is there.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hut.model.workflow import TaskSpec
from hut.planning.graph import Graph
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.keys import (
    PACK,
    PAGE,
    SEGMENT,
    barrier_key,
    barrier_partition,
    bucket_of,
    edge_prefix,
    index_partition,
    ready_key,
    segment_partition,
    specs_key,
)
from hut.store.dynamodb.packs import Pack, fresh
from hut.store.dynamodb.table import Key
from hut.store.dynamodb.values import Item, load_item, store_item
from hut.store.encoding import encode_spec

__all__ = ["BLOCK", "Planned", "blocks_of", "buckets_for", "decode_block", "encode_block"]

BLOCK = 1024
"""Tasks per block: whole partitions and pages of ready tasks, so that no two blocks share an item."""

_PART = 200  # members of a barrier that one item counts: it stays below 1 KB, one write unit
_LITERALS = 50  # dependencies a task's own item counts; more become a barrier
_INSIDE = 30  # edges beside what else the plan says of their source
_EDGES = 2000  # edges per item of their own
_IDS = 2000  # ids per item of positions by id


@dataclass(frozen=True, slots=True)
class Planned:
    """Tasks to be stored, and what is the same for all of them.

    Attributes
    ----------
    backend, run_backend : str
        Where tasks run that name no backend, and where those of the run do that name none.
    first_barrier : int
        Number of barriers the run has already.
    ready : bool
        Whether tasks without dependencies are put on the pages of ready ones.
    by : int or None
        Position of the task that generated them.
    earlier : mapping of str to int
        Attempts of withdrawn tasks by id; numbering goes on behind them.
    joined : int
        The how manieth tasks to join the run these are; 0 for those it begins with. If they never
        do, because their writer died, it tells what is left of them from what came later.
    """

    run_id: str
    tasks: Sequence[TaskSpec]
    graph: Graph
    backend: str
    run_backend: str
    created: float
    buckets: int
    ttl: int
    first_barrier: int = 0
    withdrawals: int = 0
    generation: int = 0
    ready: bool = True
    by: int | None = None
    earlier: Mapping[str, int] = field(default_factory=dict)
    joined: int = 0

    @property
    def head(self) -> range:
        """Positions in the run's last pack, which other tasks stand in too; they join by a unit."""
        first, last = self.graph.first, self.graph.first + len(self.tasks)
        return range(first, min(-(-first // PACK) * PACK, last))

    def fresh(self, position: int) -> Item:
        """Return what a pack says of one of the tasks."""
        task_id = self.tasks[position - self.graph.first].id
        return fresh(position, self.generation, self.earlier.get(task_id))


def buckets_for(total: int) -> int:
    """Return in how many buckets positions by id are kept."""
    return max(1, -(-total // 500))


def blocks_of(planned: Planned, bodies: Bodies) -> Iterator[list[Item]]:
    """Yield the items of a plan, block by block; there is at least one."""
    return _Blocks(planned, bodies).build()


class _Blocks:
    def __init__(self, planned: Planned, bodies: Bodies) -> None:
        self._plan = planned
        self._bodies = bodies
        self._first = planned.graph.first
        self._barriers = [list(members) for members in planned.graph.barriers]
        self._waits = [self._nodes(nodes) for nodes in planned.graph.waits]
        self._edges: dict[int, list[Any]] = defaultdict(list)

    def _node(self, barrier: int) -> int:
        return -1 - (self._plan.first_barrier + barrier)

    def _nodes(self, nodes: Sequence[int]) -> list[int]:
        """Return nodes as they are numbered in the run; many tasks become one barrier."""
        found = [self._node(-1 - node) for node in nodes if node < 0]
        literals = [node for node in nodes if node >= 0]
        if len(literals) > _LITERALS:
            self._barriers.append(literals)
            literals = [self._node(len(self._barriers) - 1)]
        return [*literals, *found]

    def build(self) -> Iterator[list[Item]]:
        plan = self._plan
        self._connect()
        spread = list(self._shared())
        end = self._first + len(plan.tasks)
        cuts = [self._first, *range((self._first // BLOCK + 1) * BLOCK, end, BLOCK), end]
        count = len(cuts) - 1
        for number in range(count):
            items = spread[number::count]
            items.extend(self._tasks(range(cuts[number], cuts[number + 1])))
            yield items

    def _connect(self) -> None:
        """Fill in the edges: what each node's completion means for others."""
        for offset, members in enumerate(self._barriers):
            node = self._node(offset)
            split = len(members) > _PART
            for at, member in enumerate(members):
                self._edges[member].append([node, at // _PART] if split else node)
        for offset, nodes in enumerate(self._waits):
            spec, position = self._plan.tasks[offset], self._first + offset
            plain = len(nodes) == 1 and not spec.priority and not self._other_backend(spec)
            entry: Any = position
            if not plain:
                entry = [position, len(nodes), spec.priority, self._other_backend(spec)]
            for node in nodes:
                self._edges[node].append(entry)

    def _other_backend(self, spec: TaskSpec) -> str | None:
        backend = spec.backend or self._plan.backend
        return backend if backend != self._plan.run_backend else None

    def _shared(self) -> Iterator[Item]:
        """Yield what belongs to no single task: barriers, ids, edges of tasks that exist."""
        for offset, members in enumerate(self._barriers):
            yield from self._barrier(self._node(offset), len(members))
        for source in [node for node in self._edges if 0 <= node < self._first]:
            yield from self._edge_items(
                segment_partition(self._plan.run_id, source), source, self._edges.pop(source)
            )
        by_bucket: dict[int, dict[str, int]] = defaultdict(dict)
        for position, task in enumerate(self._plan.tasks, self._first):
            by_bucket[bucket_of(task.id, self._plan.buckets)][task.id] = position
        for bucket, positions in by_bucket.items():
            entries = list(positions.items())
            for start in range(0, len(entries), _IDS):
                text = json.dumps(dict(entries[start : start + _IDS]), separators=(",", ":"))
                sort = f"{self._plan.withdrawals}#{self._first:07}#{start:06}"
                if not self._first:
                    sort = f"0#{self._first:07}#{start:06}"
                yield self._item(
                    Key(index_partition(self._plan.run_id, bucket), sort),
                    kind="ids",
                    joined=self._plan.joined,
                    **self._bodies.pack(self._plan.run_id, text),
                )

    def _barrier(self, node: int, members: int) -> Iterator[Item]:
        plan = self._plan
        parts = -(-members // _PART)
        split = members > _PART
        header = {"kind": "barrier", "node": node, "generation": plan.generation}
        yield self._item(
            barrier_key(plan.run_id, node),
            **header,
            needs=parts if split else members,
            parts=parts if split else 0,
            **self._out(self._edges.get(node, [])),
        )
        for part in range(parts if split else 0):
            size = min(_PART, members - part * _PART)
            yield self._item(barrier_key(plan.run_id, node, part), **header, needs=size)
        edges = self._edges.pop(node, [])
        if len(edges) > _INSIDE:
            yield from self._edge_items(barrier_partition(plan.run_id, node), node, edges)

    def _edge_items(self, partition: str, source: int, edges: Sequence[Any]) -> Iterator[Item]:
        prefix = edge_prefix(self._plan.withdrawals if self._first else 0, source)
        for start in range(0, len(edges), _EDGES):
            sort = f"{prefix}{self._first:07}#{start:07}"
            text = json.dumps(edges[start : start + _EDGES], separators=(",", ":"))
            joined = self._plan.joined
            yield self._item(Key(partition, sort), kind="edges", joined=joined, edges=text)

    @staticmethod
    def _out(edges: Sequence[Any]) -> Item:
        if not edges:
            return {}
        if len(edges) > _INSIDE:
            return {"outs": True}
        return {"out": json.dumps(edges, separators=(",", ":"))}

    def _tasks(self, positions: range) -> Iterator[Item]:
        plan = self._plan
        pages: dict[Key, set[int]] = defaultdict(set)
        specs: dict[int, list[Any]] = defaultdict(list)
        packs: dict[int, list[Item]] = defaultdict(list)
        for position in positions:
            spec, needs = (
                plan.tasks[position - self._first],
                len(self._waits[position - self._first]),
            )
            edges = self._edges.get(position, [])
            out = edges if len(edges) <= _INSIDE else True
            said = [spec.id, encode_spec(spec), needs, spec.priority, spec.backend, out]
            specs[position // SEGMENT].append(said)
            if position not in plan.head:
                packs[position // PACK].append(plan.fresh(position))
            if not needs and plan.ready:
                backend = spec.backend or plan.backend
                key = ready_key(plan.run_id, plan.generation, backend, spec.priority, position)
                pages[key].add(position % PAGE)
            if out is True:
                partition = segment_partition(plan.run_id, position)
                yield from self._edge_items(partition, position, edges)
        yield from self._specs(positions.start, specs)
        for number, tasks in packs.items():
            yield Pack(number, tasks).item(plan.run_id, plan.ttl)
        for key, ready in pages.items():
            yield self._item(key, ready=ready)

    def _specs(self, position: int, by_segment: Mapping[int, list[Any]]) -> Iterator[Item]:
        plan = self._plan
        for packed in by_segment.values():
            text = json.dumps(packed, ensure_ascii=False, separators=(",", ":"))
            yield self._item(
                specs_key(plan.run_id, plan.withdrawals if self._first else 0, position),
                kind="specs",
                joined=plan.joined,
                first=position,
                backend=plan.backend,
                created=plan.created,
                by=plan.by,
                **self._bodies.pack(plan.run_id, text),
            )
            position += len(packed)

    def _item(self, key: Key, **attributes: Any) -> Item:
        return {"pk": key.pk, "sk": key.sk, "ttl": self._plan.ttl, **attributes}


def encode_block(items: Sequence[Item]) -> bytes:
    """Return a block as the content of an object."""
    text = json.dumps([store_item(item) for item in items], default=_bytes, separators=(",", ":"))
    return zlib.compress(text.encode(), 1)


def decode_block(data: bytes) -> list[Item]:
    """Return what `encode_block` wrote."""
    items = []
    for attributes in json.loads(zlib.decompress(data)):
        for value in attributes.values():
            if "B" in value:
                value["B"] = base64.b64decode(value["B"])
        items.append(load_item(attributes))
    return items


def _bytes(value: object) -> str:
    assert isinstance(value, bytes)  # noqa: S101 - items hold nothing else
    return base64.b64encode(value).decode()
