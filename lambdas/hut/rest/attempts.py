"""Routes that list attempts of many tasks: those that failed in a run, those that are active."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Literal

from aws_lambda_powertools.event_handler.openapi.params import Query

from hut.model.records import Attempt, RunRecord, TaskRecord
from hut.model.rfc3339 import format_time
from hut.model.states import ACTIVE, Reason, RunState, TaskState
from hut.rest.answers import MOST_BYTES, Answer, dump, json_answer, shortened, wire_size
from hut.rest.exchange import RUN_ID, Exchange, exchange_of
from hut.rest.paging import answer_page, decode_cursor, encode_cursor
from hut.rest.programs import with_reports
from hut.rest.routing import REPEAT, SPLIT, Limit, OpaqueCursor, Position, RunId, new_router
from hut.store.port import RunFilter, TaskFilter, UnknownRun
from hut.views import Document, task_document

__all__ = ["router"]

router = new_router()

_TASKS_AT_ONCE = 1000
_MOST_TASKS = 5000
"""Tasks that one request for failures looks through."""
_MOST_RUNS = 500
"""Runs that one request for jobs looks through."""
_END_OF_RUN = 2**53


@router.get(
    "/runs/<run>/failures",
    summary="List failed attempts with their commands",
    operation_id="listFailures",
)
def list_failures(
    run: RunId,
    final: Annotated[bool, Query(description="Only tasks that are failed now, each once.")] = False,
    limit: Limit = 100,
    cursor: Position = None,
) -> Answer:
    """Answer with failed attempts; within a page in the order in which they ended.

    A page holds all failures of a task or none, so it may be longer than `limit`. It may also be
    short, or empty, and still be followed by another: one request looks through so many tasks only.
    """
    exchange = exchange_of(router)
    exchange.run(run)
    found: list[Document] = []
    room = MOST_BYTES - 2
    last = following = cursor
    seen = 0
    for task, attempts in _tasks(exchange, run, cursor, final=final):
        seen += 1  # noqa: SIM113 - it is needed after the loop
        failures = _failures(exchange, run, task, attempts, final=final)
        size = _size(failures)
        if found and (len(found) >= limit or size > room):
            following = last
            break
        if size > room:
            failures = [shortened(failure) for failure in failures]
            size = _size(failures)
        found += failures
        room -= size
        last = task.position
    else:
        following = last if seen == _MOST_TASKS else None
    found.sort(key=lambda failure: str(failure["ended_at"]))
    headers = exchange.next_page(None if following is None else str(following))
    return json_answer(f"[{','.join(map(dump, found))}]", headers=headers)


def _tasks(
    exchange: Exchange, run: str, cursor: int | None, *, final: bool
) -> Iterator[tuple[TaskRecord, Sequence[Attempt]]]:
    """Yield tasks that may have failed attempts, and the attempts; only so many of them."""
    store = exchange.services.store
    states = [TaskState.FAILED] if final else None
    after = -1 if cursor is None else cursor
    for _ in range(_MOST_TASKS // _TASKS_AT_ONCE):
        tasks = store.list_tasks(run, TaskFilter(states, after=after, limit=_TASKS_AT_ONCE))
        tried = [task.position for task in tasks if _may_have_failed(task)]
        attempts = store.list_attempts(run, tried) if tried else {}
        for task in tasks:
            yield task, attempts.get(task.position, ())
        if len(tasks) < _TASKS_AT_ONCE:
            return
        after = tasks[-1].position


def _may_have_failed(task: TaskRecord) -> bool:
    first_is_good = task.state is TaskState.COMPLETED or task.state in ACTIVE
    return task.attempt > 1 or (task.attempt == 1 and not first_is_good)


def _failures(
    exchange: Exchange,
    run: str,
    task: TaskRecord,
    attempts: Sequence[Attempt],
    *,
    final: bool,
) -> list[Document]:
    """Return the failed attempts of a task; cancelled ones did not fail."""
    if not attempts:
        return []
    document = with_reports(exchange, run, task, task_document(task, attempts))
    about = {
        "task": task.spec.id,
        "command": task.spec.command,
        "tags": dict(task.spec.tags),
        **{name: document.get(name) for name in ("group", "cpus", "memory", "time_limit")},
    }
    failed = [
        {**about, **attempt, "final": False}
        for attempt in document["attempts"]
        if attempt["state"] == TaskState.FAILED and attempt["reason"] != Reason.CANCELLED
    ]
    if failed and task.state is TaskState.FAILED:
        failed[-1]["final"] = True
    return [failure for failure in failed if failure["final"] or not final]


def _size(documents: Sequence[Document]) -> int:
    return sum(wire_size(dump(document)) + 1 for document in documents)


@router.get("/jobs", summary="List the active jobs of all runs", operation_id="listJobs")
def list_jobs(
    limit: Limit = 100,
    cursor: OpaqueCursor = None,
    state: Annotated[
        list[Literal["submitted", "running"]] | None,
        SPLIT,
        Query(description=f"Only jobs in these states; {REPEAT}."),
    ] = None,
) -> Answer:
    """Answer with a page of submitted and running attempts, those of new runs first."""
    exchange = exchange_of(router)
    store = exchange.services.store
    states = ACTIVE if state is None else {TaskState(entry) for entry in state}
    found: list[tuple[RunRecord, TaskRecord]] = []
    before: tuple[float, str] | None = None
    if cursor is not None:
        at, run_id, position = decode_cursor(cursor, float, RUN_ID, int)
        before = (float(at), run_id)
        with suppress(UnknownRun):  # it may be gone since
            query = TaskFilter(states, after=position, limit=limit + 1)
            run = store.get_run(run_id)
            found += [(run, task) for task in store.list_tasks(run_id, query)]
    runs = store.list_runs(
        RunFilter([RunState.PENDING, RunState.RUNNING], before=before, limit=_MOST_RUNS)
    )
    onward = None
    if len(runs) == _MOST_RUNS:
        onward = encode_cursor(runs[-1].created_at, runs[-1].id, _END_OF_RUN)
    for run in runs:
        if len(found) > limit:
            break
        if run.active:
            query = TaskFilter(states, limit=limit + 1 - len(found))
            found += [(run, task) for task in store.list_tasks(run.id, query)]
    return answer_page(
        exchange,
        found,
        limit,
        lambda jobs: [_job_document(run, task) for run, task in jobs],
        lambda job: encode_cursor(job[0].created_at, job[0].id, job[1].position),
        onward,
    )


def _job_document(run: RunRecord, task: TaskRecord) -> Document:
    return {
        "job_id": task.handle,
        "run": run.id,
        "task": task.spec.id,
        "attempt": task.attempt,
        "state": task.state,
        "backend": task.backend,
        "submitted_at": None if task.submitted_at is None else format_time(task.submitted_at),
        "started_at": None if task.started_at is None else format_time(task.started_at),
    }
