"""Which runs wait for room on a capped backend, and how much of it each of them may take.

A run that has ready tasks and got no room leaves a note, an item of its own beside the backend's. The
backend's item counts what is active on it (``busy``) and how often the notes changed (``notes``). A
claim reads the item, then the notes, then how much the runs have that left them; it takes no more than
its share of what is free, under the condition that ``notes`` is as it was and the cap is kept. So two
dispatchers can exceed neither the cap nor their shares together.

Nobody is forgotten: a note counts only if, once it is there, nothing has become free and no other note
has changed since the claim looked; else the claim looks again. Who frees a place looks for notes after
it is free. Who is called is marked, so it is called once. If the call is lost, the run is called again
after a minute, by the next that looks, or it is advanced by the sweep; its share is kept until then,
but not for ever.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from hut.model.states import TaskState
from hut.scheduling.shares import Contender, shares_of
from hut.store.dynamodb.keys import (
    again_partition,
    backend_key,
    meta_key,
    place_key,
    ready_partition,
    wait_partition,
)
from hut.store.dynamodb.table import Condition, Lost, Pages, Table, Write
from hut.store.dynamodb.values import Item

__all__ = ["View", "Waiting", "on_backend"]

_MOST = 100  # notes that count at a time; the others come when these have had their turn
_CALLED_SECONDS = 60.0  # after which a run that was called and did not come is called again
_KEPT_SECONDS = 300.0  # after which its share is not kept any more: longer than until a sweep


class View(NamedTuple):
    """What a claim saw of a backend.

    Attributes
    ----------
    busy, number : int
        Active tasks of all runs, and the number of the last change of the notes.
    share : int
        How many tasks the run may claim.
    note : Item or None
        The run's own.
    """

    busy: int
    number: int
    share: int
    note: Item | None


def on_backend(name: str) -> str:
    """Return the attribute of a run's item that counts its active tasks on a backend."""
    return f"on_{name}"


class Waiting:
    """See the module's docstring.

    Parameters
    ----------
    table
        Where runs and notes are.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def view(self, backend: str, cap: int, meta: Item, wants: int, now: float) -> View:
        """Look at a backend before a claim of a run for at most `wants` tasks."""
        item = self._table.get(backend_key(backend)) or {}
        busy, number = int(item.get("busy", 0)), int(item.get("notes", 0))
        notes = self._notes(backend)
        others = [note for note in notes if note["run"] != meta["id"] and _is_kept(note, now)]
        mine = next((note for note in notes if note["run"] == meta["id"]), None)
        contenders = self._contenders(backend, others[:_MOST])
        active = int(meta.get(on_backend(backend), 0))
        contenders.append(Contender(meta["id"], active, wants, float(meta["created"])))
        share = shares_of(cap - busy, contenders).get(meta["id"], 0)
        return View(busy, number, share, mine)

    def keep(self, backend: str, meta: Item, view: View, now: float) -> bool:
        """Note that a run waits; say whether that was still true when it was noted."""
        if view.note is not None and "called" not in view.note:
            return True  # whoever has freed a place since the look finds it
        key = place_key(backend, meta["id"])
        note = {"kind": "place", "run": meta["id"], "noted": now, "ttl": meta["ttl"]}
        self._table.put({"pk": key.pk, "sk": key.sk, **note})
        condition = Condition(
            "( attribute_not_exists(#busy) OR #busy >= :busy ) AND "
            "( attribute_not_exists(#notes) OR #notes = :notes )",
            {"busy": view.busy, "notes": view.number},
        )
        try:
            self._count_change(backend, condition)
        except Lost:
            return False
        return True

    def leave(self, backend: str, run_id: str) -> None:
        """Take a run's note away: it has what it wants."""
        self._table.delete_all([place_key(backend, run_id)])
        self._count_change(backend)

    def call(self, backend: str, cap: int, now: float) -> list[str]:
        """Return the runs that are to take free places now, each once for a while."""
        busy = int((self._table.get(backend_key(backend)) or {}).get("busy", 0))
        notes = self._notes(backend)[:_MOST] if busy < cap else []
        shares = shares_of(cap - busy, self._contenders(backend, notes))
        called = []
        for note in notes:
            is_under_way = now - note.get("called", float("-inf")) <= _CALLED_SECONDS
            if shares.get(note["run"], 0) and not is_under_way and self._mark(backend, note, now):
                called.append(str(note["run"]))
        return called

    def has_ready(self, backend: str, meta: Item, now: float) -> bool:
        """Say whether a run has a task that only lacks room."""
        run_id, generation = meta["id"], meta["generation"]
        partitions = [ready_partition, again_partition] if meta.get("order") else [ready_partition]
        for partition in partitions:
            pages = Pages(partition(run_id, generation), f"{backend}#", limit=10)
            if any(page.get("ready") for page in self._table.query(pages)):
                return True
        due = Pages(wait_partition(run_id, generation), last=f"{now:020.6f}#9999999", limit=100)
        return any(item["backend"] == backend for item in self._table.query(due))

    def _notes(self, backend: str) -> list[Item]:
        """Return the notes that were left first, so that every run comes into sight."""
        begins = place_key(backend, "").sk
        notes = list(self._table.query(Pages(backend_key(backend).pk, begins)))
        return sorted(notes, key=lambda note: (note["noted"], note["run"]))

    def _contenders(self, backend: str, notes: list[Item]) -> list[Contender]:
        """Return the runs behind notes; notes of runs that take nothing any more go away."""
        keys = {note["run"]: meta_key(note["run"]) for note in notes}
        metas = self._table.get_many(list(keys.values())) if keys else {}
        contenders, over = [], []
        for run_id, key in keys.items():
            meta = metas.get(key)
            if meta is None or meta.get("ended") is not None or meta.get("stop"):
                over.append(place_key(backend, run_id))
                continue
            active = int(meta.get(on_backend(backend), 0))
            wants = int(meta[f"n_{TaskState.PENDING}"])
            contenders.append(Contender(run_id, active, wants, float(meta["created"])))
        if over:
            self._table.delete_all(over)
        return contenders

    def _mark(self, backend: str, note: Item, now: float) -> bool:
        """Mark a run as called; say whether nobody else did."""
        same = Condition(
            "attribute_not_exists(#called) AND #noted = :noted", {"noted": note["noted"]}
        )
        if "called" in note:
            same = Condition("#called = :was", {"was": note["called"]})
        key, values = place_key(backend, note["run"]), {"now": now}
        with suppress(Lost):
            change = "SET #called = :now, #first = if_not_exists(#first, :now)"
            self._table.update(Write(key=key, change=change, values=values, condition=same))
            return True
        return False

    def _count_change(self, backend: str, condition: Condition | None = None) -> None:
        key, values = backend_key(backend), {"one": 1}
        self._table.update(
            Write(key=key, change="ADD #notes :one", values=values, condition=condition)
        )


def _is_kept(note: Item, now: float) -> bool:
    """Say whether a run's share is kept for it."""
    return bool(now - note.get("first", now) <= _KEPT_SECONDS)
