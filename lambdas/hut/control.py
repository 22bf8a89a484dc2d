"""The use cases: submit, take up, advance, end, cancel, retry, extend.

`Control` ties the pure core to a store. It knows no backend and no clock of its own: callers pass
the time, so the same code runs under a real clock, a Lambda and a simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from hut.explanation import Explanation, Facts, explain
from hut.lifecycle.retry import MOST_LOSSES
from hut.lifecycle.task import after_end
from hut.model.problems import InvalidInput
from hut.model.records import Outcome, RunRecord, RunSettings, TaskRecord
from hut.model.schema_faults import Check, Fault, UnusableSchema
from hut.model.states import ACTIVE, Reason, TaskState
from hut.model.tags import tag_problems
from hut.model.waiting import Waiting
from hut.model.workflow import WorkflowSpec
from hut.planning import Extension, LargeRun, Names, Plan, extend_run, plan_text
from hut.planning.calls import FrozenDefinitions
from hut.scheduling.placing import (
    Placed,
    Wishes,
    place,
    scheduler_problems,
    sites_of,
)
from hut.scheduling.twins import leader_of
from hut.store.additions import check_room
from hut.store.port import (
    Claim,
    ClaimRequest,
    End,
    NewRun,
    RunExists,
    StaleExtension,
    Store,
    TaskFilter,
    UnknownRun,
    claim_of,
)
from hut.submission import (
    Setting,
    Submission,
    check_options,
    run_settings,
    wishes_of,
    workflow_name,
)

__all__ = ["Control"]

_DEPENDENCIES_SHOWN = 5


def _place_in(run: RunRecord) -> Callable[[WorkflowSpec], Placed] | None:
    """Return what places tasks that join a run; None where no scheduler does."""
    kept = run.settings.sites
    if not kept:
        return None

    def place_tasks(workflow: WorkflowSpec) -> Placed:
        is_given = workflow.backend is not None or bool(kept.get("given"))
        wishes = Wishes(workflow.backend or run.settings.backend, is_given=is_given)
        return place(workflow.tasks, sites_of(kept), wishes)

    return place_tasks


class Control:
    """The use cases over one store.

    Parameters
    ----------
    store
        Any adapter of the store port.
    check
        Holds inputs of tasks that join runs against their schemas.
    most_losses
        Attempts of a task that may be lost and the task still be run again.
    """

    def __init__(
        self, store: Store, check: Check | None = None, *, most_losses: int = MOST_LOSSES
    ) -> None:
        self.store = store
        self._check = check or _unchecked
        self._most_losses = most_losses

    def bounded(self, most_losses: int) -> Control:
        """Return the same with another bound on attempts that may be lost."""
        return Control(self.store, self._check, most_losses=most_losses)

    def plan(self, submission: Submission, setting: Setting) -> tuple[Plan, RunSettings]:
        """Return what `submit` would store. Nothing is stored.

        Raises
        ------
        InvalidInput
            With every problem of the input.
        """
        check_options(submission, setting)
        sites = sites_of(setting.sites)

        def place_tasks(workflow: WorkflowSpec) -> Placed:
            wishes = wishes_of(workflow, submission, setting, sites)
            placed = place(workflow.tasks, sites, wishes)
            placed.problems.extend(scheduler_problems(workflow.scheduler, sites, wishes))
            return placed

        names = setting.names(backend_is_given=submission.backend is not None)
        names = replace(names, place=place_tasks)
        plan = plan_text(
            submission.text,
            filename=submission.filename,
            names=names,
            may_be_empty=submission.options.open or submission.options.held,
        )
        plan = replace(plan, warnings=(*plan.warnings, *setting.hidden()))
        settings = run_settings(plan, submission, setting)
        if problems := list(tag_problems(settings.tags)):  # together they may be too many
            raise InvalidInput(problems)
        return plan, settings

    def prepare(
        self, submission: Submission, setting: Setting, *, now: float, new_id: str
    ) -> tuple[NewRun, Plan]:
        """Plan a workflow and return the run that would be stored.

        Raises
        ------
        InvalidInput
            With every problem of the input.
        """
        plan, settings = self.plan(submission, setting)
        key, name = submission.idempotency_key, workflow_name(submission, plan)
        new = NewRun(
            id=new_id,
            workflow=name,
            owner=submission.owner,
            created_at=now,
            settings=settings,
            tasks=plan.tasks,
            graph=plan.graph,
            idempotency_key=key,
            body_digest=submission.digest(name, setting) if key is not None else None,
        )
        return new, plan

    def submit(
        self, submission: Submission, setting: Setting, *, now: float, new_id: str
    ) -> tuple[RunRecord, Plan]:
        """Plan a workflow and store it as a run.

        Raises
        ------
        InvalidInput
            With every problem of the input; nothing is stored.
        IdempotencyConflict
            If the key was used with another body.
        """
        new, plan = self.prepare(submission, setting, now=now, new_id=new_id)
        for attempt in range(3):
            try:
                return self.store.create_run(new), plan
            except RunExists:  # the same random id twice: one in 10^15, but a lost run if ignored
                new = replace(new, id=f"{new_id}{attempt}")
        raise RunExists(f"the run id {new_id!r} is taken")

    def claim(self, request: ClaimRequest) -> list[Claim]:
        """Take ready tasks for an engine or a dispatcher."""
        return self.store.claim(request)

    def end_of_attempt(
        self,
        claim: Claim,
        outcome: Outcome,
        now: float,
        *,
        cancelling: bool = False,
        started_at: float | None = None,
        handle: str | None = None,
        adds: Extension | None = None,
    ) -> End:
        """Return what to record for an attempt that has ended, with what follows from it."""
        following = after_end(
            outcome,
            claim.spec.retry,
            claim.spent,
            now,
            cancelling=cancelling,
            most_losses=self._most_losses,
        )
        return End(
            claim.key, outcome, following, now, started_at=started_at, handle=handle, adds=adds
        )

    def plan_generated(self, run: RunRecord, text: str, filename: str) -> Extension:
        """Plan the tasks that a task of `run` generated.

        Raises
        ------
        InvalidInput
            With every problem; then none of them joins the run.
        """
        return extend_run(
            text,
            filename=filename,
            existing=self.store.task_ids(run.id),
            names=_names_of(run, (run.settings.backend,), self._check),
        )

    def add_tasks(
        self,
        run_id: str,
        text: str,
        *,
        filename: str,
        key: str,
        now: float,
        setting: Setting | None = None,
    ) -> tuple[Extension | None, bool]:
        """Plan tasks and let them join an open or held run; say whether they joined now.

        Parameters
        ----------
        text
            As of a generated file: an array of tasks, or an object with ``tasks``.
        key
            Of the request: the same text is added once under it.
        setting
            The backends there are; None: the run's own.

        Returns
        -------
        Extension or None, bool
            None and False if they joined before, under the same key.

        Raises
        ------
        InvalidInput
            With every problem; then none of them joins.
        RunClosed, IdempotencyConflict
            See the port.
        """
        import hashlib  # costs milliseconds; only additions need it

        digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        for last in (False, False, True):
            if self.store.has_added(run_id, key, digest):
                return None, False
            run = self.store.get_run(run_id)
            check_room(run)
            try:
                adds = self.plan_added(run, text, filename, setting)
                joined = self.store.add_tasks(run_id, adds, key=key, now=now, digest=digest)
            except InvalidInput:
                if self.store.has_added(run_id, key, digest):  # their ids are taken by themselves
                    return None, False
                raise
            except StaleExtension:  # others came first: what these depend on may be another
                if last:
                    raise
            else:
                return adds, joined
        raise AssertionError  # pragma: no cover - the last try returns or raises

    def plan_added(
        self, run: RunRecord, text: str, filename: str, setting: Setting | None = None
    ) -> Extension:
        """Plan tasks that somebody adds to `run`.

        Only where they depend on tasks by pattern all ids of the run are read: what else a piece costs
        does not grow with the run.

        Raises
        ------
        InvalidInput
            With every problem.
        """
        backends = (run.settings.backend,) if setting is None else setting.backends
        names = _names_of(run, backends, self._check)
        ids = partial(self.store.find_positions, run.id)
        return extend_run(
            text,
            filename=filename,
            existing=LargeRun(run.total, ids, partial(self.store.task_ids, run.id)),
            names=names,
        )

    def close(self, run_id: str, now: float) -> RunRecord:
        """Take no more tasks into an open run, and end it if those it has have ended."""
        self.store.close_run(run_id, now)
        return self.store.settle(run_id, now)

    def cancel(self, run_id: str, now: float, *, reason: Reason = Reason.CANCELLED) -> RunRecord:
        """Stop a run; its active attempts are for their backend to end."""
        self.store.cancel_run(run_id, reason, now)
        return self.store.settle(run_id, now)

    def retry(self, run_id: str, now: float, *, everything: bool = False) -> int:
        """Make what did not complete (or everything) pending again, as new attempts."""
        return self.store.reset_tasks(run_id, now, everything=everything)

    def explain(
        self,
        run: RunRecord,
        task: TaskRecord,
        now: float,
        *,
        slots: int | None,
        driven: bool,
        waiting: Waiting | None = None,
        where: str = "",
    ) -> Explanation:
        """Say why a task is where it is; see `hut.explanation.Facts` for the last four."""
        attempts = self.store.list_attempts(run.id, [task.position]).get(task.position, [])
        waits: list[tuple[str, TaskState]] = []
        count = 0
        cause: TaskRecord | None = None
        if task.state is TaskState.PENDING and task.waiting_for:
            found, count = self.store.open_dependencies(run.id, task.position, _DEPENDENCIES_SHOWN)
            waits = [(dependency.task_id, dependency.state) for dependency in found]
        if task.cause is not None:
            after = TaskFilter(after=task.cause - 1, limit=1)
            cause = next(iter(self.store.list_tasks(run.id, after)), None)
        facts = Facts(
            *(run, task, now, attempts, waits, count, cause, slots, driven, waiting, where),
            leader=self._leader(task),
        )
        return explain(facts)

    def _leader(self, task: TaskRecord) -> tuple[str, TaskRecord] | None:
        """Return run and task of the identical attempt that a task's attempt follows."""
        leader = leader_of(task.handle)
        if leader is None:
            return None
        with suppress(UnknownRun):  # it has expired
            found = self.store.get_tasks(leader.run_id, [leader.position])
            return next(((leader.run_id, each) for each in found.values()), None)
        return None

    def open_claims(self, run_id: str) -> list[Claim]:
        """Return the attempts that are submitted or running, as the claims they came from."""
        return [claim_of(task) for task in self.store.list_tasks(run_id, TaskFilter(states=ACTIVE))]


def _unchecked(schema: object, document: object) -> list[Fault]:  # noqa: ARG001
    raise UnusableSchema("documents can't be checked here")


def _names_of(run: RunRecord, backends: tuple[str, ...], check: Check) -> Names:
    """Return what tasks may name that join a run: what it was submitted with."""
    definitions = FrozenDefinitions(run.settings.definitions, check)
    return Names(
        run.settings.environments.keys(),
        backends,
        definitions=definitions,
        place=_place_in(run),
    )
