"""Take note of what a backend says of jobs: starts, ends, generated tasks, jobs nobody wants.

What is said may come twice, late or out of order. Only the attempt that a job's name means is
changed, only while it is active, and the first end that is told counts (see `hut.store.port`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hut.backends.bundle_markers import outcome_of
from hut.backends.port import Job, JobName, JobState, place_in_bundle
from hut.control import Control
from hut.lifecycle.attempt import invalid_output
from hut.lifecycle.task import after_end
from hut.lifecycle.task_program import OWN_ENDS, Left
from hut.model.documents import format_of
from hut.model.problems import InvalidInput
from hut.model.records import Outcome, RunRecord, TaskRecord
from hut.model.states import INFRASTRUCTURE_REASONS, TaskState
from hut.planning import Extension
from hut.service.bundling import Bundling, is_attempt
from hut.service.counting import count_ends
from hut.service.programs import Programs
from hut.service.surroundings import Surroundings
from hut.store.port import AttemptKey, End, Start, UnknownRun, claim_of

__all__ = ["DUPLICATE", "Observed", "Observing", "Seen"]

DUPLICATE = "hut: another job runs this attempt"
"""What a job is told that was submitted for an attempt which has another one, has ended, or is gone."""

_PROBLEMS_SHOWN = 5

_LOG_SECONDS = 300.0
"""How long after its end a job's log may still be incomplete."""

_LARGEST_YAML = 1024 * 1024
"""Characters of a generated list in YAML. Functions read it without libyaml, in about 15 seconds."""

Seen = tuple[JobName, Job]


@dataclass(slots=True)
class Observed:
    """What came of it.

    Attributes
    ----------
    ended : list of int
        Positions of tasks that ended by it.
    later : set of str
        Handles of jobs whose end can't be recorded yet: it is to be told again.
    unwanted : int
        How many jobs were ended because no attempt wants them.
    """

    ended: list[int] = field(default_factory=list)
    later: set[str] = field(default_factory=set)
    unwanted: int = 0


class _NotYet(Exception):  # noqa: N818 - says what it is
    """What a task generated, or a task program wrote, is not in its log yet."""


