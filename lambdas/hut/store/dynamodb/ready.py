"""Which tasks a claim takes: from the pages of ready tasks and the delayed retries that are due."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import merge

from hut.model.run_options import RetryOrder
from hut.model.states import TaskState
from hut.scheduling.order import NEW, rank_of
from hut.store.dynamodb.keys import PACK, PAGE, again_partition, ready_partition, wait_partition
from hut.store.dynamodb.table import Key, Pages
from hut.store.dynamodb.unit import Unit
from hut.store.dynamodb.values import Item

__all__ = ["take_ready"]

_PAGES_MORE = 3  # pages looked at beyond those that would be enough if all were full
_DUE = 100  # delayed retries looked at per claim

_Candidate = tuple[int, int, int, Key, bool]
"""Minus the priority, the rank within it, the position, where it stands, whether it was delayed."""


def take_ready(unit: Unit, backend: str, now: float, wanted: int) -> tuple[list[Item], bool]:
    """Take up to `wanted` tasks that may run: by priority, by the run's order of retries, by position.

    What stands on a page but does not wait any more (a follow-up that came twice) is taken off.

    Returns
    -------
    tuple of list and bool
        The tasks, and whether the transaction had no room for what may be left.
    """
    order: RetryOrder = unit.meta.get("order", "document")
    sources = [_due(unit, backend, now, order), _on_pages(unit, backend, wanted, NEW)]
    if order != "document":
        sources.append(_on_pages(unit, backend, wanted, rank_of(order, 1)))
    candidates = merge(*sources)
    taken: dict[int, Item] = {}  # a task may stand on its page and wait for its time too
    room, places = unit.room, set[object]()
    is_full = False
    while len(taken) < wanted and not is_full:
        chunk: list[_Candidate] = []
        for candidate in candidates:
            places |= {candidate[2] // PACK, candidate[3]}
            is_full = len(places) > room
            if is_full:
                break
            chunk.append(candidate)
            if len(chunk) == wanted - len(taken):
                break
        if not chunk:
            break
        tasks = unit.tasks([position for _, _, position, _, _ in chunk])
        for _, _, position, key, delayed in chunk:
            task = tasks.get(position)
            if task is not None and not _waits(task, unit):
                task = None
            if task is not None and float(task.get("not_before", 0)) > now:
                if not delayed:
                    continue  # it was given back, and this caller's clock is slow: it stays there
                task = None
            if delayed:
                unit.wait_no_more(key)
            else:
                unit.page_at(key, position, ready=False)
            if task is not None:
                taken[position] = task
    return list(taken.values()), is_full


def _waits(task: Item, unit: Unit) -> bool:
    """Say whether a task still waits; what stood on a page waits for nothing but its time."""
    return bool(task["state"] == TaskState.PENDING and task["generation"] == unit.generation)


def _due(unit: Unit, backend: str, now: float, order: RetryOrder) -> Iterable[_Candidate]:
    if not unit.meta.get("waits"):
        return []
    pk = wait_partition(unit.run_id, unit.generation)
    due: list[_Candidate] = []
    for item in unit.table.query(Pages(pk, last=f"{now:020.6f}#9999999", limit=_DUE)):
        if item["backend"] == backend:
            key = Key(item["pk"], item["sk"])
            rank = rank_of(order, item.get("retries", 0))
            due.append((-item["priority"], rank, item["position"], key, True))
        if len(due) == _DUE:
            break
    return sorted(due)


def _on_pages(unit: Unit, backend: str, wanted: int, rank: int) -> Iterable[_Candidate]:
    """Yield what stands on the pages, which are sorted as the tasks on them are to be claimed.

    Parameters
    ----------
    rank
        Of all of them: those of retries stand in a partition of their own.
    """
    partition = ready_partition if rank == NEW else again_partition
    pk = partition(unit.run_id, unit.generation)
    limit = min(wanted // PAGE + _PAGES_MORE, 100)
    for item in unit.table.query(Pages(pk, f"{backend}#", limit=limit)):
        _, priority, page = item["sk"].rsplit("#", 2)
        key = Key(item["pk"], item["sk"])
        ready = item.get("ready", ())
        unit.saw_page(key, len(ready))
        for offset in sorted(ready):
            yield int(priority) - 2**31, rank, int(page) * PAGE + offset, key, False
