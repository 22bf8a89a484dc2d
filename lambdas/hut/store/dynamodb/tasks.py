"""Tasks as they are now: packs, with what the plan says of each, and messages that stand apart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from hut.model.states import TaskState
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.keys import PACK, message_key, pack_key
from hut.store.dynamodb.packs import Pack
from hut.store.dynamodb.specifications import Given, Specifications
from hut.store.dynamodb.table import Table
from hut.store.dynamodb.values import Item

__all__ = ["Tasks"]

_FIRST_LOOK, _MOST_AT_ONCE = 8, 100  # packs per BatchGetItem, of which the first may be enough


class Tasks:
    """Reads the tasks of runs in one table."""

    def __init__(self, table: Table, bodies: Bodies) -> None:
        self._table = table
        self._specifications = Specifications(table, bodies)

    def given(self, meta: Item, positions: Collection[int]) -> dict[int, Given]:
        """Return what plans say of tasks; those that are not there are left out."""
        return self._specifications.of(meta, positions)

    def packs(self, meta: Item, numbers: Collection[int]) -> dict[int, Pack]:
        """Return packs by their numbers."""
        keys = {pack_key(meta["id"], number): number for number in sorted(numbers)}
        found = self._table.get_many(list(keys))
        total = meta["total"]
        return {keys[key]: Pack.of(keys[key], item, total) for key, item in found.items()}

    def at(self, meta: Item, positions: Collection[int]) -> dict[int, Item]:
        """Return tasks by their positions; those that don't belong to the run are left out."""
        packs = self.packs(meta, {position // PACK for position in positions if position >= 0})
        found = (
            packs[position // PACK].task(position)
            for position in positions
            if position // PACK in packs
        )
        return self.complete(meta, [task for task in found if task is not None])

    def between(
        self, meta: Item, first: int, end: int, states: Collection[TaskState] | None = None
    ) -> Iterator[Item]:
        """Yield the tasks from one position to another (not included) that are in some state."""
        end = min(end, meta["total"])
        low, last, at_once = first // PACK, -(-end // PACK), _FIRST_LOOK
        while low < last:
            numbers = range(low, min(low + at_once, last))
            found = self.packs(meta, numbers)
            tasks = [
                task
                for number in numbers
                for task in (found[number].tasks if number in found else ())
                if first <= task["position"] < end and (states is None or task["state"] in states)
            ]
            yield from self.complete(meta, tasks).values()
            low, at_once = numbers.stop, min(at_once * 4, _MOST_AT_ONCE)

    def complete(self, meta: Item, tasks: Iterable[Item]) -> dict[int, Item]:
        """Add to tasks what does not stand in their packs; return them by position."""
        known = {task["position"]: task for task in tasks}
        given = self.given(meta, known)
        complete: dict[int, Item] = {}
        for position, task in known.items():
            told = given.get(position)
            if told is None:
                continue  # its block is being written
            task.update(id=told.id, needs=told.needs, priority=told.priority, by=told.by)
            task.update(backend=told.backend, created=told.created)
            complete[position] = task
        self._read_messages(meta, [task for task in complete.values() if task.get("more")])
        return complete

    def _read_messages(self, meta: Item, tasks: Collection[Item]) -> None:
        keys = {
            task["position"]: message_key(meta["id"], task["position"], task["attempt"])
            for task in tasks
        }
        found = self._table.get_many(list(keys.values())) if keys else {}
        for task in tasks:
            del task["more"]
            item = found.get(keys[task["position"]])
            if item is not None:
                task["message"] = item["message"]
