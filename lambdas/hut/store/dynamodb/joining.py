"""How tasks join a run that has begun: those that a task generated, and those that somebody adds.

They are written first, behind those the run has, where nobody looks; then one transaction makes them
a part of it: it raises the run's total, puts those that share the run's last pack into it, and leaves
a note of what joined. Generated tasks join in the transaction that ends their generator; added ones
in the one that keeps the key they were sent under. Whoever writes holds the run's ``joining`` lock, so
two never write the same places; a lock whose holder died is taken over once the holder can't be alive
any more.

What joined may wait for tasks that have ended long before. So after the transaction the notes are
read, what may run is put on the pages of ready tasks, and the sources of the rest are followed again:
for generated tasks as a consequence of their generator's end, for added ones because the run's item
says that it is still to be done (``opening``), until it is.

An open run that is idle *rests*: it is taken off the list of active runs, under the condition that
nothing has changed, so the sweep does not look at it; whatever concerns it puts it back first.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from hut.lifecycle.run import is_over
from hut.model.records import RunRecord
from hut.model.states import ACTIVE, RunState, TaskState
from hut.planning.plan import Extension
from hut.store.additions import (
    check_close,
    check_ids,
    check_key,
    check_place,
    check_room,
    check_whole,
)
from hut.store.dynamodb.blocks import Planned, blocks_of
from hut.store.dynamodb.dependencies import Followers
from hut.store.dynamodb.items import counts_of
from hut.store.dynamodb.keys import added_key, attempt_key, grew_key, listing_key, run_key
from hut.store.dynamodb.options import StoreOptions
from hut.store.dynamodb.reading import Reading
from hut.store.dynamodb.table import Key, Pages, Write, pauses
from hut.store.dynamodb.unit import Unit
from hut.store.dynamodb.values import Item
from hut.store.port import End, RunClosed, StoreError, TryAgain

__all__ = ["Joining", "wake"]

_JOINING_SECONDS = 300.0  # a Lambda that wrote tasks and died is surely dead by then
_LOOKS = 6  # whether others have done with joining: some seconds together


class Joining(Reading):
    """The part of `DynamoStore` by which tasks join runs, and by which runs are open for them."""

    _options: StoreOptions
    _units: dict[str, Unit] | None
    _followers: Followers
    # What the other parts of the store do.
    _work: Any
    _end: Any
    end_pending: Any
    _clock: Any

    # Tasks that somebody adds -------------------------------------------------------------------

    def add_tasks(
        self, run_id: str, adds: Extension, *, key: str, now: float, digest: str = ""
    ) -> bool:
        """Let tasks join an open or a held run, all of them or none."""
        with self._outside_of_batches():
            mine = self._lock_to_add(run_id, adds, key, digest)
            if mine is None:
                return False
            ids = [task.id for task in adds.tasks]
            try:
                # Nobody else joins while the lock is held, so this holds until the tasks have joined.
                check_ids(self._positions(mine, ids), ids)
                planned = self._planned_to_join(mine, adds, now, mine["backend"])
                for items in blocks_of(planned, self._bodies):
                    self._table.put_all(items)
            except StoreError:
                self._work(run_id, partial(self._give_up, mine))
                raise
            where = added_key(run_id, key)
            note = {"kind": "added", "digest": digest, "at": now, **self._note(planned)}
            refused = self._work(run_id, partial(self._join, mine, planned, where, note))
            if refused is not None:
                raise refused
            if self._options.follow == "inline":
                self.open_added(run_id)
        return True

    def has_added(self, run_id: str, key: str, digest: str = "") -> bool:
        """Say whether tasks joined a run under a key."""
        item = self._table.get(added_key(run_id, key))
        if item is not None:
            check_key(key, item["digest"], digest)
        return item is not None

    def open_added(self, run_id: str) -> None:
        """Work out which of the tasks that were added may run; the same the second time."""
        meta = self._meta(run_id)
        names: set[str] = meta.get("opening", set())
        if not names:
            return
        notes = self._table.get_many([run_key(run_id, name) for name in sorted(names)])
        self._followers.let_in(run_id, list(notes.values()))

        def note(unit: Unit) -> None:
            rest = unit.meta.pop("opening", set()) - names
            if rest:
                unit.meta["opening"] = rest
            unit.touch_run()

        self._work(run_id, note)

    def _lock_to_add(self, run_id: str, adds: Extension, key: str, digest: str) -> Item | None:
        """Take the lock on the run's end; None if the tasks have joined already.

        Raises
        ------
        RunClosed, StaleExtension, IdempotencyConflict
            See the port.
        TryAgain
            If others are joining and don't come to an end.
        """

        def lock(unit: Unit) -> Item | None:
            # Read after the run's item, whose condition the join of the same key would break.
            if self.has_added(run_id, key, digest):
                return None
            meta = unit.meta
            check_room(self._record(meta))
            check_place(meta["total"], adds.graph.first)
            if meta["phase"] == "reserved":
                raise TryAgain(f"run {run_id} is being stored; send the tasks again in a moment")
            self._take_lock(unit, f"added.{uuid.uuid4().hex[:8]}", self._clock())
            return dict(meta)

        for pause in pauses(_LOOKS, base=0.2, most=2.0):
            try:
                found: Item | None = self._work(run_id, lock)
            except TryAgain:
                self._table.sleep(pause)
            else:
                return found
        return self._work(run_id, lock)  # type: ignore[no-any-return]

    def _join(
        self, mine: Item, planned: Planned, where: Key, note: Item, unit: Unit
    ) -> StoreError | None:
        """Make tasks that are written a part of the run; return why they can't be."""
        meta = unit.meta
        if meta.get("joining") != mine["joining"]:
            return TryAgain("others have joined the run meanwhile; send the tasks again")
        try:
            check_room(self._record(meta))  # it may have been closed or stopped since
        except RunClosed as error:
            self._give_up(mine, unit)
            return error
        if meta.get("grown") and not meta.get("added"):
            meta["generated"] = True  # also what an earlier Hut let join
        meta["added"] = True
        _grow(unit, planned)
        unit.put(where, note | {"ttl": meta["ttl"]})
        meta["opening"] = meta.get("opening", set()) | {where.sk}
        wake(unit)
        unit.signal("added")
        return None

    @staticmethod
    def _give_up(mine: Item, unit: Unit) -> None:
        """Let the lock go; what was written under it is never read."""
        meta = unit.meta
        if meta.get("joining") == mine["joining"]:
            del meta["joining"], meta["joining_at"]
            meta["left"] = meta.get("left", set()) | {mine["joins"]}
            unit.touch_run()

    # Open and held runs -------------------------------------------------------------------------

    def release_run(self, run_id: str, now: float) -> RunRecord:
        """Let the tasks of a held run be claimed; one that is not held stays as it is."""

        def release(unit: Unit) -> Item:
            meta = unit.meta
            check_whole(self._record(meta))
            if not meta.pop("held", None):
                return meta
            if meta["phase"] == "held":
                meta["phase"] = "active"
                if meta["state"] == RunState.PENDING:
                    meta.update(state=str(RunState.RUNNING), started=now)
            wake(unit)
            unit.signal("released")
            return meta

        return self._record(self._work(run_id, release))

    def close_run(self, run_id: str, now: float) -> RunRecord:  # noqa: ARG002 - others note it
        """Take no more tasks into an open run: it ends when those it has do."""

        def close(unit: Unit) -> Item:
            meta = unit.meta
            check_close(self._record(meta))
            if meta.pop("open", None):
                wake(unit)
                unit.signal("closed")
            return meta

        return self._record(self._work(run_id, close))

    def rest(self, run_id: str) -> None:
        """Take a run that waits for more tasks, and for nothing else, off the list of active ones."""

        def rest(unit: Unit) -> None:
            if not unit.meta.get("resting") and _is_idle(unit.meta):
                unit.meta["resting"] = True
                unit.update(Write(key=listing_key(run_id), change="REMOVE #active"))

        self._work(run_id, rest)

    # Tasks that a task generated ----------------------------------------------------------------

    def _end_and_join(self, run_id: str, end: End) -> bool:
        """End a generator together with the tasks it generated."""
        adds, position = end.adds, end.key.position
        assert adds is not None  # noqa: S101 - the caller checked
        with self._outside_of_batches():
            mine = self._lock(run_id, end)
        if mine is None:
            return False
        planned = self._planned_to_join(
            mine, adds, end.at, mine["generator_backend"], generator=position
        )
        lock = mine["joining"]
        for items in blocks_of(planned, self._bodies):
            self._table.put_all(items)
        note = {"kind": "grew", **self._note(planned)}

        def join(unit: Unit) -> bool:
            if unit.meta.get("joining") != lock:
                raise StoreError("another task's output joined the run; do it again")
            if not self._end(end, unit):
                # Somebody else has told of the end: what was written here is never read.
                self._give_up(mine, unit)
                return False
            generator = unit.tasks([position])[position]
            generator["grew"] = True
            _grow(unit, planned)
            meta = unit.meta
            meta["generated"] = True
            unit.put(grew_key(run_id, meta["withdrawals"], position), note | {"ttl": meta["ttl"]})
            if meta.get("stop"):
                unit.signal("stopped")
            return True

        applied: bool = self._work(run_id, join)
        if applied and self._units is None and self._options.follow == "inline":
            self.end_pending(run_id)
        return applied

    def _lock(self, run_id: str, end: End) -> Item | None:
        """Take the lock on the run's end; None if the generator's end comes late.

        Raises
        ------
        StoreError
            If tasks joined since these were planned, or are joining now.
        """
        adds = end.adds
        assert adds is not None  # noqa: S101
        now = self._clock()  # not the end's own time, which stays the same when it is told again
        # Its own for each call: the same end may be recorded by two at once.
        name = f"{'.'.join(map(str, end.key))}.{uuid.uuid4().hex[:8]}"

        def lock(unit: Unit) -> Item | None:
            meta = unit.meta
            task = unit.tasks([end.key.position]).get(end.key.position)
            key = end.key
            if (
                task is None
                or task["state"] not in ACTIVE
                or (task["attempt"], task["epoch"]) != (key.attempt, key.epoch)
            ):
                return None
            check_place(meta["total"], adds.graph.first)
            self._take_lock(unit, name, now)
            return {**meta, "generator_backend": task["backend"]}

        found: Item | None = self._work(run_id, lock)
        return found

    # What both have in common -------------------------------------------------------------------

    @contextmanager
    def _outside_of_batches(self) -> Iterator[None]:
        """Write what is done inside at once: others must see that the lock is held."""
        if self._units:
            raise StoreError("tasks can't join a run in a batch that has changed something")
        batch, self._units = self._units, None
        try:
            yield
        finally:
            self._units = batch

    @staticmethod
    def _take_lock(unit: Unit, name: str, now: float) -> None:
        meta = unit.meta
        held = meta.get("joining")
        if held is not None and now - meta["joining_at"] < _JOINING_SECONDS:
            raise TryAgain("other tasks are joining the run; do it again")
        if held is not None:  # what it wrote is never read
            meta["left"] = meta.get("left", set()) | {meta["joins"]}
        meta["joins"] = meta.get("joins", 0) + 1
        meta["joining"], meta["joining_at"] = name, now
        unit.touch_run()

    def _planned_to_join(
        self, mine: Item, adds: Extension, now: float, backend: str, generator: int | None = None
    ) -> Planned:
        """Return what is to be stored of tasks that join, under the lock of a run."""
        return Planned(
            run_id=mine["id"],
            tasks=adds.tasks,
            graph=adds.graph,
            backend=backend,
            run_backend=mine["backend"],
            created=now,
            buckets=mine["buckets"],
            ttl=mine["ttl"],
            first_barrier=mine["barriers"],
            withdrawals=mine["withdrawals"],
            generation=mine["generation"],
            ready=False,
            by=generator,
            earlier=self._earlier(mine, [task.id for task in adds.tasks]),
            joined=mine["joins"],
        )

    def _note(self, planned: Planned) -> Item:
        """Return what whoever works out what may run has to know of tasks that join."""
        sources = self._bodies.pack(planned.run_id, json.dumps(_sources(planned)))
        return {"first": planned.graph.first, "count": len(planned.tasks)} | sources

    def _earlier(self, meta: Item, ids: Sequence[str]) -> dict[str, int]:
        """Return the last attempts of tasks that were withdrawn, by id."""
        if not meta["withdrawals"]:
            return {}
        found = {}
        for task_id in ids:
            key = attempt_key(meta["id"], task_id, 0)
            pages = Pages(key.pk, key.sk.rpartition("#")[0] + "#", forward=False, limit=1)
            last = next(self._table.query(pages), None)
            if last is not None:
                found[task_id] = int(last["number"])
        return found


