"""The adapters of the pool port, and the words its contract is written in.

The world plays the run's store and the control plane: it keeps what is recorded of each task, and
queues a lost one again as a new attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from hut.backends.port import job_name, parse_job_name
from hut.lifecycle.retry import Spent
from hut.lifecycle.task import after_end
from hut.model.records import Outcome
from hut.model.scheduler import Allocation, Kind, Scheduler
from hut.model.states import TaskState
from hut.model.workflow import RetryPolicy
from hut.pools.judging import outcome_of, outcome_of_loss
from hut.pools.memory import MemoryPool
from hut.pools.port import (
    Answer,
    Heard,
    How,
    Joined,
    Lost,
    Order,
    Pool,
    Queued,
    Report,
    Started,
    Turn,
    WorkerSpec,
)
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.pools import TablePool
from hut.store.dynamodb.table import Table
from hut.store.port import AttemptKey
from tests.aws_table import Clients, new_options
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.s3 import SimulatedS3

RUN = "run1"
SCHEDULER = Scheduler(
    "MAIN",
    properties={"slots": Kind.MINIMUM, "arch": Kind.EXACT, "os": Kind.PRIORITY, "tag": Kind.IGNORE},
    worker_timeout_s=100.0,
)
LEAST, MOST = Allocation.LEAST_RECENTLY_USED, Allocation.MOST_RECENTLY_USED


class RecordingFailed(Exception):  # noqa: N818 - what the store says
    """The store of the run can't be written just now."""


@dataclass
class Task:
    """A task as its run knows it."""

    position: int
    wanted: Mapping[str, str]
    priority: int
    arrival: str
    orders: int = 1
    attempt: int = 0
    losses: int = 0
    state: str = "queued"
    outcomes: list[Outcome] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        return self.outcomes[-1].message


@dataclass
class World:
    """A pool, its clock, and what is recorded of the tasks that were put into it."""

    pool: Pool
    now: float = 1000.0
    store_is_broken: bool = False
    tasks: dict[str, Task] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))

    # Tasks --------------------------------------------------------------------------------------

    def submit(
        self, name: str, *, priority: int = 0, arrival: str = "", orders: int = 1, **wanted: str
    ) -> str:
        """Put a task into the pool; return the name of its lease."""
        position = len(self.tasks)
        task = Task(position, wanted, priority, arrival or f"{position:06d}", orders)
        self.tasks[name] = task
        self.queue(task)
        return self.lease(name)

    def queue(self, task: Task) -> None:
        task.attempt += 1
        task.state = "queued"
        self.pool.enqueue([self.item(task)], self.now)

    def item(self, task: Task) -> Queued:
        name = job_name("hut", RUN, AttemptKey(task.position, task.attempt, 1))
        orders = tuple(
            Order(name, 0, RUN, f"t{task.position}", task.attempt, "true", part=part)
            for part in range(task.orders)
        )
        return Queued(name, RUN, task.priority, task.arrival, task.wanted, orders)

    def lease(self, name: str) -> str:
        """Return the name of the lease of a task's latest attempt."""
        return self.item(self.tasks[name]).name

    def state(self, name: str) -> str:
        return self.tasks[name].state

    def named(self, lease: str) -> Task:
        parsed = parse_job_name(lease)
        assert parsed is not None
        assert parsed.key is not None
        (task,) = [t for t in self.tasks.values() if t.position == parsed.key.position]
        return task

    # The run's store ----------------------------------------------------------------------------

    def record(self, heard: Heard) -> None:
        if self.store_is_broken:
            raise RecordingFailed
        for started in heard.starts:
            task = self.named(started.lease)
            task.state = "executing"
            task.workers.append(heard.worker)
        most = self.pool.scheduler.max_job_retries
        for report in heard.reports:
            task = self.named(report.lease)
            outcome = outcome_of(
                report, heard.worker, time_limit=60.0, losses=task.losses, most=most
            )
            if outcome is not None:
                self.ended(task, outcome)

    def ended(self, task: Task, outcome: Outcome) -> None:
        """Decide what follows from the end of an attempt, as the control plane does."""
        task.outcomes.append(outcome)
        most = self.pool.scheduler.max_job_retries
        spent = Spent(0, task.losses)
        following = after_end(outcome, RetryPolicy(), spent, self.now, most_losses=most)
        task.losses = following.losses
        if following.state is TaskState.PENDING:
            self.queue(task)
        else:
            task.state = str(following.state)

    def lose(self, losses: list[Lost]) -> list[str]:
        """Record what was lost; return the names of those tasks."""
        for loss in losses:
            task = self.named(loss.item.name)
            most = self.pool.scheduler.max_job_retries
            self.ended(task, outcome_of_loss(loss, task.losses, most))
        positions = {self.named(loss.item.name).position for loss in losses}
        return [name for name, task in self.tasks.items() if task.position in positions]

    def expire(self) -> list[str]:
        return self.lose(self.pool.expire(self.now))

    # Workers ------------------------------------------------------------------------------------

    def worker(self, name: str, *, slots: int = 100, **more: object) -> FakeWorker:
        """Let a worker join; its number ``slots`` is a property, too, where it is a text."""
        return FakeWorker(self, name, slots=slots, **more)


