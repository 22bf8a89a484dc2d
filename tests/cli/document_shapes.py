"""What the contract says of the documents that ``--json`` prints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
RUN_STATES = {"pending", "running", "completed", "failed", "cancelled"}
TASK_STATES = {"pending", "submitted", "running", "completed", "failed", "dep_failed"}

TEXT, NUMBER, LIST, MAPPING, NOTHING = str, int, list, dict, type(None)
RUN = {
    "id": (TEXT,),
    "workflow": (TEXT,),
    "state": (TEXT,),
    "reason": (TEXT, NOTHING),
    "owner": (TEXT,),
    "created_at": (TEXT,),
    "started_at": (TEXT, NOTHING),
    "ended_at": (TEXT, NOTHING),
    "total": (NUMBER,),
    "counts": (MAPPING,),
    "cost": (NUMBER, float, NOTHING),
    "cost_lost": (NUMBER, float, NOTHING),
    "losses": (NUMBER,),
}
TASK = {
    "id": (TEXT,),
    "name": (TEXT,),
    "state": (TEXT,),
    "reason": (TEXT, NOTHING),
    "message": (TEXT, NOTHING),
    "exit_code": (NUMBER, NOTHING),
    "attempt": (NUMBER,),
    "attempts": (LIST,),
    "deps": (LIST,),
    "backend": (TEXT,),
    "job_id": (TEXT, NOTHING),
    "created_at": (TEXT,),
    "submitted_at": (TEXT, NOTHING),
    "started_at": (TEXT, NOTHING),
    "ended_at": (TEXT, NOTHING),
}
ATTEMPT = {
    "attempt": (NUMBER,),
    "state": (TEXT,),
    "reason": (TEXT, NOTHING),
    "message": (TEXT, NOTHING),
    "exit_code": (NUMBER, NOTHING),
    "submitted_at": (TEXT, NOTHING),
    "started_at": (TEXT, NOTHING),
    "ended_at": (TEXT, NOTHING),
    "job_id": (TEXT, NOTHING),
    "cost": (NUMBER, float, NOTHING),
}


def check_shape(document: Mapping[str, Any], shape: Mapping[str, tuple[type, ...]]) -> None:
    """Check that a document has every field of a shape, of the right type; more is allowed."""
    assert document.keys() >= shape.keys()
    for field, types in shape.items():
        value = document[field]
        assert isinstance(value, types), (field, value)
        assert not isinstance(value, bool), field
        if field.endswith("_at") and value is not None:
            check_time(value)


def check_time(text: str) -> None:
    """Check that a text is a time of RFC 3339 in UTC."""
    assert TIME.fullmatch(text), text
    datetime.fromisoformat(text)


def check_run(run: Mapping[str, Any]) -> None:
    """Check the document of a run, and that its parts agree."""
    check_shape(run, RUN)
    assert run["state"] in RUN_STATES
    assert run["counts"].keys() == TASK_STATES
    assert sum(run["counts"].values()) == run["total"]
    assert (run["ended_at"] is None) == (run["state"] in {"pending", "running"})


def check_task(task: Mapping[str, Any]) -> None:
    """Check the document of a task with its attempts, and that they agree."""
    check_shape(task, TASK)
    assert task["state"] in TASK_STATES
    assert [attempt["attempt"] for attempt in task["attempts"]] == [
        number + 1 for number in range(task["attempt"])
    ]
    for attempt in task["attempts"]:
        check_shape(attempt, ATTEMPT)
        times = [attempt[name] for name in ("submitted_at", "started_at", "ended_at")]
        known = [time for time in times if time is not None]
        assert known == sorted(known)
