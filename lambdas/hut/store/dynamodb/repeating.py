"""How an ended run begins again, as a new generation, and how lost follow-ups are found.

A generation is a number in the run, its tasks, its barriers and the keys of its pages of ready tasks.
Whatever comes late of an earlier one (a message, a record of the stream) finds another number and
changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from hut.model.states import RunState, TaskState
from hut.store.dynamodb.dependencies import Followers, positions_of, read_tasks
from hut.store.dynamodb.items import put_away
from hut.store.dynamodb.keys import SEGMENT, barrier_key, listing_key
from hut.store.dynamodb.reading import Reading
from hut.store.dynamodb.table import Condition, Key, Lost, Write
from hut.store.dynamodb.unit import Unit
from hut.store.dynamodb.values import Item
from hut.store.port import StoreError

__all__ = ["Repeating"]

_RESET_AT_ONCE = 40  # tasks per transaction; each may have an attempt to put away

_OF_THE_PAST = (
    "own",
    "reason",
    "message",
    "code",
    "cause",
    "submitted",
    "started",
    "ended",
    "handle",
    "log",
    "cost",
    "not_before",
    "retries",
    "losses",
    "ready",
    "grew",
    "wanted",
)


class Repeating(Reading):
    """The part of `DynamoStore` that begins runs anew."""

    _work: Any
    _followers: Followers

    def reset_tasks(self, run_id: str, now: float, *, everything: bool = False) -> int:
        """Make tasks that did not complete (or all) pending again; return how many."""
        again = self.begin_reset(run_id, everything=everything)
        if again:
            self.finish_reset(run_id, now)
        return again

    def begin_reset(self, run_id: str, *, everything: bool = False) -> int:
        """Begin a new generation of an ended run, whose tasks `finish_reset` brings into it.

        Returns
        -------
        int
            How many tasks will be repeated; with 0 nothing has changed.
        """

        def begin(unit: Unit) -> int:
            meta = unit.meta
            if meta.get("ended") is None:
                raise StoreError(f"run {meta['id']} has not ended; cancel it, or wait for its end")
            again = int(meta["n_failed"] + meta["n_dep_failed"])
            if everything:
                again = int(meta["own_tasks"] if meta.get("grown") else meta["total"])
            if not again:
                return 0
            meta.update(phase="resetting", reset_all=everything, reset_at=0)
            meta.update(generation=meta["generation"] + 1, state=str(RunState.PENDING))
            for name in ("ended", "started", "stop", "stop_at", "reason", "message", "refused"):
                meta.pop(name, None)
            # With it, so that a sweep finds a repetition which nobody goes on with.
            change, values = "SET #active = :active, #ttl = :ttl", {"active": "active"}
            values["ttl"] = meta["ttl"]
            unit.update(Write(key=listing_key(run_id), change=change, values=values))
            return again

        again: int = self._work(run_id, begin)
        return again

    def finish_reset(self, run_id: str, now: float) -> None:
        """Bring the tasks of a run into its new generation.

        If this dies, the run does not begin, and the next call goes on where it stopped.
        """
        meta = self._meta(run_id)
        if meta["phase"] != "resetting":
            return
        if meta["reset_all"] and meta.get("grown"):
            meta = self._withdraw(meta)
        for first in range(meta["reset_at"], meta["total"], _RESET_AT_ONCE):
            chunk = range(first, min(first + _RESET_AT_ONCE, meta["total"]))
            self._work(run_id, lambda unit, c=chunk: self._reset_some(unit, c, now))
        self._clear_barriers(meta)
        self.reopen(run_id)
        self._work(run_id, self._end_reset)

    def _withdraw(self, meta: Item) -> Item:
        """Let generated tasks go: they stand behind all others, so the rest keep their places.

        Their attempts are put away first, so that numbering goes on behind them.
        """
        gone = list(read_tasks(self._table, meta, meta["own_tasks"], meta["total"]))
        self._table.put_all([put_away(meta, task) for task in gone if task.get("own")])

        def withdraw(unit: Unit) -> Item:
            meta = unit.meta
            if meta.get("grown") and meta["phase"] == "resetting":
                for task in gone:
                    meta[f"n_{task['state']}"] -= 1
                meta["total"], meta["barriers"] = meta["own_tasks"], meta["own_barriers"]
                meta["withdrawals"] += 1
                del meta["grown"]
                unit.touch_run()
            return meta

        left: Item = self._work(meta["id"], withdraw)
        return left

    def _reset_some(self, unit: Unit, positions: range, now: float) -> None:
        """Bring some tasks into the new generation; those that are there already stay."""
        meta = unit.meta
        if meta["phase"] != "resetting":
            return
        meta["reset_at"] = max(meta["reset_at"], positions.stop)
        unit.touch_run()
        for task in unit.tasks(positions).values():
            if task["generation"] == meta["generation"]:
                continue
            task["generation"] = meta["generation"]
            task.pop("met", None)
            unit.touch(task)
            kept = task["state"] == TaskState.COMPLETED and not meta["reset_all"]
            if kept or meta.get("stop"):
                continue
            if task.get("own"):
                away = put_away(meta, task)
                unit.put(Key(away["pk"], away["sk"]), away)
                task["archived"] = task["attempt"]
            for name in _OF_THE_PAST:
                task.pop(name, None)
            unit.move(task, TaskState.PENDING, now)

    def _clear_barriers(self, meta: Item) -> None:
        """Bring all barriers into the new generation, with nothing met."""
        for node in self._barrier_nodes(meta):
            header = self._table.get(barrier_key(meta["id"], node))
            if header is None:
                continue
            parts = [None, *range(header.get("parts", 0))]
            for part in parts:
                write = Write(
                    key=barrier_key(meta["id"], node, part),
                    change="SET #generation = :generation REMOVE #met, #failed",
                    values={"generation": meta["generation"]},
                    condition=Condition("#generation < :generation"),
                )
                with suppress(Lost):  # somebody was here before and died later
                    self._table.update(write)

    def _barrier_nodes(self, meta: Item) -> Iterator[int]:
        """Yield the barriers of a run, found through the edges that lead to them."""
        seen: set[int] = set()
        for first in range(0, meta["total"], SEGMENT):
            tasks = list(read_tasks(self._table, meta, first, first + SEGMENT))
            apart = self._followers.edges_apart(meta, positions_of(tasks))
            for task in tasks:
                for entry in self._followers.edges(meta, task["position"], task, apart):
                    node = entry if isinstance(entry, int) else entry[0]
                    if node < 0 and node not in seen:
                        seen.add(node)
                        yield node

    def reopen(self, run_id: str) -> None:
        """Work out anew what may run: what a repeated run begins with, and how lost follow-ups heal."""
        meta = self._meta(run_id)
        ended: list[int] = []
        pending: set[int] = set()
        free: list[Item] = []
        for task in read_tasks(self._table, meta, 0, meta["total"]):
            if task["state"] != TaskState.PENDING:
                ended.append(task["position"])
                continue
            pending.add(task["position"])
            if not task["needs"] or task.get("ready"):
                free.append(task)
        self._followers.make_ready(meta, free)
        for start in range(0, len(ended), 500):
            self._followers.follow(run_id, ended[start : start + 500], among=pending)

    @staticmethod
    def _end_reset(unit: Unit) -> None:
        meta = unit.meta
        if meta["phase"] == "resetting":
            meta["phase"] = "active"
            del meta["reset_all"], meta["reset_at"]
            unit.touch_run()
