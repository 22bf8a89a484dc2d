"""Which tasks a claim takes: from the pages of ready tasks and the delayed retries that are due."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge

from hut.model.states import TaskState
from hut.store.dynamodb.keys import PAGE, ready_partition, wait_partition
from hut.store.dynamodb.table import Key, Pages
from hut.store.dynamodb.unit import Unit
from hut.store.dynamodb.values import Item

__all__ = ["ready_tasks"]

_PAGES_AT_ONCE = 4
_LOOKED_AT = 100  # candidates per look: one BatchGetItem
_DUE = 100  # delayed retries looked at per claim

_Candidate = tuple[int, int, Key, bool]  # minus priority, position, where it stands, delayed


def ready_tasks(unit: Unit, backend: str, now: float, wanted: int) -> Iterator[Item]:
    """Yield up to `wanted` tasks that may run, higher priority first, then in document order.

    What stands on a page but does not wait any more (a follow-up that came twice) is taken off.
    """
    candidates = merge(_due(unit, backend, now), _on_pages(unit, backend))
    found = 0
    while found < wanted and unit.has_room(2):
        chunk: list[_Candidate] = []
        for candidate in candidates:
            chunk.append(candidate)
            if len(chunk) == min(_LOOKED_AT, wanted - found):
                break
        if not chunk:
            return
        tasks = unit.tasks([position for _, position, _, _ in chunk])
        for _, position, key, delayed in chunk:
            if not unit.has_room(2):
                return
            task = tasks.get(position)
            if delayed:
                unit.delete(key)
            else:
                unit.page_at(key, position, ready=False)
            if task is not None and _may_run(task, unit, now):
                found += 1
                yield task


def _may_run(task: Item, unit: Unit, now: float) -> bool:
    needs: int = task["needs"]
    complete = bool(task.get("ready")) or needs <= 1 or len(task.get("met", ())) >= needs
    waits = bool(task["state"] == TaskState.PENDING and task["generation"] == unit.generation)
    return waits and complete and float(task.get("not_before", 0)) <= now


def _due(unit: Unit, backend: str, now: float) -> list[_Candidate]:
    pk = wait_partition(unit.run_id, unit.generation)
    due: list[_Candidate] = []
    for item in unit.table.query(Pages(pk, last=f"{now:020.6f}#9999999", limit=_DUE)):
        if item["backend"] == backend:
            key = Key(item["pk"], item["sk"])
            due.append((-item.get("priority", 0), item["position"], key, True))
        if len(due) == _DUE:
            break
    return sorted(due)


def _on_pages(unit: Unit, backend: str) -> Iterator[_Candidate]:
    """Yield what stands on the pages, which are sorted as the tasks on them are to be claimed."""
    pk = ready_partition(unit.run_id, unit.generation)
    for item in unit.table.query(Pages(pk, f"{backend}#", limit=_PAGES_AT_ONCE)):
        rank = int(item["sk"].rsplit("#", 2)[1]) - 2**31
        key = Key(item["pk"], item["sk"])
        for position in sorted(item.get("ready", ())):
            assert position // PAGE == int(item["sk"].rsplit("#", 1)[1])  # noqa: S101
            yield rank, position, key, False
