"""The use cases: submit, take up, advance, end, cancel, retry, extend.

`Control` ties the pure core to a store. It knows no backend and no clock of its own: callers pass
the time, so the same code runs under a real clock, a Lambda and a simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

from hut.explanation import Explanation, Facts, explain
from hut.lifecycle.retry import MOST_LOSSES
from hut.lifecycle.task import after_end
from hut.model.environment import Environment
from hut.model.limits import LONGEST_NAME, LONGEST_VARIABLE, MOST_PROBLEMS
from hut.model.problems import InvalidInput, Problem, in_one_line, is_one_line
from hut.model.records import Outcome, RunRecord, RunSettings, TaskRecord
from hut.model.run_options import NO_OPTIONS, RunOptions
from hut.model.schema_faults import Check, Fault, UnusableSchema
from hut.model.states import ACTIVE, AUTOMATIC_VARIABLES, Reason, TaskState
from hut.model.tags import tag_problems
from hut.model.variables import variable_faults
from hut.model.waiting import Waiting
from hut.model.workflow import EMPTY, WorkflowSpec
from hut.planning import Extension, LargeRun, Names, Plan, extend_run, plan_text
from hut.planning.calls import Definitions, FrozenDefinitions, freeze
from hut.scheduling.placing import (
    Placed,
    Site,
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

__all__ = ["Applied", "Control", "Setting", "Submission", "run_settings", "workflow_name"]

_DEPENDENCIES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Applied:
    """What a version of a control plane's configuration gives to the runs submitted under it.

    Attributes
    ----------
    version : int
        0 where nothing was ever applied.
    environments : mapping of str to Environment
    backends : mapping
        What it chooses for backends; runs keep it.
    """

    version: int = 0
    environments: Mapping[str, Environment] = field(default_factory=dict)
    backends: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """What surrounds a submission: where it runs and what its tasks may name.

    Attributes
    ----------
    environments : mapping of str to Environment
        Those that come with the submission. They go before `applied` ones of the same name: who has
        a ``hut.yaml`` beside a workflow means what stands there.
    backends : tuple of str
        Names of backends that can run tasks here; the first is the default.
    elsewhere : mapping of str to str
        Backends that are configured but can't run tasks here, and why: the rest of a sentence.
    base_dir : str
        Folder relative paths start from.
    queues : bool
        Whether tasks wait in queues for machines, or for free slots of one only.
    applied : Applied
        The control plane's own configuration.
    definitions : Definitions or None
        The tasks of programs that are registered.
    sites : mapping
        What schedulers match tasks with, as `hut.scheduling.placing.plain_sites` writes it.
    """

    environments: Mapping[str, Environment] = field(default_factory=dict)
    backends: tuple[str, ...] = ("local",)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    base_dir: str = ""
    queues: bool = True
    applied: Applied = field(default_factory=Applied)
    definitions: Definitions | None = None
    sites: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known_environments(self) -> Mapping[str, Environment]:
        """The environments tasks may name."""
        return {**self.applied.environments, **self.environments}

    def names(self, *, backend_is_given: bool = False) -> Names:
        """Return the names tasks may use."""
        known = self.known_environments.keys()
        return Names(
            known,
            self.backends,
            self.elsewhere,
            backend_is_given,
            self.queues,
            self.definitions,
        )

    def hidden(self) -> list[Problem]:
        """Return a warning for each applied environment that another one of the submission hides."""
        version = self.applied.version
        return [
            Problem(
                f"the environment that came with the workflow is used, not the control plane's "
                f"(version {version}), which differs",
                field=f"environments.{name}",
            )
            for name, entry in self.environments.items()
            if self.applied.environments.get(name, entry) != entry
        ]


@dataclass(frozen=True, slots=True)
class Submission:
    """What a person submits, beside the file's content.

    Attributes
    ----------
    env_vars : mapping
        Override the workflow's own ``env_vars``.
    options : RunOptions
        What it asks of the run as a whole.
    """

    text: str
    filename: str
    workflow: str
    owner: str = ""
    max_concurrent: int | None = None
    env_vars: Mapping[str, str] = EMPTY
    tags: Mapping[str, str] = EMPTY
    backend: str | None = None
    idempotency_key: str | None = None
    options: RunOptions = NO_OPTIONS

    def digest(self, name: str, setting: Setting) -> str:
        """Return what tells two submissions under one idempotency key apart.

        Parameters
        ----------
        name
            The name the run gets: the file's own may be a part of it.
        setting
            The environments that come with the submission are a part of it. Those of the control
            plane are not: they may change between a request and its repetition.
        """
        import hashlib  # costs milliseconds; only keys need it

        environments = sorted(
            (e.name, sorted(e.variables.items()), e.extra_init)
            for e in setting.environments.values()
        )
        parts = [
            self.text,
            name,
            repr(environments),
            repr(self.max_concurrent),
            repr(sorted(self.env_vars.items())),
            repr(sorted(self.tags.items())),
            repr(self.backend),
        ]
        if self.options != NO_OPTIONS:  # without any, it is as it was before there were options
            parts.append(repr(sorted(self.options.given().items())))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def workflow_name(submission: Submission, plan: Plan) -> str:
    """Return the name of a run: as submitted, as in the file, or the file's own without its ending."""
    stem = submission.filename.rpartition("/")[2].partition(".")[0]
    # A file's name may hold anything; what it gives its run is shown, and set as a variable.
    stem = in_one_line(stem.encode(errors="replace").decode())[:LONGEST_NAME]
    return submission.workflow or plan.workflow.name or stem.strip("-") or "workflow"


