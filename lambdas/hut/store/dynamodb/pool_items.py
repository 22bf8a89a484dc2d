"""What is known of pools, as items: workers with their leases, the queue, what was ever put into it.

===========  ======================  ==========================  =====================================
kind         partition               sort key                    attributes
===========  ======================  ==========================  =====================================
pool         ``POOL#pool``           ``POOL``                    draining
worker       ``POOL#pool``           ``WORKER#id``               v name properties slots max_inflight
                                                                 host pid version joined seen used want
                                                                 draining leases ttl
queued       ``POOL#pool#Q``         ``priority#arrival#name``   name run tasks wanted priority arrival
                                                                 at ttl
pooljob      ``POOLJOB#name``        ``JOB``                     pool place run tasks task state epoch
                                                                 worker left ended body ttl
===========  ======================  ==========================  =====================================

Who has which tasks is said by the worker's item alone; that of the job says who was given it last. It
stays when the job is over, so that one that is put into the pool again, late, is not run again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hut.pools.jobs import PoolJob
from hut.pools.port import LeaseState, Order, Queued, WorkerSpec, WorkerState
from hut.scheduling.matching import Scheduler, Target, take
from hut.store.dynamodb.keys import pool_job_key, queued_key, worker_key
from hut.store.dynamodb.values import Item

__all__ = [
    "KEPT",
    "LEASED",
    "WAITING",
    "WITHDRAWN",
    "Held",
    "Member",
    "job_item",
    "job_of",
    "left_of",
    "member_of",
    "queued_item",
    "queued_of",
    "read_orders",
    "write_orders",
]

WAITING = "waiting"
LEASED = "leased"
WITHDRAWN = "withdrawn"

KEPT = 30 * 86400
"""Seconds an item of a job or a worker is kept behind its last change."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease, as it stands in the item of its worker.

    Attributes
    ----------
    task : str
        Id of its first task, for people.
    tasks : int
        How many it had in the beginning.
    left, started, returned : tuple of int
        Indices of those that were not reported yet; those among them that run; those given back.
    at, told : float
        When it was given, and when the worker last spoke of it.
    freed : bool
        What it took of its worker is free again, though its end could not be recorded.
    """

    name: str
    epoch: int
    run: str
    task: str
    tasks: int
    priority: int
    arrival: str
    wanted: Mapping[str, str]
    left: tuple[int, ...]
    at: float
    told: float
    started: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()
    cancelling: bool = False
    freed: bool = False

    @property
    def queued(self) -> Queued:
        """What is leased, without what only its worker needs."""
        orders = tuple(
            Order(self.name, self.epoch, self.run, self.task, 0, "", part=index)
            for index in self.left
        )
        return Queued(self.name, self.run, self.priority, self.arrival, self.wanted, orders)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it: without what is as it is in the beginning."""
        may_lack = ("left", "started", "returned", "cancelling", "freed")
        return {name: v for name, v in asdict(self).items() if v or name not in may_lack}

    @staticmethod
    def of(document: Mapping[str, Any]) -> Held:
        """Return what `document` made; fields that a later Hut added are passed over."""
        known = {key: document[key] for key in document if key in Held.__dataclass_fields__}
        for key in ("left", "started", "returned"):
            known[key] = tuple(known.get(key, ()))
        return Held(**known)


@dataclass(frozen=True, slots=True)
class Member:
    """A worker as its item has it.

    Attributes
    ----------
    change : int
        Number of the item's last change: each is made under the condition that it is still the last.
    used : float
        When it joined, was given something or reported, whichever was last.
    want : int
        How many tasks it would take, as it said last.
    rogue : bool
        It reported what it never had: it is to be removed.
    """

    id: str
    spec: WorkerSpec
    joined: float
    seen: float
    used: float
    change: int = 0
    want: int = 0
    draining: bool = False
    rogue: bool = False
    leases: Mapping[str, Held] = field(default_factory=dict)

    def target(self, scheduler: Scheduler, *, name: str | None = None) -> Target:
        """Return what it is matched by: with what its leases leave of it."""
        spec = self.spec
        target = Target(name or spec.name, spec.properties, draining=self.draining)
        left = 0
        for held in self.leases.values():
            if not held.freed:
                target = take(scheduler, held.wanted, target, 0.0)
                left += len(held.left)
        return replace(
            target, inflight=left, max_inflight=self.spec.max_inflight, used_at=self.used
        )

    def state(self, scheduler: Scheduler) -> WorkerState:
        """Return it as people see it."""
        leases = tuple(
            LeaseState(held.name, held.run, held.task, len(held.left), held.at, held.cancelling)
            for held in self.leases.values()
        )
        return WorkerState(
            self.id, self.spec, self.target(scheduler), self.joined, self.seen, leases
        )

    def with_lease(self, held: Held) -> Member:
        """Return it with a lease as it is now; without it once nothing of it is left."""
        leases = {name: each for name, each in self.leases.items() if name != held.name}
        return replace(self, leases={**leases, held.name: held} if held.left else leases)

    def item(self, pool: str) -> Item:
        """Return the item of its next change."""
        key, spec = worker_key(pool, self.id), self.spec
        leases = [held.document() for held in self.leases.values()]
        return {
            "pk": key.pk,
            "sk": key.sk,
            "kind": "worker",
            "v": self.change + 1,
            "name": spec.name,
            "properties": _json(dict(spec.properties)),
            "slots": spec.slots,
            "max_inflight": spec.max_inflight,
            "host": spec.host,
            "pid": spec.pid,
            "version": spec.version,
            "joined": self.joined,
            "seen": self.seen,
            "used": self.used,
            "want": self.want,
            "draining": self.draining,
            "rogue": self.rogue or None,
            "leases": _json(leases),
            "ttl": int(self.seen) + KEPT,
        }


