"""A whole deployment of Hut in one process and in virtual time, on an AWS that misbehaves on purpose.

The handlers, use cases, store and backend are the real ones. A history is a function of its seed, its
faults and what people do; `Watch` looks at every step of it.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Self
from unittest import mock

from greenlet import getcurrent

import hut.backends.calls
import hut.measuring
from handlers import advance, finish, observe, register, sweep, wiring
from hut.backends.port import parse_job_name
from hut.model.records import TaskRecord
from hut.rest import observing as rest_observing
from hut.store.dynamodb import DynamoStore, StoreOptions
from tests.aws_table import Clients, new_options
from tests.simulation.acknowledging import Acknowledging
from tests.simulation.agenda import Agenda
from tests.simulation.batch import SimulatedBatch
from tests.simulation.batch_job import SimulatedJob
from tests.simulation.bundles import BundledTask, Bundles
from tests.simulation.chance import Chance
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.executions import MACHINE, SimulatedStepFunctions
from tests.simulation.fates import Fate, host_reclaimed
from tests.simulation.faults import CALM, Faults
from tests.simulation.functions import Functions
from tests.simulation.history import History
from tests.simulation.hosts import SimulatedAttempt
from tests.simulation.instance_rules import InstanceWatch
from tests.simulation.instances import Ec2, Instances, is_wanted, told_of
from tests.simulation.invariants import Watch
from tests.simulation.logs import SimulatedLogs
from tests.simulation.people import People
from tests.simulation.queues import Queue, SimulatedSQS
from tests.simulation.s3 import SimulatedS3
from tests.simulation.states import SimulatedStates
from tests.simulation.streams import Stream
from tests.simulation.workflows import Behaviour, behaviour_of

__all__ = ["BEGIN", "SWEEP_SECONDS", "World", "passes", "simulated"]

BEGIN = 1_800_000_000.0
SWEEP_SECONDS = 120.0
_LOG_LAG = 4.0  # seconds, at most, until CloudWatch Logs shows a line
_LOGGERS = (advance.logger, finish.logger, observe.logger, register.logger, sweep.logger)


class World:
    """See the module's docstring.

    Parameters
    ----------
    seed
        Decides everything that is left to chance.
    faults
        What may go wrong, and for how long.
    allowed
        The only faults that may happen; for histories that are shrunk.
    scripted
        By the number of an AWS call what goes wrong with it: ``crash before``, ``crash after``, ...
    cap
        The backend's; None: it takes all.
    ec2
        How the other backend is, which runs tasks on instances; None: there is none.
    kept
        Keep the history's lines.
    """

    def __init__(
        self,
        seed: int,
        faults: Faults = CALM,
        *,
        allowed: Sequence[str] | None = None,
        scripted: Mapping[int, str] | None = None,
        cap: int | None = None,
        ec2: Ec2 | None = None,
        kept: bool = False,
    ) -> None:
        self.hub = getcurrent()
        self.agenda = Agenda(BEGIN)
        self.chance = Chance(seed, allowed)
        self.history = History(self._clock, kept=kept)
        self.faults = faults
        self._calm = replace(CALM, late=faults.late, index_lag=faults.index_lag)
        self.faults_end = BEGIN + faults.seconds
        self._scripted = scripted or {}
        self.cap = cap
        self.most_instances = None if ec2 is None else ec2.most
        self.calls = 0
        self.labels: list[str] = []
        self.sweeps = 0
        self.current: wiring.Process | None = None
        self.active_jobs = 0
        self._specs: dict[tuple[str, int], tuple[str, str]] = {}
        self.watch = Watch(self)
        self.bundles = Bundles(self)
        self._make_services(ec2)
        self.instance_watch = InstanceWatch(self)
        self.instances.ec2.changed.append(self.instance_watch.changed)
        self.people = People(self)
        self.acknowledging = Acknowledging(self)
        self.agenda.after(self.chance.between("first sweep", 1, SWEEP_SECONDS), self._sweep)

    def _clock(self) -> float:
        return self.agenda.now

    # What there is -------------------------------------------------------------------------------

    def _make_services(self, ec2: Ec2 | None) -> None:
        self.dynamodb = SimulatedDynamoDB(self._clock)
        self.s3 = SimulatedS3(self._clock)
        options = new_options(Clients({"dynamodb": self.dynamodb, "s3": self.s3}), name="hut")
        self.options = StoreOptions(
            options.table, options.bucket, follow="stream", counted=self._counted()
        )
        self.stream = Stream(self)
        self.dynamodb.committed.append(self._committed)
        self.dynamodb.index_lag = self._index_lag
        self.dynamodb.unprocessed = self._unprocessed
        self.logs = SimulatedLogs(self._clock, lag=self._log_lag)
        self.logs.create_log_group(logGroupName="/hut/jobs")
        self.batch = SimulatedBatch(
            self._clock,
            self.agenda.at,
            self.tell,
            fate=self._fate,
            logs=self.logs,
            list_lag=self._list_lag,
        )
        self.batch.changed.append(self._job_changed)
        self.batch.is_wanted = lambda job: job.summary is None
        queue = self.batch.add_queue("hut-ec2", most_cpus=1_000_000)
        self.observe_queue = Queue(self, "observe queue", "observe", 500, 2)
        self.wake_queue = Queue(self, "wake queue", "advance", 10, 4)
        self.states = SimulatedStepFunctions(self)
        queues = SimulatedSQS({"wake": self.wake_queue, "observe": self.observe_queue})
        called = {"dynamodb": self.dynamodb, "sqs": queues}
        self.instances = Instances(self, called)
        self.services: dict[str, Any] = {
            **called,
            "batch": self.batch,
            "ec2": self.instances.ec2,
            "logs": self.logs,
            "s3": self.s3,
            "ssm": self.instances.ssm,
            "stepfunctions": SimulatedStates(self.states, self.instances.machine),
        }
        backend = {
            "name": "batch",
            "type": "batch",
            "queues": {"ec2": queue},
            "default_queue": "ec2",
            "platforms": {"ec2": "EC2"},
            "default_image": "python:3.12-slim",
            "log_group": "/hut/jobs",
            "job_role_arn": None,
            "execution_role_arn": None,
            "max_concurrent": self.cap,
            "prices": {"ec2": {"vcpu_hour": 0.033, "gib_hour": 0.00375}},
        }
        environment = {
            "HUT_TABLE": options.table,
            "HUT_BUCKET": options.bucket,
            "HUT_PREFIX": "hut",
            "HUT_BACKENDS": json.dumps([backend, *([] if ec2 is None else [ec2.entry()])]),
            "HUT_AUDIT_TABLE": options.table,
            "HUT_WAKE_QUEUE_URL": "wake",
            "HUT_STATE_MACHINE_ARN": MACHINE,
        }
        self.functions = Functions(self, environment)
        # Looks at the table as it is, past all faults.
        self.store = DynamoStore(self.dynamodb, self.s3, self.options, clock=self._clock)

    def _counted(self) -> frozenset[str]:
        batch = frozenset() if self.cap is None else frozenset({"batch"})
        return batch if self.most_instances is None else batch | {"ec2"}

    def _committed(self, changes: Sequence[Any]) -> None:
        self.watch.wrote(changes)
        if self.most_instances is not None:
            self.instance_watch.wrote(changes)
        for change in changes:
            if change.old is None:
                self.stream.changed(change.key["pk"]["S"], change.new)

    def _index_lag(self, change: Any) -> float:
        label = self.chance.numbered(f"lag {change.key['pk']['S']}")
        return self.chance.between(label, 0.0, self.faults.index_lag)

    def _unprocessed(self, operation: str, count: int) -> int:
        label = self.chance.numbered(f"left {operation}")
        share = self.faults_now().left
        left = self.chance.fault("left", label, share)
        return 1 + self.chance.below(f"how many {label}", count - 1) if left and count > 1 else 0

    def _list_lag(self, job: SimulatedJob) -> float:
        return self.chance.between(f"listed {job.name} {job.number}", 0.0, self.faults.list_lag)

    def _log_lag(self, stream: str) -> float:
        return self.chance.between(f"shown {stream}", 0.0, min(self.faults.late, _LOG_LAG))

    # What jobs do --------------------------------------------------------------------------------

    def task_of(
        self, job: SimulatedJob | SimulatedAttempt | BundledTask
    ) -> tuple[str, int, int, str] | None:
        """Return run, position, attempt and id of the task a job is for.

        None for an array itself, and for a bundle.
        """
        return self.attempt_of(job.name, job.index)

    def attempt_of(self, job_name: str, index: int | None) -> tuple[str, int, int, str] | None:
        """Return the same for a job's name, and which child of an array it is."""
        name = parse_job_name(job_name)
        assert name is not None
        key = name.key
        if name.array:
            if index is None:
                return None
            children = self.store.array(name.run_id, name.array)
            assert children is not None
            key = children[index]
        assert key is not None
        return name.run_id, key.position, key.attempt, self._spec(name.run_id, key.position)[0]

    def _job_changed(self, job: SimulatedJob) -> None:
        if job.summary is None:
            self.active_jobs += (job.state == "SUBMITTED") - job.has_ended
        self.bundles.changed(job)
        self.watch.job_changed(job)

    def attempt_changed(self, attempt: SimulatedAttempt) -> None:
        """Look at an attempt on an instance whose state has changed."""
        self.bundles.changed(attempt)
        self.watch.job_changed(attempt)

    def _spec(self, run_id: str, position: int) -> tuple[str, str]:
        """Return a task's id and command."""
        if (run_id, position) not in self._specs:
            spec = self.store.get_tasks(run_id, [position])[position].spec
            self._specs[run_id, position] = spec.id, spec.command
        return self._specs[run_id, position]

    def _fate(self, job: SimulatedJob) -> Fate:
        found = self.task_of(job)
        if found is None:
            return self.bundles.fate(job) or Fate()
        label = f"{job.name} {job.index} {job.number} {job.tries}"
        return self._fate_of(found, label)

    def fate_on_host(self, job: SimulatedAttempt) -> Fate:
        """Say what becomes of an attempt on an instance; the instance's own fate is another matter."""
        found = self.task_of(job)
        if found is None:
            return self.bundles.fate(job) or Fate()
        return replace(self._fate_of(found, job.handle, on_host=True), kept=None)

    def _fate_of(
        self, found: tuple[str, int, int, str], label: str, *, on_host: bool = False
    ) -> Fate:
        run_id, position, attempt, task_id = found
        does = behaviour_of(self._spec(run_id, position)[1])
        task = self.store.get_tasks(run_id, [position])[position]
        waits = self.chance.between(f"waits {label}", 0.5, 8.0)
        runs = does.runs * self.chance.between(f"runs {label}", 0.8, 1.2)
        faults = self.faults_now()
        more: dict[str, Any] = {"waits": waits, "runs": runs}
        if not on_host and self.chance.fault("vanished", label, faults.vanished):
            more["kept"] = 0.0
        reclaimed = 0.0 if on_host else faults.reclaimed
        if self.chance.fault("reclaimed", f"{task_id} {attempt} {label}", reclaimed):
            return host_reclaimed(**more)
        if self._fails(run_id, task, does):
            return Fate(exit_code=3, **more)
        made = json.dumps(list(does.generates)).encode() if does.generates else None
        return Fate(generated=made, **more)

    def _fails(self, run_id: str, task: TaskRecord, does: Behaviour) -> bool:
        first = self.store.standing(run_id).generation == 0
        return first and task.retries_used < does.fails

    def fate_in_bundle(self, run_id: str, position: int, label: str) -> Fate:
        """Say what becomes of a task that shares its job; the job's own fate is another matter."""
        does = behaviour_of(self._spec(run_id, position)[1])
        task = self.store.get_tasks(run_id, [position])[position]
        runs = does.runs * self.chance.between(f"runs {label}", 0.8, 1.2)
        return Fate(runs=runs, exit_code=3 if self._fails(run_id, task, does) else 0)

    # What goes wrong -----------------------------------------------------------------------------

    def faults_now(self) -> Faults:
        """Return what may go wrong now."""
        return self.faults if self.agenda.now < self.faults_end else self._calm

    def verdict(self, label: str) -> str:
        """Say what goes wrong with an AWS call; empty if nothing does."""
        return self._verdict(label, "crash", self.faults_now().crash)

    def verdict_on_machine(self, label: str) -> str:
        """Say what goes wrong with a call of the state machine; where a process dies, it is stopped."""
        return self._verdict(label, "stopped", self.faults_now().stopped)

    def _verdict(self, label: str, death: str, share_of_deaths: float) -> str:
        self.calls += 1
        if self._scripted:
            self.labels.append(label)
            return self._scripted.get(self.calls, "").replace("crash", death)
        faults, chance = self.faults_now(), self.chance
        for kind, share in (
            (f"{death} before", share_of_deaths / 2),
            (f"{death} after", share_of_deaths / 2),
            ("throttled", faults.throttled),
            ("broken", faults.broken),
            ("unanswered", faults.unanswered),
            ("raced", faults.raced),
        ):
            if chance.fault(kind, label, share):
                return kind
        return ""

    def tell(self, event: dict[str, Any]) -> None:
        """Take an event on the bus, as the rules of `infra.control` let it through."""
        if event["source"] == "aws.batch":
            if not passes(event["detail"]):
                return
        elif not is_wanted(event):
            return
        label = self.chance.numbered(told_of(event))
        if self.chance.fault("lost", label, self.faults_now().lost):
            self.history.note("events", f"loses {label}", is_fault=True)
            return
        kept = ("source", "detail-type", "detail")
        self.observe_queue.send(json.dumps({key: event[key] for key in kept if key in event}))
        if self.chance.fault("poisoned", label, self.faults_now().poisoned):
            self.observe_queue.send('{"source": "aws.batch"}')

    # Time ----------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self.agenda.after(SWEEP_SECONDS, self._sweep)
        if self.functions.has_room("sweep"):
            self.sweeps += 1
            self.functions.invoke("sweep", {}, lambda _: None)


