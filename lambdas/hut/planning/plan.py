"""A workflow file becomes a plan: read, validated, expanded, ordered. Pure, and linear in its size.

`plan_text` is the way in for workflow files, `extend_run` for tasks that join an existing run. Both
report every problem at once and, if there is one, return nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from hut.model.documents import MalformedDocument, format_of, read_document
from hut.model.limits import MOST_PROBLEMS, MOST_TASKS
from hut.model.problems import InvalidInput, Problem, did_you_mean
from hut.model.workflow import EMPTY, TaskSpec, WorkflowSpec
from hut.planning.calls import Definitions, check_references
from hut.planning.graph import (
    Graph,
    LargeRun,
    Mentioned,
    build_graph,
    find_cycles,
    levels_of,
)
from hut.planning.patterns import is_pattern
from hut.planning.tasks import ID_IS_TAKEN, TaskReader, read_workflow
from hut.scheduling.placing import Placed

__all__ = ["Extension", "Names", "Plan", "extend_run", "plan_text"]

_OF_RUNS = (
    "max_concurrent",
    "max_cost",
    "time_limit",
    "notify",
    "tags",
    "bundle",
    "bundle_slots",
    "scheduler",
)


@dataclass(frozen=True, slots=True)
class Names:
    """What tasks may refer to by name; None where any name is taken as it is.

    Attributes
    ----------
    environments : collection of str or None
    backends : collection of str or None
    elsewhere : mapping of str to str
        Backends that exist but can't run tasks here, and why: the rest of a sentence.
    backend_is_given : bool
        The workflow's own backend does not count: the submission names another.
    queues : bool
        Tasks wait in queues, for machines. Without, they wait for free slots only.
    definitions : Definitions or None
        Tasks of programs.
    place : callable or None
        Chooses targets for tasks that ask for properties (`hut.scheduling.placing`).
    """

    environments: Collection[str] | None = None
    backends: Collection[str] | None = None
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    backend_is_given: bool = False
    queues: bool = True
    definitions: Definitions | None = None
    place: Callable[[WorkflowSpec], Placed] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A valid workflow, ready to be stored as a run.

    Attributes
    ----------
    workflow : WorkflowSpec
    graph : Graph
        Positions are those of ``workflow.tasks``.
    levels : sequence of int
        For each task the length of the longest chain before it.
    warnings : tuple of Problem
        What works, but probably not as meant.
    """

    workflow: WorkflowSpec
    graph: Graph
    levels: Sequence[int]
    warnings: tuple[Problem, ...] = ()

    @property
    def tasks(self) -> tuple[TaskSpec, ...]:
        """The tasks in document order."""
        return self.workflow.tasks

    def dependencies(self, position: int) -> list[str]:
        """Return the ids of the tasks that the task at `position` depends on, expanded."""
        return [self.tasks[other].id for other in self.graph.dependencies(position)]


@dataclass(frozen=True, slots=True)
class Extension:
    """Valid tasks that join an existing run; positions in `graph` count from the run's first task."""

    tasks: tuple[TaskSpec, ...]
    graph: Graph
    warnings: tuple[Problem, ...] = ()


def plan_text(
    text: str, *, filename: str, names: Names | None = None, may_be_empty: bool = False
) -> Plan:
    """Plan a workflow file.

    Parameters
    ----------
    text
        Content of the file, JSON or YAML.
    filename
        For messages, and its ending tells YAML (``.yaml``, ``.yml``) from JSON.
    names
        Environments and backends the tasks may name.
    may_be_empty
        Its tasks are still to come.

    Raises
    ------
    InvalidInput
        With every problem of the file.
    """
    with _no_collection():
        return _plan(text, filename, names or Names(), may_be_empty=may_be_empty)


def _plan(text: str, filename: str, names: Names, *, may_be_empty: bool) -> Plan:
    problems: list[Problem] = []
    warnings: list[Problem] = []
    data = _read(text, filename, problems)
    reader = TaskReader(problems, warnings, definitions=names.definitions)
    workflow = read_workflow(data, problems, warnings, reader)
    if not workflow.tasks and not problems and not may_be_empty:
        problems.append(Problem("the workflow has no tasks; write at least one", field="tasks"))
    if len(workflow.tasks) > MOST_TASKS:
        message = f"{len(workflow.tasks):,} tasks, at most {MOST_TASKS:,} are allowed; split them"
        problems.append(Problem(message, field="tasks"))
    _check_names(workflow, names, problems)
    workflow = _placed(workflow, names, problems, warnings)
    if not names.queues:
        _warn_of_queue_times(workflow, warnings)
    check_references(workflow.tasks, problems)
    graph, levels = _order(workflow.tasks, problems)
    if problems:
        raise InvalidInput(problems, source=filename)
    return Plan(workflow, graph, levels, tuple(warnings))


