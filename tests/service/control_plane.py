"""The control plane in a box: the real use cases and store, fakes around them, events by hand.

Nothing happens by itself. A test delivers what AWS would (the table's stream, wake messages, events
of jobs, steps of executions), loses it, repeats it or turns it round, and moves the clock.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from handlers import register
from hut.backends.port import Job, JobName, RemoteBackend
from hut.checking import check_document
from hut.model.records import RunRecord, TaskRecord
from hut.model.run_options import NO_OPTIONS, RunOptions
from hut.model.schema_faults import Check
from hut.model.states import TaskState
from hut.planning.calls import Definitions
from hut.service.advancing import Advancing
from hut.service.observing import Observed, Observing
from hut.service.ports import Instances
from hut.service.submitting import Submitting
from hut.service.surroundings import Surroundings
from hut.service.sweeping import Sweeping, Swept
from hut.store.dynamodb import DynamoStore, log
from hut.store.dynamodb.keys import backend_key
from hut.store.events import NotRegistered
from hut.store.port import TaskFilter
from hut.submission import Setting, Submission
from tests.aws.watched_client import WRITES, Call, WatchedClient
from tests.aws_table import Clients, new_options
from tests.service.fake_ports import (
    AnswerLost,
    Clock,
    Died,
    FakeBackend,
    FakeDocuments,
    FakeExecutions,
    FakeWakes,
    Fate,
    Measures,
    Notes,
)
from tests.testbed.running import TestBed

__all__ = ["Context", "ControlPlane", "Told", "is_told"]

_ROUNDS = 400  # of deliveries; more is a loop


class Context:
    """The context of an invocation."""

    function_name = "hut-test"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:hut-test"
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def is_told(image: dict[str, Any]) -> bool:
    """Say whether the stream's filter lets an item through."""
    return log.told(image) is not None


@dataclass
class Told:
    """What the stream told of a run: positions of tasks that ended, and whether to look at all."""

    ended: list[int] = field(default_factory=list)
    signalled: bool = False


