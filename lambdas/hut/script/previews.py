"""Scripts of tasks that were not submitted: a run that does not exist stands in for theirs."""

from __future__ import annotations

from hut.model.records import RunRecord, RunSettings
from hut.model.rfc3339 import format_time
from hut.model.states import RunState, TaskState

__all__ = ["imagined_run", "without_time"]

_NEVER = 0.0


def imagined_run(workflow: str, settings: RunSettings) -> RunRecord:
    """Return a run whose id is ``RUN``, to render scripts from."""
    return RunRecord(
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


def without_time(script: str) -> str:
    """Return the script of an imagined run with ``TIME`` for when it was created."""
    return script.replace(format_time(_NEVER), "TIME")
