"""Scripts of tasks that were not submitted, with placeholders for the run's id and time."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from hut.model.records import RunRecord, RunSettings
from hut.model.rfc3339 import format_time
from hut.model.states import RunState, TaskState
from hut.model.workflow import TaskSpec
from hut.script import ScriptRequest, Scripts
from hutctl.local.launching import working_dir_of

__all__ = ["preview_script"]

_NEVER = 0.0


def preview_script(workflow: str, settings: RunSettings) -> Callable[[TaskSpec], str]:
    """Return what renders the script of a task of a run that does not exist."""
    run = RunRecord(
        id="RUN",
        workflow=workflow,
        state=RunState.PENDING,
        reason=None,
        message="",
        owner="",
        created_at=_NEVER,
        started_at=None,
        ended_at=None,
        total=0,
        counts=dict.fromkeys(TaskState, 0),
        settings=settings,
    )
    scripts = Scripts(run, "bash" if shutil.which("bash") else "sh")

    def script(spec: TaskSpec) -> str:
        text = scripts.render(ScriptRequest(spec, 1, working_dir_of(run, spec)))
        return text.replace(format_time(_NEVER), "TIME")

    return script
