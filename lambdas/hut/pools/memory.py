"""A pool in memory: that of an engine on one machine. Who calls it from threads holds a lock.

What is lost with it is made anew by the next engine of the run: `expect` says which items workers may
still have, and a worker that joins with one of them keeps it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from hut.model.problems import InvalidInput
from hut.model.scheduler import OF_POOLS, Scheduler
from hut.pools.port import (
    Answer,
    Heard,
    How,
    Joined,
    LeaseState,
    Lost,
    Order,
    PoolState,
    Queued,
    Report,
    Started,
    Turn,
    WorkerSpec,
    WorkerState,
    worker_target,
)
from hut.scheduling.matching import assign, give_back, take, target_problems

__all__ = ["Hearing", "MemoryPool"]

_LAST_EPOCH = 2**53


@dataclass(slots=True)
class _Item:
    """An item, waiting or leased."""

    item: Queued
    epoch: int = 0
    holder: str | None = None
    leased_at: float = 0.0
    told_at: float = 0.0
    done: set[int] = field(default_factory=set)
    returned: set[int] = field(default_factory=set)
    cancelling: bool = False
    freed: bool = True

    @property
    def left(self) -> tuple[int, ...]:
        return tuple(o.part for o in self.item.orders if o.part not in self.done)


@dataclass(slots=True)
class _Worker:
    state: WorkerState
    leases: dict[str, _Item] = field(default_factory=dict)
    want: int = 0
    draining: bool = False
    is_rogue: bool = False


class Hearing(NamedTuple):
    """A turn that was looked at: what counts of it, and the leases that are not its worker's."""

    heard: Heard
    refused: tuple[str, ...]


