"""The adapters that must pass the contract, and the words the contract is written in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from hut.control import Control
from hut.lifecycle.task import after_end
from hut.model.records import Outcome, RunRecord, TaskRecord
from hut.model.run_options import NO_OPTIONS, RunOptions
from hut.model.states import Reason, TaskState
from hut.planning import Extension
from hut.scheduling.room import NO_CAPS, Caps
from hut.store.port import Claim, ClaimRequest, End, Start, Store, TaskFilter
from hut.store.sqlite import SqliteStore
from hut.submission import Setting, Submission
from tests.aws_table import Clients, new_options, open_store
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.s3 import SimulatedS3
from tests.testbed.running import TestBed

COMPLETED = Outcome(TaskState.COMPLETED, Reason.EXIT, 0)
FAILED = Outcome(TaskState.FAILED, Reason.EXIT, 1, "exit code 1")
LOST = Outcome(TaskState.FAILED, Reason.LOST, None, "gone")
HOST_TERMINATED = Outcome(TaskState.FAILED, Reason.HOST_TERMINATED, None, "Host EC2 terminated")
CANCELLED = Outcome(TaskState.FAILED, Reason.CANCELLED, None, "cancelled")


@dataclass
class World:
    """A store and a clock; methods are what an engine does, one step each.

    `open_another` gives a second connection to the same state, as another process would have.
    """

    store: Store
    open_another: Callable[[], Store]
    now: float = 1000.0
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def control(self) -> Control:
        return Control(self.store)

    def create(
        self, *tasks: dict[str, Any], options: RunOptions = NO_OPTIONS, **fields: Any
    ) -> RunRecord:
        """Submit tasks; a command is filled in where none is given."""
        body = json.dumps({"tasks": _entries(tasks), **fields})
        run, _ = self.control.submit(
            Submission(body, "w.json", "w", owner="me", options=options),
            Setting(),
            now=self.now,
            new_id=f"run{next(self.ids)}",
        )
        return self.store.begin_epoch(run.id, self.now)

    def add(self, run: RunRecord, *tasks: dict[str, Any], key: str | None = None) -> bool:
        """Add tasks to a run; say whether they joined now."""
        _, joined = self.control.add_tasks(
            run.id,
            json.dumps(_entries(tasks)),
            filename="more.json",
            key=f"key{next(self.ids)}" if key is None else key,
            now=self.now,
        )
        return joined

    def claim(
        self, run: RunRecord, at_most: int = 100, *, epoch: int | None = None, caps: Caps = NO_CAPS
    ) -> list[Claim]:
        epoch = self.store.get_run(run.id).epoch if epoch is None else epoch
        return self.store.claim(ClaimRequest(run.id, epoch, self.now, at_most, caps=caps))

    def claimed(self, run: RunRecord, at_most: int = 100) -> list[str]:
        return [claim.spec.id for claim in self.claim(run, at_most)]

    def start(self, run: RunRecord, *claims: Claim) -> None:
        starts = [Start(claim.key, self.now, f"pid-{claim.key.position}") for claim in claims]
        self.store.record_started(run.id, starts)

    def end(self, run: RunRecord, *ended: tuple[Claim, Outcome], **more: Any) -> list[bool]:
        ends = [self.end_record(claim, outcome, **more) for claim, outcome in ended]
        return self.store.record_ended(run.id, ends)

    def end_record(
        self,
        claim: Claim,
        outcome: Outcome,
        *,
        cancelling: bool = False,
        adds: Extension | None = None,
        cost: float | None = None,
    ) -> End:
        following = after_end(
            outcome, claim.spec.retry, claim.spent, self.now, cancelling=cancelling
        )
        return End(claim.key, outcome, following, self.now, adds=adds, cost=cost)

    def complete(self, run: RunRecord, *ids: str) -> None:
        """Claim everything ready, complete what is named, give the rest back."""
        claims = self.claim(run)
        named = [claim for claim in claims if claim.spec.id in ids]
        assert sorted(claim.spec.id for claim in named) == sorted(ids)
        self.end(run, *((claim, COMPLETED) for claim in named))
        self.store.release_claims(run.id, [c.key for c in claims if c.spec.id not in ids])

    def task(self, run: RunRecord, task_id: str) -> TaskRecord:
        task = self.store.get_task(run.id, task_id)
        assert task is not None
        return task

    def states(self, run: RunRecord) -> dict[str, str]:
        tasks = self.store.list_tasks(run.id, TaskFilter())
        return {task.spec.id: str(task.state) for task in tasks}

    def attempts(self, run: RunRecord, task_id: str) -> list[Any]:
        position = self.task(run, task_id).position
        return self.store.list_attempts(run.id, [position]).get(position, [])

    def check(self, run: RunRecord) -> RunRecord:
        """The counts of a run are those of its tasks, whatever happened."""
        record = self.store.get_run(run.id)
        tasks = self.store.list_tasks(run.id, TaskFilter())
        for state in TaskState:
            assert record.counts[state] == sum(task.state is state for task in tasks), state
        assert record.total == len(tasks)
        return record


def _entries(tasks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"command": "true", **task} for task in tasks]


def sqlite_world(folder: Path) -> World:
    path = folder / "hut.db"
    return World(SqliteStore(path), lambda: SqliteStore(path))


def dynamodb_world(_: Path, bed: Callable[[], TestBed]) -> World:
    options = new_options(bed())
    return World(open_store(bed(), options), lambda: open_store(bed(), options))


def simulated_world(_: Path, __: Callable[[], TestBed]) -> World:
    clients = {"dynamodb": SimulatedDynamoDB(time.time, copies=True), "s3": SimulatedS3(time.time)}
    bed = Clients(clients)
    options = new_options(bed)
    return World(open_store(bed, options), lambda: open_store(bed, options))


ADAPTERS: dict[str, Callable[[Path, Callable[[], TestBed]], World]] = {
    "sqlite": lambda folder, _: sqlite_world(folder),
    "dynamodb": dynamodb_world,
    "simulated": simulated_world,
}
"""Every adapter of the store port passes the same tests."""
