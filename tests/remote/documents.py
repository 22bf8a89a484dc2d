"""Documents as the API answers them."""

from __future__ import annotations

from typing import Any

STATES = ("pending", "submitted", "running", "completed", "failed", "dep_failed")
AT = "2026-03-01T10:00:00.000000Z"
RUN = "k3wq7mnp2a"


def run(state: str = "running", run_id: str = RUN, **counts: int) -> dict[str, Any]:
    """A run; its total is the sum of the counts."""
    counts = counts or {"completed" if state == "completed" else "running": 1}
    over = state in ("completed", "failed", "cancelled")
    return {
        "id": run_id,
        "workflow": "w",
        "state": state,
        "reason": None,
        "message": "",
        "owner": "user/ada",
        "created_at": AT,
        "started_at": AT,
        "ended_at": AT if over else None,
        "cancel_requested_at": None,
        "total": sum(counts.values()),
        "counts": {name: counts.get(name, 0) for name in STATES},
        "cost": None,
        "cost_lost": None,
        "losses": 0,
        "backend": "batch",
        "max_concurrent": None,
        "config_version": None,
        "tags": {},
        "description": None,
    }


def task(task_id: str = "t", state: str = "completed", **fields: Any) -> dict[str, Any]:
    """A task."""
    failed = state == "failed"
    return {
        "id": task_id,
        "name": task_id,
        "state": state,
        "reason": "exit" if failed else None,
        "message": "exit code 3" if failed else "",
        "exit_code": 3 if failed else 0,
        "attempt": 1,
        "attempts": [],
        "backend": "batch",
        "job_id": "job-1",
        "created_at": AT,
        "submitted_at": AT,
        "started_at": AT,
        "ended_at": AT,
        "command": "true",
        "cpus": 1,
        "deps": [],
        **fields,
    }


def change(task_id: str, state: str, **fields: Any) -> dict[str, Any]:
    """A transition."""
    return {
        "at": AT,
        "task": task_id,
        "attempt": 1,
        "state": state,
        "reason": None,
        "exit_code": None,
        **fields,
    }


def changes(
    of: dict[str, Any], cursor: int, *listed: dict[str, Any], running: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What following a run is answered."""
    now = [{"task_id": name, "attempt": 1, "since": AT} for name in running]
    return {"run": of, "changes": list(listed), "cursor": cursor, "running": now}


def log(content: str, cursor: str | None = None, *, ended: bool = True, **fields: Any) -> Any:
    """A page of a log."""
    return {"attempt": 1, "content": content, "cursor": cursor, "ended": ended, **fields}
