"""How a run gets its tasks: when it is submitted, and when a task generates more of them.

A run is seen from the moment it is *reserved*: one transaction stores its item, its settings, its
place in the lists and its idempotency key. Its tasks follow in blocks, which may be written more than
once and by several at a time; `begin_run` lets tasks be claimed when all of them are there. So a
crash leaves a run that does not begin yet, never half a run that runs.

Tasks that join a running run are written first, behind those it has, where nobody looks; then one
transaction ends their generator, puts those that share the run's last pack into it, and raises the
run's total. Whoever writes them holds the run's
``joining`` lock, so two generators never write the same places; a lock whose holder died is taken
over once the holder can't be alive any more.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from hut.model.records import RunRecord
from hut.model.states import ACTIVE, RunState, TaskState
from hut.planning.plan import Extension
from hut.store.dynamodb.blocks import (
    Planned,
    blocks_of,
    buckets_for,
    decode_block,
    encode_block,
)
from hut.store.dynamodb.form import FORM
from hut.store.dynamodb.keys import (
    attempt_key,
    grew_key,
    idempotency_key,
    meta_key,
    run_key,
    token_key,
)
from hut.store.dynamodb.options import StoreOptions
from hut.store.dynamodb.reading import Reading, listing
from hut.store.dynamodb.table import Cancelled, Condition, Key, Lost, Pages, Write, pauses
from hut.store.dynamodb.unit import Unit
from hut.store.dynamodb.values import Item
from hut.store.encoding import encode_settings
from hut.store.events import NotRegistered, Standing
from hut.store.port import End, IdempotencyConflict, NewRun, RunExists, StoreError

__all__ = ["Growth"]

_DAY = 86400
_JOINING_SECONDS = 300.0  # a Lambda that wrote tasks and died is surely dead by then
_REGISTER_SECONDS = 130.0  # the same for one that registers a block
_NEW = Condition("attribute_not_exists(#pk)")


class Growth(Reading):
    """The part of `DynamoStore` by which tasks come into a run."""

    _options: StoreOptions
    _units: dict[str, Unit] | None
    # What the other parts of the store do.
    _work: Any
    _end: Any
    end_pending: Any
    finish_reset: Any
    _clock: Any

    # A new run ----------------------------------------------------------------------------------

    def create_run(self, new: NewRun) -> RunRecord:
        """Store a run with all its tasks; it begins when all of them are there."""
        run, created = self.reserve_run(new, blocks=0)
        if not created:
            return run
        for items in blocks_of(self._planned(new), self._bodies):
            self._table.put_all(items)
        self.activate_run(run.id)
        return self.get_run(run.id)

    def reserve_run(self, new: NewRun, *, blocks: int | None = None) -> tuple[RunRecord, bool]:
        """Store a run without its tasks; say whether it is new.

        Parameters
        ----------
        blocks
            Parts its plan was stored in. None: store it now, as objects of the bucket that
            `register_block` reads.

        Raises
        ------
        RunExists, IdempotencyConflict
            See `hut.store.port`.
        """
        known = self._known_key(new)
        if known is not None:
            return known, False
        if blocks is None:
            blocks = self._store_plan(new)
        meta = self._new_meta(new, blocks)
        writes = [Write(put=meta, condition=_NEW)]
        settings = run_key(new.id, "SETTINGS")
        body = self._bodies.pack(new.id, encode_settings(new.settings))
        writes.append(Write(put=_at(settings, kind="settings", ttl=meta["ttl"], **body)))
        listed = listing(new.id, new.workflow, new.owner, new.created_at)
        writes.append(Write(put={**listed, "ttl": meta["ttl"]}, condition=_NEW))
        if new.idempotency_key is not None:
            key = idempotency_key(new.idempotency_key)
            item = _at(key, kind="key", run=new.id, digest=new.body_digest or "", ttl=meta["ttl"])
            writes.append(Write(put=item, condition=_NEW))
        for pause in pauses():
            try:
                self._table.transact(writes)
            except Cancelled as cancelled:
                known = self._known_key(new)
                if known is not None:
                    return known, False
                if "ConditionalCheckFailed" in cancelled.reasons:
                    raise RunExists(f"there is a run {new.id!r} already") from None
                self._table.sleep(pause)
            else:
                return self.get_run(new.id), True
        raise StoreError("the table is too busy to store the run; submit it again")

    def _known_key(self, new: NewRun) -> RunRecord | None:
        """Return the run that was stored under the same idempotency key before."""
        if new.idempotency_key is None:
            return None
        item = self._table.get(idempotency_key(new.idempotency_key))
        if item is None:
            return None
        if item["digest"] != (new.body_digest or ""):
            raise IdempotencyConflict(
                f"the idempotency key {new.idempotency_key!r} was used for run {item['run']} "
                "with another workflow or other options"
            )
        return self.get_run(item["run"])

    def _new_meta(self, new: NewRun, blocks: int) -> Item:
        counts = {f"n_{state}": 0 for state in TaskState}
        counts[f"n_{TaskState.PENDING}"] = len(new.tasks)
        return _at(
            meta_key(new.id),
            kind="run",
            id=new.id,
            workflow=new.workflow,
            owner=new.owner,
            created=new.created_at,
            state=str(RunState.PENDING),
            phase="reserved",
            total=len(new.tasks),
            backend=new.settings.backend,
            barriers=self._barriers(new),
            buckets=buckets_for(len(new.tasks)),
            blocks=blocks,
            seq=0,
            epoch=0,
            generation=0,
            withdrawals=0,
            form=FORM,
            ttl=self._ttl(new.created_at),
            **counts,
        )

    def _barriers(self, new: NewRun) -> int:
        # Tasks with very many dependencies get barriers of their own; leave numbers for them.
        return len(new.graph.barriers) + len(new.tasks)

    def _ttl(self, created: float) -> int:
        return int(created) + self._options.retention_days * _DAY

    def _planned(self, new: NewRun) -> Planned:
        return Planned(
            run_id=new.id,
            tasks=new.tasks,
            graph=new.graph,
            backend=new.settings.backend,
            run_backend=new.settings.backend,
            created=new.created_at,
            buckets=buckets_for(len(new.tasks)),
            ttl=self._ttl(new.created_at),
        )

    def _store_plan(self, new: NewRun) -> int:
        number = 0
        for number, items in enumerate(blocks_of(self._planned(new), self._bodies), 1):
            self._bodies.put(_plan_key(new.id, number - 1), encode_block(items))
        return number

    def register_block(self, run_id: str, block: int, now: float) -> None:
        """Write one block of a run's plan.

        A call that comes late, when the run has begun, writes nothing. One that is under way is
        waited for by `begin_run`: it stands in the run's item while it writes.
        """
        call = f"{block}:{int(now)}:{uuid.uuid4().hex[:8]}"

        def begin(unit: Unit) -> bool:
            if unit.meta["phase"] != "reserved" or block in unit.meta.get("written", ()):
                return False
            unit.meta["writing"] = unit.meta.get("writing", set()) | {call}
            unit.touch_run()
            return True

        def end(unit: Unit, *, done: bool) -> None:
            meta = unit.meta
            meta["writing"] = meta.get("writing", set()) - {call}
            if done and meta["phase"] == "reserved":
                meta["written"] = meta.get("written", set()) | {block}
            unit.touch_run()

        if not self._work(run_id, begin):
            return
        done = False
        try:
            self._table.put_all(decode_block(self._bodies.get(_plan_key(run_id, block))))
            done = True
        finally:
            # A process that is killed does not come here: `begin_run` waits until it must be dead.
            self._work(run_id, partial(end, done=done))

    def standing(self, run_id: str) -> Standing:
        """Return how far a run has come."""
        meta = self._meta(run_id)
        begun = meta["phase"] == "active" and meta.get("begun") == meta["generation"]
        return Standing(meta["generation"], meta["blocks"], begun)

    def activate_run(self, run_id: str) -> None:
        """Let tasks of a run be claimed, by an engine that begins an epoch first."""

        def activate(unit: Unit) -> None:
            unit.meta["phase"] = "active"
            unit.touch_run()

        self._work(run_id, activate)

    def begin_run(self, run_id: str, generation: int, now: float) -> RunRecord:
        """Let tasks of a run be claimed, once for each generation.

        Raises
        ------
        NotRegistered
            If a block is missing, or may still be being written.
        """
        if self._meta(run_id)["phase"] == "resetting":
            self.finish_reset(run_id, now)

        def begin(unit: Unit) -> Item:
            meta = unit.meta
            late = meta["generation"] != generation or meta.get("begun") == generation
            if late or meta["phase"] == "resetting":
                return meta
            if meta["phase"] == "reserved":
                self._check_blocks(meta, now)
            meta.update(phase="active", begun=generation, epoch=meta["epoch"] + 1)
            if meta["state"] == RunState.PENDING:
                meta.update(state=str(RunState.RUNNING), started=now)
            unit.touch_run()
            unit.signal("begun")
            return meta

        return self._record(self._work(run_id, begin))

    def keep_token(self, run_id: str, generation: int, token: str, *, turn: int = 0) -> None:
        """Keep the token by which whoever waits for the end of a generation is told of it."""
        ttl = self._meta(run_id)["ttl"]
        item = _at(token_key(run_id, generation), kind="token", token=token, turn=turn, ttl=ttl)
        with suppress(Lost):  # a later step waits already
            self._table.put(
                item, Condition("attribute_not_exists(#turn) OR #turn <= :turn", {"turn": turn})
            )

    def token(self, run_id: str, generation: int) -> str | None:
        """Return that token."""
        item = self._table.get(token_key(run_id, generation))
        return None if item is None else str(item["token"])

    def missing_blocks(self, run_id: str) -> list[int]:
        """Return the blocks of a run's plan that are not written."""
        meta = self._meta(run_id)
        if meta["phase"] != "reserved":
            return []
        return [n for n in range(meta["blocks"]) if n not in meta.get("written", ())]

    @staticmethod
    def _check_blocks(meta: Item, now: float) -> None:
        """Refuse to begin while a block is missing, or may still be being written."""
        written = meta.pop("written", set())
        for block in range(meta["blocks"]):
            if block not in written:
                raise NotRegistered(f"block {block} of run {meta['id']} is not written yet")
        for call in meta.pop("writing", set()):
            block, begun = call.split(":")[:2]
            if now - int(begun) < _REGISTER_SECONDS:
                raise NotRegistered(f"block {block} of run {meta['id']} is being written again")

    # Open runs ----------------------------------------------------------------------------------

    def add_tasks(
        self,
        run_id: str,  # noqa: ARG002
        adds: Extension,  # noqa: ARG002
        *,
        key: str,  # noqa: ARG002
        now: float,  # noqa: ARG002
        digest: str = "",  # noqa: ARG002
    ) -> bool:
        """Let tasks join an open or a held run, all of them or none."""
        raise StoreError("tasks can't be added to runs of a control plane")

    def has_added(self, run_id: str, key: str, digest: str = "") -> bool:  # noqa: ARG002
        """Say whether tasks joined a run under a key."""
        raise StoreError("tasks can't be added to runs of a control plane")

    def release_run(self, run_id: str, now: float) -> RunRecord:  # noqa: ARG002
        """Let the tasks of a held run be claimed; one that is not held stays as it is."""
        raise StoreError("tasks can't be added to runs of a control plane")

    def close_run(self, run_id: str, now: float) -> RunRecord:  # noqa: ARG002
        """Take no more tasks into an open run: it ends when those it has do."""
        raise StoreError("tasks can't be added to runs of a control plane")

    # Tasks that join ----------------------------------------------------------------------------

    def _end_and_join(self, run_id: str, end: End) -> bool:
        """End a generator together with the tasks it generated."""
        adds, position = end.adds, end.key.position
        assert adds is not None  # noqa: S101 - the caller checked
        if self._units:
            raise StoreError("tasks can't join a run in a batch that has changed something")
        batch, self._units = self._units, None
        try:
            mine = self._lock(run_id, end)
        finally:
            self._units = batch
        if mine is None:
            return False
        earlier = self._earlier(mine, [task.id for task in adds.tasks])
        planned = Planned(
            run_id=run_id,
            tasks=adds.tasks,
            graph=adds.graph,
            backend=mine["generator_backend"],
            run_backend=mine["backend"],
            created=end.at,
            buckets=mine["buckets"],
            ttl=mine["ttl"],
            first_barrier=mine["barriers"],
            withdrawals=mine["withdrawals"],
            generation=mine["generation"],
            ready=False,
            by=position,
            earlier=earlier,
            joined=mine["joins"],
        )
        lock = mine["joining"]
        for items in blocks_of(planned, self._bodies):
            self._table.put_all(items)
        first = adds.graph.first
        note = self._bodies.pack(run_id, json.dumps(_sources(planned)))

        def join(unit: Unit) -> bool:
            if unit.meta.get("joining") != lock:
                raise StoreError("another task's output joined the run; do it again")
            del unit.meta["joining"], unit.meta["joining_at"]
            unit.touch_run()
            if not self._end(end, unit):
                # Somebody else has told of the end: what was written here is never read.
                unit.meta["left"] = unit.meta.get("left", set()) | {mine["joins"]}
                return False
            generator = unit.tasks([position])[position]
            generator["grew"] = True
            meta = unit.meta
            if not meta.get("grown"):
                meta["own_tasks"], meta["own_barriers"] = meta["total"], meta["barriers"]
            meta["grown"] = True
            meta["total"] += len(adds.tasks)
            meta[f"n_{TaskState.PENDING}"] += len(adds.tasks)
            meta["barriers"] += len(adds.graph.barriers) + len(adds.tasks)
            key = grew_key(run_id, meta["withdrawals"], position)
            unit.put(
                key,
                {"kind": "grew", "first": first, "count": len(adds.tasks), "ttl": meta["ttl"]}
                | note,
            )
            for added in planned.head:
                unit.join(planned.fresh(added))
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
            if meta["total"] != adds.graph.first:
                raise StoreError("tasks joined the run since these were planned; plan them again")
            held = meta.get("joining")
            if held is not None and now - meta["joining_at"] < _JOINING_SECONDS:
                raise StoreError("another task's output is joining the run; do it again")
            if held is not None:  # what it wrote is never read
                meta["left"] = meta.get("left", set()) | {meta["joins"]}
            meta["joins"] = meta.get("joins", 0) + 1
            meta["joining"], meta["joining_at"] = name, now
            unit.touch_run()
            return {**meta, "generator_backend": task["backend"]}

        found: Item | None = self._work(run_id, lock)
        return found

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


def _at(key: Key, **attributes: Any) -> Item:
    return {"pk": key.pk, "sk": key.sk, **attributes}


def _plan_key(run_id: str, block: int) -> str:
    return f"plans/{run_id}/{block:06}"


def _sources(planned: Planned) -> list[int]:
    """Return the tasks of the run, as it was, on which those that join depend."""
    first, graph = planned.graph.first, planned.graph
    nodes = {node for nodes in graph.waits for node in nodes if 0 <= node < first}
    return sorted(nodes.union(m for members in graph.barriers for m in members if m < first))
