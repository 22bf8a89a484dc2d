"""How an ended run begins again, as a new generation, and how lost follow-ups are found.

A generation is a number in the run, its tasks, its barriers and the keys of its pages of ready tasks.
Whatever comes late of an earlier one (a message, a record of the stream) finds another number and
changes nothing.

A run that comes back from a backup takes up a new generation too, in which every task stays as it is:
what is worked out of their states (pages of ready tasks, what tasks and barriers have met, counts) is
worked out anew, because a backup may hold it from another moment than the tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from hut.model.states import RunState, TaskState
from hut.store.additions import check_repeat, check_whole
from hut.store.dynamodb.dependencies import Followers
from hut.store.dynamodb.items import phase_of, put_away
from hut.store.dynamodb.keys import PACK, SEGMENT, barrier_key, grew_key, listing_key
from hut.store.dynamodb.packs import MOST_PACKS
from hut.store.dynamodb.reading import Reading
from hut.store.dynamodb.table import Condition, Key, Lost, Write
from hut.store.dynamodb.unit import Unit
from hut.store.dynamodb.values import Item
from hut.store.dynamodb.waiting import on_backend
from hut.store.port import StoreError

__all__ = ["Repeating"]

_FOLLOWED = 100 * PACK  # tasks whose ends are followed at once: one BatchGetItem

_OF_THE_GENERATION = (
    "ended",
    "started",
    "stop",
    "stop_at",
    "reason",
    "message",
    "refused",
    "waits",
    "opening",
)
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
    "counted",
)


class Repeating(Reading):
    """The part of `DynamoStore` that begins runs anew."""

    _work: Any
    _followers: Followers
    missing_blocks: Any
    register_block: Any

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
            check_whole(self._record(meta))
            again = int(meta["n_failed"] + meta["n_dep_failed"])
            if everything:
                check_repeat(generated=bool(meta.get("generated")), added=bool(meta.get("added")))
                again = int(meta["own_tasks"] if _withdraws(meta) else meta["total"])
            if not again:
                return 0
            meta.update(phase="resetting", reset_all=everything, reset_at=0)
            # Executions are named by generations; those before a table was restored have used some.
            used = max(meta["generation"], meta.get("past", 0))
            meta.update(generation=used + 1, state=str(RunState.PENDING))
            for name in _OF_THE_GENERATION:
                meta.pop(name, None)
            _list_as_active(unit)
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
        if meta["reset_all"] and _withdraws(meta):
            meta = self._withdraw(meta)
        while self._work(run_id, partial(self._reset_some, now)):
            pass
        if meta.get("keeps"):
            self._work(run_id, self._count_anew)
        self._clear_barriers(meta)
        self.reopen(run_id)
        self._work(run_id, self._end_reset)

    def _withdraw(self, meta: Item) -> Item:
        """Let generated tasks go: they stand behind all others, so the rest keep their places.

        Their attempts are put away first, so that numbering goes on behind them.
        """
        gone = list(self._tasks.between(meta, meta["own_tasks"], meta["total"]))
        self._table.put_all([put_away(meta, task) for task in gone if task.get("own")])

        def withdraw(unit: Unit) -> Item:
            meta = unit.meta
            if meta.get("grown") and meta["phase"] == "resetting":
                for task in gone:
                    meta[f"n_{task['state']}"] -= 1
                meta["total"], meta["barriers"] = meta["own_tasks"], meta["own_barriers"]
                meta["withdrawals"] += 1
                del meta["grown"]
                meta.pop("generated", None)
                unit.touch_run()
            return meta

        left: Item = self._work(meta["id"], withdraw)
        return left

    def _reset_some(self, now: float, unit: Unit) -> bool:
        """Bring the next packs into the new generation, wholly; say whether there may be more."""
        meta = unit.meta
        if meta["phase"] != "resetting" or meta["reset_at"] >= meta["total"]:
            return False
        first, total = meta["reset_at"], meta["total"]
        unit.tasks(range(first, min(first + MOST_PACKS * PACK, total)))  # in one call
        for low in range(first, min(first + MOST_PACKS * PACK, total), PACK):
            if not unit.has_room(1 + PACK):  # each of its tasks may have an attempt to put away
                break
            for task in unit.tasks(range(low, min(low + PACK, total))).values():
                self._reset(unit, task, now)
            meta["reset_at"] = low + PACK
        unit.touch_run()
        return True

    @staticmethod
    def _reset(unit: Unit, task: Item, now: float) -> None:
        meta = unit.meta
        task["generation"] = meta["generation"]
        unit.touch(task)
        kept = task["state"] == TaskState.COMPLETED and not meta["reset_all"]
        if meta.get("keeps"):
            if task["state"] == TaskState.PENDING and task.get("not_before", 0) > 0:
                unit.wait(task)
            return
        if kept or meta.get("stop"):
            return
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
            positions = range(first, min(first + SEGMENT, meta["total"]))
            apart = self._followers.edges_apart(meta, positions)
            for position in positions:
                for entry in self._followers.edges_of_task(meta, position, apart):
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
        for task in self._tasks.between(meta, 0, meta["total"]):
            if task["state"] != TaskState.PENDING:
                ended.append(task["position"])
            elif not task["needs"] or task.get("ready"):
                free.append(task)
            else:
                pending.add(task["position"])
        self._followers.make_ready(meta, free)
        for start in range(0, len(ended), _FOLLOWED):
            self._followers.follow(run_id, ended[start : start + _FOLLOWED], among=pending)

    @staticmethod
    def _end_reset(unit: Unit) -> None:
        meta = unit.meta
        if meta["phase"] == "resetting":
            meta["phase"] = phase_of(meta)
            del meta["reset_all"], meta["reset_at"]
            meta.pop("keeps", None)
            unit.touch_run()

    # From a backup -------------------------------------------------------------------------------

    def take_up(self, run_id: str, now: float) -> None:
        """Bring a run that has come back from a backup to where it can go on.

        What `copying` noted in its item says so; without it nothing happens. If this dies, the next
        call goes on where it stopped, and so does `begin_run`.

        Raises
        ------
        StoreError
            If the backup does not hold all of the run.
        """
        meta = self._meta(run_id)
        if meta.get("restored") is not None:
            if meta["phase"] == "reserved":
                for block in self.missing_blocks(run_id):
                    self.register_block(run_id, block, now)
            elif meta["phase"] == "resetting":
                self.finish_reset(run_id, now)
            self._work(run_id, self._begin_to_keep)
        self.finish_reset(run_id, now)

    @staticmethod
    def _begin_to_keep(unit: Unit) -> None:
        meta = unit.meta
        generation = meta.pop("restored", None)
        if generation is None:
            return
        for name in ("waits", "refused", "writing", "written", "opening", "resting"):
            meta.pop(name, None)
        meta.update(generation=generation, phase="resetting", keeps=True)
        meta.update(reset_all=False, reset_at=0)
        meta.setdefault("begun", -1)  # one that was not: without it nobody waits for that
        _list_as_active(unit)

    def _count_anew(self, unit: Unit) -> None:
        """Let a run's numbers be those of its tasks; in a stopped one, what is missing has failed."""
        meta, counts, active = unit.meta, Counter[str](), Counter[str]()
        for task in self._tasks.between(meta, 0, meta["total"]):
            counts[task["state"]] += 1
            if task.get("counted"):
                active[task["backend"]] += 1
            grew = task.get("grew") and not meta.get("stop")
            if grew and not self._has_grown(meta, task["position"]):
                raise StoreError(f"of run {meta['id']} what task {task['id']} generated is missing")
        missing = meta["total"] - counts.total()
        if missing and not meta.get("stop"):
            raise StoreError(
                f"of run {meta['id']} {missing:,} of {meta['total']:,} tasks are missing"
            )
        counts[TaskState.FAILED] += missing
        for name in [name for name in meta if name.startswith(on_backend(""))]:
            del meta[name]
        meta.update({on_backend(name): number for name, number in active.items()})
        meta.update({f"n_{state}": counts[state] for state in TaskState})
        unit.touch_run()

    def _has_grown(self, meta: Item, generator: int) -> bool:
        note = self._table.get(grew_key(meta["id"], meta["withdrawals"], generator))
        return note is not None and note["first"] + note["count"] <= meta["total"]


def _withdraws(meta: Item) -> bool:
    """Say whether a run has generated tasks that go when everything is repeated."""
    return bool(meta.get("grown") and not meta.get("added"))


def _list_as_active(unit: Unit) -> None:
    """Put a run's generation on the list, so that a sweep finds it if nobody goes on with it."""
    meta = unit.meta
    change = "SET #active = :active, #generation = :generation, #ttl = :ttl"
    values = {"active": "active", "generation": meta["generation"], "ttl": meta["ttl"]}
    unit.update(Write(key=listing_key(meta["id"]), change=change, values=values))
