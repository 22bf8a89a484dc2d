"""A unit of work: what one conditional change of a run reads and writes.

Every change of a run writes the run's item under the condition that its ``seq`` is still the one
that was read, in one transaction with the packs of tasks, the counts, the caps and the change log. So
two changes of a run never interleave, whoever makes them: the second one finds `Raced` and is decided
anew on what the first one left. The run's item is read before any pack, and packs are written by
units alone, so under that condition each of them is as it was read. What completed dependencies add to
what a task has met is written beside this, by idempotent set operations (see `dependencies`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from hut.model.states import ACTIVE, Reason, TaskState
from hut.store.dynamodb.items import known
from hut.store.dynamodb.keys import (
    PACK,
    PAGE,
    backend_key,
    message_key,
    meta_key,
    ready_key,
    wait_key,
)
from hut.store.dynamodb.log import Entry, log_item
from hut.store.dynamodb.packs import MOST_INSIDE, Pack
from hut.store.dynamodb.table import Cancelled, Condition, Key, Table, Write
from hut.store.dynamodb.tasks import Tasks
from hut.store.dynamodb.values import Item
from hut.store.dynamodb.waiting import on_backend
from hut.store.port import StoreError

__all__ = ["MOST_WRITES", "NoRoom", "Raced", "Unit", "gain"]

MOST_WRITES = 100
"""Items a transaction may hold (AWS quota)."""

_SPARE = 8  # the run, its log, a backend and its like


class Raced(Exception):  # noqa: N818 - says what happened
    """Another change of the run came first; nothing was written."""


class NoRoom(Exception):  # noqa: N818
    """Others took room on a backend, or wait for it, meanwhile; nothing was written."""


class Unit:
    """One change of one run, in the making.

    Parameters
    ----------
    table
        Where it will be written.
    tasks
        Reads the tasks.
    run_id
        The run; its item is read at once.
    counts
        Says of a backend whether its active tasks are counted, so that caps can be kept.

    Raises
    ------
    UnknownRun
        If there is no such run.
    """

    def __init__(
        self, table: Table, tasks: Tasks, run_id: str, counts: Callable[[str], bool]
    ) -> None:
        self.table = table
        self.run_id = run_id
        self.meta: Item = dict(known(table.get(meta_key(run_id)), run_id))
        self._seq: int = self.meta["seq"]
        self._reader = tasks
        self._counts = counts
        self._packs: dict[int, Pack] = {}
        self._tasks: dict[int, Item] = {}
        self._touched: set[int] = set()
        self._messages: set[int] = set()
        self._log: list[Entry] = []
        self._done: list[int] = []
        self._signals: list[str] = []
        self._pages: dict[Key, dict[int, bool]] = {}
        self._page_sizes: dict[Key, int] = {}
        self._items: dict[Key, Write] = {}
        self._backends: dict[str, int] = {}
        self._cap: tuple[str, int, int] | None = None
        self._changed = False
        self.follow: list[int] = []

    @property
    def generation(self) -> int:
        """How often the run was repeated."""
        return int(self.meta["generation"])

    # Tasks --------------------------------------------------------------------------------------

    def tasks(self, positions: Collection[int]) -> dict[int, Item]:
        """Return tasks as they are now; those that don't exist are left out."""
        wanted = [p for p in positions if 0 <= p < self.meta["total"] and p not in self._tasks]
        missing = {position // PACK for position in wanted} - self._packs.keys()
        if missing:
            self._packs |= self._reader.packs(self.meta, missing)
        found = (self._packs[p // PACK].task(p) for p in wanted if p // PACK in self._packs)
        self._tasks |= self._reader.complete(self.meta, [task for task in found if task])
        return {p: self._tasks[p] for p in positions if p in self._tasks}

    def join(self, task: Item) -> None:
        """Add a task to the last pack, behind those the run has."""
        position = task["position"]
        if position // PACK not in self._packs:
            self._packs |= self._reader.packs(self.meta, [position // PACK])
        self._packs[position // PACK].tasks.append(task)
        self.touch(task)

    def move(
        self,
        task: Item,
        state: TaskState,
        at: float,
        *,
        attempt: int | None = None,
        reason: Reason | None = None,
        code: int | None = None,
        counts: bool = True,
    ) -> None:
        """Bring a task into a state: it is counted, logged and will be written.

        Parameters
        ----------
        counts
            Whether it takes a place of its backend, if it becomes active.
        """
        before = TaskState(task["state"])
        self.meta[f"n_{before}"] -= 1
        self.meta[f"n_{state}"] += 1
        delta = (state in ACTIVE) - (before in ACTIVE)
        if delta and (counts or delta < 0):
            self._count(task, delta)
        task["state"] = str(state)
        number = task["attempt"] if attempt is None else attempt
        told = None if reason is None else str(reason)
        if self.meta.get("record") != "failures" or _is_told(before, state, reason):
            entry = Entry(at, task["position"], task["id"], number, task["state"], told, code)
            self._log.append(entry)
        elif state is TaskState.COMPLETED:
            self._done.append(task["position"])
        self.touch(task)

    def touch(self, task: Item) -> None:
        """Let a task be written."""
        self._touched.add(task["position"] // PACK)
        if not task.get("more") and len(task.get("message") or "") > MOST_INSIDE:
            self._messages.add(task["position"])
        self._changed = True

    # What stands beside tasks -------------------------------------------------------------------

    def touch_run(self) -> None:
        """Let the run be written."""
        self._changed = True

    def page(self, task: Item, *, ready: bool) -> None:
        """Put a task on its page of ready tasks, or take it off."""
        position, again = task["position"], bool(self.meta.get("order") and task.get("retries"))
        key = ready_key(
            self.run_id, self.generation, task["backend"], task["priority"], position, again=again
        )
        self.page_at(key, position, ready=ready)

    def page_at(self, key: Key, position: int, *, ready: bool) -> None:
        """Do the same where the page is known."""
        self._pages.setdefault(key, {})[position] = ready
        self._changed = True

    def saw_page(self, key: Key, size: int) -> None:
        """Note how many tasks a page held: one that loses all of them is deleted."""
        self._page_sizes[key] = size

    def wait(self, task: Item) -> None:
        """Let a task be found when its time has come."""
        key = wait_key(self.run_id, self.generation, task["not_before"], task["position"])
        names = ("position", "backend", "priority", "not_before")
        item = {name: task[name] for name in names} | {"kind": "wait", "ttl": self.meta["ttl"]}
        item["retries"] = task.get("retries")
        self.put(key, item)
        self.meta["waits"] = self.meta.get("waits", 0) + 1

    def wait_no_more(self, key: Key) -> None:
        """Forget that a task waits for its time."""
        self._items[key] = Write(key=key)
        self.meta["waits"] -= 1
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

    def signal(self, what: str) -> None:
        """Leave a note that the reader of the stream acts on."""
        self._signals.append(what)
        self._changed = True

    # Backends -----------------------------------------------------------------------------------

    def cap(self, backend: str, most: int, notes: int) -> None:
        """Commit only if the backend has at most so many active tasks afterwards.

        And only if those that wait for it are the same: `notes` is the number of their last change.
        """
        self._cap = (backend, most, notes)

    def hold_place(self, task: Item, *, holds: bool) -> None:
        """Let an active task have the place of the job it shares, or not."""
        if holds != bool(task.get("counted")):
            self._count(task, 1 if holds else -1)

    def _count(self, task: Item, delta: int) -> None:
        """Count a task that becomes active, if its backend is counted; uncount it if it was.

        The task remembers whether it was, so the number stays right when a cap comes or goes while
        tasks are active: it is the number of those that became active since there is a cap.
        """
        backend = task["backend"]
        if delta > 0:
            capped = self._cap is not None and self._cap[0] == backend
            if not capped and not self._counts(backend):
                return
            task["counted"] = True
        elif not task.pop("counted", None):
            return
        self._backends[backend] = self._backends.get(backend, 0) + delta
        mine = on_backend(backend)
        self.meta[mine] = self.meta.get(mine, 0) + delta

    # Writing ------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """How many items will be written."""
        packs = len(self._touched) + len(self._messages)
        beside = len(self._pages) + len(self._items) + len(self._backends)
        return packs + beside + bool(self._log or self._done or self._signals) + 1

    @property
    def room(self) -> int:
        """How many items more fit into the transaction."""
        return MOST_WRITES - self.size - _SPARE

    def has_room(self, more: int) -> bool:
        """Say whether that many items still fit into the transaction."""
        return more <= self.room

    def commit(self) -> None:
        """Write everything or nothing.

        Raises
        ------
        Raced
            If the run has changed since it was read.
        NoRoom
            If the backend has less room than it had, or others wait for it.
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
        number, ttl = self._seq + 1, self.meta["ttl"]
        unchanged = Condition("#seq = :was", {"was": self._seq})
        writes = [Write(put={**self.meta, "seq": number}, condition=unchanged)]
        packs = [self._packs[number] for number in sorted(self._touched)]
        writes.extend(Write(put=pack.item(self.run_id, ttl)) for pack in packs)
        for position in sorted(self._messages):
            task = self._tasks[position]
            key = message_key(self.run_id, position, task["attempt"])
            item = {"kind": "message", "message": task.get("message", ""), "ttl": ttl}
            writes.append(Write(put={"pk": key.pk, "sk": key.sk, **item}))
        if self._log or self._done or self._signals:
            item = log_item(self.run_id, number, self._log, self._signals, ttl, done=self._done)
            writes.append(Write(put=item))
        writes.extend(self._page_writes())
        writes.extend(self._items.values())
        writes.extend(self._backend_writes())
        return writes

    def _page_writes(self) -> list[Write]:
        """Return the changes of pages of ready tasks.

        A transaction may change an item once. Where a page gains and loses tasks, the loss is left
        out: a claim finds that the task does not wait, and takes it off. A page that loses all it
        had is deleted, under the condition that it has not gained any meanwhile.
        """
        writes = []
        for key, tasks in self._pages.items():
            gained = {position for position, ready in tasks.items() if ready}
            if gained:
                writes.append(gain(key, gained, self.meta))
            elif len(tasks) == self._page_sizes.get(key):
                same = Condition("size(#ready) = :size", {"size": len(tasks)})
                writes.append(Write(key=key, condition=same))
            else:
                values = {"positions": {position % PAGE for position in tasks}}
                change = "DELETE #ready :positions"
                writes.append(Write(key=key, change=change, values=values))
        return writes

    def _backend_writes(self) -> list[Write]:
        """Return the changes of how many tasks are active on backends that are counted."""
        writes = []
        for name, delta in self._backends.items():
            if not delta:
                continue
            condition = None
            if self._cap is not None and self._cap[0] == name and delta > 0:
                values = {"most": self._cap[1] - delta, "notes": self._cap[2]}
                condition = Condition(
                    "( attribute_not_exists(#busy) OR #busy <= :most ) AND "
                    "( attribute_not_exists(#notes) OR #notes = :notes )",
                    values,
                )
            writes.append(
                Write(
                    key=backend_key(name),
                    change="ADD #busy :delta",
                    values={"delta": delta},
                    condition=condition,
                )
            )
        return writes

    @staticmethod
    def _failed_by_cap(writes: Sequence[Write], reasons: Sequence[str]) -> bool:
        capped = [w.change.startswith("ADD #busy") and w.condition is not None for w in writes]
        failed = [reason == "ConditionalCheckFailed" for reason in reasons]
        others = any(f and not c for f, c in zip(failed, capped, strict=True))
        return not others and any(f and c for f, c in zip(failed, capped, strict=True))


def _is_told(before: TaskState, state: TaskState, reason: Reason | None) -> bool:
    """Say whether a transition is logged in a run that records failures only."""
    if before is TaskState.SUBMITTED and state is TaskState.PENDING:
        return reason is not None  # else it was given back
    return state not in (TaskState.SUBMITTED, TaskState.RUNNING, TaskState.COMPLETED)


def gain(page: Key, positions: Collection[int], meta: Item) -> Write:
    """Return the write that puts tasks on a page of ready ones, however often it is done."""
    values = {"positions": {position % PAGE for position in positions}, "ttl": meta["ttl"]}
    return Write(key=page, change="SET #ttl = :ttl ADD #ready :positions", values=values)