class Observing:
    """See the module's docstring."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._store = around.store
        self._backends = around.backends
        self._control = Control(around.store, around.check)
        self._programs = Programs(around)
        self._bundling = Bundling(around)

    def observe(
        self, run_id: str, seen: Sequence[Seen], *, backend: str = "", reads_logs: bool = True
    ) -> Observed:
        """Record what is said of jobs of one run.

        Parameters
        ----------
        reads_logs
            Whether there is time for ends that only a log tells wholly; else they are for later.
        backend
            The one that has these jobs, if that is known. Then those of a run or a task that is
            not known are ended there: nobody else ever would.
        """
        observed = Observed()
        unwanted: dict[str, list[str]] = defaultdict(list)
        try:
            run = self._store.get_run(run_id)
            self._around.see(run)
        except UnknownRun:
            self._around.note.warning("jobs of an unknown run", run=run_id, jobs=len(seen))
            unwanted[backend] += [job.handle for _, job in seen if job.state is not JobState.ENDED]
            self._end_unwanted(run_id, unwanted, observed)
            return observed
        bundles = [each for each in seen if each[0].is_bundle and not each[1].nonce]
        told = list(self._attempts(run_id, [each for each in seen if each not in bundles]))
        for name, job in bundles:
            try:
                of_tasks = self._bundling.tasks_of(run_id, name, job, self._backends)
            except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this job
                self._wait(run, job, error, observed)
                continue
            told += of_tasks or ()
            if of_tasks is None and job.state is not JobState.ENDED:
                unwanted[backend or self._backend_of(run_id, name)].append(job.handle)
        tasks = self._store.get_tasks(run_id, {key.position for key, _ in told})
        starts: dict[AttemptKey, Start] = {}
        ends: dict[AttemptKey, tuple[TaskRecord, Job]] = {}
        chosen: dict[AttemptKey, str] = {}
        for key, job in told:
            task = tasks.get(key.position)
            if task is None:
                if _may_end(job):
                    unwanted[backend].append(job.handle)
                continue
            # The attempt's job is the one that is noted; before that, the first that is told of.
            own = task.handle or chosen.setdefault(key, job.handle)
            if not is_attempt(task, key) or own != job.handle:
                if _may_end(job):
                    unwanted[task.backend].append(job.handle)
                continue
            if job.state is JobState.RUNNING:
                at = job.started_at or self._around.clock()
                starts.setdefault(key, Start(key, at, job.handle, job.log))
            elif job.state is JobState.ENDED:
                ends.setdefault(key, (task, job))
        if starts:
            self._store.record_started(run_id, list(starts.values()))
        self._end_unwanted(run_id, unwanted, observed)
        self._end_all(run, list(ends.values()), observed, reads_logs=reads_logs)
        return observed

    def _end_unwanted(
        self, run_id: str, unwanted: Mapping[str, Sequence[str]], observed: Observed
    ) -> None:
        for name, handles in unwanted.items():
            if not handles or name not in self._backends:
                continue
            self._around.note.warning("unwanted jobs", run=run_id, jobs=len(handles))
            self._backends[name].terminate(handles, DUPLICATE)
            observed.unwanted += len(handles)

    def _attempts(self, run_id: str, seen: Sequence[Seen]) -> Iterator[tuple[AttemptKey, Job]]:
        """Yield the attempts that jobs are for; of arrays, only children are some."""
        for name, job in seen:
            key = name.key
            if name.is_bundle:
                found = self._bundling.told(run_id, name, job)
                if found is not None:
                    yield found
                continue
            if name.array and job.index is not None:
                children = self._store.array(run_id, name.array) or ()
                if job.index < len(children):
                    key = children[job.index]
                else:
                    self._around.note.warning("a child of an unknown array", run=run_id)
            if key is not None:
                yield key, job

    def _backend_of(self, run_id: str, name: JobName) -> str:
        """Return the backend of a bundle, as its first task has it."""
        keys = self._store.array(run_id, name.array) or ()
        tasks = self._store.get_tasks(run_id, {key.position for key in keys[:1]})
        return next((task.backend for task in tasks.values()), "")

    def _end_all(
        self,
        run: RunRecord,
        ended: Sequence[tuple[TaskRecord, Job]],
        observed: Observed,
        *,
        reads_logs: bool,
    ) -> None:
        """Record ends: generators one by one, since what joins with one changes the next one's plan.

        So are ends of task programs, whose files are in their logs. An end whose log can't be read is told again by itself; it must not keep the others.
        """
        plain: list[End] = []
        generators = [pair for pair in ended if _told_by_log(pair[0])]
        others = [pair for pair in ended if not _told_by_log(pair[0])]
        for task, job in others:
            try:
                plain.append(self._end(run, task, job))
            except Exception as error:  # noqa: BLE001 - whatever it is, it concerns this task
                self._wait(run, job, error, observed)
        observed.ended += self._record(run.id, plain)  # before logs are read, which may take long
        if not reads_logs:
            observed.later |= {job.handle for _, job in generators}
            return
        for task, job in generators:
            try:
                if not self._around.has_time():
                    raise _NotYet("there is no time for its log")
                observed.ended += self._record(run.id, [self._end(run, task, job)])
            except Exception as error:  # noqa: BLE001 - as above
                self._wait(run, job, error, observed)

    def _wait(self, run: RunRecord, job: Job, error: Exception, observed: Observed) -> None:
        self._around.note.info("an end must wait", run=run.id, why=repr(error)[:500])
        observed.later.add(job.handle)

    def _record(self, run_id: str, ends: Sequence[End]) -> list[int]:
        if not ends:
            return []
        applied = self._store.record_ended(run_id, ends)
        recorded = [end for end, first in zip(ends, applied, strict=True) if first]
        count_ends(self._around.measure, recorded, self._around.clock())
        return [end.key.position for end in recorded]

    def record_outcomes(
        self, run: RunRecord, ended: Iterable[tuple[TaskRecord, Outcome]]
    ) -> list[int]:
        """Record ends that no job tells of: attempts that are lost."""
        ends = []
        for task, outcome in ended:
            claim = claim_of(task)
            found = outcome
            if claim.spec.call is not None:
                found, claim = self._programs.judge(run, claim, outcome, Left())
            now, stopping = self._around.clock(), run.cancel_requested_at is not None
            ends.append(self._control.end_of_attempt(claim, found, now, cancelling=stopping))
        return self._record(run.id, ends)

    def _end(self, run: RunRecord, task: TaskRecord, job: Job) -> End:
        backend = self._backends.get(task.backend)
        outcome, cost = job.outcome, job.cost
        shares_job = place_in_bundle(job.handle) is not None
        if job.report is not None:
            outcome = outcome_of(job.report, task.spec)
        elif backend is not None and not shares_job:
            outcome = backend.outcome(run, task.spec, task.attempt, job)
        assert outcome is not None  # noqa: S101 - a job that has ended says how
        outcome = _of_too_many(outcome, job, task)
        claim = claim_of(task)
        if claim.spec.call is not None:
            outcome, claim = self._programs.judge(
                run, claim, outcome, self._left(run, task, job, outcome)
            )
        adds: Extension | None = None
        wants = task.spec.generates_source is not None
        if outcome.state is TaskState.COMPLETED and wants:
            outcome, adds = self._generated(run, task, job, outcome)
        end = self._control.end_of_attempt(
            claim,
            outcome,
            job.ended_at or self._around.clock(),
            cancelling=run.cancel_requested_at is not None,
            started_at=job.started_at,
            handle=job.handle,
            adds=adds,
        )
        if job.most_losses is not None:
            stopping = run.cancel_requested_at is not None
            following = after_end(
                outcome,
                claim.spec.retry,
                claim.spent,
                end.at,
                cancelling=stopping,
                most_losses=job.most_losses,
            )
            end = end._replace(next=following)
        if backend is not None and not shares_job:
            cost = backend.cost(job)
        work = None
        if job.report is not None and outcome.state is TaskState.COMPLETED:
            work = job.report.ended_at - job.report.started_at
        return end._replace(log=job.log, cost=cost, work=work)

    def _left(self, run: RunRecord, task: TaskRecord, job: Job, outcome: Outcome) -> Left:
        """Return what a task program left, by the log of its job."""
        backend = self._backends.get(task.backend)
        left, whole = Left(), False
        if backend is not None and job.log is not None:
            left, whole = backend.read_left(run, task.spec, task.attempt, job)
        now = self._around.clock()
        if not whole and outcome.reason in OWN_ENDS and now - (job.ended_at or now) < _LOG_SECONDS:
            raise _NotYet("its log is not complete yet")
        return left

    def _generated(
        self, run: RunRecord, task: TaskRecord, job: Job, outcome: Outcome
    ) -> tuple[Outcome, Extension | None]:
        """Read and plan the tasks a generator wrote; a fault makes its attempt fail."""
        path = task.spec.generates_source or ""
        backend = self._backends.get(task.backend)
        try:
            text = None
            if backend is not None and job.log is not None:
                text = backend.read_generated(run, task.spec, task.attempt, job)
            if text is None:
                now = self._around.clock()
                if now - (job.ended_at or now) < _LOG_SECONDS:
                    raise _NotYet("its log is not complete yet")
                detail = f"generates_source {path}: can't be read: the log does not hold it"
                return invalid_output(detail), None
            if len(text) > _LARGEST_YAML and format_of(path) == "yaml":
                detail = f"is more than {_LARGEST_YAML >> 20} MiB of YAML; write it as JSON"
                return invalid_output(f"generates_source {path}: {detail}"), None
            adds = self._control.plan_generated(run, text, path)
        except InvalidInput as error:
            shown = [str(problem) for problem in error.problems[:_PROBLEMS_SHOWN]]
            more = len(error.problems) - len(shown)
            detail = "; ".join(shown) + (f"; and {more:,} more" if more else "")
            return invalid_output(f"generates_source {path}: {detail}"), None
        told = "; ".join(str(warning) for warning in adds.warnings[:_PROBLEMS_SHOWN])
        return outcome._replace(message=told), adds


def _told_by_log(task: TaskRecord) -> bool:
    """Say whether only its log tells how a task ended."""
    return task.spec.generates_source is not None or task.spec.call is not None


def _may_end(job: Job) -> bool:
    """Say whether a job may be ended because no attempt wants it.

    What is told of one task of a bundle may be told late, and says nothing of the others in its job.
    """
    return job.state is not JobState.ENDED and place_in_bundle(job.handle) is None


def _of_too_many(outcome: Outcome, job: Job, task: TaskRecord) -> Outcome:
    """Return an outcome again; of a loss that no other attempt follows, the message says so."""
    most = job.most_losses
    if most is None or outcome.reason not in INFRASTRUCTURE_REASONS or task.losses < most:
        return outcome
    times = f"{task.losses + 1} attempts were lost, {most} retries are allowed"
    said = f"{job.spent}: " if job.spent else ""
    return outcome._replace(message=f"{said}{outcome.message} ({times})")
