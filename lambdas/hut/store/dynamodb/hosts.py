"""What is known of EC2 instances and of the attempts on them: implements `hut.backends.hosts`.

The state machine (`infra`) writes these items too, by the same conditions. All have ``kind`` and
``ttl``; none is of a kind that the stream tells of. Numbers may be fractions.

=========  ====================  ==========================  ==========================================
kind       partition             sort key                    attributes
=========  ====================  ==========================  ==========================================
ec2job     ``EC2JOB#name``       ``JOB``                     name backend phase since launching_since
                                                             capacity_errors said instance type spot
                                                             subnet command token sent_at
host       ``HOST#instance``     ``HOST``                    name backend shape at
idle       ``IDLE#backend``      ``shape#instance``          instance type spot until
=========  ====================  ==========================  ==========================================

An idle item is there exactly while the instance is idle. It is put by the state machine under the
condition that the host item still names the attempt that has ended, and taken away with a change of
the host item in one transaction: by the attempt that takes the instance, or by whoever ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from hut.backends.hosts import Host, IdleHost, JobNote, Phase
from hut.store.dynamodb.keys import ec2_job_key, host_key, idle_key, idle_partition
from hut.store.dynamodb.table import Cancelled, Condition, Key, Pages, Table, Write, pauses
from hut.store.dynamodb.values import Item

__all__ = ["TableHosts"]

_KEPT = 30 * 86400  # seconds an item of an instance is kept behind its last change
_THERE = Condition("attribute_exists(#pk)")
_FAILED = "ConditionalCheckFailed"


class TableHosts:
    """Keeps it in the table; implements `hut.backends.hosts.Hosts`.

    Parameters
    ----------
    table
        The deployment's.
    clock
        Seconds since the epoch; replaced in tests.
    """

    def __init__(self, table: Table, *, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def jobs(self, names: Collection[str]) -> dict[str, JobNote]:
        """Return what is noted of jobs; those nothing is noted of are left out."""
        items = self._table.get_many([ec2_job_key(name) for name in names])
        notes = [_note(item) for item in items.values()]
        return {note.name: note for note in notes if note is not None}

    def hosts(self, instances: Collection[str]) -> dict[str, Host]:
        """Return whose instances are; those that are nobody's are left out."""
        items = self._table.get_many([host_key(instance) for instance in instances])
        return {
            key.pk.partition("#")[2]: Host(
                key.pk.partition("#")[2],
                str(item["name"]),
                str(item["backend"]),
                str(item.get("shape", "")),
                float(item["at"]),
            )
            for key, item in items.items()
        }

    def idle(self, backend: str) -> list[IdleHost]:
        """Return the idle instances of a backend, those first that are idle the longest."""
        items = self._table.query(Pages(idle_partition(backend)))
        return sorted(map(_idle, items), key=lambda host: (host.until, host.instance))

    def idle_among(self, hosts: Collection[Host]) -> dict[str, IdleHost]:
        """Return those of some instances that are idle, by their ids."""
        keys = [idle_key(each.backend, each.shape, each.instance) for each in hosts]
        found = map(_idle, self._table.get_many(keys).values())
        return {host.instance: host for host in found}

    def take(self, host: IdleHost, name: str, at: float) -> bool:
        """Give an idle instance to an attempt; False if somebody else has come first.

        That the idle item is there protects it: of two takers one takes it away.
        """
        return self._do([_no_longer_idle(host), self._owned(host, name, at)])

    def give_back(self, host: IdleHost, name: str) -> None:
        """Make an instance idle again that an attempt took and has not used.

        Only while it is still the attempt's: whoever ends the instance has made it nobody's.
        """
        key = idle_key(host.backend, host.shape, host.instance)
        item = {"pk": key.pk, "sk": key.sk, "kind": "idle", "ttl": self._ttl()}
        item |= {"instance": host.instance, "type": host.type, "spot": host.spot}
        item |= {"until": host.until}
        change = "SET #ttl = :ttl"
        mine = Condition("#name = :name", {"name": name})
        touched = Write(
            key=host_key(host.instance),
            change=change,
            values={"ttl": self._ttl()},
            condition=mine,
        )
        self._do([Write(put=item), touched])

    def evict(self, host: IdleHost) -> bool:
        """Take an instance out of the idle ones, for good; False if somebody else has come first.

        That the idle item is there protects it, as in `take`.
        """
        return self._do([_no_longer_idle(host), Write(key=host_key(host.instance))])

    def disown(self, instance: str, name: str, host: Host | None) -> bool:
        """Make an instance nobody's that was an attempt's; False if it is another attempt's by now.

        That the host item still names the attempt protects it: whoever takes the instance names
        another, and then both writes are not done.
        """
        still = "attribute_not_exists(#pk) OR #name = :name"
        condition = Condition(still, {"name": name})
        writes = [Write(key=host_key(instance), condition=condition)]
        if host is not None:
            writes.append(Write(key=idle_key(host.backend, host.shape, instance)))
        return self._do(writes)

    def _owned(self, host: IdleHost, name: str, at: float) -> Write:
        key = host_key(host.instance)
        item = {"pk": key.pk, "sk": key.sk, "kind": "host", "ttl": self._ttl(), "name": name}
        return Write(put=item | {"backend": host.backend, "shape": host.shape, "at": at})

    def _ttl(self) -> int:
        return int(self._clock()) + _KEPT

    def _do(self, writes: list[Write]) -> bool:
        """Do writes together; False if a condition does not hold, or others are always in the way."""
        for pause in (*pauses(), None):
            try:
                self._table.transact(writes)
            except Cancelled as cancelled:
                if _FAILED in cancelled.reasons or pause is None:
                    return False
                self._table.sleep(pause)
            else:
                return True
        return False


def _no_longer_idle(host: IdleHost) -> Write:
    key = idle_key(host.backend, host.shape, host.instance)
    return Write(key=key, condition=_THERE)


def _idle(item: Item) -> IdleHost:
    shape, _, _ = str(item["sk"]).rpartition("#")
    return IdleHost(
        str(item["instance"]),
        str(item.get("type", "")),
        bool(item.get("spot", False)),
        Key(item["pk"], item["sk"]).pk.partition("#")[2],
        shape,
        float(item["until"]),
    )


def _note(item: Item) -> JobNote | None:
    """Return what an item says; None for one whose phase a later Hut has made up."""
    if item.get("phase") not in tuple(Phase):
        return None
    return JobNote(
        name=str(item["pk"]).partition("#")[2],
        backend=str(item.get("backend", "")),
        phase=Phase(item["phase"]),
        since=_seconds(item.get("since")),
        launching_since=_seconds(item.get("launching_since")),
        capacity_errors=int(item.get("capacity_errors", 0)),
        said=str(item.get("said", "")),
        instance=str(item.get("instance", "")),
        type=str(item.get("type", "")),
        subnet=str(item.get("subnet", "")),
        spot=bool(item.get("spot", False)),
        command=str(item.get("command", "")),
        token=str(item.get("token", "")),
        sent_at=_seconds(item.get("sent_at")),
    )


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)