class FakeWorker:
    """A worker that does what it is told, one step at a time."""

    def __init__(
        self,
        world: World,
        name: str,
        *,
        slots: int = 100,
        max_inflight: int = 0,
        properties: Mapping[str, str] | None = None,
        **more: object,
    ) -> None:
        self.world = world
        self.id = f"{name}-{next(world._ids)}"
        self.want = slots
        self.spec = WorkerSpec(name, properties or {}, slots, max_inflight, host="h", **more)  # type: ignore[arg-type]
        self.has: dict[tuple[str, int], Order] = {}
        self.answer = Answer()
        self.joined: Joined = world.pool.join(self.id, self.spec, world.now)

    @property
    def leases(self) -> list[str]:
        return list(dict.fromkeys(lease for lease, _ in self.has))

    def turn(self, *, is_lost: bool = False, **said: object) -> Answer:
        """Take a turn: say what it has, take what it is given."""
        turn = Turn(**{"want": self.want, "holding": tuple(self.leases), **said})  # type: ignore[arg-type]
        answer = self.world.pool.turn(self.id, turn, self.world.now, self.world.record)
        if not is_lost:
            self.answer = answer
            for order in answer.tasks:
                self.has[order.lease, order.part] = order
        return answer

    def poll(self) -> list[str]:
        """Take what there is and start it; return the names of the tasks that are new to it."""
        new = [self.key(order) for order in self.turn().tasks]
        starts = [Started(o.lease, o.epoch, self.world.now, o.part) for o in self.has.values()]
        self.world.pool.turn(self.id, Turn(starts=tuple(starts)), self.world.now, self.world.record)
        return new

    def key(self, order: Order) -> str:
        (found,) = [n for n, t in self.world.tasks.items() if f"t{t.position}" == order.task]
        return found

    def alive(self) -> Answer:
        """Give a sign of life beside its turns."""
        return self.world.pool.turn(self.id, Turn(), self.world.now, self.world.record)

    def report(self, lease: str, how: How = How.EXIT, *, part: int = 0, **more: object) -> Answer:
        """Say that a task is over; want nothing."""
        order = self.has.pop((lease, part))
        return self.say(lease, order.epoch, how, part=part, **more)

    def say(
        self, lease: str, epoch: int, how: How = How.EXIT, *, part: int = 0, **more: object
    ) -> Answer:
        if how is How.EXIT:
            more = {"exit_code": 0, **more}
        one = Report(lease, epoch, how, self.world.now, part, **more)  # type: ignore[arg-type]
        return self.turn(want=0, reports=(one,))

    def leave(self) -> list[str]:
        return self.world.lose(self.world.pool.leave(self.id, self.world.now))


Adapter = Callable[[Path, Scheduler], Pool]
ADAPTERS: dict[str, Adapter] = {"memory": lambda _, scheduler: MemoryPool("gpu", scheduler)}
"""By name; another one is added by a line, its rows in `tests.contract.test_pools` follow."""


def simulated_pool(_: Path, scheduler: Scheduler) -> Pool:
    clients = {"dynamodb": SimulatedDynamoDB(time.time, copies=True), "s3": SimulatedS3(time.time)}
    bed = Clients(clients)
    options = new_options(bed)
    table = Table(bed.client("dynamodb"), options.table, sleep=lambda _: None)
    return TablePool(table, Bodies(bed.client("s3"), options.bucket), "gpu", scheduler)


ADAPTERS["simulated"] = simulated_pool
