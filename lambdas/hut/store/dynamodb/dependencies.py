"""What the end of tasks means for those that wait for them, done again as often as it takes.

`Followers.follow` is called after ends were stored, by whoever stored them or by the reader of the
table's stream, maybe both, maybe twice. Everything it writes is a set operation that is the same the
second time: a completed node is added to the set ``met`` of what waits for it, a ready task to its
page. Each is bound to the run's generation, so what comes late, after the run was repeated, changes
nothing that is read. Ends that come together are folded: 500 ends of one fan-in are a handful of writes.

A task that waits for one node only is put on its page without being touched: once the node has
completed it stays so, within the generation. What one that waits for several has met stands in an item
of its own, beside its pack, which units of work alone may write.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hut.model.states import Reason, TaskState
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.items import known
from hut.store.dynamodb.keys import (
    SEGMENT,
    barrier_key,
    barrier_partition,
    edge_prefix,
    grew_key,
    met_key,
    meta_key,
    ready_key,
    segment_partition,
)
from hut.store.dynamodb.packs import by_packs
from hut.store.dynamodb.table import Condition, Key, Lost, Pages, Table, Write
from hut.store.dynamodb.tasks import Tasks
from hut.store.dynamodb.unit import Unit, gain
from hut.store.dynamodb.values import Item

__all__ = ["Followers", "Work"]

Work = Callable[[str, Callable[[Unit], Any]], Any]
"""Runs a unit of work until it is not raced."""

_BEFORE = "#generation = :generation"
_FEW = 3  # tasks of one partition whose edges are asked for one by one


class _Waiting(NamedTuple):
    """A task that waits for several nodes."""

    position: int
    needs: int
    priority: int
    backend: str | None


@dataclass(slots=True)
class _Effects:
    """What a number of ends come to, before anything of it is written."""

    met: dict[_Waiting, set[int]] = field(default_factory=lambda: defaultdict(set))
    parts: dict[tuple[int, int | None], set[int]] = field(default_factory=lambda: defaultdict(set))
    ready: dict[Key, set[int]] = field(default_factory=lambda: defaultdict(set))
    failed: dict[int, int] = field(default_factory=dict)
    failed_barriers: dict[int, int] = field(default_factory=dict)


class Followers:
    """The consequences of ends in one table.

    Parameters
    ----------
    work
        Runs a change of a run as a transaction, anew if it was raced.
    """

    def __init__(self, table: Table, tasks: Tasks, bodies: Bodies, work: Work) -> None:
        self._table = table
        self._tasks = tasks
        self._bodies = bodies
        self._work = work

    def follow(
        self, run_id: str, positions: Sequence[int], among: Collection[int] | None = None
    ) -> None:
        """Release what waited for completed tasks; end what can't run behind failed ones.

        Parameters
        ----------
        among
            Tasks that wait and may be put on the pages of ready ones; None: all.
        """
        rest = list(dict.fromkeys(positions))
        done: set[int] = set()  # what two tasks generated may wait for the other's generator
        while rest:
            meta = known(self._table.get(meta_key(run_id)), run_id)
            tasks = self._tasks.at(meta, sorted(rest))
            rest = []
            effects, apart = _Effects(), self.edges_apart(meta, tasks)
            for position, task in tasks.items():
                if task["generation"] != meta["generation"]:
                    continue
                if task["state"] == TaskState.COMPLETED:
                    done.add(position)
                    for entry in self.edges_of_task(meta, position, apart):
                        self._completed(meta, entry, position, effects)
                    if task.get("grew"):
                        rest.extend(self._open(meta, position, effects))
                elif task["state"] in (TaskState.FAILED, TaskState.DEP_FAILED):
                    done.add(position)
                    cause = int(task.get("cause", position))
                    for entry in self.edges_of_task(meta, position, apart):
                        self._collect_failed(entry, cause, effects)
            rest.extend(self._apply(meta, effects, among))
            rest = [position for position in dict.fromkeys(rest) if position not in done]

    def make_ready(self, meta: Item, tasks: Iterable[Item]) -> None:
        """Put tasks on their pages."""
        effects = _Effects()
        for task in tasks:
            again = bool(meta.get("order") and task.get("retries"))
            self._ready(
                meta, task["position"], task["priority"], task["backend"], effects, again=again
            )
        self._apply(meta, effects)

    # Collecting ---------------------------------------------------------------------------------

    def edges_apart(self, meta: Item, positions: Collection[int]) -> dict[int, list[Item]]:
        """Return the edges of tasks that stand apart, where many stand in one partition.

        In a run that has grown every task may have some, and a query for each would be too many.
        """
        found: dict[int, list[Item]] = {}
        by_segment: dict[int, list[int]] = defaultdict(list)
        for position in positions if meta.get("grown") else ():
            by_segment[position // SEGMENT].append(position)
        current = meta.get("withdrawals", 0)
        for some in by_segment.values():
            if len(some) <= _FEW:
                continue
            found.update((position, []) for position in some)
            for item in self._table.query(Pages(segment_partition(meta["id"], some[0]), "EDGE#")):
                withdrawals, source, first = map(int, item["sk"].split("#")[1:4])
                if source in found and (not first or withdrawals == current):
                    found[source].append(item)
        return found

    def edges_of_task(
        self, meta: Item, position: int, apart: Mapping[int, Sequence[Item]]
    ) -> Iterator[Any]:
        """Yield what the end of a task means for others: tasks and barriers of the run.

        Parameters
        ----------
        apart
            What `edges_apart` returned.
        """
        given = self._tasks.given(meta, [position]).get(position)
        out = [] if given is None else given.out
        return self._edges(meta, position, out, apart.get(position))

    def _edges_of_barrier(self, meta: Item, node: int, barrier: Item) -> Iterator[Any]:
        out = json.loads(barrier["out"]) if "out" in barrier else bool(barrier.get("outs"))
        return self._edges(meta, node, out)

    def _edges(
        self, meta: Item, node: int, out: Any, known: Sequence[Item] | None = None
    ) -> Iterator[Any]:
        """Yield the edges of a node, those inside the plan (`out`) and those that stand apart.

        Those of tasks that are about to join are left out. When they have, their sources are
        followed again.
        """
        for entry in self._all_edges(meta, node, out, known):
            target = entry if isinstance(entry, int) else entry[0]
            if -1 - meta["barriers"] < target < meta["total"]:
                yield entry

    def _all_edges(
        self, meta: Item, node: int, out: Any, known: Sequence[Item] | None
    ) -> Iterator[Any]:
        if isinstance(out, list):
            yield from out
        if known is not None:
            for found in known:
                if found["joined"] not in meta.get("left", ()):
                    yield from json.loads(found["edges"])
            return
        if out is not True and not meta.get("grown"):
            return
        run_id, withdrawals = meta["id"], meta.get("withdrawals", 0)
        pk = segment_partition(run_id, node) if node >= 0 else barrier_partition(run_id, node)
        prefixes = [edge_prefix(0, node)]
        if withdrawals:
            prefixes = [f"{edge_prefix(0, node)}{0:07}#", edge_prefix(withdrawals, node)]
        for prefix in prefixes:
            for found in self._table.query(Pages(pk, prefix)):
                if found["joined"] not in meta.get("left", ()):
                    yield from json.loads(found["edges"])

    def _completed(self, meta: Item, entry: Any, node: int, effects: _Effects) -> None:
        """Note that `node` has completed for one that waits for it."""
        if isinstance(entry, int):
            if entry < 0:
                effects.parts[entry, None].add(node)
            else:
                self._ready(meta, entry, 0, None, effects)
        elif entry[0] < 0:
            effects.parts[entry[0], entry[1]].add(node)
        else:
            waiting = _Waiting(*entry)
            if waiting.needs == 1:
                self._ready(meta, waiting.position, waiting.priority, waiting.backend, effects)
            else:
                effects.met[waiting].add(node)

    @staticmethod
    def _ready(
        meta: Item,
        position: int,
        priority: int,
        backend: str | None,
        effects: _Effects,
        *,
        again: bool = False,
    ) -> None:
        name = backend or meta["backend"]
        key = ready_key(meta["id"], meta["generation"], name, priority, position, again=again)
        effects.ready[key].add(position)

    @staticmethod
    def _collect_failed(entry: Any, cause: int, effects: _Effects) -> None:
        node = entry if isinstance(entry, int) else entry[0]
        (effects.failed_barriers if node < 0 else effects.failed).setdefault(node, cause)

    def let_in(self, run_id: str, notes: Sequence[Item]) -> None:
        """Let tasks that were added run, or wait for what they wait for."""
        meta = known(self._table.get(meta_key(run_id)), run_id)
        effects, sources = _Effects(), dict[int, None]()
        for note in notes:
            sources |= dict.fromkeys(self._let_in(meta, note, effects))
        self._apply(meta, effects)
        self.follow(run_id, list(sources))

    def _open(self, meta: Item, generator: int, effects: _Effects) -> list[int]:
        """Do the same for what a task generated; return the tasks to follow for that."""
        note = self._table.get(grew_key(meta["id"], meta.get("withdrawals", 0), generator))
        if note is None:
            return []
        return [each for each in self._let_in(meta, note, effects) if each != generator]

    def _let_in(self, meta: Item, note: Item, effects: _Effects) -> list[int]:
        """Collect which of the tasks that joined may run; return what the others wait for.

        That may have ended before they joined, so it must be followed again.
        """
        joined = self._tasks.between(meta, note["first"], note["first"] + note["count"])
        for task in joined:
            if not task["needs"] and task["state"] == TaskState.PENDING:
                self._ready(meta, task["position"], task["priority"], task["backend"], effects)
        sources: list[int] = json.loads(self._bodies.unpack(note))
        return sources

    # Writing ------------------------------------------------------------------------------------

    def _apply(
        self, meta: Item, effects: _Effects, among: Collection[int] | None = None
    ) -> list[int]:
        """Write what was collected; return tasks that ended by it and must be followed."""
        while effects.parts:
            parts, effects.parts = effects.parts, defaultdict(set)
            for (node, part), members in parts.items():
                self._add_to_barrier(meta, node, part, members, effects)
        for waiting, nodes in effects.met.items():
            if among is not None and waiting.position not in among:
                continue
            if len(self._meet(meta, waiting.position, nodes)) >= waiting.needs:
                self._ready(meta, waiting.position, waiting.priority, waiting.backend, effects)
        for key, positions in effects.ready.items():
            wanted = positions if among is None else positions.intersection(among)
            if wanted:
                self._table.update(gain(key, wanted, meta))
        for node, cause in effects.failed_barriers.items():
            self._fail_barrier(meta, node, cause, effects)
        ended = self._fail(meta, effects.failed)
        for node in effects.failed_barriers:
            self._note_failed(meta, node)
        return ended

    def _add_to_barrier(
        self, meta: Item, node: int, part: int | None, members: set[int], effects: _Effects
    ) -> None:
        """Note that members completed; what waits for the barrier learns of it with the last one."""
        barrier = self._add_members(meta, barrier_key(meta["id"], node, part), members)
        if barrier is None or len(barrier.get("met", ())) < barrier["needs"]:
            return
        if part is not None:
            effects.parts[node, None].add(part)
            return
        for entry in self._edges_of_barrier(meta, node, barrier):
            self._completed(meta, entry, node, effects)

    def _meet(self, meta: Item, position: int, nodes: set[int]) -> set[int]:
        """Add to what a task has met; return all of it.

        Idempotent. The generation stands in the key, so what comes late is written where nobody
        reads any more.
        """
        write = Write(
            key=met_key(meta["id"], meta["generation"], position),
            change="SET #ttl = :ttl ADD #met :nodes",
            values={"nodes": nodes, "ttl": meta["ttl"]},
        )
        met: set[int] = self._table.update(write)["met"]
        return met

    def _add_members(self, meta: Item, key: Key, members: set[int]) -> Item | None:
        """Add to the completed members of a barrier: idempotent, and only within the generation."""
        write = Write(
            key=key,
            change="ADD #met :members",
            values={"members": members},
            condition=Condition(_BEFORE, {"generation": meta["generation"]}),
        )
        try:
            return self._table.update(write)
        except Lost:
            return None

    def _fail_barrier(self, meta: Item, node: int, cause: int, effects: _Effects) -> None:
        barrier = self._table.get(barrier_key(meta["id"], node))
        if barrier is None or barrier["generation"] != meta["generation"] or barrier.get("failed"):
            return
        for entry in self._edges_of_barrier(meta, node, barrier):
            self._collect_failed(entry, cause, effects)

    def _note_failed(self, meta: Item, node: int) -> None:
        """Note that what waits for a barrier has ended: further failures need not look again."""
        write = Write(
            key=barrier_key(meta["id"], node),
            change="SET #failed = :yes",
            values={"yes": True},
            condition=Condition(_BEFORE, {"generation": meta["generation"]}),
        )
        try:
            self._table.update(write)
        except Lost:
            return

    def _fail(self, meta: Item, causes: dict[int, int]) -> list[int]:
        """Make pending tasks ``dep_failed``; return those that became so now."""
        ended: list[int] = []
        for chunk in by_packs(sorted(causes), int):

            def fail(unit: Unit, chunk: Sequence[int] = chunk) -> list[int]:
                reached: list[int] = []
                if unit.generation != meta["generation"]:
                    return reached
                at = float(unit.meta["last_end" if "last_end" in unit.meta else "created"])
                for position, task in unit.tasks(chunk).items():
                    if task["state"] != TaskState.PENDING:
                        continue
                    task.update(reason=str(Reason.DEPENDENCY), cause=causes[position], ended=at)
                    task.pop("message", None)
                    unit.move(task, TaskState.DEP_FAILED, at, attempt=0, reason=Reason.DEPENDENCY)
                    reached.append(position)
                return reached

            ended.extend(self._work(meta["id"], fail))
        return ended
