"""From the data of a workflow file to `TaskSpec` and `WorkflowSpec`, with every problem at once.

Nothing here looks at other tasks except for duplicate ids; dependencies are resolved in
`hut.planning.graph`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from hut.model.limits import MOST_PROBLEMS
from hut.model.problems import TOO_MANY_PROBLEMS, Problem, did_you_mean
from hut.model.states import AUTOMATIC_VARIABLES
from hut.model.workflow import (
    DEFAULT_RESOURCES,
    DEFAULT_RETRY,
    Resources,
    RetryPolicy,
    TaskSpec,
    WorkflowSpec,
)
from hut.planning.calls import Definitions, bind_call
from hut.planning.fields import (
    ERROR_TYPE,
    TASK_FIELDS,
    WORKFLOW_FIELDS,
    read_command,
    read_task_id,
    show,
)

__all__ = ["ID_IS_TAKEN", "TaskReader", "read_workflow"]

ID_IS_TAKEN = "the run already has a task with this id; ids are unique in a run"

_RESOURCES = {"cpus": "cpus", "memory": "memory", "gres": "gres", "time_limit": "time_limit"}
_RETRY = {
    "retries": "retries",
    "retry_delay": "delay",
    "retry_backoff": "backoff",
    "retry_on": "on",
}
_MAPPINGS = ("env_vars", "properties", "tags")
_DEPS_ALIAS = "dependencies"
_MOST_FIELDS = 100  # that are looked at; where there are more, enough of them are unknown
_KNOWN_TASK_FIELDS = (*TASK_FIELDS, _DEPS_ALIAS)
_AUTOMATIC = frozenset(AUTOMATIC_VARIABLES)
_SHELLS_OWN = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"})


class TaskReader:
    """Reads the entries of a ``tasks`` array.

    Parameters
    ----------
    problems, warnings
        What is wrong, and what is odd but works, is appended to these.
    taken
        Ids that are in use already (tasks of the run that generated tasks join).
    definitions
        The tasks of programs that tasks may stand for; None if there can't be any.
    """

    def __init__(
        self,
        problems: list[Problem],
        warnings: list[Problem],
        *,
        taken: frozenset[str] | Mapping[str, Any] = frozenset(),
        definitions: Definitions | None = None,
    ) -> None:
        self._problems = problems
        self._warnings = warnings
        self._taken = taken
        self._definitions = definitions
        self._defaults: dict[str, Any] = {}
        self._resources: dict[Resources, Resources] = {DEFAULT_RESOURCES: DEFAULT_RESOURCES}
        self._retries: dict[RetryPolicy, RetryPolicy] = {DEFAULT_RETRY: DEFAULT_RETRY}

    def read_defaults(self, value: Any) -> None:
        """Take the ``defaults`` object: fields each task has unless it says otherwise."""
        if not isinstance(value, dict):
            self._problems.append(
                Problem(f"{show(value)} is not an object of task fields", field="defaults")
            )
            return
        for name, entry in islice(value.items(), _MOST_FIELDS):
            where = f"defaults.{name}"
            if name in ("id", "command", "name", "task", "input"):
                message = "can't have a default; each task says it for itself"
                self._problems.append(Problem(message, field=where))
            elif name == _DEPS_ALIAS and "deps" in value:
                message = "is another name for 'deps', and both are given; keep one"
                self._problems.append(Problem(message, field=where))
            elif name in _KNOWN_TASK_FIELDS:
                field = "deps" if name == _DEPS_ALIAS else name
                if entry is not None:
                    self._defaults[field] = self._read(field, entry, None, where)
            else:
                self._problems.append(_unknown_field(str(name), None, _KNOWN_TASK_FIELDS, where))
        self._defaults = {
            name: entry for name, entry in self._defaults.items() if entry is not None
        }

    def read_tasks(self, entries: Sequence[Any]) -> tuple[TaskSpec, ...]:
        """Return the tasks of `entries` that have a usable id."""
        tasks: list[TaskSpec] = []
        seen: dict[str, int] = {}
        plain = not self._defaults
        for number, entry in enumerate(entries, 1):
            if len(self._problems) >= MOST_PROBLEMS:
                self._problems.append(Problem(TOO_MANY_PROBLEMS))
                break
            if not isinstance(entry, dict):
                message = f"{show(entry)} is not a task; write an object with id and command"
                self._problems.append(Problem(message, task=f"#{number}"))
                continue
            task = self._plain_task(entry) if plain else None
            if task is None:
                task = self._task(entry, f"#{number}")
                if task is None:
                    continue
            if task.id in seen:
                message = f"the id is used twice, by tasks #{seen[task.id]} and #{number}"
                self._problems.append(Problem(message, task=task.id, field="id"))
                continue
            if task.id in self._taken:
                self._problems.append(Problem(ID_IS_TAKEN, task=task.id, field="id"))
                continue
            seen[task.id] = number
            tasks.append(task)
        return tuple(tasks)

    def _plain_task(self, entry: dict[str, Any]) -> TaskSpec | None:
        """Read a task that has nothing but id, command and deps; None if it is not that simple."""
        if len(entry) == 2:
            deps: tuple[str, ...] = ()
        elif len(entry) == 3 and "deps" in entry:
            try:
                deps = TASK_FIELDS["deps"](entry["deps"])
            except ValueError:
                return None
        else:
            return None
        try:
            task_id = read_task_id(entry["id"])
            return TaskSpec(task_id, read_command(entry["command"]), task_id, deps)
        except (KeyError, ValueError):
            return None

    def _task(self, entry: dict[str, Any], place: str) -> TaskSpec | None:
        raw_id = entry.get("id")
        label = raw_id[:300] if isinstance(raw_id, str) and raw_id else place
        fields: dict[str, Any] = {}
        for name, value in islice(entry.items(), _MOST_FIELDS):
            if name in TASK_FIELDS:
                field = name
            elif name == _DEPS_ALIAS:
                field = "deps"
                if "deps" in entry:
                    message = "is another name for 'deps', and both are given; keep one"
                    self._problems.append(Problem(message, task=label, field=_DEPS_ALIAS))
                    continue
            else:
                self._problems.append(_unknown_field(str(name), label, _KNOWN_TASK_FIELDS, None))
                continue
            if value is not None:
                fields[field] = self._read(field, value, label, name)
        called = entry.get("task") is not None
        for name, needs in (("id", "an id"), ("command", "a command, or a 'task'")):
            if entry.get(name) is None and not (called and name == "command"):
                message = f"is missing; each task needs {needs}"
                self._problems.append(Problem(message, task=label, field=name))
                fields[name] = None
        task_id = fields.get("id")
        if task_id is None:
            return None
        for name, value in self._defaults.items():
            if name in _MAPPINGS and fields.get(name) is not None:
                fields[name] = {**value, **fields[name]}
            else:
                fields.setdefault(name, value)
        # A field that was refused is None: its problem is noted, the default stands in for it.
        fields = {name: value for name, value in fields.items() if value is not None}
        if fields.get("dedupe") and "generates_source" in fields:
            message = (
                "does not go with generates_source: the tasks one execution writes can't join two "
                "runs; leave one of them out, or write dedupe: false"
            )
            self._problems.append(Problem(message, task=label, field="dedupe"))
        self._call(fields, label, entry)
        resources = {to: fields.pop(name) for name, to in _RESOURCES.items() if name in fields}
        retry = {to: fields.pop(name) for name, to in _RETRY.items() if name in fields}
        if resources:
            fields["resources"] = self._shared_resources(Resources(**resources))
        if retry:
            fields["retry"] = self._shared_retry(RetryPolicy(**retry))
        fields.setdefault("name", task_id)
        fields.setdefault("command", ":")
        return TaskSpec(**fields)

    def _call(self, fields: dict[str, Any], label: str, entry: Mapping[str, Any]) -> None:
        """Bind a task that stands for a task of a program; refuse what only such a task has."""
        if "task" in fields:
            if entry.get("input") is not None and "input" not in fields:
                fields.pop("task")  # it was refused: nothing can be said of it
                return
            for field, message in bind_call(fields, fields, self._definitions):
                self._problems.append(Problem(message, task=label, field=field))
            return
        if fields.pop("input", None) is not None and entry.get("task") is None:
            message = "is for tasks with 'task'; a command finds its input by itself"
            self._problems.append(Problem(message, task=label, field="input"))
        types = [each for each in fields.get("retry_on", ()) if ERROR_TYPE.fullmatch(str(each))]
        if types and entry.get("task") is None:
            message = f"{show(types[0])} is a type of error reports, which only a 'task' writes"
            self._problems.append(Problem(message, task=label, field="retry_on"))

    def _read(self, field: str, value: Any, label: str | None, where: str) -> Any:
        try:
            result = TASK_FIELDS[field](value)
        except ValueError as error:
            self._problems.append(Problem(str(error), task=label, field=where))
            return None
        if field == "env_vars":
            warn_of_automatic(result, self._warnings, task=label, field=where)
        return result

    def _shared_resources(self, resources: Resources) -> Resources:
        return self._resources.setdefault(resources, resources)

    def _shared_retry(self, retry: RetryPolicy) -> RetryPolicy:
        return self._retries.setdefault(retry, retry)


def read_workflow(
    data: Any, problems: list[Problem], warnings: list[Problem], reader: TaskReader
) -> WorkflowSpec:
    """Read a workflow: an array of tasks, or an object with ``tasks`` and more."""
    if isinstance(data, list):
        data = {"tasks": data}
    if not isinstance(data, dict):
        message = f'{show(data)} is not a workflow; write an array of tasks or {{"tasks": [...]}}'
        problems.append(Problem(message))
        return WorkflowSpec(())
    fields: dict[str, Any] = {}
    for name, value in islice(data.items(), _MOST_FIELDS):
        if name in ("tasks", "defaults") or (name in WORKFLOW_FIELDS and value is None):
            continue
        if name not in WORKFLOW_FIELDS:
            known = (*WORKFLOW_FIELDS, "tasks", "defaults")
            problems.append(_unknown_field(str(name), None, known, None))
            continue
        try:
            fields[name] = WORKFLOW_FIELDS[name](value)
        except ValueError as error:
            problems.append(Problem(str(error), field=name))
    if "env_vars" in fields:
        warn_of_automatic(fields["env_vars"], warnings, task=None, field="env_vars")
    if data.get("defaults") is not None:
        reader.read_defaults(data["defaults"])
    entries = data.get("tasks")
    if not isinstance(entries, list):
        message = "is missing" if "tasks" not in data else f"{show(entries)} is not an array"
        problems.append(Problem(f"{message}; write the tasks of the workflow", field="tasks"))
        entries = []
    return WorkflowSpec(reader.read_tasks(entries), **fields)


def warn_of_automatic(
    variables: Mapping[str, str], warnings: list[Problem], *, task: str | None, field: str
) -> None:
    """Append a warning for each variable whose value will not reach the command."""
    for name in variables:
        if name in _AUTOMATIC:
            message = "is set by Hut itself and can't be overridden; the value is ignored"
            warnings.append(Problem(message, task=task, field=f"{field}.{name}"))
        elif name in _SHELLS_OWN:
            message = "belongs to the shell, which ignores the value; use another name"
            warnings.append(Problem(message, task=task, field=f"{field}.{name}"))


def _unknown_field(name: str, task: str | None, known: Sequence[str], where: str | None) -> Problem:
    hint = did_you_mean(name, known, list_up_to=0)
    message = f"unknown field; {hint}" if hint else f"unknown field; known: {', '.join(known)}"
    return Problem(message, task=task, field=where or name)
