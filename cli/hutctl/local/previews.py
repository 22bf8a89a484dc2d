"""Scripts of tasks that were not submitted, with placeholders for the run's id and time."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from hut.model.records import RunSettings
from hut.model.workflow import TaskSpec
from hut.script import ScriptRequest, Scripts
from hut.script.previews import imagined_run, without_time
from hutctl.local.launching import working_dir_of

__all__ = ["preview_script"]


def preview_script(workflow: str, settings: RunSettings) -> Callable[[TaskSpec], str]:
    """Return what renders the script of a task of a run that does not exist."""
    run = imagined_run(workflow, settings)
    scripts = Scripts(run, "bash" if shutil.which("bash") else "sh")

    def script(spec: TaskSpec) -> str:
        return without_time(scripts.render(ScriptRequest(spec, 1, working_dir_of(run, spec))))

    return script
