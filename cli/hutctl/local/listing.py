"""Lists that cut across tasks or runs: failed attempts, active jobs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from hut.model.states import ACTIVE, TERMINAL_RUN, RunState
from hut.store.port import RunFilter, TaskFilter
from hut.store.sqlite import SqliteStore
from hut.views import Document, task_document

if TYPE_CHECKING:
    from hut.model.configuration import Configuration  # costs more than most commands take

__all__ = ["active_jobs", "failed_attempts", "local_backends", "local_environments"]

_RUNS = 1000
_JOB_FIELDS = ("job_id", "attempt", "state", "backend", "submitted_at", "started_at")


def failed_attempts(tasks: Iterable[Document], *, final: bool) -> Iterator[Document]:
    """Yield failed attempts in the order in which they ended; cancelled ones did not fail."""
    found: list[tuple[str, Document]] = []
    for task in tasks:
        failed = [
            attempt
            for attempt in task["attempts"]
            if attempt["state"] == "failed" and attempt["reason"] != "cancelled"
        ]
        about = {
            "task": task["id"],
            "command": task["command"],
            "tags": task.get("tags", {}),
            **{name: task.get(name) for name in ("group", "cpus", "memory", "time_limit")},
        }
        for attempt in failed[-1:] if final else failed:
            last = task["state"] == "failed" and attempt["attempt"] == task["attempt"]
            found.append((attempt["ended_at"], {**about, **attempt, "final": last}))
    found.sort(key=lambda entry: entry[0])
    for _, document in found:
        yield document


def active_jobs(store: SqliteStore, limit: int) -> list[Document]:
    """Return the attempts that are submitted or run, newest run first."""
    going = [state for state in RunState if state not in TERMINAL_RUN]
    jobs: list[Document] = []
    for run in store.list_runs(RunFilter(states=going, limit=_RUNS)):
        query = TaskFilter(states=ACTIVE, limit=limit - len(jobs))
        for task in store.list_tasks(run.id, query):
            document = task_document(task, ())
            about = {field: document[field] for field in _JOB_FIELDS}
            jobs.append({"run": run.id, "task": task.spec.id, **about})
        if len(jobs) >= limit:
            break
    return jobs


def local_backends(configuration: Configuration | None, active: int) -> list[Document]:
    """Return this machine's backend, then those that a configuration has for control planes."""
    local = None if configuration is None else configuration.local_backend()
    given = [] if configuration is None else configuration.backends
    found = [
        _backend(
            "local" if local is None else local.name,
            "local",
            origin="hut.yaml" if local in given else "built in",
            cap=None if local is None else local.max_concurrent,
            active=active,
        )
    ]
    found += [
        _backend(
            each.name,
            each.type,
            cap=each.max_concurrent,
            problem=f"type {each.type} needs a control plane on AWS",
        )
        for each in given
        if each != local
    ]
    return found


def local_environments(configuration: Configuration) -> list[Document]:
    """Return the environments of a configuration."""
    return [
        {
            "name": name,
            "variables": dict(entry.variables),
            "extra_init": entry.extra_init,
            "origin": "hut.yaml",
            "hides": False,
        }
        for name, entry in sorted(configuration.environments_by_name().items())
    ]


def _backend(
    name: str,
    kind: str,
    *,
    cap: int | None,
    origin: str = "hut.yaml",
    active: int | None = None,
    problem: str | None = None,
) -> Document:
    return {
        "name": name,
        "type": kind,
        "origin": origin,
        "refined": False,
        "default": problem is None,
        "can_run": problem is None,
        "problem": problem,
        "max_concurrent": cap,
        "active": active,
    }
