"""The environment variables of a task, in the contract's order: later wins, automatic ones last.

automatic < workflow < environment < task, except that nobody overrides what Hut sets itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from hut.model.records import RunRecord
from hut.model.rfc3339 import format_time
from hut.model.states import AUTOMATIC_VARIABLES
from hut.model.workflow import TaskSpec

__all__ = ["attempt_variables", "init_lines", "run_variables", "variables_of"]


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
    own = {"HUT_TASK_ID": spec.id, "HUT_ATTEMPT": str(attempt)}
    return {**kept, **run_variables(run), **own}


def init_lines(run: RunRecord, spec: TaskSpec) -> str:
    """Return the init lines of the task's environment, as its author wrote them."""
    return str(_environment(run, spec).get("extra_init", ""))


def _environment(run: RunRecord, spec: TaskSpec) -> Mapping[str, object]:
    name = spec.environment or run.settings.environment
    return run.settings.environments.get(name, {}) if name else {}
