"""Fakes of the ports around the use cases: jobs, executions, wakes and notes are plain records."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hut.backends.port import (
    ArrayRequest,
    BundleReport,
    BundleRequest,
    BundleShape,
    Job,
    JobName,
    JobRequest,
    JobState,
    LogPage,
    SubmitResult,
    TaskReport,
    bundled_handle,
    child_handle,
    parent_of,
    parse_job_name,
)
from hut.lifecycle.task_program import Judged, Left
from hut.metrics import Metric
from hut.model.problems import Problem
from hut.model.records import Outcome, RunRecord
from hut.model.states import Reason, TaskState
from hut.model.waiting import Pool, Queue, Waiting
from hut.model.workflow import TaskSpec
from hut.scheduling.bundles import Limits
from hut.scheduling.pacing import Place
from hut.service.ports import DocumentKind

__all__ = [
    "CANCELLED",
    "COMPLETED",
    "FAILED",
    "HEALTHY",
    "AnswerLost",
    "Clock",
    "Died",
    "FakeBackend",
    "FakeDocuments",
    "FakeExecutions",
    "FakeWakes",
    "Fate",
    "Measures",
    "Notes",
]

HEALTHY = Queue("queue", pools=(Pool("machines", most_cpus=16, cpus=0),))
COMPLETED = Outcome(TaskState.COMPLETED, Reason.EXIT, 0)
FAILED = Outcome(TaskState.FAILED, Reason.EXIT, 1, "exit code 1")
CANCELLED = Outcome(TaskState.FAILED, Reason.CANCELLED, None, "cancelled while it ran")


class Died(BaseException):
    """The process is killed: nothing catches it, nothing after it happens."""


class AnswerLost(ConnectionError):  # noqa: N818 - says what happened
    """Something was done, but its answer did not arrive."""


@dataclass
class Clock:
    """Seconds since the epoch, as the test says."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Fate:
    """Counts what has an effect outside the process; one of them goes wrong.

    Attributes
    ----------
    dies_before, loses_answer_of : int
        Number of the effect, from 1 on; 0 for none.
    dead : bool
        Nothing has an effect any more until somebody else takes over (`revive`).
    """

    dies_before: int = 0
    loses_answer_of: int = 0
    dead: bool = False
    effects: list[str] = field(default_factory=list)

    def revive(self) -> None:
        """Let another process go on."""
        self.dead = False

    def kill(self) -> None:
        """Kill the process here and now."""
        self.dead = True
        raise Died("killed")

    def effect(self, label: str, call: Callable[[], Any]) -> Any:
        if self.dead:
            raise Died(label)
        self.effects.append(label)
        if len(self.effects) == self.dies_before:
            self.dead = True
            raise Died(label)
        answer = call()
        if len(self.effects) == self.loses_answer_of:
            raise AnswerLost(label)
        return answer


@dataclass
class FakeJob:
    """A job as the service knows it."""

    name: str
    handle: str
    run_id: str
    spec: TaskSpec
    created_at: float
    state: JobState = JobState.WAITING
    outcome: Outcome | None = None
    started_at: float | None = None
    ended_at: float | None = None
    said: str = ""
    index: int | None = None
    starts: bool = True

    def seen(self) -> Job:
        return Job(
            self.name,
            self.handle,
            self.state,
            self.outcome,
            log=f"log-{self.handle}" if self.started_at is not None else None,
            created_at=self.created_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            queue="queue",
            said=self.said,
            index=self.index,
        )

    @property
    def ran(self) -> bool:
        """Whether the command ran: a job may end without its start being told."""
        return self.started_at is not None or (
            self.outcome is not None
            and self.outcome != CANCELLED
            and self.outcome.reason is not Reason.QUEUE_TIMEOUT
        )

    @property
    def parsed(self) -> JobName:
        parsed = parse_job_name(self.name)
        assert parsed is not None
        return parsed