def passes(detail: Mapping[str, Any]) -> bool:
    """Say whether the rules for jobs let an event through."""
    if "size" in detail.get("arrayProperties", {}):
        return False
    if detail["status"] in ("SUCCEEDED", "FAILED"):
        return True
    return detail["status"] == "RUNNING" and "hutStarts" in detail.get("parameters", {})


@contextmanager
def simulated(seed: int, *arguments: Any, **options: Any) -> Iterator[World]:
    """Make a world, and put it in place of the real one as long as the block lasts."""
    before = random.getstate()
    random.seed(seed)
    world = World(seed, *arguments, **options)
    notes = _Notes(world)
    with ExitStack() as stack:
        patch = lambda *what, **how: stack.enter_context(mock.patch.object(*what, **how))  # noqa: E731
        patch(wiring, "process", lambda: world.current)
        patch(wiring, "_end_start", lambda: None)
        patch(hut.backends.calls, "ThreadPoolExecutor", _OneByOne)
        patch(hut.measuring, "_metrics", lambda: _NoMetrics)
        for logger in {id(each): each for each in (*_LOGGERS, rest_observing._logger)}.values():
            stack.callback(logger._logger.setLevel, logger._logger.level)
            logger._logger.setLevel(logging.WARNING)
            patch(logger._logger, "handlers", [notes])
            patch(logger._logger, "propagate", new=False)
        try:
            yield world
        finally:
            random.setstate(before)


class _OneByOne:
    """An executor for the calls of one function: greenlets don't go together with threads."""

    def __init__(self, max_workers: int) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, call: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        return [call(item) for item in items]


class _NoMetrics:
    class provider:  # noqa: N801 - powertools' name
        metric_set: ClassVar[dict[str, Any]] = {}

    @staticmethod
    def add_metric(*_: object) -> None: ...


class _Notes(logging.Handler):
    """Writes what functions warn of into the history."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        run = getattr(record, "run", "")
        self._world.history.note("log", f"{record.getMessage()} {run}")
