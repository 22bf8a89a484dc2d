"""Scripts of tasks that were not submitted: what would run, with a placeholder for the run's id."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from hut.model.records import RunRecord, RunSettings
from hut.model.states import RunState, TaskState
from hut.model.workflow import TaskSpec
from hut.script import ScriptRequest, Scripts
from hutctl.local.launching import working_dir_of

__all__ = ["preview_script"]


def preview_script(workflow: str, settings: RunSettings) -> Callable[[TaskSpec], str]:
    """Return what renders the script of a task of a run that does not exist."""
    run = RunRecord(
        id="RUN",
        workflow=workflow,
        state=RunState.PENDING,
        reason=None,
        message="",
        owner="",
        created_at=0.0,
        started_at=None,
        ended_at=None,
        total=0,
        counts=dict.fromkeys(TaskState, 0),
        settings=settings,
    )
    scripts = Scripts(run, "bash" if shutil.which("bash") else "sh")

    def script(spec: TaskSpec) -> str:
        return scripts.render(ScriptRequest(spec, 1, working_dir_of(run, spec)))

    return script