class MemoryPool:
    """See `hut.pools.port.Pool` for what each method does."""

    def __init__(self, name: str, scheduler: Scheduler = OF_POOLS) -> None:
        self.name = name
        self.scheduler = scheduler
        self._items: dict[str, _Item] = {}
        self._queue: list[tuple[tuple[int, str, str], _Item]] = []
        self._expected: dict[str, Queued] = {}
        self._workers: dict[str, _Worker] = {}
        self._draining = False

    # The queue ----------------------------------------------------------------------------------

    def enqueue(self, items: Sequence[Queued], now: float) -> None:  # noqa: ARG002 - `arrival` counts
        """Let items wait for workers."""
        for item in items:
            if item.name not in self._items:
                found = self._items[item.name] = _Item(item)
                insort(self._queue, (item.rank, found), key=_rank)

    def withdraw(self, names: Sequence[str], now: float) -> list[Queued]:  # noqa: ARG002
        """Cancel items; return those that only waited."""
        waited = set()
        for name in names:
            found = self._items.get(name)
            if found is None:
                continue
            if found.holder is None:
                waited.add(name)
                del self._items[name]
            else:
                found.cancelling = True
        gone = [found.item for _, found in self._queue if found.item.name in waited]
        self._queue = [entry for entry in self._queue if entry[1].item.name not in waited]
        return gone

    @property
    def queued(self) -> int:
        """Items that wait for a worker."""
        return len(self._queue)

    @property
    def unmet(self) -> int:
        """Tasks that workers asked for and did not get."""
        return sum(known.want for known in self._workers.values() if not known.draining)

    def wants(self, worker: str) -> bool:
        """Say whether a worker asked for more than it got."""
        known = self._workers.get(worker)
        return known is not None and known.want > 0

    def leased(self) -> list[str]:
        """Return the names of items that a worker has."""
        return [name for known in self._workers.values() for name in known.leases]

    def expect(self, items: Iterable[Queued]) -> None:
        """Note what workers may have from an earlier engine; it is theirs if they join with it."""
        self._expected.update((item.name, item) for item in items)

    def unclaimed(self) -> list[Queued]:
        """Give up waiting for workers to join with what is expected; return what nobody had."""
        left, self._expected = list(self._expected.values()), {}
        return left

    # Workers ------------------------------------------------------------------------------------

    def join(self, worker: str, spec: WorkerSpec, now: float) -> Joined:
        """Let a worker in."""
        if problems := target_problems(self.scheduler, spec.properties):
            raise InvalidInput(problems)
        if (known := self._workers.get(worker)) is not None:
            return Joined(self._draining or known.draining)
        lost = [
            loss
            for other in [*self._workers.values()]
            if (other.state.spec.name, other.state.spec.host) == (spec.name, spec.host)
            for loss in self._remove(other, f"worker {spec.name} was started again")
        ]
        target = worker_target(spec, now)
        joined = self._workers[worker] = _Worker(WorkerState(worker, spec, target, now, now))
        refused = []
        for name, epoch in spec.holding:
            item = self._expected.pop(name, None)
            if item is None or not 0 < epoch < _LAST_EPOCH:
                refused.append(name)
            else:
                found = self._items[name] = _Item(item, epoch - 1)
                self._lease(joined, found, now)
        return Joined(self._draining, tuple(refused), tuple(lost))

    def turn(self, worker: str, turn: Turn, now: float, record: Callable[[Heard], None]) -> Answer:
        """Take what a worker says, give it what it may have."""
        hearing = self.hear(worker, turn, now)
        if hearing is None:
            return Answer(refused=_named(turn), gone=True)
        try:
            record(hearing.heard)
        except BaseException:
            self.settle(worker, hearing, now, is_recorded=False)
            raise
        self.settle(worker, hearing, now)
        return self.answer(worker, turn, hearing, now)

    def hear(self, worker: str, turn: Turn, now: float) -> Hearing | None:
        """Look at what a worker says, before it is recorded; None if it is not known."""
        known = self._workers.get(worker)
        if known is None or known.is_rogue:
            return None
        known.state = replace(known.state, seen_at=now)
        refused: dict[str, None] = {}
        items: dict[str, Queued] = {}
        starts: list[Started] = []
        reports: list[Report] = []
        for started in turn.starts:
            if (found := self._own(known, started.lease, started.epoch)) is not None:
                found.told_at = now
                items[started.lease] = found.item
                starts.append(started)
            else:
                refused[started.lease] = None
        for report in turn.reports:
            found = self._own(known, report.lease, report.epoch)
            if found is None:
                refused[report.lease] = None
            elif report.part in found.left:
                items[report.lease] = found.item
                if found.cancelling and report.how is How.RETURNED:
                    report = report._replace(how=How.CANCELLED)  # noqa: PLW2901
                reports.append(report)
        for name in turn.holding or ():
            if (held := known.leases.get(name)) is not None:
                held.told_at = now
            else:
                refused[name] = None
        return Hearing(Heard(known.state.spec.name, items, starts, reports), tuple(refused))

    def _own(self, worker: _Worker, name: str, epoch: int) -> _Item | None:
        """Return the lease if it is this worker's; one that never had it is removed for saying so."""
        found = self._items.get(name)
        if found is None:
            return None  # it is over, most likely: an answer was lost on its way
        if found.holder == worker.state.id and found.epoch == epoch:
            return found
        if found.holder != worker.state.id and epoch >= max(found.epoch, 1):
            worker.is_rogue = True
        return None

    def settle(
        self, worker: str, hearing: Hearing, now: float, *, is_recorded: bool = True
    ) -> None:
        """End the leases whose last report was recorded; what they took is free in any case."""
        known = self._workers.get(worker)
        for report in hearing.heard.reports:
            found = self._items.get(report.lease)
            if found is None or known is None or found.holder != worker:
                continue
            if is_recorded:
                (found.returned if report.how is How.RETURNED else found.done).add(report.part)
                over = found.returned
            else:
                over = {r.part for r in hearing.heard.reports if r.lease == report.lease}
            if not over.issuperset(found.left):
                continue
            self._free(known, found, now)
            if is_recorded:
                del known.leases[report.lease]
                if found.left:
                    self._requeue(found)
                else:
                    del self._items[report.lease]

    def answer(self, worker: str, turn: Turn, hearing: Hearing, now: float) -> Answer:
        """Return what a worker is told, with what it gets."""
        known = self._workers.get(worker)
        if known is None:
            return Answer(refused=_named(turn), gone=True)
        if known.is_rogue:
            known.want = 0
            return Answer(refused=hearing.refused, gone=True)
        draining = self._draining or known.draining
        again: list[Order] = []
        if turn.holding is not None:
            held = {*turn.holding, *(report.lease for report in turn.reports)}
            known.want = 0 if draining else turn.want
            for name, lease in known.leases.items():
                if name not in held:  # the answer that told it did not arrive
                    again += _orders(lease)
        new = [] if draining or not known.want else self._hand_out(known, now)
        stopping = {*turn.stopping, *(report.lease for report in turn.reports)}
        cancel = [n for n, lease in known.leases.items() if lease.cancelling and n not in stopping]
        return Answer((*again, *new), hearing.refused, tuple(cancel), draining)

    def leave(self, worker: str, now: float) -> list[Lost]:  # noqa: ARG002
        """Let a worker go."""
        known = self._workers.get(worker)
        if known is None:
            return []
        return self._remove(known, f"worker {known.state.spec.name} left")

    def drain(self, worker: str | None, draining: bool, now: float) -> bool:  # noqa: ARG002
        """Give a worker, or everybody, nothing new; or again."""
        if worker is None:
            self._draining = draining
            return True
        known = self._workers.get(worker)
        if known is None:
            return False
        known.draining = draining
        return True

    def expire(self, now: float) -> list[Lost]:
        """Remove workers that were not heard of, and leases that a live one does not speak of."""
        lost: list[Lost] = []
        patience = self.scheduler.worker_timeout_s or Scheduler("").worker_timeout_s
        silence = self.scheduler.max_action_executing_timeout_s
        for known in [*self._workers.values()]:
            name = known.state.spec.name
            if known.is_rogue:
                lost += self._remove(
                    known, f"worker {name} was removed: it reported what it never had"
                )
            elif now - known.state.seen_at > patience:
                lost += self._remove(known, f"worker {name} disconnected")
            else:
                why = f"worker {name} said nothing of it for {silence:g} s"
                lost += [
                    self._lose(known, found, why, now)
                    for found in [*known.leases.values()]
                    if 0 < silence < now - found.told_at
                ]
        return lost

    # Looking ------------------------------------------------------------------------------------

    def describe(self, now: float) -> PoolState:  # noqa: ARG002
        """Return how the pool stands."""
        queued = sum(len(found.left) for _, found in self._queue)
        workers = tuple(
            replace(
                known.state,
                target=replace(known.state.target, draining=known.draining),
                leases=tuple(_lease_state(found) for found in known.leases.values()),
            )
            for known in self._workers.values()
        )
        return PoolState(self.name, self._draining, queued, workers)

    # Leases -------------------------------------------------------------------------------------

    def _hand_out(self, asking: _Worker, now: float) -> list[Order]:
        """Lease what the worker may have now, leaving to others that ask what suits them better."""
        targets = []
        for known in self._workers.values():
            if known.want and not known.draining and not known.is_rogue:
                target = known.state.target
                bound = target.inflight + known.want
                if target.max_inflight:
                    bound = min(bound, target.max_inflight)
                if bound > target.inflight:
                    named = replace(target, name=known.state.id, max_inflight=bound)
                    targets.append(named)
        items = {found.item.name: found for _, found in self._queue}
        waiting = (
            (name, found.item.priority, (found.item.arrival, name), found.item.wanted)
            for name, found in items.items()
        )
        given: list[_Item] = []
        for name, target_id in assign(self.scheduler, waiting, targets):
            if target_id == asking.state.id:
                self._lease(asking, items[name], now)
                given.append(items[name])
        if given:
            self._queue = [entry for entry in self._queue if entry[1].holder is None]
        asking.want = max(asking.want - sum(len(found.left) for found in given), 0)
        return [order for found in given for order in _orders(found)]

    def _lease(self, worker: _Worker, found: _Item, now: float) -> None:
        found.epoch += 1
        found.holder = worker.state.id
        found.leased_at = found.told_at = now
        found.freed = False
        worker.leases[found.item.name] = found
        target = take(self.scheduler, found.item.wanted, worker.state.target, now)
        worker.state = replace(worker.state, target=target)

    def _free(self, worker: _Worker, found: _Item, now: float) -> None:
        """Give back, once, what an item took of its worker."""
        if not found.freed:
            found.freed = True
            target = give_back(self.scheduler, found.item.wanted, worker.state.target, now)
            worker.state = replace(worker.state, target=target)

    def _requeue(self, found: _Item) -> None:
        """Let an item that was given back wait again, in its old place."""
        found.holder = None
        found.returned.clear()
        insort(self._queue, (found.item.rank, found), key=_rank)

    def _lose(self, worker: _Worker, found: _Item, why: str, now: float) -> Lost:
        self._free(worker, found, now)
        del worker.leases[found.item.name]
        del self._items[found.item.name]
        return Lost(found.item, worker.state.spec.name, why, found.left, disconnected=False)

    def _remove(self, worker: _Worker, why: str) -> list[Lost]:
        name = worker.state.spec.name
        lost = [Lost(found.item, name, why, found.left) for found in worker.leases.values()]
        for loss in lost:
            del self._items[loss.item.name]
        del self._workers[worker.state.id]
        return lost


def _rank(entry: tuple[tuple[int, str, str], _Item]) -> tuple[int, str, str]:
    return entry[0]


def _orders(found: _Item) -> list[Order]:
    """Return the tasks of a lease that were not reported, as they are handed out."""
    return [o._replace(epoch=found.epoch) for o in found.item.orders if o.part not in found.done]


def _named(turn: Turn) -> tuple[str, ...]:
    """Return every lease a turn speaks of."""
    told = [started.lease for started in turn.starts] + [report.lease for report in turn.reports]
    return tuple(dict.fromkeys((*told, *(turn.holding or ()))))


def _lease_state(found: _Item) -> LeaseState:
    item = found.item
    return LeaseState(
        item.name,
        item.run_id,
        item.orders[0].task if item.orders else "",
        len(item.orders),
        found.leased_at,
        found.cancelling,
    )