class ControlPlane:
    """See the module's docstring.

    Attributes
    ----------
    images : list of dict
        Items that the stream has told of and nobody has taken yet.
    sweeps : int
        How many sweeps `finish` needed.
    pauses : list of float
        How long somebody wanted to wait.
    instances : dict
        What is told of news of EC2 tasks, by their state machine.
    starts_are_told : bool
        Whether jobs in `finish` tell that they run, or only that they have ended.
    """

    def __init__(
        self,
        bed: TestBed | Clients,
        *,
        caps: dict[str, int] | None = None,
        backends: Sequence[str] = ("batch",),
    ) -> None:
        self.bed = bed
        self.clock = Clock()
        self.fate = Fate()
        self.images: list[dict[str, Any]] = []
        self.options = new_options(bed, follow="stream")
        self.client = WatchedClient(bed.client("dynamodb"), self._call)
        self.s3 = WatchedClient(bed.client("s3"), self._call)
        self.store = DynamoStore(
            self.client, self.s3, self.options, clock=self.clock, sleep=lambda _: None
        )
        self.backends = {name: FakeBackend(self.clock, self.fate, name) for name in backends}
        self.backend = self.backends[backends[0]]
        self.executions = FakeExecutions(self.fate)
        self.wakes = FakeWakes(self.clock, self.fate)
        self.notes = Notes()
        self.pools: dict[str, Any] = {}
        self.sites: dict[str, Any] = {}
        self.measures = Measures()
        self.caps = caps or {}
        self.has_time: Callable[[], bool] = lambda: True
        self.sweeps = 0
        self.starts_are_told = True
        self.pauses: list[float] = []
        self.instances: dict[str, Callable[[], Instances]] = {}
        self.documents = FakeDocuments(self.fate)
        self.definitions: Definitions | None = None
        self.holds: Check = check_document
        self._numbers = count(1)

    def _call(self, operation: str, arguments: dict[str, Any], call: Call) -> Any:
        if operation not in WRITES and operation != "put_object":
            return call(**arguments)

        def write() -> Any:
            answer = call(**arguments)
            images = [
                entry["Put"]["Item"]
                for entry in arguments.get("TransactItems", ())
                if "Put" in entry
            ]
            images += [arguments["Item"]] if "Item" in arguments else []
            images += [answer["Attributes"]] if answer.get("Attributes") else []
            self.images.extend(image for image in images if is_told(image))
            return answer

        return self.fate.effect(_label(operation, arguments), write)

    # The use cases ------------------------------------------------------------------------------

    def around(self) -> Surroundings:
        backends: dict[str, RemoteBackend] = dict(self.backends)
        return Surroundings(
            store=self.store,
            backends=backends,
            executions=self.executions,
            wakes=self.wakes,
            note=self.notes,
            clock=self.clock,
            prefix="hut",
            caps=self.caps,
            documents=self.documents,
            check=self.holds,
            has_time=self._has_time,
            measure=self.measures,
            sleep=self.pauses.append,
            instances=self.instances,
            pools=lambda: self.pools,
        )

    def _has_time(self) -> bool:
        return self.has_time()

    @property
    def advancing(self) -> Advancing:
        return Advancing(self.around())

    @property
    def observing(self) -> Observing:
        return Observing(self.around())

    @property
    def submitting(self) -> Submitting:
        return Submitting(self.store, self.executions)

    def sweep(self) -> Swept:
        return Sweeping(self.around()).sweep()

    def submit(
        self,
        *tasks: dict[str, Any],
        key: str | None = None,
        new_id: str = "",
        options: RunOptions = NO_OPTIONS,
        **fields: Any,
    ) -> RunRecord:
        """Submit tasks; a command is filled in where none is given."""
        entries = [task if "task" in task else {"command": "true", **task} for task in tasks]
        text = json.dumps({"tasks": entries, **fields})
        submission = Submission(
            text, "w.json", "w", owner="me", idempotency_key=key, options=options
        )
        run, _, _ = self.submitting.submit(
            submission,
            Setting(backends=tuple(self.backends), definitions=self.definitions, sites=self.sites),
            now=self.clock.now,
            new_id=new_id or f"run{next(self._numbers)}",
        )
        return run

    def begin(self, *tasks: dict[str, Any], **fields: Any) -> RunRecord:
        """Submit tasks and let the execution come to where it waits."""
        run = self.submit(*tasks, **fields)
        self.step_executions()
        return self.run(run)

    # What AWS delivers --------------------------------------------------------------------------

    def step_executions(self) -> bool:
        """Let each execution come as far as it can; say whether any did something.

        A step that fails is repeated by the next call, as the state machine does.
        """
        worked = False
        for execution in list(self.executions.started.values()):
            if execution.over or execution.token is not None:
                continue
            what = {"run": execution.run_id, "generation": execution.generation}
            name = f"{execution.run_id}-{execution.generation}"
            try:
                if not execution.registered:
                    for block in range(execution.blocks):
                        self.register({"step": "block", **what, "block": block})
                    execution.registered = True
                self.register({"step": "start", **what, "token": f"token-{name}"})
            except (Died, AnswerLost, NotRegistered):
                self.fate.revive()
                continue
            execution.token = f"token-{name}"
            execution.over = execution.token in self.executions.told
            worked = True
        return worked

    def register(self, event: dict[str, Any]) -> dict[str, Any]:
        """Call the ``register`` function."""
        wired, register.surroundings = register.surroundings, lambda *_: self.around()
        try:
            answer: dict[str, Any] = register.handler(event, Context())
        finally:
            register.surroundings = wired
        return answer

    def take_images(self) -> dict[str, Told]:
        """Take what the stream tells, folded by run as `advance` folds it."""
        images, self.images = self.images, []
        folded: dict[str, Told] = defaultdict(Told)
        for news in filter(None, map(log.told, images)):
            told = folded[news.run_id]
            told.ended.extend(news.ended)
            told.signalled = told.signalled or news.signalled
        return folded

    def deliver_stream(self) -> bool:
        """Advance each run the stream tells of."""
        folded = self.take_images()
        for run_id, told in folded.items():
            self.invoke(lambda run_id=run_id, told=told: self.advance(run_id, told))
        return bool(folded)

    def advance(self, run_id: str, told: Told) -> RunRecord:
        return self.advancing.advance(run_id, told.ended, wholly=told.signalled)

    def deliver_wakes(self) -> bool:
        due = self.wakes.take_due()
        for _, run_id, ended in due:
            self.invoke(lambda run_id=run_id, ended=ended: self.advancing.advance(run_id, ended))
        return bool(due)

    def deliver_jobs(self) -> bool:
        seen = [event for backend in self.backends.values() for event in backend.take_events()]
        by_run: dict[str, list[tuple[JobName, Job]]] = defaultdict(list)
        for name, job in seen:
            by_run[name.run_id].append((name, job))
        for run_id, events in by_run.items():
            self.invoke(lambda run_id=run_id, events=events: self.observe(run_id, events))
        return bool(seen)

    def observe(self, run_id: str, events: Sequence[tuple[JobName, Job]]) -> Observed:
        return self.observing.observe(run_id, events)

    def deliver(self) -> None:
        """Deliver everything that waits, until there is nothing more."""
        for _ in range(_ROUNDS):
            some = [
                self.step_executions(),
                self.deliver_stream(),
                self.deliver_wakes(),
                self.deliver_jobs(),
            ]
            if not any(some):
                return
        raise AssertionError("events without end")

    def dies(self, work: Callable[[], Any]) -> str:
        """Do something that dies on the way; return before what."""
        with pytest.raises(Died):
            work()
        self.fate.revive()
        return self.fate.effects[-1]

    def invoke(self, work: Callable[[], Any]) -> bool:
        """Do what a function does; say whether it lived. With it die all events under way."""
        try:
            work()
        except (Died, AnswerLost):
            self.fate.revive()
            self.lose_events()
            return False
        return True

    def lose_events(self) -> None:
        """Lose all events that are under way."""
        self.images.clear()
        self.wakes.waiting.clear()
        for backend in self.backends.values():
            backend.events.clear()

    def finish(self, run: RunRecord, *, sweeps: int = 0) -> RunRecord:
        """Let jobs run and deliver everything until the run has ended.

        Parameters
        ----------
        sweeps
            How many sweeps, each some minutes after the last, may help.
        """
        for _ in range(_ROUNDS):
            self.deliver()
            if self.run(run).ended_at is not None:
                return self.check(run)
            if any(backend.active() for backend in self.backends.values()):
                for backend in self.backends.values():
                    (backend.run_all if self.starts_are_told else backend.end)()
            elif self.wakes.waiting:
                self.clock.now = min(due for due, _, _ in self.wakes.waiting)
            elif self.sweeps < sweeps:
                self.sweeps += 1
                self.clock.now += 200
                self.invoke(self.sweep)
            else:
                break
        raise AssertionError(f"the run does not end: {self.states(run)!s:.500}")

    # Looking ------------------------------------------------------------------------------------

    def run(self, run: RunRecord | str) -> RunRecord:
        return self.store.get_run(run if isinstance(run, str) else run.id)

    def task(self, run: RunRecord, task_id: str) -> TaskRecord:
        task = self.store.get_task(run.id, task_id)
        assert task is not None
        return task

    def tasks(self, run: RunRecord) -> list[TaskRecord]:
        return self.store.list_tasks(run.id, TaskFilter())

    def states(self, run: RunRecord) -> dict[str, str]:
        return {task.spec.id: str(task.state) for task in self.tasks(run)}

    def job(self, task_id: str) -> Any:
        """Return the latest job of a task."""
        jobs = [b.jobs.values() for b in self.backends.values()]
        return [job for some in jobs for job in some if job.spec.id == task_id][-1]

    def busy(self, backend: str = "batch") -> int:
        item = self.store._table.get(backend_key(backend)) or {}
        return int(item.get("busy", 0))

    def is_over(self, run: RunRecord) -> bool:
        """Say whether whoever waits for the run was told, and nothing looks at it any more."""
        generation = self.store.standing(run.id).generation
        told = f"token-{run.id}-{generation}" in self.executions.told
        return told and run.id not in self.store.active_runs()

    def check(self, run: RunRecord) -> RunRecord:
        """The counts are those of the tasks, and no attempt ran twice."""
        record, tasks = self.run(run), self.tasks(run)
        for state in TaskState:
            assert record.counts[state] == sum(task.state is state for task in tasks), state
        assert record.total == len(tasks)
        active = sum(
            task.state in (TaskState.SUBMITTED, TaskState.RUNNING)
            for other in self.store.find_runs("run", 100)
            for task in self.tasks(other)
            if task.backend == "batch"
        )
        assert self.busy() == active
        for backend in self.backends.values():
            names = [(job.name, job.index) for job in backend.jobs.values() if job.ran]
            assert len(names) == len(set(names))
        return record


def _label(operation: str, arguments: dict[str, Any]) -> str:
    """Say what a write is about."""
    if "Key" in arguments and isinstance(arguments["Key"], dict):
        key = arguments["Key"]
        return f"{operation} {key['pk']['S'].partition('#')[0]} {key['sk']['S']}"
    return operation