def wake(unit: Unit) -> None:
    """Put a run that rests back on the list of active ones."""
    unit.touch_run()
    if unit.meta.pop("resting", None):
        key = listing_key(unit.run_id)
        unit.update(Write(key=key, change="SET #active = :active", values={"active": "active"}))


def _is_idle(meta: Item) -> bool:
    """Say whether nothing happens in a run before somebody adds tasks, releases, closes or stops it."""
    begun = meta.get("begun") == meta["generation"] and meta["phase"] in ("active", "held")
    if not begun or meta.get("ended") is not None or meta.get("stop") or meta.get("opening"):
        return False
    return bool(meta.get("held") or (meta.get("open") and is_over(counts_of(meta))))


def _grow(unit: Unit, planned: Planned) -> None:
    """Make tasks that are written a part of the run, and let the lock go."""
    meta, count = unit.meta, len(planned.tasks)
    del meta["joining"], meta["joining_at"]
    if not meta.get("grown"):
        meta["own_tasks"], meta["own_barriers"] = meta["total"], meta["barriers"]
    meta["grown"] = True
    meta["total"] += count
    meta[f"n_{TaskState.PENDING}"] += count
    meta["barriers"] += len(planned.graph.barriers) + count
    for position in planned.head:
        unit.join(planned.fresh(position))
    unit.touch_run()


def _sources(planned: Planned) -> list[int]:
    """Return the tasks of the run, as it was, on which those that join depend."""
    first, graph = planned.graph.first, planned.graph
    nodes = {node for nodes in graph.waits for node in nodes if 0 <= node < first}
    return sorted(nodes.union(m for members in graph.barriers for m in members if m < first))
