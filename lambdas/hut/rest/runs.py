"""Routes of runs: list and look at them, follow, cancel and retry them."""

from __future__ import annotations

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import StringConstraints

from hut.model.problems import Problem
from hut.model.records import TaskRecord
from hut.model.rfc3339 import format_time
from hut.model.states import TERMINAL_RUN, RunState, TaskState
from hut.rest.answers import Answer, fitting, json_answer
from hut.rest.audit import audited
from hut.rest.bodies import NoFields, RetryBody, read_body
from hut.rest.exchange import RUN_ID, exchange_of
from hut.rest.paging import answer_page, decode_cursor, encode_cursor
from hut.rest.refusals import Refusal, malformed
from hut.rest.routing import REPEAT, SPLIT, Limit, OpaqueCursor, RunId, new_router
from hut.store.port import RunFilter, TaskFilter, UnknownRun
from hut.views import change_document, run_document

__all__ = ["router"]

router = new_router()

_MOST_FOUND = 10
_MOST_RUNNING = 10


Text = Annotated[str | None, Query(max_length=1024)]


@router.get("/runs", summary="List runs, newest first", operation_id="listRuns")
def list_runs(
    limit: Limit = 100,
    cursor: OpaqueCursor = None,
    state: Annotated[
        list[RunState] | None, SPLIT, Query(description=f"Only runs in these states; {REPEAT}.")
    ] = None,
    workflow: Text = None,
    owner: Text = None,
    tag: Annotated[
        list[Annotated[str, StringConstraints(pattern="^[^=]{1,120}=", max_length=400)]] | None,
        Query(description="Only runs with this tag, as `key=value`; repeat it for several."),
    ] = None,
    prefix: Annotated[
        str | None,
        Query(
            pattern="^[a-z0-9]{1,64}$",
            description="Runs whose id begins so, 10 at most; goes with no other filter.",
        ),
    ] = None,
) -> Answer:
    """Answer with a page of runs."""
    exchange = exchange_of(router)
    store = exchange.services.store
    if prefix is not None:
        if any(other is not None for other in (cursor, state, workflow, owner, tag)):
            raise malformed([Problem("goes with no other filter", field="prefix")])
        found = store.find_runs(prefix, min(limit, _MOST_FOUND))
        return json_answer(f"[{','.join(fitting([run_document(run) for run in found]))}]")
    before = None
    if cursor is not None:
        at, run_id = decode_cursor(cursor, float, RUN_ID)
        before = (float(at), str(run_id))
    tags = dict(each.split("=", 1) for each in tag or ())
    query = RunFilter(state, workflow, owner, before, limit + 1, tags)
    return answer_page(
        exchange,
        store.list_runs(query),
        limit,
        lambda runs: [run_document(run) for run in runs],
        lambda run: encode_cursor(run.created_at, run.id),
    )


@router.get(
    "/submissions", summary="Show the run that was submitted under a key", operation_id="findRun"
)
def find_run(
    key: Annotated[
        str, Query(min_length=1, max_length=255, description="An Idempotency-Key of the caller's.")
    ],
) -> Answer:
    """Answer with a run that the caller submitted."""
    exchange = exchange_of(router)
    run_id = exchange.services.store.run_of_key(exchange.own_key(key))
    if run_id is None:
        raise UnknownRun("nothing was submitted under this key")
    return json_answer(run_document(exchange.services.store.get_run(run_id)))


@router.get("/runs/<run>", summary="Show a run", operation_id="showRun")
def show_run(run: RunId) -> Answer:
    """Answer with one run."""
    return json_answer(run_document(exchange_of(router).run(run)))


@router.get(
    "/runs/<run>/changes",
    summary="Follow a run: what changed since a cursor",
    operation_id="listChanges",
)
def list_changes(
    run: RunId,
    cursor: Annotated[
        int, Query(ge=0, le=2**53, description="`cursor` of the answer before; 0 is the start.")
    ] = 0,
    limit: Limit = 100,
) -> Answer:
    """Answer with what happened, how the run stands after it, and what runs longest."""
    exchange = exchange_of(router)
    record = exchange.run(run)  # before the changes: an ended run has no more than these
    store = exchange.services.store
    changes, following = store.changes(run, cursor, limit)
    running: list[TaskRecord] = []
    if record.counts[TaskState.RUNNING]:
        running = store.list_tasks(run, TaskFilter([TaskState.RUNNING], limit=_MOST_RUNNING))
    return json_answer(
        {
            "run": run_document(record),
            "changes": [change_document(change) for change in changes],
            "cursor": following,
            "running": [
                {
                    "task_id": task.spec.id,
                    "attempt": task.attempt,
                    "since": format_time(task.started_at or task.submitted_at or record.created_at),
                }
                for task in running
            ],
        }
    )


@router.post("/runs/<run>/cancel", summary="Stop a run", operation_id="cancelRun")
def cancel_run(run: RunId) -> Answer:
    """Stop a run; 202 while tasks still end."""
    exchange = exchange_of(router)
    read_body(exchange, NoFields)
    exchange.run(run)
    with audited(exchange, "cancel", run=run):
        record = exchange.services.cancel(run)
    return json_answer(run_document(record), 200 if record.state in TERMINAL_RUN else 202)


@router.post(
    "/runs/<run>/retry",
    summary="Repeat what did not complete, in the same run",
    operation_id="retryRun",
)
def retry_run(run: RunId) -> Answer:
    """Make tasks pending again and start the run anew."""
    exchange = exchange_of(router)
    body = read_body(exchange, RetryBody)
    if exchange.run(run).state not in TERMINAL_RUN:
        detail = f"run {run} has not ended; cancel it, or wait for its end"
        raise Refusal(409, "run-not-ended", detail)
    with audited(exchange, "retry", run=run, all=int(body.all)) as found:
        repeated, record = exchange.services.retry(run, body.all)
        found.detail["tasks"] = repeated
    return json_answer({"repeated": repeated, "run": run_document(record)}, 202)
