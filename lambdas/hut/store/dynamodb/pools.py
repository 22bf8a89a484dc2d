"""Pools of workers in the table: implements `hut.pools.port.Pool`. See `pool_items` for what is stored.

What protects each change:

=========  ======================================================================================
enqueue    the job's item must be new; its place in the queue is put with it, in one transaction
lease      the place is there and the job waits; the place goes, the job and the worker's item are
           changed in one transaction: of two workers who want one item, one gets it
turn       `v` of the worker's item is that of the item that was read: whoever changes a worker
           (its own turns, a drain, a cancel, the sweep that takes it for dead) is seen by the others
withdraw   as lease; what a worker has is marked in the worker's item, as turn
expire     as turn: a worker that has just said something has another `v`
=========  ======================================================================================

Each is tried a few times, with what the other one left. What of a turn counts is recorded in the run's
store before anything here changes; what dies in between is said again by the worker, and the store takes
the first end it is told. A worker is removed before its losses are recorded: from then on its reports are
refused, and the sweep finds what is in no pool any more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice

from hut.model.problems import InvalidInput
from hut.model.scheduler import OF_POOLS, Scheduler
from hut.pools.jobs import PoolJob, Waits
from hut.pools.port import (
    Answer,
    Heard,
    Joined,
    Lost,
    Order,
    PoolState,
    Queued,
    Turn,
    WorkerSpec,
    WorkerState,
)
from hut.scheduling.matching import target_problems
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.keys import pool_key, pool_partition, worker_key
from hut.store.dynamodb.pool_choosing import PAGE, choose
from hut.store.dynamodb.pool_hearing import Hearing, hear, named
from hut.store.dynamodb.pool_items import (
    LEASED,
    WAITING,
    WITHDRAWN,
    Held,
    Member,
    job_of,
    member_of,
)
from hut.store.dynamodb.pool_queue import FAILED, NEW, THERE, TRIES, PoolQueue
from hut.store.dynamodb.table import Cancelled, Condition, Pages, Table, Write, pauses
from hut.store.dynamodb.table import Lost as LostRace
from hut.store.dynamodb.values import Item
from hut.store.port import StoreError

__all__ = ["TablePool"]

_LEASED_AT_ONCE = 40
_LARGEST_ANSWER = 3_000_000  # characters of scripts
_MOST_COUNTED = 10_000
_LARGE = 50
"""Workers, of which more are not all read with each turn."""
_KNOWN_FOR = 5.0
"""Seconds for which they are taken to be as they were; what is left to others is for as long."""


class TablePool:
    """See the module's docstring.

    Parameters
    ----------
    table, bodies
        The deployment's.
    name
        The pool's.
    scheduler
        By which its tasks and workers are matched.
    """

    def __init__(
        self, table: Table, bodies: Bodies, name: str, scheduler: Scheduler = OF_POOLS
    ) -> None:
        self.name = name
        self.scheduler = scheduler
        self._table = table
        self._queue = PoolQueue(table, bodies, name)
        self._known: tuple[float, Mapping[str, Member]] = (0.0, {})

    # The queue ----------------------------------------------------------------------------------

    def enqueue(self, items: Sequence[Queued], now: float) -> None:
        """Let items wait for workers. Those that were put in before stay as they are, or are over."""
        self._queue.enqueue(items, now)

    def withdraw(self, names: Sequence[str], now: float) -> list[Queued]:
        """Cancel items; return those that only waited, which are gone. Workers stop the others."""
        gone = self.withdraw_tasks(dict.fromkeys(names, None), now, "cancelled")
        return [gone[name] for name in names if name in gone]

    def withdraw_tasks(
        self, wanted: Mapping[str, Collection[int] | None], now: float, reason: str
    ) -> dict[str, Queued]:
        """Cancel some tasks of items, or (None) all; return what only waited, by the items' names.

        Of an item that a worker has, only the whole can be stopped: single tasks of it go on.
        """
        jobs = self._queue.jobs(wanted)
        gone: dict[str, Queued] = {}
        for name, parts in wanted.items():
            job = jobs.get(name)
            for pause in (*pauses(TRIES), None):
                if job is None or job["state"] == WITHDRAWN:
                    break
                try:
                    if job["state"] == WAITING:
                        gone[name] = self._queue.withdraw(name, job, parts, now, reason)
                    elif parts is None:
                        self._stop(name, str(job["worker"]))
                    break
                except Cancelled:
                    self._wait(pause)
                    job = self._queue.jobs([name]).get(name)
        return gone

    def _stop(self, name: str, worker: str) -> None:
        """Have a worker told to stop what it has; nothing if it has it no more.

        Raises
        ------
        Cancelled
            If the worker's item was changed meanwhile.
        """
        item = self._table.get(worker_key(self.name, worker))
        member = None if item is None else member_of(item)
        if member is None or name not in member.leases:
            return
        self._change(member, member.with_lease(replace(member.leases[name], cancelling=True)))

    # Workers ------------------------------------------------------------------------------------

    def join(self, worker: str, spec: WorkerSpec, now: float) -> Joined:
        """Let a worker in.

        Raises
        ------
        InvalidInput
            If what it advertises can't be matched.
        """
        if problems := target_problems(self.scheduler, spec.properties):
            raise InvalidInput(problems)
        draining, members = self._members()
        if worker in members:
            return Joined(draining or members[worker].draining)
        lost: list[Lost] = []
        for other in members.values():
            if (other.spec.name, other.spec.host) == (spec.name, spec.host):
                lost += self._remove(other.id, f"worker {spec.name} was started again")
        refused = tuple(name for name, _ in spec.holding)
        member = Member(worker, replace(spec, holding=()), now, now, now)
        try:
            self._table.put(member.item(self.name), NEW)
        except LostRace:  # the same call came first
            return Joined(draining)
        return Joined(draining, refused, tuple(lost))

    def turn(self, worker: str, turn: Turn, now: float, record: Callable[[Heard], None]) -> Answer:
        """Take what a worker says, give it what it may have."""
        is_recorded = False
        for pause in (*pauses(TRIES), None):
            draining, member = self._member(worker)
            if member is None or member.rogue:
                return Answer(refused=named(turn), gone=True)
            hearing = hear(member, turn, now, self._queue.holders)
            if not is_recorded:
                try:
                    record(hearing.heard)
                except BaseException:
                    self._free(member, hearing, now)
                    raise
                is_recorded = True
            after, back = hearing.settled(now)
            draining = draining or member.draining
            answer, writes = Answer(refused=tuple(hearing.refused), gone=True), list[Write]()
            if hearing.is_rogue:
                after = replace(after, rogue=True, want=0)
            else:
                after, answer, writes = self._answer(after, turn, hearing, draining, now)
            writes += [write for held in back for write in self._queue.requeued(held, now)]
            try:
                self._change(member, after, writes)
            except Cancelled:
                self._wait(pause)
            else:
                return answer
        raise StoreError(f"worker {worker} is changed by others all the time; say it again")

    def leave(self, worker: str, now: float) -> list[Lost]:  # noqa: ARG002
        """Let a worker go; what it still has is lost. One that is not known is gone already."""
        return self._remove(worker, "worker {name} left")

    def drain(self, worker: str | None, draining: bool, now: float) -> bool:  # noqa: ARG002
        """Give a worker, or (None) everybody, nothing new, or again; False if it is not known."""
        if worker is None:
            key = pool_key(self.name)
            item: Item = {"pk": key.pk, "sk": key.sk, "kind": "pool", "draining": draining}
            self._table.put(item)
            return True
        change = Write(
            key=worker_key(self.name, worker),
            change="SET #draining = :draining ADD #v :one",
            values={"draining": draining, "one": 1},
            condition=THERE,
        )
        try:
            self._table.update(change)
        except LostRace:
            return False
        return True

    def expire(self, now: float) -> list[Lost]:
        """Remove workers that were not heard of for too long, and leases nobody speaks of."""
        lost: list[Lost] = []
        patience = self.scheduler.worker_timeout_s or Scheduler("").worker_timeout_s
        silence = self.scheduler.max_action_executing_timeout_s
        for member in self._members()[1].values():
            name = member.spec.name
            try:
                if member.rogue or now - member.seen > patience:
                    self._delete(member)
                    why = f"worker {name} disconnected"
                    if member.rogue:
                        why = f"worker {name} was removed: it reported what it never had"
                    lost += _losses(member, why)
                    continue
                why = f"worker {name} said nothing of it for {silence:g} s"
                silent = [held for held in member.leases.values() if 0 < silence < now - held.told]
                if silent:
                    self._change(member, _without(member, silent))
                    lost += [
                        Lost(held.queued, name, why, held.left, disconnected=False)
                        for held in silent
                    ]
            except (Cancelled, LostRace):
                continue  # it has just said something
        return lost

    # Looking ------------------------------------------------------------------------------------

    def describe(self, now: float) -> PoolState:  # noqa: ARG002
        """Return how the pool stands."""
        draining, members = self._members()
        queue = islice(self._queue.waiting(PAGE), _MOST_COUNTED)
        queued = sum(waits.tasks for waits in queue)
        workers = tuple(member.state(self.scheduler) for member in members.values())
        return PoolState(self.name, draining, queued, workers)

    def workers(self) -> tuple[bool, list[WorkerState]]:
        """Return whether the pool is draining, and its workers."""
        draining, members = self._members()
        return draining, [member.state(self.scheduler) for member in members.values()]

    def jobs(self, names: Collection[str]) -> dict[str, PoolJob]:
        """Return where items are; those that were never put in are left out.

        What a worker has is read last: an item that moves from the queue to a worker meanwhile is seen.
        """
        found = self._queue.jobs(names)
        members = self._members()[1] if any(j["state"] == LEASED for j in found.values()) else {}
        return {name: job_of(name, item, members) for name, item in found.items()}

    def waiting(self, most: int) -> list[Waits]:
        """Return what waits, in order, so many at most."""
        return list(islice(self._queue.waiting(min(most, 10 * PAGE)), most))

    # What a worker gets --------------------------------------------------------------------------

    def _answer(
        self,
        member: Member,
        turn: Turn,
        hearing: Hearing,
        draining: bool,
        now: float,
    ) -> tuple[Member, Answer, list[Write]]:
        """Return the worker with what it gets, what it is told, and what is to be written with it."""
        orders: list[Order] = []
        writes: list[Write] = []
        if turn.holding is not None:  # else it is a sign of life, which asks for nothing
            member = replace(member, want=0 if draining else turn.want)
            spoken_of = {*turn.holding, *(report.lease for report in turn.reports)}
            # The answer that told of it did not arrive.
            missing = [held for name, held in member.leases.items() if name not in spoken_of]
            orders += [order for found in self._orders(missing).values() for order in found]
            if member.want:
                member, new, writes = self._hand_out(member, now)
                orders += new
        stopping = {*turn.stopping, *(report.lease for report in turn.reports)}
        cancel = [
            name for name, held in member.leases.items() if held.cancelling and name not in stopping
        ]
        told = Answer(tuple(orders), tuple(hearing.refused), tuple(cancel), draining)
        return member, told, writes

    def _hand_out(self, member: Member, now: float) -> tuple[Member, list[Order], list[Write]]:
        """Choose what a worker may have now, leaving to others that ask what suits them better."""
        queue = self._queue.waiting(PAGE)
        first = next(queue, None)
        if first is None:
            return member, [], []
        others = self._others(member.id, now)
        chosen = choose(self.scheduler, member, others, chain([first], queue), now)
        jobs = self._queue.jobs([item.name for item in chosen[:_LEASED_AT_ONCE]])
        orders: list[Order] = []
        writes: list[Write] = []
        size = 0
        for item in chosen[:_LEASED_AT_ONCE]:
            job = jobs.get(item.name)
            if job is None or job["state"] != WAITING:
                continue  # somebody else has it by now
            held, lease = self._queue.lease(item, job, member.id, now)
            new = self._queue.orders(job, held)
            size += sum(len(order.script) for order in new)
            if orders and size > _LARGEST_ANSWER:
                break
            member = replace(member.with_lease(held), used=now, want=max(member.want - len(new), 0))
            orders += new
            writes += lease
            if not member.want:
                break
        return member, orders, writes

    def _orders(self, leases: Sequence[Held]) -> dict[str, list[Order]]:
        """Return the tasks of leases that are left, as they were handed out."""
        jobs = self._queue.jobs([held.name for held in leases])
        return {
            held.name: self._queue.orders(jobs[held.name], held)
            for held in leases
            if held.name in jobs
        }

    # Items --------------------------------------------------------------------------------------

    def _member(self, worker: str) -> tuple[bool, Member | None]:
        """Return whether the pool is draining, and one worker, without reading the others."""
        its_own, of_all = worker_key(self.name, worker), pool_key(self.name)
        found = self._table.get_many([its_own, of_all])
        draining = of_all in found and bool(found[of_all]["draining"])
        return draining, member_of(found[its_own]) if its_own in found else None

    def _others(self, worker: str, now: float) -> list[Member]:
        """Return the other workers; those of a large pool as they were some seconds ago.

        What they have and want only says who suits a task better. That a task is leased once is kept
        by the conditions of the lease, whatever is thought of others here.
        """
        at, known = self._known
        if len(known) <= _LARGE or not at <= now < at + _KNOWN_FOR:
            known = self._members()[1]
            self._known = now, known
        return [member for name, member in known.items() if name != worker]

    def _members(self) -> tuple[bool, dict[str, Member]]:
        """Return whether the pool is draining, and its workers by their ids."""
        draining, found = False, {}
        for item in self._table.query(Pages(pool_partition(self.name))):
            if item["kind"] == "pool":
                draining = bool(item["draining"])
            elif item["kind"] == "worker":
                member = member_of(item)
                found[member.id] = member
        return draining, found

    def _change(self, before: Member, after: Member, more: Sequence[Write] = ()) -> None:
        """Change a worker's item, and others with it.

        Raises
        ------
        Cancelled
            If it has changed since it was read, or one of the others has.
        """
        unchanged = Condition("#v = :was", {"was": before.change})
        item = replace(after, change=before.change).item(self.name)
        if more:
            self._table.transact([Write(put=item, condition=unchanged), *more])
            return
        try:
            self._table.put(item, unchanged)
        except LostRace:
            raise Cancelled([FAILED]) from None

    def _free(self, member: Member, hearing: Hearing, now: float) -> None:
        """Let a worker have room again though the ends it told could not be recorded."""
        after = hearing.freed(now)
        if after is not member:
            try:
                self._change(member, after)
            except Cancelled:
                return  # it says it again

    def _remove(self, worker: str, why: str) -> list[Lost]:
        """Remove a worker; return what it had. ``{name}`` in `why` stands for what people call it."""
        for pause in (*pauses(TRIES), None):
            item = self._table.get(worker_key(self.name, worker))
            if item is None:
                return []
            member = member_of(item)
            try:
                self._delete(member)
            except Cancelled:
                self._wait(pause)
            else:
                return _losses(member, why.replace("{name}", member.spec.name))
        raise StoreError(f"worker {worker} is changed by others all the time; say it again")

    def _delete(self, member: Member) -> None:
        unchanged = Condition("#v = :was", {"was": member.change})
        key = worker_key(self.name, member.id)
        self._table.transact([Write(key=key, condition=unchanged)])

    def _wait(self, pause: float | None) -> None:
        if pause is not None:
            self._table.sleep(pause)


def _losses(member: Member, why: str) -> list[Lost]:
    return [Lost(held.queued, member.spec.name, why, held.left) for held in member.leases.values()]


def _without(member: Member, leases: Collection[Held]) -> Member:
    names = {held.name for held in leases}
    return replace(
        member, leases={name: each for name, each in member.leases.items() if name not in names}
    )
