"""The environment variables of a task, in the contract's order: later wins, automatic ones last.

automatic < workflow < environment < task, except that nobody overrides what Hut sets itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from hut.model.limits import LARGEST_VALUE
from hut.model.records import RunRecord
from hut.model.rfc3339 import format_time
from hut.model.states import AUTOMATIC_VARIABLES
from hut.model.workflow import TaskSpec

__all__ = [
    "ARGS",
    "attempt_variables",
    "init_lines",
    "own_variables",
    "run_variables",
    "task_variables",
    "variables_of",
]

_NOT_IN_A_NAME = re.compile(r"[^A-Z0-9_]")

ARGS = "TASK_ARGS"
"""Given with a task that a template made, and whose line can't be its name."""


def run_variables(run: RunRecord) -> dict[str, str]:
    """Return the variables Hut sets for all tasks of a run, with the seed's names for the same."""
    created = format_time(run.created_at)
    return {
        "HUT_RUN_ID": run.id,
        "HUT_WORKFLOW": run.workflow,
        "HUT_CREATED_AT": created,
        "SCRIPTHUT_WORKFLOW": run.workflow,
        "SCRIPTHUT_RUN_ID": run.id,
        "SCRIPTHUT_CREATED_AT": created,
    }


def variables_of(run: RunRecord, spec: TaskSpec) -> dict[str, str]:
    """Return the variables people gave a task: workflow, then environment, then the task."""
    variables = _environment(run, spec).get("variables", {})
    assert isinstance(variables, Mapping)  # noqa: S101 - written by control.run_settings
    return {**run.settings.env_vars, **variables, **spec.env_vars}


def attempt_variables(run: RunRecord, spec: TaskSpec, attempt: int) -> dict[str, str]:
    """Return the variables of an attempt: what people gave, then Hut's own, which nobody overrides."""
    given = variables_of(run, spec)
    kept = {name: text for name, text in given.items() if name not in AUTOMATIC_VARIABLES}
    return {**kept, **run_variables(run), **own_variables(run, spec, attempt)}


def own_variables(run: RunRecord, spec: TaskSpec, attempt: int) -> dict[str, str]:
    """Return the variables Hut sets for one attempt, beside those of its run."""
    own = {"HUT_TASK_ID": spec.id, "HUT_ATTEMPT": str(attempt)}
    if run.settings.task_variables:
        own.update(task_variables(run, spec, attempt))
    return own


def task_variables(run: RunRecord, spec: TaskSpec, attempt: int) -> dict[str, str]:
    """Return the variables that HyperShell has for the same: for runs of task files.

    A value that no program could be started with is left out.
    """
    resources = spec.resources
    args = spec.env_vars.get(ARGS) or (spec.name if spec.name not in ("", spec.id) else None)
    variables = {
        "TASK_ID": spec.id,
        "TASK_ATTEMPT": str(attempt),
        "TASK_GROUP": spec.group or "0",
        "TASK_CORES": str(resources.cpus),
        "TASK_MEMORY": str(resources.memory << 20),
        "TASK_TIMEOUT": str(math.ceil(resources.time_limit)),
        "TASK_SUBMIT_ID": run.id,
        "TASK_SUBMIT_TIME": format_time(run.created_at),
    }
    texts = {"TASK_COMMAND": spec.command, ARGS: args or spec.command}
    fitting = {name: text for name, text in texts.items() if _fits(text)}
    tags = {
        f"TASK_TAG_{_NOT_IN_A_NAME.sub('_', key.upper())}": text for key, text in spec.tags.items()
    }
    return {**variables, **fitting, **tags}


def _fits(text: str) -> bool:
    return len(text) <= LARGEST_VALUE // 4 or len(text.encode()) <= LARGEST_VALUE


def init_lines(run: RunRecord, spec: TaskSpec) -> str:
    """Return the init lines of the task's environment, as its author wrote them."""
    return str(_environment(run, spec).get("extra_init", ""))


def _environment(run: RunRecord, spec: TaskSpec) -> Mapping[str, object]:
    name = spec.environment or run.settings.environment
    return run.settings.environments.get(name, {}) if name else {}
