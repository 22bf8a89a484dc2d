"""What waits in a pool, in the table: put in, taken out, given to a worker. See `pools` for what protects it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from hut.pools.jobs import Waits
from hut.pools.port import Order, Queued
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.keys import pool_job_key, pool_queue, queued_key
from hut.store.dynamodb.pool_items import (
    LEASED,
    WAITING,
    WITHDRAWN,
    Held,
    job_item,
    left_of,
    queued_item,
    queued_of,
    read_orders,
    write_orders,
)
from hut.store.dynamodb.table import Cancelled, Condition, Key, Pages, Table, Write, pauses
from hut.store.dynamodb.values import Item

__all__ = ["FAILED", "NEW", "THERE", "TRIES", "PoolQueue"]

TRIES = 5
"""How often a change is tried that others come before."""

FAILED = "ConditionalCheckFailed"
NEW = Condition("attribute_not_exists(#pk)")
THERE = Condition("attribute_exists(#pk)")

_LARGEST_INSIDE = (
    8_000  # bytes of tasks in an item; an object costs as much as four units of writing
)
_PUT_AT_ONCE = 50  # items of one transaction, of two writes each


class PoolQueue:
    """The queue of one pool, and what was ever put into it.

    Parameters
    ----------
    table, bodies
        The deployment's.
    name
        The pool's.
    """

    def __init__(self, table: Table, bodies: Bodies, name: str) -> None:
        self._table = table
        self._bodies = bodies
        self._name = name

    # Putting in ---------------------------------------------------------------------------------

    def enqueue(self, items: Sequence[Queued], now: float) -> None:
        """Put items in. Those that were before stay as they are, or are over."""
        for start in range(0, len(items), _PUT_AT_ONCE):
            some = [self._entry(item, now) for item in items[start : start + _PUT_AT_ONCE]]
            try:
                self._table.transact([write for writes in some for write in writes])
            except Cancelled:
                for writes in some:
                    self._put(writes)

    def _entry(self, item: Queued, now: float) -> list[Write]:
        text = write_orders(item.orders)
        body = self._bodies.pack(item.run_id, text, most=_LARGEST_INSIDE)
        job = Write(put=job_item(self._name, item, body, now), condition=NEW)
        return [job, Write(put=queued_item(self._name, item, now))]

    def _put(self, writes: Sequence[Write]) -> None:
        """Put one item in; one that is there is left alone."""
        for pause in (*pauses(TRIES), None):
            try:
                self._table.transact(writes)
            except Cancelled as cancelled:
                if FAILED in cancelled.reasons:
                    return
                if pause is None:
                    raise
                self._table.sleep(pause)
            else:
                return

    # Taking out ---------------------------------------------------------------------------------

    def withdraw(
        self,
        name: str,
        job: Item,
        parts: Collection[int] | None,
        now: float,
        reason: str,
    ) -> Queued:
        """Take some tasks of an item that waits out of the queue, or (None) all; return those.

        Raises
        ------
        Cancelled
            If the item is not as it was read.
        """
        left = left_of(job)
        out = [part for part in left if parts is None or part in parts]
        stays = [part for part in left if part not in out]
        before: dict[str, Any] = json.loads(job.get("ended", "{}"))
        ended = {**before, **{str(part): [reason[:500], now] for part in out}}
        values = {
            "state": WAITING if stays else WITHDRAWN,
            "left": json.dumps(stays),
            "ended": json.dumps(ended),
            "was": WAITING,
            "epoch": job["epoch"],
        }
        same = "attribute_not_exists(#left)"
        if "left" in job:
            same = "#left = :before"
            values["before"] = job["left"]
        change = Write(
            key=pool_job_key(name),
            change="SET #state = :state , #left = :left , #ended = :ended",
            values=values,
            condition=Condition(f"#state = :was AND #epoch = :epoch AND {same}"),
        )
        place = Key(pool_queue(self._name), job["place"])
        gone = Write(key=place, condition=THERE)
        if stays:
            number = {"tasks": len(stays)}
            gone = Write(key=place, change="SET #tasks = :tasks", values=number, condition=THERE)
        self._table.transact([change, gone])
        orders = tuple(Order(name, 0, job["run"], job["task"], 0, "", part=part) for part in out)
        return Queued(name, job["run"], 0, "", {}, orders)

    # Giving to workers --------------------------------------------------------------------------

    def lease(self, item: Queued, job: Item, worker: str, now: float) -> tuple[Held, list[Write]]:
        """Return a lease of something that waits, and what has to be written for it to be one."""
        epoch = int(job["epoch"]) + 1
        held = Held(
            item.name,
            epoch,
            item.run_id,
            str(job["task"]),
            int(job["tasks"]),
            item.priority,
            item.arrival,
            item.wanted,
            tuple(left_of(job)),
            now,
            now,
        )
        waits = Condition(
            "#state = :was AND #epoch = :before", {"was": WAITING, "before": job["epoch"]}
        )
        place = queued_key(self._name, item.priority, item.arrival, item.name)
        writes = [
            Write(key=place, condition=THERE),
            Write(
                key=pool_job_key(item.name),
                change="SET #state = :state , #epoch = :epoch , #worker = :worker",
                values={"state": LEASED, "epoch": epoch, "worker": worker},
                condition=waits,
            ),
        ]
        return held, writes

    def requeued(self, held: Held, now: float) -> list[Write]:
        """Return what lets a lease wait again, in its old place, with what its worker gave back."""
        left = held.returned
        orders = tuple(Order(held.name, 0, held.run, held.task, 0, "", part=part) for part in left)
        item = Queued(held.name, held.run, held.priority, held.arrival, held.wanted, orders)
        return [
            Write(put=queued_item(self._name, item, now)),
            Write(
                key=pool_job_key(held.name),
                change="SET #state = :state , #left = :left",
                values={"state": WAITING, "left": json.dumps(left)},
                condition=Condition("#epoch = :epoch", {"epoch": held.epoch}),
            ),
        ]

    def orders(self, job: Item, held: Held) -> list[Order]:
        """Return the tasks of a lease that are left, as its worker gets them."""
        return [
            order._replace(epoch=held.epoch)
            for order in read_orders(self._bodies.unpack(job))
            if order.part in held.left
        ]

    # Looking ------------------------------------------------------------------------------------

    def jobs(self, names: Collection[str]) -> dict[str, Item]:
        """Return what was put in under names, wherever it is now."""
        keys = {pool_job_key(name): name for name in names}
        found = self._table.get_many(list(keys)) if keys else {}
        return {keys[key]: item for key, item in found.items() if item["pool"] == self._name}

    def holders(self, names: Collection[str]) -> Mapping[str, tuple[str, int]]:
        """Return who was given items last, and in which epoch."""
        return {
            name: (str(item.get("worker", "")), int(item["epoch"]))
            for name, item in self.jobs(names).items()
        }

    def waiting(self, page: int) -> Iterator[Waits]:
        """Yield what waits, in order; read in pages of so many."""
        for item in self._table.query(Pages(pool_queue(self._name), limit=page)):
            yield Waits(queued_of(item), int(item["tasks"]), float(item["at"]))
