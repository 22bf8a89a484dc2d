"""Records in which nothing has happened yet; a test says what differs."""

from __future__ import annotations

from typing import Any

from hut.model.records import RunRecord, RunSettings, TaskRecord
from hut.model.states import RunState, TaskState
from hut.model.workflow import TaskSpec


def plain_run(**changes: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "id": "r1",
        "workflow": "w",
        "state": RunState.RUNNING,
        "reason": None,
        "message": "",
        "owner": "me",
        "created_at": 0.0,
        "started_at": 0.0,
        "ended_at": None,
        "total": 9,
        "counts": dict.fromkeys(TaskState, 0),
        "settings": RunSettings(),
    }
    return RunRecord(**{**fields, **changes})


def plain_task(state: TaskState, spec: TaskSpec, **changes: Any) -> TaskRecord:
    fields: dict[str, Any] = {
        "position": 0,
        "spec": spec,
        "state": state,
        "reason": None,
        "message": "",
        "exit_code": None,
        "attempt": 0,
        "waiting_for": 0,
        "not_before": 0.0,
        "retries_used": 0,
        "losses": 0,
        "created_at": 0.0,
        "submitted_at": None,
        "started_at": None,
        "ended_at": None,
        "epoch": 1,
        "backend": "local",
        "handle": None,
        "generated_by": None,
        "cause": None,
    }
    return TaskRecord(**{**fields, **changes})