@dataclass
class FakeBackend:
    """A service that runs jobs when the test says so.

    Attributes
    ----------
    outcomes : dict of str to list of Outcome
        By task id how its attempts end, one after the other; the rest completes.
    refused : dict of str to Outcome
        Tasks that can't be submitted.
    busy : int
        How many submissions find the service busy.
    again_at : float or None
        When a service that is busy has time.
    full_until : float
        Until then others have too much for the service.
    lost : int
        How many submissions make a job, but look as if the service were busy.
    unanswered : int
        How many submissions make a job, but get no answer.
    makes_arrays : bool
        Whether tasks of the same resources become arrays.
    parents : dict of str to str
        Arrays: handle and name.
    hidden : set of str
        Handles of jobs that DescribeJobs does not know.
    generated : dict of str to str, None or an exception
        By task id what its log holds of the file it generates.
    left : dict of str to Left, or None
        By task id what its log holds of the files of a task program; None: not yet.
    known_queues : list of Queue, or an exception
        What it says of its queues.
    before_cancel : callable or None
        Happens between the look at jobs and the call that cancels some.
    found_at_once : int
        How many names are looked for between two looks at the time.
    price : float or None
        What each job costs, in dollars.
    handles_are_names : bool
        As those of executions are.
    tidies : bool or Exception
        Whether it tells a sweep of its jobs, or why it can't.
    events : list of (JobName, Job)
        What happened to jobs and was not taken yet.
    limits : Limits or None
        What it asks of bundles; None if it has none.
    slots : int
        How many tasks of a bundle run at a time.
    bundled, reports, whole
        By their handles the bundles, what their logs hold of ends, and which have had their last word.
    """

    clock: Clock
    fate: Fate
    name: str = "batch"
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    refused: dict[str, Outcome] = field(default_factory=dict)
    busy: int = 0
    again_at: float | None = None
    full_until: float = 0.0
    lost: int = 0
    unanswered: int = 0
    hidden: set[str] = field(default_factory=set)
    generated: dict[str, str | BaseException | None] = field(default_factory=dict)
    left: dict[str, Left | None] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    makes_arrays: bool = False
    parents: dict[str, str] = field(default_factory=dict)
    before_submit: Callable[[], None] | None = None
    after_submit: Callable[[], None] | None = None
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    events: list[tuple[JobName, Job]] = field(default_factory=list)
    terminated: list[tuple[str, str]] = field(default_factory=list)
    cancelled: list[tuple[str, str]] = field(default_factory=list)
    before_cancel: Callable[[], None] | None = None
    known_queues: list[Queue] | Exception = field(default_factory=lambda: [HEALTHY])
    queue_calls: int = 0
    submits: int = 0
    price: float | None = None
    found_at_once: int = 1000
    tidies: bool | Exception = False
    handles_are_names: bool = False
    limits: Limits | None = None
    slots: int = 1
    bundled: dict[str, BundleRequest] = field(default_factory=dict)
    reports: dict[str, dict[int, TaskReport]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)

    # The port -----------------------------------------------------------------------------------

    def place(self) -> Place:
        return Place(self.clock.now >= self.full_until, self.full_until)

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        self.submits += 1
        if self.before_submit is not None:
            self.before_submit()
        results: list[SubmitResult] = self.fate.effect(
            "submit", lambda: [self._submit(request) for request in requests]
        )
        if self.after_submit is not None:
            self.after_submit()
        return results

    def _submit(self, request: JobRequest) -> SubmitResult:
        spec = request.claim.spec
        if spec.id in self.refused:
            return SubmitResult(None, self.refused[spec.id], "refused")
        if self.busy > 0:
            self.busy -= 1
            return SubmitResult(None, None, "too many requests", self.again_at)
        job = self.make(request.run.id, spec, request.name)
        job.starts = request.starts
        return self._answer(job.handle)

    def _answer(self, handle: str) -> SubmitResult:
        if self.lost > 0:
            self.lost -= 1
            return SubmitResult(None, None, "too many requests")
        if self.unanswered > 0:
            self.unanswered -= 1
            return SubmitResult(None, None, "no answer", is_unknown=True)
        return SubmitResult(handle)

    def arrays(self, requests: Sequence[JobRequest]) -> list[list[int]]:
        alike: dict[object, list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            if self.makes_arrays:
                alike[request.claim.spec.resources].append(place)
        return [places for places in alike.values() if len(places) > 1]

    def submit_array(self, array: ArrayRequest) -> SubmitResult:
        self.submits += 1
        if self.before_submit is not None:
            self.before_submit()
        result: SubmitResult = self.fate.effect("submit", lambda: self._submit_array(array))
        if self.after_submit is not None:
            self.after_submit()
        return result

    def _submit_array(self, array: ArrayRequest) -> SubmitResult:
        refused = [self.refused.get(request.claim.spec.id) for request in array.requests]
        if all(refused):
            return SubmitResult(None, refused[0], "refused")
        if self.busy > 0:
            self.busy -= 1
            return SubmitResult(None, None, "too many requests")
        parent = f"{self.name}-{len(self.jobs)}"
        for index, request in enumerate(array.requests):
            handle = child_handle(parent, index)
            spec = request.claim.spec
            job = FakeJob(array.name, handle, request.run.id, spec, self.clock.now, index=index)
            job.starts = request.starts
            self.jobs[handle] = job
        self.parents[parent] = array.name
        return self._answer(parent)

    def bundle_limits(self) -> Limits | None:
        return self.limits

    def bundles(self, requests: Sequence[JobRequest], size: int) -> list[BundleShape]:
        alike: dict[object, list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            alike[request.claim.spec.resources].append(place)
        parts = [p[at : at + size] for p in alike.values() for at in range(0, len(p), size)]
        return [BundleShape(part, self.slots) for part in parts if len(part) > 1]

    def submit_bundle(self, bundle: BundleRequest) -> SubmitResult:
        self.submits += 1
        if self.before_submit is not None:
            self.before_submit()
        result: SubmitResult = self.fate.effect("submit", lambda: self._submit_bundle(bundle))
        if self.after_submit is not None:
            self.after_submit()
        return result

    def _submit_bundle(self, bundle: BundleRequest) -> SubmitResult:
        first = bundle.requests[0]
        if self.busy > 0:
            self.busy -= 1
            return SubmitResult(None, None, "too many requests")
        job = self.make(first.run.id, first.claim.spec, bundle.name)
        self.bundled[job.handle], self.reports[job.handle] = bundle, {}
        return self._answer(job.handle)

    def report(self, job: Job, nonce: str, size: int) -> BundleReport:  # noqa: ARG002
        ends = self.reports[job.handle]
        starts = {place: end.started_at for place, end in ends.items()}
        if len(ends) < size and job.started_at is not None:
            starts.setdefault(len(ends), job.started_at)
        return BundleReport(dict(ends), starts, job.handle in self.whole)

    def tell(
        self, handle: str, place: int, code: int = 0, *, nonce: str = "", told: bool = True
    ) -> None:
        """Let a task of a bundle end, and its log tell of it."""
        bundle, now = self.bundled[handle], self.clock.now
        end = TaskReport(place, code, now - 2, now)
        if not nonce:
            self.reports[handle][place] = end
        job = replace(
            self.jobs[handle].seen(),
            handle=bundled_handle(handle, place),
            state=JobState.ENDED,
            ended_at=now,
            nonce=nonce or bundle.nonce,
            report=end,
        )
        if told:
            self.events.append((self.jobs[handle].parsed, job))

    def _end_tasks(self, job: FakeJob) -> None:
        """Let all tasks of a bundle end that have not."""
        for place, request in enumerate(self.bundled[job.handle].requests):
            if place not in self.reports[job.handle]:
                said = self.outcomes.get(request.claim.spec.id)
                outcome = said.pop(0) if said else COMPLETED
                self.tell(job.handle, place, outcome.exit_code or 0, told=False)
        self.whole.add(job.handle)

    def script(self, _: RunRecord, spec: TaskSpec, attempt: int) -> str:  # noqa: ARG002
        return spec.command

    def terminate(self, handles: Sequence[str], reason: str, *, wholly: bool = False) -> None:
        handles = [h if h in self.jobs else parent_of(h) for h in handles]
        if wholly:
            arrays = {parent_of(handle) for handle in handles}
            handles = [handle for handle in self.jobs if parent_of(handle) in arrays]
        self.fate.effect("terminate", lambda: self._terminate(handles, reason))

    def _terminate(self, handles: Sequence[str], reason: str) -> None:
        for handle in handles:
            self.terminated.append((handle, reason))
            job = self.jobs[handle]
            if job.state is not JobState.ENDED:
                self._end(job, CANCELLED)

    def cancel(self, reasons: Mapping[str, str]) -> None:
        if self.before_cancel is not None:
            self.before_cancel()
        self.fate.effect("cancel", lambda: self._cancel(reasons))

    def _cancel(self, reasons: Mapping[str, str]) -> None:
        for handle, reason in reasons.items():
            self.cancelled.append((handle, reason))
            job = self.jobs[handle]
            if job.state is JobState.WAITING:
                kind, _, told = reason.removeprefix("hut: ").partition(": ")
                self._end(job, Outcome(TaskState.FAILED, Reason(kind), None, told))

    def queues(self) -> Sequence[Queue]:
        self.queue_calls += 1
        if isinstance(self.known_queues, Exception):
            raise self.known_queues
        return self.known_queues

    def waiting(self, spec: TaskSpec, handle: str | None) -> Waiting:  # noqa: ARG002
        queue = None if isinstance(self.known_queues, Exception) else self.known_queues[0]
        return Waiting("" if handle is None else "RUNNABLE", queue=queue)

    def where(self, handle: str) -> str:  # noqa: ARG002
        return ""

    def describe(self, handles: Sequence[str]) -> dict[str, Job]:
        return {h: self.jobs[h].seen() for h in handles if h in self.jobs and h not in self.hidden}

    def find(
        self, names: Sequence[str], has_time: Callable[[], bool] = lambda: True
    ) -> Mapping[str, Sequence[Job]]:
        found: dict[str, list[Job]] = {}
        for start in range(0, len(names), self.found_at_once):
            if not has_time():
                break
            found |= {name: [] for name in names[start : start + self.found_at_once]}
        for job in self.jobs.values():
            if job.name in found and job.handle not in self.hidden and job.index is None:
                found[job.name].append(job.seen())
        for parent, name in self.parents.items():
            if name in found and parent not in self.hidden:
                found[name].append(Job(name, parent, JobState.WAITING))
        return found

    def quiet(self, children: Mapping[str, tuple[int, int]]) -> set[str]:
        found = set()
        for parent, believed in children.items():
            jobs = [job for job in self.jobs.values() if parent_of(job.handle) == parent]
            active = [job for job in jobs if job.state is not JobState.ENDED]
            running = sum(job.state is JobState.RUNNING for job in active)
            if (len(active), running) == believed and parent not in self.hidden:
                found.add(parent)
        return found

    def running(self, array: str) -> list[Job]:
        jobs = [job for job in self.jobs.values() if parent_of(job.handle) == array]
        return [job.seen() for job in jobs if job.state is JobState.RUNNING]

    def tidy(self, has_time: Callable[[], bool] = lambda: True) -> list[Job]:  # noqa: ARG002
        if isinstance(self.tidies, Exception):
            raise self.tidies
        active = [job for job in self.jobs.values() if job.state is not JobState.ENDED]
        return [job.seen() for job in active if self.tidies and self._is_old(job)]

    def _is_old(self, job: FakeJob) -> bool:
        return self.clock.now - job.created_at > 100

    def outcome(self, _: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> Outcome | None:  # noqa: ARG002
        if spec.id in self.unreadable:
            raise ConnectionError("the log can't be read")
        return job.outcome

    def cost(self, job: Job) -> float | None:  # noqa: ARG002
        return self.price

    def remarks(self, tasks: Sequence[TaskSpec]) -> list[Problem]:  # noqa: ARG002
        return []

    def why_no_log(self) -> str | None:
        return None

    def read_log(self, log: str, cursor: str | None, limit: int) -> LogPage:  # noqa: ARG002
        return LogPage("", cursor)

    def read_generated(self, _: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> str | None:  # noqa: ARG002
        content = self.generated.get(spec.id)
        if isinstance(content, BaseException):
            raise content
        return content

    def read_left(self, _: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> tuple[Left, bool]:  # noqa: ARG002
        left = self.left.get(spec.id, Left())
        return (Left(), False) if left is None else (left, True)

    # What happens to jobs -----------------------------------------------------------------------

    def make(self, run_id: str, spec: TaskSpec, name: str) -> FakeJob:
        """Make a job, as SubmitJob does: a second time if it is called a second time."""
        handle = name if self.handles_are_names else f"{self.name}-{len(self.jobs)}"
        job = FakeJob(name, handle, run_id, spec, self.clock.now)
        self.jobs[handle] = job
        return job

    def again(self, job: FakeJob) -> FakeJob:
        """Make a second job for the same attempt."""
        return self.make(job.run_id, job.spec, job.name)

    def active(self, run_id: str | None = None) -> list[FakeJob]:
        return [
            job
            for job in self.jobs.values()
            if job.state is not JobState.ENDED and run_id in (None, job.run_id)
        ]

    def start(self, *jobs: FakeJob) -> None:
        for job in jobs or [j for j in self.jobs.values() if j.state is JobState.WAITING]:
            job.state, job.started_at = JobState.RUNNING, self.clock.now
            if job.starts:
                self.events.append((job.parsed, job.seen()))

    def end(self, *jobs: FakeJob, outcome: Outcome | None = None) -> None:
        """Let jobs (all, if none are named) end as `outcomes` says, or as is said here."""
        for job in jobs or self.active():
            if job.handle in self.bundled and outcome is None:
                self._end_tasks(job)
                self._end(job, COMPLETED)
                continue
            said = self.outcomes.get(job.spec.id)
            self._end(job, outcome or (said.pop(0) if said else COMPLETED))

    def _end(self, job: FakeJob, outcome: Outcome) -> None:
        job.state, job.outcome, job.ended_at = JobState.ENDED, outcome, self.clock.now
        self.events.append((job.parsed, job.seen()))

    def run_all(self) -> None:
        """Let all jobs run to their ends."""
        self.start()
        self.end()

    def take_events(self) -> list[tuple[JobName, Job]]:
        taken, self.events = self.events, []
        return taken

    def ran(self, task_id: str) -> list[FakeJob]:
        """Return the jobs of a task that began to run."""
        return [job for job in self.jobs.values() if job.spec.id == task_id and job.ran]


@dataclass
class Execution:
    """An execution of the run state machine."""

    run_id: str
    generation: int
    blocks: int
    time_limit: float
    token: str | None = None
    registered: bool = False
    over: bool = False


@dataclass
class FakeExecutions:
    """Executions by name: one that was started before is not started again, even if it is over."""

    fate: Fate
    started: dict[str, Execution] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def start(self, run_id: str, generation: int, blocks: int, time_limit: float) -> bool:
        def start() -> bool:
            name = f"{run_id}-{generation}"
            self.calls.append(name)
            new = Execution(run_id, generation, blocks, time_limit)
            return not self.started.setdefault(name, new).over

        started: bool = self.fate.effect("executions.start", start)
        return started

    def tell_end(self, token: str) -> None:
        def tell() -> None:
            self.told.append(token)
            for execution in self.started.values():
                if execution.token == token:
                    execution.over = True

        self.fate.effect("executions.tell_end", tell)


@dataclass
class FakeDocuments:
    """Documents in a dictionary."""

    fate: Fate
    kept: dict[tuple[str, int, int, str], bytes] = field(default_factory=dict)
    broken: bool = False

    def keep(self, run_id: str, position: int, attempt: int, judged: Judged) -> None:
        def keep() -> None:
            if judged.output is not None:
                self.kept[run_id, position, attempt, "output"] = judged.output
            if judged.reports:
                self.kept[run_id, position, attempt, "errors"] = json.dumps(judged.reports).encode()

        self.fate.effect(f"keep {position}.{attempt}", keep)

    def read(self, run_id: str, position: int, attempt: int, kind: DocumentKind) -> bytes | None:
        if self.broken:
            raise ConnectionError("the bucket is not there")
        return self.kept.get((run_id, position, attempt, kind))

    def reports(self, run_id: str, position: int, attempt: int) -> list[dict[str, Any]]:
        return json.loads(self.read(run_id, position, attempt, "errors") or b"[]")


@dataclass
class FakeWakes:
    """Messages with the second at which they are delivered."""

    clock: Clock
    fate: Fate
    waiting: list[tuple[float, str, tuple[int, ...]]] = field(default_factory=list)
    sent: int = 0

    def wake(self, run_id: str, delay: float = 0.0, ended: Sequence[int] = ()) -> None:
        message = (self.clock.now + min(delay, 900.0), run_id, tuple(ended))
        self.fate.effect("wake", lambda: self.waiting.append(message))
        self.sent += 1

    def take_due(self) -> list[tuple[float, str, tuple[int, ...]]]:
        due = [message for message in self.waiting if message[0] <= self.clock.now]
        self.waiting = [message for message in self.waiting if message[0] > self.clock.now]
        return due

    def runs(self) -> list[str]:
        return [run_id for _, run_id, _ in self.waiting]


@dataclass
class Notes:
    """What was noted."""

    told: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def info(self, message: str, /, **fields: Any) -> None:
        self.told.append(("info", message, fields))

    def warning(self, message: str, /, **fields: Any) -> None:
        self.told.append(("warning", message, fields))

    def warnings(self) -> list[str]:
        return [message for level, message, _ in self.told if level == "warning"]


@dataclass
class Measures:
    """What was measured: the values of each metric, without the zeros."""

    values: dict[Metric, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __call__(self, metric: Metric, value: float = 1.0, /) -> None:
        if value:
            self.values[metric].append(value)

    def sums(self) -> dict[Metric, float]:
        return {metric: sum(values) for metric, values in self.values.items()}