def member_of(item: Item) -> Member:
    """Return the worker of an item."""
    leases = [Held.of(each) for each in json.loads(item["leases"])]
    spec = WorkerSpec(
        name=item["name"],
        properties=json.loads(item["properties"]),
        slots=int(item["slots"]),
        max_inflight=int(item["max_inflight"]),
        host=item["host"],
        pid=int(item["pid"]),
        version=item["version"],
    )
    return Member(
        item["sk"].partition("#")[2],
        spec,
        float(item["joined"]),
        float(item["seen"]),
        float(item["used"]),
        int(item["v"]),
        int(item["want"]),
        bool(item["draining"]),
        bool(item.get("rogue", False)),
        {held.name: held for held in leases},
    )


def queued_item(pool: str, item: Queued, now: float) -> Item:
    """Return the item of a place in the queue."""
    key = queued_key(pool, item.priority, item.arrival, item.name)
    return {
        "pk": key.pk,
        "sk": key.sk,
        "kind": "queued",
        "name": item.name,
        "run": item.run_id,
        "tasks": len(item.orders),
        "wanted": _json(dict(item.wanted)),
        "priority": item.priority,
        "arrival": item.arrival,
        "at": now,
        "ttl": int(now) + KEPT,
    }


def queued_of(item: Item) -> Queued:
    """Return what waits in a place of the queue, without its tasks."""
    return Queued(
        item["name"],
        item["run"],
        int(item["priority"]),
        item["arrival"],
        json.loads(item["wanted"]),
        (),
    )


def job_item(pool: str, item: Queued, body: Item, now: float) -> Item:
    """Return the item of something that is put into a pool; `body` holds its tasks."""
    key = pool_job_key(item.name)
    return {
        "pk": key.pk,
        "sk": key.sk,
        "kind": "pooljob",
        "pool": pool,
        "place": queued_key(pool, item.priority, item.arrival, item.name).sk,
        "run": item.run_id,
        "tasks": len(item.orders),
        "task": item.orders[0].task if item.orders else "",
        "state": WAITING,
        "epoch": 0,
        "at": now,
        "ttl": int(now) + KEPT,
        **body,
    }


def left_of(item: Item) -> list[int]:
    """Return the tasks of something that waits which were not reported."""
    if "left" in item:
        found: list[int] = json.loads(item["left"])
        return found
    return list(range(int(item["tasks"])))


def job_of(name: str, item: Item, members: Mapping[str, Member]) -> PoolJob:
    """Return where something is, with what its worker says it has of it."""
    left: Sequence[int] = ()
    started: Sequence[int] = ()
    worker = ""
    if item["state"] == WAITING:
        left = left_of(item)
    elif item["state"] == LEASED:
        member = members.get(str(item["worker"]))
        held = None if member is None else member.leases.get(name)
        if member is not None and held is not None:
            left, started, worker = held.left, held.started, member.spec.name
    ended = json.loads(item.get("ended", "{}"))
    return PoolJob(
        name,
        str(item["run"]),
        int(item["tasks"]),
        tuple(left),
        tuple(started),
        worker,
        float(item["at"]),
        {int(part): (str(why), float(at)) for part, (why, at) in ended.items()},
    )


def write_orders(orders: tuple[Order, ...]) -> str:
    """Return tasks as text: what all of them have in common stands there once."""
    documents = [order._asdict() for order in orders]
    first = documents[0] if documents else {}
    common = {
        name: value
        for name, value in first.items()
        if all(each[name] == value for each in documents)
    }
    rest = [{name: each[name] for name in each if name not in common} for each in documents]
    return _json({"common": common, "tasks": rest})


def read_orders(text: str) -> tuple[Order, ...]:
    """Return what `write_orders` wrote; fields that a later Hut added are passed over."""
    document = json.loads(text)
    found = []
    for each in document["tasks"]:
        whole = {**document["common"], **each}
        found.append(Order(**{name: whole[name] for name in Order._fields if name in whole}))
    return tuple(found)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