def run_settings(plan: Plan, submission: Submission, setting: Setting) -> RunSettings:
    """Return what holds for all tasks of the run; options of the command line win over the file."""
    workflow = plan.workflow
    wishes = _wishes(workflow, submission, setting, sites_of(setting.sites))
    backend = wishes.backend
    # All environments, not only those in use: generated tasks may name any of them.
    environments: dict[str, Mapping[str, object]] = {
        name: {"variables": dict(entry.variables), "extra_init": entry.extra_init}
        for name, entry in setting.known_environments.items()
    }
    # Tasks that are added may go to any.
    grows = submission.options.open or submission.options.held
    uses = () if len(setting.backends) < 2 or grows else _used(plan, backend)
    return RunSettings(
        base_dir=setting.base_dir,
        env_vars={**workflow.env_vars, **submission.env_vars},
        environment=workflow.environment,
        environments=environments,
        backend=backend,
        max_concurrent=submission.max_concurrent or workflow.max_concurrent,
        max_cost=workflow.max_cost,
        time_limit=workflow.time_limit,
        tags={**workflow.tags, **submission.tags},
        description=workflow.description,
        notify=workflow.notify,
        bundle_slots=workflow.bundle_slots,
        config_version=setting.applied.version or None,
        backends=setting.applied.backends,
        uses=uses,
        definitions=freeze(
            setting.definitions,
            plan.tasks,
            grows=grows or any(spec.generates_source is not None for spec in plan.tasks),
        ),
        sites=_sites_kept(plan, setting, wishes, grows=grows),
        **{"bundle": workflow.bundle, **submission.options.given()},
    )


def _wishes(
    workflow: WorkflowSpec, submission: Submission, setting: Setting, sites: Mapping[str, Site]
) -> Wishes:
    """Return where tasks go that name no backend: as submitted, as in the file, or the default one."""
    given = submission.backend or workflow.backend
    if given is not None:
        return Wishes(given, is_given=True)
    under = (
        name
        for name in setting.backends
        if name in sites and sites[name].scheduler.name == workflow.scheduler
    )
    return Wishes(next(under, setting.backends[0]))


def _sites_kept(plan: Plan, setting: Setting, wishes: Wishes, *, grows: bool) -> dict[str, Any]:
    """Return what a run keeps of the sites: nothing where it is of no use."""
    grows = grows or any(spec.generates_source is not None for spec in plan.tasks)
    if not setting.sites or not (grows or any(spec.properties for spec in plan.tasks)):
        return {}
    return {**setting.sites, "given": wishes.is_given}


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


def _used(plan: Plan, backend: str) -> tuple[str, ...]:
    """Return the backends that tasks go to; none if some may generate others, which go anywhere."""
    if any(spec.generates_source is not None for spec in plan.tasks):
        return ()
    return tuple(sorted({spec.backend or backend for spec in plan.tasks}))


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
        _check_options(submission, setting)
        sites = sites_of(setting.sites)

        def place_tasks(workflow: WorkflowSpec) -> Placed:
            wishes = _wishes(workflow, submission, setting, sites)
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


def _check_options(submission: Submission, setting: Setting) -> None:
    """Refuse options that could not be followed."""
    problems = []
    for wrong, message in islice(variable_faults(submission.env_vars), MOST_PROBLEMS):
        field = "env_vars" if wrong is None else f"env_vars.{wrong[:LONGEST_VARIABLE]}"
        problems.append(Problem(message, field=field))
    for name in submission.env_vars:
        if name in AUTOMATIC_VARIABLES:
            message = "is set by Hut itself and can't be overridden"
            problems.append(Problem(message, field=f"env_vars.{name}"))
    backend = submission.backend
    if backend is not None and backend not in setting.backends:
        message = f"unknown backend {backend!r}; known: {', '.join(setting.backends)}"
        if backend in setting.elsewhere:
            message = f"backend {backend!r} {setting.elsewhere[backend]}"
        problems.append(Problem(message, field="backend"))
    problems += tag_problems(submission.tags)
    if not is_one_line(submission.workflow):
        problems.append(Problem("must be one line without control characters", field="name"))
    if len(submission.workflow) > LONGEST_NAME:
        message = f"has more than {LONGEST_NAME:,} characters"
        problems.append(Problem(message, field="name"))
    if problems:
        raise InvalidInput(problems)
