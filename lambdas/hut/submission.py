"""What is submitted, and what surrounds it: what of both a run keeps.

A `Submission` is what a person sent, a `Setting` what is configured where it arrives. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from hut.model.environment import Environment
from hut.model.limits import LONGEST_NAME, LONGEST_VARIABLE, MOST_PROBLEMS
from hut.model.problems import InvalidInput, Problem, in_one_line, is_one_line
from hut.model.records import RunSettings
from hut.model.run_options import NO_OPTIONS, RunOptions
from hut.model.states import AUTOMATIC_VARIABLES
from hut.model.tags import tag_problems
from hut.model.variables import variable_faults
from hut.model.workflow import EMPTY, WorkflowSpec
from hut.planning import Names, Plan
from hut.planning.calls import Definitions, freeze
from hut.scheduling.placing import (
    Site,
    Wishes,
    sites_of,
)

__all__ = [
    "Applied",
    "Setting",
    "Submission",
    "check_options",
    "run_settings",
    "wishes_of",
    "workflow_name",
]


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
    wishes = wishes_of(workflow, submission, setting, sites_of(setting.sites))
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


def wishes_of(
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


def _used(plan: Plan, backend: str) -> tuple[str, ...]:
    """Return the backends that tasks go to; none if some may generate others, which go anywhere."""
    if any(spec.generates_source is not None for spec in plan.tasks):
        return ()
    return tuple(sorted({spec.backend or backend for spec in plan.tasks}))


def check_options(submission: Submission, setting: Setting) -> None:
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
