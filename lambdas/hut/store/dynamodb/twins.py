"""Which of identical attempts leads, and which follow it, in items of their own.

=========  =================  ==========================================  ================================
kind       partition          sort key                                    attributes
=========  =================  ==========================================  ================================
twin       ``TWIN#digest``    ``LEADER``                                  run position attempt epoch joined
follower   ``TWIN#digest``    ``FOLLOWS#leader#follower's run#position``  run position attempt epoch leader
=========  =================  ==========================================  ================================

``leader`` is a handle (`hut.scheduling.twins`). An item of a follower is written in one transaction with
``joined``, under the condition that the same attempt leads still. ``joined`` stays when another one
takes the lead: there may be followers of the one before. Items expire with their runs; those of
followers that have ended or left are passed over, because their tasks say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from hut.model.states import TaskState
from hut.scheduling.twins import Follower, Twin, leader_of, twin_handle
from hut.store.dynamodb.keys import twin_key
from hut.store.dynamodb.packs import MOST_PACKS, by_packs
from hut.store.dynamodb.reading import Reading
from hut.store.dynamodb.table import Cancelled, Condition, Lost, Pages, Write, pauses
from hut.store.dynamodb.unit import Unit
from hut.store.dynamodb.values import Item

__all__ = ["Twins"]

_LEADER = "LEADER"
_AT_ONCE = 50  # writes of one transaction
_FAILED = "ConditionalCheckFailed"


class Twins(Reading):
    """The part of `DynamoStore` that implements `hut.store.twins`."""

    # What the other parts of the store do.
    _work: Callable[[str, Callable[[Unit], Any]], Any]
    _unclaim: Callable[[Unit, Item], None]

    def lead(
        self, wishes: Mapping[str, Twin], instead: Mapping[str, Twin] | None = None
    ) -> dict[str, Twin]:
        """Let attempts lead under digests that nobody leads under; return who does now, by digest."""
        keys = {digest: twin_key(digest, _LEADER) for digest in wishes}
        items = self._table.get_many(list(keys.values()))
        ttls = {run_id: self._meta(run_id)["ttl"] for run_id in {t.run_id for t in wishes.values()}}
        leaders: dict[str, Twin] = {}
        writes: dict[str, Write] = {}
        for digest, twin in wishes.items():
            known = _twin(items.get(keys[digest]))
            if known is None or known == (instead or {}).get(digest):
                writes[digest] = _leads(digest, twin, ttls[twin.run_id], known)
            else:
                leaders[digest] = known
        for some in _chunks(writes):
            try:
                self._table.transact([writes[digest] for digest in some])
                leaders |= {digest: wishes[digest] for digest in some}
            except Cancelled:
                leaders |= {digest: self._lead_alone(writes[digest]) for digest in some}
        return leaders

    def _lead_alone(self, write: Write) -> Twin:
        """Let an attempt lead, if nobody has come first; return who does."""
        assert write.key is not None  # noqa: S101 - made by `_leads`
        mine = _twin(write.values)
        assert mine is not None  # noqa: S101 - as above
        try:
            self._table.update(write)
        except Lost:
            return _twin(self._table.get(write.key)) or mine
        return mine

    def join(self, run_id: str, joining: Sequence[tuple[str, Follower]]) -> list[Follower]:
        """Let attempts of a run follow leaders, under digests; return those that do."""
        ttl = self._meta(run_id)["ttl"]
        by_leader: dict[tuple[str, Twin], list[Follower]] = defaultdict(list)
        for digest, follower in joining:
            by_leader[digest, follower.leader].append(follower)
        kept: list[Follower] = []
        for (digest, leader), followers in by_leader.items():
            for start in range(0, len(followers), _AT_ONCE):
                some = followers[start : start + _AT_ONCE]
                if self._keep(digest, leader, some, ttl):
                    kept += some
        joined: list[Follower] = []
        for chunk in by_packs(sorted(kept), _position):
            joined += self._work(run_id, partial(_note, chunk))
        return joined

    def _keep(self, digest: str, leader: Twin, followers: Sequence[Follower], ttl: int) -> bool:
        """Write down who follows a leader; False if it does not lead any more."""
        still = Write(
            key=twin_key(digest, _LEADER),
            change="SET #joined = :yes",
            values={"yes": True},
            condition=_is_led_by(leader),
        )
        writes = [still]
        for twin, _ in followers:
            key = twin_key(digest, f"{_follows(leader)}#{twin.run_id}#{twin.position:07}")
            item = {"pk": key.pk, "sk": key.sk, "kind": "follower", "ttl": ttl}
            writes.append(Write(put=item | _attributes(twin) | {"leader": twin_handle(leader)}))
        for pause in pauses():
            try:
                self._table.transact(writes)
            except Cancelled as cancelled:
                if cancelled.reasons[0] == _FAILED:
                    return False
                self._table.sleep(pause)  # another one joins just now
            else:
                return True
        return False

    def leave(self, run_id: str, followers: Sequence[Follower]) -> int:
        """Give back attempts of a run that follow; the attempt does not count. Return how many."""

        def leave(chunk: Sequence[Follower], unit: Unit) -> int:
            following = _following(chunk, unit)
            for task in following:
                self._unclaim(unit, task)
            return len(following)

        # Each may get a page of its own.
        chunks = by_packs(sorted(followers), _position, MOST_PACKS // 2)
        return sum(self._work(run_id, partial(leave, chunk)) for chunk in chunks)

    def followers(self, run_id: str, leaders: Mapping[int, str]) -> list[Follower]:
        """Return who follows attempts of tasks, which are given with their digests, by position."""
        keys = {digest: twin_key(digest, _LEADER) for digest in leaders.values()}
        items = self._table.get_many(list(keys.values()))
        found: list[Follower] = []
        for position, digest in leaders.items():
            if not items.get(keys[digest], {}).get("joined"):
                continue
            begins = f"FOLLOWS#{run_id}#{position:07}#"
            for item in self._table.query(Pages(keys[digest].pk, begins)):
                twin, leader = _twin(item), leader_of(item["leader"])
                if twin is not None and leader is not None:
                    found.append(Follower(twin, leader))
        return found


def _leads(digest: str, twin: Twin, ttl: int, known: Twin | None) -> Write:
    """Return the write by which an attempt leads instead of a known one, or of none."""
    values = {"kind": "twin", "ttl": ttl, **_attributes(twin)}
    return Write(
        key=twin_key(digest, _LEADER),
        change="SET " + ", ".join(f"#{name} = :{name}" for name in values),
        values=values,
        condition=Condition("attribute_not_exists(#run)") if known is None else _is_led_by(known),
    )


def _is_led_by(twin: Twin) -> Condition:
    values = {f"was_{name}": value for name, value in _attributes(twin).items()}
    text = " AND ".join(f"#{name} = :was_{name}" for name in _attributes(twin))
    return Condition(text, values)


def _attributes(twin: Twin) -> Item:
    run_id, position, attempt, epoch = twin
    return {"run": run_id, "position": position, "attempt": attempt, "epoch": epoch}


def _twin(item: Mapping[str, Any] | None) -> Twin | None:
    if item is None:
        return None
    return Twin(item["run"], item["position"], item["attempt"], item["epoch"])


def _follows(leader: Twin) -> str:
    return f"FOLLOWS#{leader.run_id}#{leader.position:07}#{leader.attempt}#{leader.epoch}"


def _following(followers: Sequence[Follower], unit: Unit) -> list[Item]:
    """Return the tasks of those that still follow whom they are said to."""
    tasks = unit.tasks([follower.twin.position for follower in followers])
    return [
        tasks[twin.position]
        for twin, leader in followers
        if twin.position in tasks
        and _is_submitted(twin, tasks[twin.position])
        and tasks[twin.position].get("handle") == twin_handle(leader)
    ]


def _note(followers: Sequence[Follower], unit: Unit) -> list[Follower]:
    """Note whom attempts follow that have no handle; return those that do now."""
    tasks = unit.tasks([follower.twin.position for follower in followers])
    noted: list[Follower] = []
    for follower in followers:
        task = tasks.get(follower.twin.position)
        if task is None or not _is_submitted(follower.twin, task) or "handle" in task:
            continue
        task["handle"] = twin_handle(follower.leader)
        unit.touch(task)
        noted.append(follower)
    return noted


def _is_submitted(twin: Twin, task: Item) -> bool:
    attempt = (task["attempt"], task["epoch"])
    return task["state"] == TaskState.SUBMITTED and attempt == (twin.attempt, twin.epoch)


def _position(follower: Follower) -> int:
    return follower.twin.position


def _chunks(writes: Mapping[str, Write]) -> Iterator[list[str]]:
    rest = iter(writes)
    while some := list(islice(rest, _AT_ONCE)):
        yield some