def extend_run(
    text: str,
    *,
    filename: str,
    existing: Mapping[str, Any] | Sequence[str] | LargeRun,
    names: Names | None = None,
) -> Extension:
    """Plan tasks that join a run: those a task generated, or a person added.

    Parameters
    ----------
    text
        An array of tasks or an object with ``tasks`` (and ``defaults``); may be empty of tasks.
    filename
        For messages and the format.
    existing
        Ids of the run's tasks in order, or what looks them up. New tasks may depend on them, by
        pattern too.
    names
        Environments and backends the tasks may name.

    Raises
    ------
    InvalidInput
        With every problem; then no task joins the run.
    """
    problems: list[Problem] = []
    warnings: list[Problem] = []
    data = _read(text, filename, problems)
    taken = frozenset[str]() if isinstance(existing, LargeRun) else frozenset(existing)
    names = names or Names()
    reader = TaskReader(problems, warnings, taken=taken, definitions=names.definitions)
    workflow = read_workflow(data, problems, warnings, reader)
    for setting in _OF_RUNS:
        if getattr(workflow, setting) not in (None, EMPTY):
            message = "holds for a whole run and is ignored here; the run keeps its own"
            warnings.append(Problem(message, field=setting))
    if isinstance(existing, LargeRun):
        known: Sequence[str] | Mentioned = _look_up(existing, workflow.tasks)
        _check_ids(workflow.tasks, known, problems)
    else:
        known = tuple(existing)
    before = known.total if isinstance(known, Mentioned) else len(known)
    if (total := before + len(workflow.tasks)) > MOST_TASKS:
        message = f"the run would have {total:,} tasks, at most {MOST_TASKS:,} are allowed"
        problems.append(Problem(message, field="tasks"))
    _check_names(workflow, names, problems)
    workflow = _placed(workflow, names, problems, warnings)
    if not names.queues:
        _warn_of_queue_times(workflow, warnings)
    check_references(workflow.tasks, problems)
    graph, _ = _order(workflow.tasks, problems, existing=known)
    if problems:
        raise InvalidInput(problems, source=filename)
    return Extension(_with_own_settings(workflow), graph, tuple(warnings))


def _look_up(run: LargeRun, tasks: Sequence[TaskSpec]) -> Sequence[str] | Mentioned:
    """Return the tasks of a run that new ones mention; all of them where one does by pattern."""
    if any(is_pattern(dependency) for task in tasks for dependency in task.deps):
        return run.ids()
    ids = {task.id for task in tasks}.union(*(task.deps for task in tasks))
    return Mentioned(run.total, run.find(ids))


def _check_ids(
    tasks: Sequence[TaskSpec], known: Sequence[str] | Mentioned, problems: list[Problem]
) -> None:
    """Refuse ids that the run has already."""
    taken = known.positions if isinstance(known, Mentioned) else frozenset(known)
    problems.extend(
        Problem(ID_IS_TAKEN, task=task.id, field="id") for task in tasks if task.id in taken
    )


def _with_own_settings(workflow: WorkflowSpec) -> tuple[TaskSpec, ...]:
    """Give tasks that join a run what their own file says for all of them."""
    if not (workflow.env_vars or workflow.environment or workflow.backend):
        return workflow.tasks
    return tuple(
        task._replace(
            env_vars={**workflow.env_vars, **task.env_vars} or task.env_vars,
            environment=task.environment or workflow.environment,
            backend=task.backend or workflow.backend,
        )
        for task in workflow.tasks
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Let the collector rest: planning makes millions of objects, and no cycles among them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _read(text: str, filename: str, problems: list[Problem]) -> Any:
    try:
        document = read_document(text, format=format_of(filename))
    except MalformedDocument as error:
        raise InvalidInput([Problem(error.message, line=error.line)], source=filename) from None
    problems.extend(document.problems)
    return document.data


def _order(
    tasks: Sequence[TaskSpec],
    problems: list[Problem],
    *,
    existing: Sequence[str] | Mentioned = (),
) -> tuple[Graph, list[int]]:
    graph = build_graph(tasks, problems, existing=existing)
    levels = levels_of(graph)
    if -1 in levels:
        find_cycles(graph, levels, tasks, problems)
    return graph, levels


def _check_names(workflow: WorkflowSpec, names: Names, problems: list[Problem]) -> None:
    """Refuse environments and backends that nobody defined, or that can't be used here."""
    for what, known in (("environment", names.environments), ("backend", names.backends)):
        if known is None:
            continue
        whole: str | None = getattr(workflow, what)
        if what == "backend" and names.backend_is_given:
            whole = None
        uses = [(None, whole), *((task.id, getattr(task, what)) for task in workflow.tasks)]
        for task, name in uses:
            if name is None or name in known:
                continue
            if what == "backend" and name in names.elsewhere:
                message = f"backend {name!r} {names.elsewhere[name]}"
            else:
                hint = did_you_mean(name, tuple(known)) or f"hut.yaml defines no {what}s"
                message = f"unknown {what} {name!r}; {hint}"
            problems.append(Problem(message, task=task, field=what))
            if len(problems) > MOST_PROBLEMS:
                return


def _placed(
    workflow: WorkflowSpec, names: Names, problems: list[Problem], warnings: list[Problem]
) -> WorkflowSpec:
    """Return the workflow with the targets that were chosen for its tasks."""
    if names.place is None:
        return workflow
    placed = names.place(workflow)
    problems += placed.problems
    warnings += placed.warnings
    return workflow if placed.tasks is workflow.tasks else replace(workflow, tasks=placed.tasks)


def _warn_of_queue_times(workflow: WorkflowSpec, warnings: list[Problem]) -> None:
    """Say once, not for each task, that a field has nothing to act on here."""
    bound = sum(task.max_queue_time is not None for task in workflow.tasks)
    if bound:
        noun = "task" if bound == 1 else "tasks"
        message = (
            f"of {bound:,} {noun} has no effect on this machine: tasks wait here for free slots "
            "only, and that wait has no limit"
        )
        warnings.append(Problem(message, field="max_queue_time"))
