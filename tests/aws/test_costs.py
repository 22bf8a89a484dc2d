"""What a task costs on the table: calls and units, counted for whole runs of a thousand tasks.

A write unit is $0.625 a million, a read unit $0.125. Ends are told as a backend tells them: with the
ids of jobs, names of logs, and times that are not the same for two tasks.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from hut.lifecycle.task import after_end
from hut.model.records import RunRecord
from hut.model.states import Reason, RunState, TaskState
from hut.store.port import Claim, ClaimRequest, End, Start
from tests.aws.metered import Cost, Meter, size_of
from tests.aws.store_world import StoreWorld
from tests.contract.worlds import COMPLETED, FAILED

_TASKS = 1000
_RUN = "k3v9x2m7q4"  # as long as the ids that the API gives


@pytest.fixture
def dear(make_world: Callable[..., StoreWorld]) -> Priced:
    return Priced(make_world(follow="stream", counted=()))


@dataclass
class Priced:
    """A run on AWS, with what each part of its life cost."""

    world: StoreWorld
    costs: dict[str, Cost] = field(default_factory=dict)
    random: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        client = self.world.bed.client("dynamodb")
        self.meter = Meter(client, self.world.options.table)
        self.world.client._around = self.meter
        self.world.now = 1_790_000_000.123456
        self.parent = self._id()
        self.stream = f"hut-{self._id()[:8]}{self._id()[:8]}/default/"

    def _id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def spend(self, what: str, work: Callable[[], Any]) -> Any:
        """Do something and keep what it cost, together with what was so called before."""
        with self.meter.cost() as cost:
            result = work()
        before = self.costs.setdefault(what, Cost())
        before.calls += cost.calls
        before.writes += cost.writes
        before.reads += cost.reads
        before.largest = max(before.largest, cost.largest)
        return result

    def submit(self, *entries: dict[str, Any]) -> RunRecord:
        run = self.spend("register", lambda: self.world.reserve(*entries))
        return self.spend("register", lambda: self.world.register(run))

    def claim(self, run: RunRecord, most: int) -> list[Claim]:
        request = ClaimRequest(run.id, run.epoch, self.world.now, most)
        return self.spend("claim", lambda: self.world.store.claim(request))

    def note(self, run: RunRecord, claims: Sequence[Claim], *, array: bool) -> dict[int, str]:
        """Note the handles of claims, as of single jobs or of children of one."""
        handles = {
            claim.key.position: f"{self.parent}:{index}" if array else self._id()
            for index, claim in enumerate(claims)
        }
        noted = [(claim.key, handles[claim.key.position]) for claim in claims]
        self.spend("handles", lambda: self.world.store.note_handles(run.id, noted))
        return handles

    def start(self, run: RunRecord, claims: Sequence[Claim], handles: dict[int, str]) -> None:
        starts = [
            Start(c.key, self._later(60), handles[c.key.position], self._log()) for c in claims
        ]
        self.spend("starts", lambda: self.world.store.record_started(run.id, starts))

    def end(
        self, run: RunRecord, claims: Sequence[Claim], handles: dict[int, str], **more: Any
    ) -> None:
        ends = [self._end(c, handles[c.key.position], **more) for c in claims]
        applied = self.spend("ends", lambda: self.world.store.record_ended(run.id, ends))
        assert all(applied)

    def _end(self, claim: Claim, handle: str, outcome: Any = COMPLETED) -> End:
        following = after_end(outcome, claim.spec.retry, claim.spent, self.world.now)
        started, ended = self._later(60), self._later(3600)
        log, cost = self._log(), round(self.random.uniform(0, 0.01), 9)
        return End(claim.key, outcome, following, ended, started, handle, log=log, cost=cost)

    def _later(self, seconds: float) -> float:
        return round(self.world.now + self.random.uniform(0, seconds), 3)

    def _log(self) -> str:
        return self.stream + self._id().replace("-", "")

    def total(self) -> Cost:
        costs = self.costs.values()
        return Cost(
            sum(c.calls for c in costs), sum(c.writes for c in costs), sum(c.reads for c in costs)
        )

    def show(self, tasks: int = _TASKS) -> None:
        """Print the table; pytest shows it where a test fails, or with ``-rP``."""
        print(f"{'':10}{'calls':>8}{'writes':>8}{'reads':>8}   per task, of {tasks:,}")
        for what, cost in [*self.costs.items(), ("all", self.total())]:
            print(f"{what:10}" + "".join(f"{each:8.3f}" for each in cost.per(tasks)))


def in_batches(claims: Sequence[Claim], size: int) -> Iterator[Sequence[Claim]]:
    for start in range(0, len(claims), size):
        yield claims[start : start + size]


def single(number: int) -> list[dict[str, Any]]:
    return [{"id": f"sample-{i:04}", "command": f"process --sample {i}"} for i in range(number)]


def test_the_general_path_in_batches_of_80(dear: Priced) -> None:
    run = dear.submit(*single(_TASKS))
    handles: dict[int, str] = {}
    claims: list[Claim] = []
    while some := dear.claim(run, 80):
        handles |= dear.note(run, some, array=False)
        claims += some
    assert len(claims) == _TASKS
    for some in in_batches(claims, 80):
        dear.start(run, some, handles)
    for some in in_batches(claims, 80):
        dear.end(run, some, handles)
    dear.show()
    total = dear.total()
    assert total.writes <= 1.6 * _TASKS
    assert total.reads <= 1.6 * _TASKS
    assert total.calls <= 0.3 * _TASKS
    assert max(dear.costs[what].largest for what in ("claim", "handles", "starts")) <= 1024
    assert dear.world.check(run).counts[TaskState.COMPLETED] == _TASKS


def test_arrays_that_are_claimed_noted_and_ended_by_hundreds(dear: Priced) -> None:
    run = dear.submit(*single(_TASKS))
    claims = dear.claim(run, _TASKS)
    handles = dear.note(run, claims, array=True)
    for some in in_batches(claims, 300):
        dear.end(run, some, handles)
    dear.show()
    total = dear.total()
    assert total.writes <= 0.7 * _TASKS
    assert total.reads <= 0.7 * _TASKS
    assert total.calls <= 0.2 * _TASKS
    assert dear.costs["claim"].calls <= 6
    assert dear.costs["handles"].calls <= 3
    assert dear.world.check(run).counts[TaskState.COMPLETED] == _TASKS


@pytest.mark.parametrize("array", [False, True])
def test_a_pack_of_ended_tasks_is_one_write_unit(dear: Priced, *, array: bool) -> None:
    run = dear.submit(*single(_TASKS))
    claims = dear.claim(run, _TASKS)
    handles = dear.note(run, claims, array=array)
    dear.start(run, claims, handles)
    dear.end(run, claims, handles)
    packs = [item for item in dear.world.raw_items() if item["kind"]["S"] == "pack"]
    assert len(packs) == 63
    assert max(map(size_of, packs)) <= 1000


@pytest.mark.parametrize(("size", "most"), [(80, 2.0), (300, 0.6)])
def test_ends_that_come_in_no_order(dear: Priced, size: int, most: float) -> None:
    run = dear.submit(*single(_TASKS))
    claims = dear.claim(run, _TASKS)
    handles = dear.note(run, claims, array=True)
    dear.random.shuffle(claims)
    for some in in_batches(claims, size):
        dear.end(run, some, handles)
    dear.show()
    assert dear.costs["ends"].writes <= most * _TASKS
    assert dear.world.check(run).counts[TaskState.COMPLETED] == _TASKS


def test_ten_thousand_ready_tasks_are_claimed_and_noted_in_few_transactions(dear: Priced) -> None:
    run = dear.submit(*single(10_000))
    dear.world.client.calls.clear()
    claims = dear.claim(run, 10_000)
    assert [claim.key.position for claim in claims] == list(range(10_000))
    assert dear.world.client.count("transact_write_items") <= 10
    assert dear.costs["claim"].calls <= 60
    dear.world.client.calls.clear()
    dear.note(run, claims, array=True)
    assert dear.world.client.count("transact_write_items") <= 8
    dear.show(10_000)


def test_a_fan_in_of_a_thousand_ends(dear: Priced) -> None:
    run = dear.submit(*single(_TASKS), {"id": "sum", "deps": ["sample-*"]})
    claims = dear.claim(run, _TASKS)
    handles = dear.note(run, claims, array=True)
    for some in in_batches(claims, 500):
        dear.end(run, some, handles)
        positions = [claim.key.position for claim in some]
        dear.spend("follow", lambda p=positions: dear.world.store.follow(run.id, p))
    dear.show()
    assert dear.costs["ends"].calls <= 8
    assert dear.costs["follow"].calls <= 16
    assert dear.costs["follow"].writes <= 20
    assert [claim.spec.id for claim in dear.claim(run, 10)] == ["sum"]


def test_a_map_behind_a_map_is_released_by_pages(dear: Priced) -> None:
    behind = [{"id": f"next-{i:04}", "deps": [f"sample-{i:04}"]} for i in range(_TASKS)]
    run = dear.submit(*single(_TASKS), *behind)
    claims = dear.claim(run, _TASKS)
    handles = dear.note(run, claims, array=True)
    for some in in_batches(claims, 80):
        dear.end(run, some, handles)
        positions = [claim.key.position for claim in some]
        dear.spend("follow", lambda p=positions: dear.world.store.follow(run.id, p))
    dear.show()
    assert dear.costs["follow"].writes <= 0.05 * _TASKS
    assert dear.costs["follow"].calls <= 0.1 * _TASKS
    assert len(dear.claim(run, 2 * _TASKS)) == _TASKS


def test_cancelling_ten_thousand_tasks_folds_whole_packs(dear: Priced) -> None:
    run = dear.submit(*single(10_000))
    store, now = dear.world.store, dear.world.now
    store.cancel_run(run.id, Reason.CANCELLED, now)
    assert dear.spend("cancel", lambda: store.end_pending(run.id))
    dear.show(10_000)
    assert dear.costs["cancel"].calls <= 40
    assert dear.costs["cancel"].writes <= 0.2 * 10_000
    assert store.settle(run.id, now).state is RunState.CANCELLED
    assert dear.world.check(run).counts[TaskState.FAILED] == 10_000


def test_long_messages_stand_beside_their_packs(dear: Priced) -> None:
    run = dear.submit(*single(40))
    claims = dear.claim(run, 40)
    handles = dear.note(run, claims, array=False)
    for claim in claims:
        message = "".join(dear.random.choices("abcdefghijklmnop ", k=1500))
        dear.end(run, [claim], handles, outcome=FAILED._replace(message=message))
    packs = [item for item in dear.world.raw_items() if item["kind"]["S"] == "pack"]
    assert max(len(json.dumps(pack, default=str)) for pack in packs) <= 8_000
    found = dear.world.store.get_tasks(run.id, [3, 30])
    assert [len(task.message) for task in found.values()] == [1500, 1500]
