"""Queries of the DynamoDB store: items become records. Nothing here writes.

Runs and tasks are read as they are now. The lists of runs come from indexes, which follow within
moments (usually below a second); what stands in a list is read from the run itself.
"""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from hut.model.records import Attempt, Change, RunRecord, RunSettings, TaskRecord
from hut.model.states import TaskState
from hut.model.workflow import TaskSpec
from hut.planning.patterns import IdIndex, is_pattern
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.items import attempt_of, counts_of, known, run_record, task_record
from hut.store.dynamodb.keys import (
    attempt_key,
    bucket_of,
    index_partition,
    listing_key,
    log_partition,
    met_key,
    meta_key,
    run_key,
    wait_partition,
)
from hut.store.dynamodb.log import changes_of
from hut.store.dynamodb.table import Key, Pages, Table
from hut.store.dynamodb.tasks import Tasks
from hut.store.dynamodb.values import Item
from hut.store.encoding import decode_settings
from hut.store.port import Dependency, RunFilter, TaskFilter

__all__ = ["Reading", "listing"]

_SETTINGS_KEPT = 64
_LISTED = {
    None: ("runs", "list", "listed"),
    "owner": ("owners", "owner_list", "listed"),
    "workflow": ("workflows", "workflow_list", "listed"),
    "active": ("active", "active", "listed"),
}


