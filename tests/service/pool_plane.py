"""A control plane in a box with a pool of workers: the real backend, pool and use cases, workers by hand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hut.backends.port import Job, JobName, parse_job_name
from hut.backends.workers.backend import WorkersBackend
from hut.backends.workers.options import WorkersOptions
from hut.model.records import RunRecord
from hut.model.scheduler import OF_POOLS, Scheduler
from hut.pools.port import How, Order, Report, Started, Turn, WorkerSpec
from hut.service.pooling import Pooling
from hut.store.dynamodb.bodies import Bodies
from hut.store.dynamodb.pools import TablePool
from hut.store.dynamodb.table import Table
from tests.aws_table import Clients
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import AnswerLost, Died
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.s3 import SimulatedS3

POOL = "gpu"
_ROUNDS = 300


class PoolBackend(WorkersBackend):
    """The backend, with what a `ControlPlane` asks of its fakes: messages it sent are events."""

    def __init__(self, plane: ControlPlane, options: WorkersOptions) -> None:
        self.plane = plane
        self.events: list[tuple[JobName, Job]] = []
        self.jobs: dict[str, Any] = {}
        self.rings = 0
        table = Table(plane.client, plane.options.table, sleep=lambda _: None)
        super().__init__(
            options,
            TablePool(table, Bodies(plane.s3, plane.options.bucket), POOL, options.scheduler),
            logs=None,
            bell=self,
            news=self,
            clock=plane.clock,
            sleep=lambda _: None,
        )

    def ring(self, times: int) -> None:
        self.rings += times

    def tell(self, jobs: Sequence[Job]) -> None:
        def note() -> None:
            for job in jobs:
                name = parse_job_name(job.name)
                assert name is not None
                self.events.append((name, job))

        self.plane.fate.effect("news.tell", note)

    def take_events(self) -> list[tuple[JobName, Job]]:
        events, self.events = self.events, []
        return events

    def active(self) -> bool:
        return False


@dataclass
class Agent:
    """A worker: it runs what it is given at once, and says again what was not answered."""

    world: PoolPlane
    name: str
    slots: int = 100
    properties: dict[str, str] = field(default_factory=dict)
    id: str = ""
    has: dict[tuple[str, int], Order] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    starts: list[Started] = field(default_factory=list)
    holds: bool = False  # it runs nothing to its end
    cancelled: list[str] = field(default_factory=list)

    def join(self) -> None:
        spec = WorkerSpec(self.name, self.properties, self.slots, host="h")
        self.id = self.world.pooling.join(POOL, spec).worker
        self.has.clear()
        self.reports.clear()
        self.starts.clear()

    def step(self) -> bool:
        """Take a turn, as often as it takes for an answer; say whether anything came of it."""
        if not self.id:
            self.join()
        told, began = tuple(self.reports), tuple(self.starts)
        over = {(report.lease, report.part) for report in told}
        holding = tuple(dict.fromkeys(lease for lease, part in self.has))
        want = 0 if self.holds and self.has else self.slots
        turn = Turn(want, began, told, holding)
        answer = self.world.pooling.turn(POOL, self.id, turn)
        self.reports = [report for report in self.reports if report not in told]
        self.starts.clear()
        for key in over:
            self.has.pop(key, None)
        if answer.gone:
            self.id = ""
            self.has.clear()
            return True
        for lease in answer.refused:
            self.has = {key: order for key, order in self.has.items() if key[0] != lease}
        for order in answer.tasks:
            self.has[order.lease, order.part] = order
        self.cancelled += answer.cancel
        for lease in answer.cancel:
            for key in [key for key in self.has if key[0] == lease]:
                self.end(self.has[key], How.CANCELLED)
        if not self.holds:
            for key, order in self.has.items():
                if not any((r.lease, r.part) == key for r in self.reports):
                    self.run(order)
        return bool(answer.tasks or told or self.reports or answer.cancel)

    def begin(self) -> None:
        """Start what it has."""
        now = self.world.plane.clock.now
        self.starts += [
            Started(o.lease, o.epoch, now, o.part, log="log") for o in self.has.values()
        ]

    def run(self, order: Order) -> None:
        self.world.ran[order.run, order.task, order.attempt] += 1
        code = self.world.codes.get((order.task, order.attempt), 0)
        self.end(order, How.EXIT, exit_code=code)

    def end(self, order: Order, how: How, **more: Any) -> None:
        now = self.world.plane.clock.now
        one = Report(order.lease, order.epoch, how, now, order.part, started_at=now, **more)
        self.reports.append(one)


class PoolPlane:
    """See the module's docstring.

    Attributes
    ----------
    ran : counter
        How often each attempt ran: by run, task and number.
    codes : dict
        Exit codes of attempts, by task and number; the others succeed.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler = OF_POOLS,
        bundle: int | None = None,
    ) -> None:
        bed: Any = Clients(
            {"dynamodb": SimulatedDynamoDB(time.time, copies=True), "s3": SimulatedS3(time.time)}
        )
        self.plane = ControlPlane(bed)
        options = WorkersOptions(POOL, "/hut/jobs", bundle=bundle, scheduler=scheduler)
        self.backend = PoolBackend(self.plane, options)
        self.plane.backends[POOL] = self.backend  # type: ignore[assignment]
        self.plane.pools[POOL] = self.backend
        self.ran: Counter[tuple[str, str, int]] = Counter()
        self.codes: dict[tuple[str, int], int] = {}
        self._ids = count(1)
        self.pooling = Pooling(
            self.plane.around(), lambda _: {POOL: self.backend}, lambda: f"n{next(self._ids)}"
        )

    def begin(self, *tasks: dict[str, Any], **fields: Any) -> RunRecord:
        return self.plane.begin(*tasks, backend=POOL, **fields)

    def invoke(self, work: Callable[[], Any]) -> Any:
        """Do what a function does; None if it died, and all events under way with it."""
        try:
            return work()
        except (Died, AnswerLost):
            self.plane.fate.revive()
            self.plane.lose_events()
            return None

    def finish(self, run: RunRecord, *agents: Agent, sweeps: int = 0) -> RunRecord:
        """Let workers take turns and deliver everything until the run has ended."""
        done = 0
        for _ in range(_ROUNDS):
            self.plane.deliver()
            if self.plane.run(run).ended_at is not None:
                return self.plane.check(run)
            steps = [self.invoke(agent.step) for agent in agents]
            if any(steps):
                continue
            if self.plane.wakes.waiting:
                self.plane.clock.now = min(due for due, _, _ in self.plane.wakes.waiting)
            elif done < sweeps:
                done += 1
                self.plane.clock.now += 200
                for agent in agents:
                    self.invoke(agent.step)  # a sign of life
                self.invoke(self.plane.sweep)
        raise AssertionError(f"the run does not end: {self.plane.states(run)!s:.500}")
