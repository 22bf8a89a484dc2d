"""A unit of work: what one conditional change of a run reads and writes.

Every change of a run writes the run's item under the condition that its ``seq`` is still the one
that was read, in one transaction with the tasks, the counts, the caps and the change log. So two
changes of a run never interleave, whoever makes them: the second one finds `Raced` and is decided
anew on what the first one left. What completed dependencies add to a task (``met``) is written
beside this, by idempotent set operations (see `dependencies`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from hut.model.states import ACTIVE, Reason, TaskState
from hut.store.dynamodb.items import change_entry, is_visible, known
from hut.store.dynamodb.keys import backend_key, log_key, meta_key, ready_key, run_key, task_key
from hut.store.dynamodb.table import Cancelled, Condition, Key, Table, Write
from hut.store.dynamodb.values import Item
from hut.store.port import StoreError

__all__ = ["MOST_WRITES", "NoRoom", "Raced", "Unit", "gain"]

MOST_WRITES = 100
"""Items a transaction may hold (AWS quota)."""

_SPARE = 8  # the run, its log, a backend and its like


class Raced(Exception):  # noqa: N818 - says what happened
    """Another change of the run came first; nothing was written."""


class NoRoom(Exception):  # noqa: N818
    """The cap of a backend is reached; nothing was written."""


class Unit:
    """One change of one run, in the making.

    Parameters
    ----------
    table
        Where it will be written.
    run_id
        The run; its item is read at once.

    Raises
    ------
    UnknownRun
        If there is no such run.
    """

    def __init__(self, table: Table, run_id: str) -> None:
        self.table = table
        self.run_id = run_id
        self.meta: Item = dict(known(table.get(meta_key(run_id)), run_id))
        self._seq: int = self.meta["seq"]
        self._tasks: dict[int, Item] = {}
        self._before: dict[int, tuple[str, int, int]] = {}
        self._touched: set[int] = set()
        self._log: list[list[object]] = []
        self._pages: dict[Key, dict[int, bool]] = {}
        self._items: dict[Key, Write] = {}
        self._backends: dict[str, int] = {}
        self._cap: tuple[str, int] | None = None
        self._changed = False
        self.follow: list[int] = []

    @property
    def generation(self) -> int:
        """How often the run was repeated."""
        return int(self.meta["generation"])

    def tasks(self, positions: Collection[int]) -> dict[int, Item]:
        """Return tasks as they are now; those that don't exist are left out."""
        keys = [task_key(self.run_id, p) for p in positions if p not in self._tasks]
        for item in self.table.get_many(keys).values():
            if is_visible(item, self.meta):
                self._tasks[item["position"]] = item
                self._before[item["position"]] = (item["state"], item["attempt"], item["epoch"])
        return {p: self._tasks[p] for p in positions if p in self._tasks}

    def move(
        self,
        task: Item,
        state: TaskState,
        at: float,
        *,
        attempt: int | None = None,
        reason: Reason | None = None,
        code: int | None = None,
    ) -> None:
        """Bring a task into a state: it is counted, logged and will be written."""
        before = TaskState(task["state"])
        self.meta[f"n_{before}"] -= 1
        self.meta[f"n_{state}"] += 1
        delta = (state in ACTIVE) - (before in ACTIVE)
        if delta:
            backend = task["backend"]
            self._backends[backend] = self._backends.get(backend, 0) + delta
        task["state"] = str(state)
        number = task["attempt"] if attempt is None else attempt
        self._log.append(change_entry(task, at, number, reason, code))
        self.touch(task)

    def touch(self, task: Item) -> None:
        """Let a task be written."""
        self._touched.add(task["position"])
        self._changed = True

    def touch_run(self) -> None:
        """Let the run be written."""
        self._changed = True

    def page(self, task: Item, *, ready: bool) -> None:
        """Put a task on its page of ready tasks, or take it off."""
        position = task["position"]
        key = ready_key(
            self.run_id, self.generation, task["backend"], task.get("priority", 0), position
        )
        self.page_at(key, position, ready=ready)

    def page_at(self, key: Key, position: int, *, ready: bool) -> None:
        """Do the same where the page is known."""
        self._pages.setdefault(key, {})[position] = ready
        self._changed = True

    def put(self, key: Key, item: Item) -> None:
        """Write another item with this change."""
        self._items[key] = Write(put={"pk": key.pk, "sk": key.sk, **item})
        self._changed = True

    def update(self, write: Write) -> None:
        """Change another item with this change."""
        assert write.key is not None  # noqa: S101 - a whole item goes through `put`
        self._items[write.key] = write
        self._changed = True

    def delete(self, key: Key) -> None:
        """Delete another item with this change."""
        self._items[key] = Write(key=key)
        self._changed = True

    def signal(self, what: str, at: float) -> None:
        """Leave a note that the reader of the stream acts on."""
        item = {"kind": "signal", "run": self.run_id, "what": what, "at": at}
        item |= {"number": self._seq + 1, "ttl": self.meta.get("ttl")}
        self.put(run_key(self.run_id, "SIGNAL"), item)

    def cap(self, backend: str, most: int) -> None:
        """Commit only if the backend has at most so many active tasks afterwards."""
        self._cap = (backend, most)

    @property
    def size(self) -> int:
        """How many items will be written."""
        pages, items = len(self._pages), len(self._items)
        return len(self._touched) + pages + items + len(self._backends) + bool(self._log) + 1

    def has_room(self, more: int) -> bool:
        """Say whether that many items still fit into the transaction."""
        return self.size + more + _SPARE <= MOST_WRITES

    def commit(self) -> None:
        """Write everything or nothing.

        Raises
        ------
        Raced
            If the run or a task has changed since it was read.
        NoRoom
            If the backend's cap is reached.
        StoreError
            If it is too much for one transaction.
        """
        if not self._changed:
            return
        writes = self._writes()
        if len(writes) > MOST_WRITES:
            message = f"a change of {len(writes)} items does not fit into one transaction"
            raise StoreError(message)
        try:
            self.table.transact(writes)
        except Cancelled as cancelled:
            if self._cap is not None and self._failed_by_cap(writes, cancelled.reasons):
                raise NoRoom from None
            raise Raced(str(cancelled)) from None
        self._changed = False

    def _writes(self) -> Sequence[Write]:
        meta = {**self.meta, "seq": self._seq + 1}
        unchanged = Condition("#seq = :was", {"was": self._seq})
        writes = [Write(put=meta, condition=unchanged)]
        for position in sorted(self._touched):
            state, attempt, epoch = self._before[position]
            same = Condition(
                "#state = :state AND #attempt = :attempt AND #epoch = :epoch",
                {"state": state, "attempt": attempt, "epoch": epoch},
            )
            writes.append(Write(put=self._tasks[position], condition=same))
        if self._log:
            key = log_key(self.run_id, self._seq + 1)
            text = json.dumps(self._log, ensure_ascii=False, separators=(",", ":"))
            item = {"kind": "log", "number": self._seq + 1, "entries": text}
            writes.append(Write(put={"pk": key.pk, "sk": key.sk, **item, "ttl": meta.get("ttl")}))
        writes.extend(self._page_writes())
        writes.extend(self._items.values())
        for name, delta in self._backends.items():
            if not delta:
                continue
            condition = None
            if self._cap is not None and self._cap[0] == name and delta > 0:
                values = {"most": self._cap[1] - delta}
                condition = Condition("attribute_not_exists(#busy) OR #busy <= :most", values)
            writes.append(
                Write(
                    key=backend_key(name),
                    change="ADD #busy :delta",
                    values={"delta": delta},
                    condition=condition,
                )
            )
        return writes

    def _page_writes(self) -> list[Write]:
        """Return the changes of pages of ready tasks.

        A transaction may change an item once. Where a page gains and loses tasks, the loss is left
        out: a claim finds that the task does not wait, and takes it off.
        """
        writes = []
        for key, tasks in self._pages.items():
            gained = {position for position, ready in tasks.items() if ready}
            if gained:
                writes.append(gain(key, gained, self.meta))
            else:
                change = "DELETE #ready :positions"
                writes.append(Write(key=key, change=change, values={"positions": set(tasks)}))
        return writes

    @staticmethod
    def _failed_by_cap(writes: Sequence[Write], reasons: Sequence[str]) -> bool:
        capped = [w.change.startswith("ADD #busy") and w.condition is not None for w in writes]
        failed = [reason == "ConditionalCheckFailed" for reason in reasons]
        others = any(f and not c for f, c in zip(failed, capped, strict=True))
        return not others and any(f and c for f, c in zip(failed, capped, strict=True))


def gain(page: Key, positions: Collection[int], meta: Item) -> Write:
    """Return the write that puts tasks on a page of ready ones, however often it is done."""
    values = {"positions": set(positions), "ttl": meta["ttl"]}
    return Write(key=page, change="SET #ttl = :ttl ADD #ready :positions", values=values)
