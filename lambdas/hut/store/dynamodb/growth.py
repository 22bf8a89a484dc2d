"""How a run gets the tasks it is submitted with; those that join it later come by `joining`.

A run is seen from the moment it is *reserved*: one transaction stores its item, its settings, its
place in the lists and its idempotency key. Its tasks follow in blocks, which may be written more than
once and by several at a time; `begin_run` lets tasks be claimed when all of them are there. So a
crash leaves a run that does not begin yet, never half a run that runs.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from functools import partial
from typing import Any

from hut.model.records import RunRecord, RunSettings
from hut.model.states import RunState, TaskState
from hut.store.dynamodb.blocks import (
    Planned,
    blocks_of,
    buckets_for,
    decode_block,
    encode_block,
)
from hut.store.dynamodb.form import FORM
from hut.store.dynamodb.items import phase_of
from hut.store.dynamodb.keys import (
    idempotency_key,
    meta_key,
    run_key,
    token_key,
)
from hut.store.dynamodb.options import StoreOptions
from hut.store.dynamodb.reading import Reading, listing
from hut.store.dynamodb.table import Cancelled, Condition, Key, Lost, Write, pauses
from hut.store.dynamodb.unit import Unit
from hut.store.dynamodb.values import Item
from hut.store.encoding import encode_settings
from hut.store.events import LONGEST_OPEN, NotRegistered, Standing
from hut.store.port import IdempotencyConflict, NewRun, RunExists, StoreError

__all__ = ["Growth"]

_DAY = 86400
_REGISTER_SECONDS = 130.0  # a Lambda that registers a block and died is surely dead by then
_BUCKETS_TO_GROW = 32  # of a run that gets most of its tasks later
_NEW = Condition("attribute_not_exists(#pk)")


class Growth(Reading):
    """The part of `DynamoStore` by which tasks come into a run."""

    _options: StoreOptions
    # What the other parts of the store do.
    _work: Any
    finish_reset: Any

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

    def run_of_key(self, key: str) -> str | None:
        """Return the id of the run that was created under an idempotency key."""
        item = self._table.get(idempotency_key(key))
        return None if item is None else str(item["run"])

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
            buckets=self._buckets(new),
            blocks=blocks,
            seq=0,
            epoch=0,
            generation=0,
            withdrawals=0,
            form=FORM,
            ttl=self._ttl(new),
            **counts,
            **_asked(new.settings),
        )

    def _barriers(self, new: NewRun) -> int:
        # Tasks with very many dependencies get barriers of their own; leave numbers for them.
        return len(new.graph.barriers) + len(new.tasks)

    @staticmethod
    def _buckets(new: NewRun) -> int:
        """Return in how many buckets positions by id are kept: their number never changes."""
        grows = new.settings.open or new.settings.held
        return max(buckets_for(len(new.tasks)), _BUCKETS_TO_GROW if grows else 1)

    def _ttl(self, new: NewRun) -> int:
        """Return when a run is forgotten: an open one may go on for long before it ends."""
        kept = self._options.retention_days * _DAY
        if new.settings.open:
            kept += int(new.settings.time_limit or LONGEST_OPEN)
        return int(new.created_at) + kept

    def _planned(self, new: NewRun) -> Planned:
        return Planned(
            run_id=new.id,
            tasks=new.tasks,
            graph=new.graph,
            backend=new.settings.backend,
            run_backend=new.settings.backend,
            created=new.created_at,
            buckets=self._buckets(new),
            ttl=self._ttl(new),
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
        there = meta["phase"] in ("active", "held")
        begun = there and meta.get("begun") == meta["generation"]
        return Standing(meta["generation"], meta["blocks"], begun)

    def activate_run(self, run_id: str) -> None:
        """Let tasks of a run be claimed, by an engine that begins an epoch first."""

        def activate(unit: Unit) -> None:
            unit.meta["phase"] = phase_of(unit.meta)
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
            meta.update(phase=phase_of(meta), begun=generation, epoch=meta["epoch"] + 1)
            if meta["phase"] == "active" and meta["state"] == RunState.PENDING:
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


def _at(key: Key, **attributes: Any) -> Item:
    return {"pk": key.pk, "sk": key.sk, **attributes}


def _plan_key(run_id: str, block: int) -> str:
    return f"plans/{run_id}/{block:06}"


def _asked(settings: RunSettings) -> Item:
    """Return what changes of a run go by, of what is asked of it: only what is not as always."""
    asked: Item = {}
    if settings.open:
        asked["open"] = True
    if settings.held:
        asked["held"] = True
    if settings.retry_order != "document":
        asked["order"] = settings.retry_order
    if settings.record != "all":
        asked["record"] = settings.record
    return asked
