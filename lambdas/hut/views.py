"""Records as the JSON documents of the contract: what ``--json`` prints and the REST API answers.

Times become RFC 3339 UTC. Nothing here reads a store or decides anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hut.explanation import Explanation
from hut.model.problems import Problem
from hut.model.quantities import format_seconds
from hut.model.records import Attempt, Change, Refusal, RunRecord, RunSettings, TaskRecord
from hut.model.rfc3339 import format_time
from hut.model.states import ACTIVE, TaskState
from hut.model.workflow import TaskSpec
from hut.planning import Plan

__all__ = [
    "Document",
    "change_document",
    "explanation_document",
    "plan_document",
    "problem_document",
    "run_document",
    "task_document",
]

Document = dict[str, Any]

_MOST_EXPANDED = 1_000_000
"""Expanded dependencies a plan document lists at most; N x M of them would fill the memory."""


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else format_time(seconds)


def run_document(run: RunRecord) -> Document:
    """Return a run; its costs are estimates, and null where nothing is billed or known."""
    settings = run.settings
    return {
        "id": run.id,
        "workflow": run.workflow,
        "state": run.state,
        "reason": run.reason,
        "message": run.message,
        "owner": run.owner,
        "created_at": _time(run.created_at),
        "started_at": _time(run.started_at),
        "ended_at": _time(run.ended_at),
        "cancel_requested_at": _time(run.cancel_requested_at),
        "total": run.total,
        "counts": {str(state): count for state, count in run.counts.items()},
        "cost": run.cost,
        "cost_lost": run.cost_lost,
        "losses": run.losses,
        "backend": settings.backend,
        "max_concurrent": settings.max_concurrent,
        "config_version": settings.config_version,
        "tags": dict(settings.tags),
        "description": settings.description,
        "open": run.open,
        "held": run.held,
        "refusals": [_refusal_document(refusal) for refusal in run.refusals],
    }


def _refusal_document(refusal: Refusal) -> Document:
    """Return what a backend says while it takes no jobs of a run."""
    return {
        "backend": refusal.backend,
        "partition": refusal.partition,
        "message": refusal.said,
        "since": _time(refusal.since),
        "at": _time(refusal.at),
    }


def task_document(task: TaskRecord, attempts: Sequence[Attempt]) -> Document:
    """Return a task with its attempts; `deps` stand as they were written."""
    spec = task.spec
    listed = [_attempt_document(attempt) for attempt in attempts]
    if task.state in ACTIVE:
        listed.append(
            {
                "attempt": task.attempt,
                "state": task.state,
                "reason": None,
                "message": "",
                "exit_code": None,
                "submitted_at": _time(task.submitted_at),
                "started_at": _time(task.started_at),
                "ended_at": None,
                "backend": task.backend,
                "job_id": task.handle,
                "cost": None,
            }
        )
    waits = task.state is TaskState.PENDING  # its attempts, if any, are over
    return {
        "id": spec.id,
        "name": spec.name,
        "state": task.state,
        "reason": task.reason,
        "message": task.message,
        "exit_code": task.exit_code,
        "attempt": task.attempt,
        "attempts": listed,
        "backend": task.backend,
        "job_id": None if waits else task.handle,
        "created_at": _time(task.created_at),
        "submitted_at": None if waits else _time(task.submitted_at),
        "started_at": None if waits else _time(task.started_at),
        "ended_at": _time(task.ended_at),
        **_spec_document(spec),
        "deps": list(spec.deps),
    }


def _attempt_document(attempt: Attempt) -> Document:
    outcome = attempt.outcome
    return {
        "attempt": attempt.number,
        "state": outcome.state,
        "reason": outcome.reason,
        "message": outcome.message,
        "exit_code": outcome.exit_code,
        "submitted_at": _time(attempt.submitted_at),
        "started_at": _time(attempt.started_at),
        "ended_at": _time(attempt.ended_at),
        "backend": attempt.backend,
        "job_id": attempt.handle,
        "cost": attempt.cost,
    }


def _spec_document(spec: TaskSpec) -> Document:
    """Return what the workflow says of a task, in the workflow file's own fields and units."""
    resources, retry = spec.resources, spec.retry
    document: Document = {
        "command": spec.command,
        "cpus": resources.cpus,
        "memory": f"{resources.memory}M",
        "time_limit": format_seconds(resources.time_limit),
        "retries": retry.retries,
        "priority": spec.priority,
    }
    if spec.call is not None:
        document["task"] = spec.call.label
        document["input"] = None if spec.call.input is None else json.loads(spec.call.input)
    if spec.max_queue_time is not None:
        document["max_queue_time"] = format_seconds(spec.max_queue_time)
    if spec.dedupe:
        document["dedupe"] = True
    if resources.gres:
        document["gres"] = ",".join(str(gres) for gres in resources.gres)
    if retry.retries:
        document["retry_delay"] = retry.delay
        document["retry_backoff"] = retry.backoff
        document["retry_on"] = sorted(retry.on, key=str)
    for name in (
        "working_dir",
        "partition",
        "image",
        "environment",
        "output_file",
        "error_file",
        "generates_source",
        "group",
    ):
        if (value := getattr(spec, name)) is not None:
            document[name] = value
    mappings: dict[str, Mapping[str, str]] = {
        "env_vars": spec.env_vars,
        "properties": spec.properties,
        "tags": spec.tags,
    }
    document.update({name: dict(value) for name, value in mappings.items() if value})
    return document


def plan_document(
    plan: Plan,
    settings: RunSettings,
    *,
    name: str,
    script: Callable[[TaskSpec], str] | None = None,
) -> Document:
    """Return what would run.

    Where the expanded dependencies of all tasks would be too many to list, ``deps`` stay as
    written and ``deps_expanded`` is false.

    Parameters
    ----------
    script
        Renders the script of a task, if scripts are wanted.
    """
    expand = plan.graph.count_dependencies() <= _MOST_EXPANDED
    tasks: list[Document] = []
    for position, (task, level) in enumerate(zip(plan.tasks, plan.levels, strict=True)):
        document = {
            "id": task.id,
            "name": task.name,
            "level": level,
            "deps": plan.dependencies(position) if expand else list(task.deps),
            "backend": task.backend or settings.backend,
            **_spec_document(task),
        }
        if script is not None:
            document["script"] = script(task)
        tasks.append(document)
    return {
        "workflow": name,
        "total": len(plan.tasks),
        "levels": max(plan.levels) + 1,
        "max_concurrent": settings.max_concurrent,
        "backend": settings.backend,
        "config_version": settings.config_version,
        "cost": None,
        "deps_expanded": expand,
        "warnings": [problem_document(warning) for warning in plan.warnings],
        "tasks": tasks,
    }


def problem_document(problem: Problem) -> Document:
    """Return a problem as an entry of an ``errors`` array."""
    return {
        "task": problem.task,
        "field": problem.field,
        "line": problem.line,
        "message": problem.message,
    }


def change_document(change: Change) -> Document:
    """Return one transition of a task."""
    return {
        "at": _time(change.at),
        "task": change.task_id,
        "attempt": change.attempt,
        "state": change.state,
        "reason": change.reason,
        "exit_code": change.exit_code,
    }


def explanation_document(task: TaskRecord, explanation: Explanation) -> Document:
    """Return an answer to "why"."""
    return {
        "task": task.spec.id,
        "state": task.state,
        "reason": task.reason,
        "why": explanation.sentence,
        "details": list(explanation.details),
        "waiting_for": list(explanation.waiting_for),
        "cause": explanation.cause,
    }