class Reading:
    """The reading half of `DynamoStore`."""

    _table: Table
    _bodies: Bodies
    _tasks: Tasks

    def __init__(self, table: Table, bodies: Bodies) -> None:
        self._table = table
        self._bodies = bodies
        self._tasks = Tasks(table, bodies)
        self._settings: OrderedDict[str, RunSettings] = OrderedDict()

    # Runs ---------------------------------------------------------------------------------------

    def get_run(self, run_id: str) -> RunRecord:
        """Return a run by its full id."""
        return self._record(self._meta(run_id))

    def find_runs(self, prefix: str, limit: int = 10) -> list[RunRecord]:
        """Return runs whose id begins with `prefix`, newest first.

        Only the first `limit` ids in their own order are looked at: more is not asked for by a
        person who wants one run.
        """
        if not prefix:
            return self.list_runs(RunFilter(limit=limit))
        pages = Pages(listing_key(prefix).pk, prefix, limit=limit)
        ids = [item["sk"] for item in islice(self._table.query(pages), limit)]
        found = self._runs(ids)
        return sorted(found, key=lambda run: (run.created_at, run.id), reverse=True)

    def list_runs(self, query: RunFilter) -> list[RunRecord]:
        """Return a page of runs, newest first."""
        which = "owner" if query.owner is not None else "workflow" if query.workflow else None
        value = {"owner": _clip(f"o#{query.owner}"), "workflow": _clip(f"w#{query.workflow}")}.get(
            which or ""
        )
        last = None if query.before is None else _listed(*query.before)
        pages = Pages(
            value or "runs",
            last=last,
            forward=False,
            limit=min(query.limit + 1, 100),
            index=_LISTED[which],
        )
        found: list[RunRecord] = []
        ids = (item["sk"] for item in self._table.query(pages) if item["listed"] != last)
        while len(found) < query.limit and (chunk := list(islice(ids, min(query.limit, 100)))):
            found.extend(run for run in self._runs(chunk) if _fits(run, query))
        return found[: query.limit]

    def active_runs(self) -> list[str]:
        """Return the ids of runs that have not ended, oldest first; an index answers."""
        return [item["sk"] for item in self._table.query(Pages("active", index=_LISTED["active"]))]

    def _runs(self, ids: Sequence[str]) -> list[RunRecord]:
        metas = self._table.get_many([meta_key(run_id) for run_id in ids])
        unknown = [run_id for run_id in ids if run_id not in self._settings]
        for key, item in self._table.get_many([run_key(i, "SETTINGS") for i in unknown]).items():
            self._keep_settings(key.pk[4:], item)
        found = (metas.get(meta_key(run_id)) for run_id in ids)
        return [self._record(meta) for meta in found if meta is not None]

    def _meta(self, run_id: str) -> Item:
        return known(self._table.get(meta_key(run_id)), run_id)

    def _record(self, meta: Item) -> RunRecord:
        return run_record(meta, self._settings_of(meta["id"]))

    def _settings_of(self, run_id: str) -> RunSettings:
        """Return what was fixed when the run was submitted: it is read once."""
        if run_id not in self._settings:
            item = self._table.get(run_key(run_id, "SETTINGS"))
            self._keep_settings(run_id, known(item, run_id))
        return self._settings[run_id]

    def _keep_settings(self, run_id: str, item: Item) -> None:
        self._settings[run_id] = decode_settings(self._bodies.unpack(item))
        while len(self._settings) > _SETTINGS_KEPT:
            self._settings.popitem(last=False)

    # Tasks --------------------------------------------------------------------------------------

    def list_tasks(self, run_id: str, query: TaskFilter) -> list[TaskRecord]:
        """Return a page of tasks in document order.

        Of one that waits, it is only looked up by `get_task` what has completed meanwhile.
        """
        meta = self._meta(run_id)
        if query.match is not None and not is_pattern(query.match):
            task = self.get_task(run_id, query.match)
            fits = task is not None and task.position > query.after
            wanted = query.states is None or (task is not None and task.state in query.states)
            return [task] if task is not None and fits and wanted else []
        found: list[TaskRecord] = []
        open_ends = _number_in(meta, query.states)
        for item in self._wanted(meta, query, open_ends):
            found.append(self._task_record(meta, item))
            if len(found) == query.limit:
                break
        return found

    def _wanted(self, meta: Item, query: TaskFilter, at_most: int | None) -> Iterator[Item]:
        """Yield the tasks a filter lets through; stop when there can't be more of them."""
        matching: set[int] | None = None
        if query.match is not None:
            matching = set(IdIndex(self._ids(meta)).match(query.match))
        tasks = self._tasks.between(meta, query.after + 1, meta["total"], query.states)
        for seen, item in enumerate(tasks, 1):
            if matching is None or item["position"] in matching:
                yield item
            if query.after < 0 and seen == at_most:
                return

    def get_task(self, run_id: str, task_id: str) -> TaskRecord | None:
        """Return a task by its id."""
        meta = self._meta(run_id)
        position = self._position(meta, task_id)
        if position is None:
            return None
        item = self._tasks.at(meta, [position]).get(position)
        if item is None or item["id"] != task_id:
            return None
        record = self._task_record(meta, item)
        if not record.waiting_for:
            return record
        if item["needs"] == 1:
            # A task that waits for one node is not written when that has completed.
            _, waits = self.open_dependencies(run_id, position, 0)
            return replace(record, waiting_for=min(waits, 1))
        met = self._table.get(met_key(run_id, meta["generation"], position)) or {}
        return replace(record, waiting_for=item["needs"] - len(met.get("met", ())))

    def get_tasks(self, run_id: str, positions: Collection[int]) -> dict[int, TaskRecord]:
        """Return tasks by their positions; those that don't exist are left out."""
        meta = self._meta(run_id)
        found = self._tasks.at(meta, positions)
        return {position: self._task_record(meta, item) for position, item in found.items()}

    def _task_record(self, meta: Item, item: Item) -> TaskRecord:
        return task_record(item, self._spec(meta, item["position"]))

    def task_ids(self, run_id: str) -> list[str]:
        """Return the ids of all tasks in document order."""
        return self._ids(self._meta(run_id))

    def find_positions(self, run_id: str, ids: Collection[str]) -> dict[str, int]:
        """Return the positions of those of `ids` that are tasks of the run."""
        return self._positions(self._meta(run_id), ids)

    def _positions(self, meta: Item, ids: Collection[str]) -> dict[str, int]:
        wanted: dict[int, set[str]] = defaultdict(set)
        for task_id in ids:
            wanted[bucket_of(task_id, meta["buckets"])].add(task_id)
        return {
            task_id: position
            for bucket, some in wanted.items()
            for task_id, position in self._bucket(meta, bucket)
            if task_id in some and position < meta["total"]
        }

    def _ids(self, meta: Item) -> list[str]:
        ids: list[str] = [""] * meta["total"]
        for bucket in range(meta["buckets"]):
            for task_id, position in self._bucket(meta, bucket):
                if position < len(ids):
                    ids[position] = task_id
        return ids

    def _position(self, meta: Item, task_id: str) -> int | None:
        return self._positions(meta, [task_id]).get(task_id)

    def _bucket(self, meta: Item, bucket: int) -> Iterator[tuple[str, int]]:
        """Yield ids with positions, but for those that were withdrawn."""
        current = meta.get("withdrawals", 0)
        for item in self._table.query(Pages(index_partition(meta["id"], bucket))):
            withdrawals, first, _ = map(int, item["sk"].split("#"))
            belongs = withdrawals == current and item["joined"] not in meta.get("left", ())
            if not first or belongs:
                yield from json.loads(self._bodies.unpack(item)).items()

    def _spec(self, meta: Item, position: int) -> TaskSpec:
        """Return what the workflow says of a task."""
        return self._tasks.given(meta, [position])[position].spec

    def list_attempts(self, run_id: str, positions: Sequence[int]) -> dict[int, list[Attempt]]:
        """Return the ended attempts of tasks, oldest first; tasks without any are left out."""
        meta = self._meta(run_id)
        found: dict[int, list[Attempt]] = {}
        for position, task in self._tasks.at(meta, positions).items():
            attempts = []
            if task.get("archived"):
                key = attempt_key(run_id, task["id"], 0)
                pages = Pages(key.pk, key.sk.rpartition("#")[0] + "#")
                attempts = [attempt_of(item) for item in self._table.query(pages)]
            if task.get("own"):
                attempts.append(attempt_of(task))
            if attempts:
                found[position] = attempts
        return found

    def open_dependencies(
        self, run_id: str, position: int, limit: int
    ) -> tuple[list[Dependency], int]:
        """Return dependencies of a task that have not completed, the first few, and their number.

        Patterns are expanded anew. Only people ask this.
        """
        meta = self._meta(run_id)
        ids = self._ids(meta)
        index, wanted = IdIndex(ids), set[int]()
        positions = {task_id: at for at, task_id in enumerate(ids)}
        for dependency in self._spec(meta, position).deps:
            if is_pattern(dependency):
                wanted.update(index.match(dependency))
            elif dependency in positions:
                wanted.add(positions[dependency])
        wanted.discard(position)
        items = self._tasks.at(meta, sorted(wanted))
        waits = [item for item in items.values() if item["state"] != TaskState.COMPLETED]
        named = [Dependency(item["id"], TaskState(item["state"])) for item in waits[:limit]]
        return named, len(waits)

    def next_retry(self, run_id: str, now: float) -> float | None:
        """Return when the next delayed retry may start, if one waits."""
        meta = self._meta(run_id)
        if not meta.get("waits") or meta.get("stop"):
            return None
        first = f"{now:020.6f}#9999999"
        pages = Pages(wait_partition(run_id, meta["generation"]), first=first, limit=1)
        return next((float(item["not_before"]) for item in self._table.query(pages)), None)

    def changes(self, run_id: str, cursor: int, limit: int = 1000) -> tuple[list[Change], int]:
        """Return transitions behind `cursor` (0: from the start) and the cursor to go on from.

        A change of many tasks at once is never torn apart, so there may be more than `limit`.
        """
        self._meta(run_id)
        found: list[Change] = []
        pages = Pages(log_partition(run_id), first=f"{cursor + 1:012}", limit=100)
        for item in self._table.query(pages):
            found.extend(changes_of(item))
            cursor = item["number"]
            if len(found) >= limit:
                break
        return found, cursor


def _number_in(meta: Item, states: Collection[Any] | None) -> int | None:
    counts = counts_of(meta)
    return None if states is None else sum(counts[state] for state in TaskState if state in states)


def _fits(run: RunRecord, query: RunFilter) -> bool:
    return (
        (query.states is None or run.state in query.states)
        and (query.workflow is None or run.workflow == query.workflow)
        and (query.owner is None or run.owner == query.owner)
        and query.has_tags(run)
    )


def _clip(text: str) -> str:
    """Return what fits into a key: DynamoDB allows 2,048 bytes. Runs are compared by all of it."""
    return text.encode()[:1024].decode(errors="ignore")


def _listed(created: float, run_id: str) -> str:
    """Return what runs are sorted by in lists."""
    return f"{created:020.6f}#{run_id}"


def listing(run_id: str, workflow: str, owner: str, created: float) -> Item:
    """Return a run's entry in the lists; `active` is taken off when it ends."""
    key: Key = listing_key(run_id)
    return {
        "pk": key.pk,
        "sk": key.sk,
        "kind": "listing",
        "list": "runs",
        "owner_list": _clip(f"o#{owner}"),
        "workflow_list": _clip(f"w#{workflow}"),
        "active": "active",
        "listed": _listed(created, run_id),
    }
