"""Routes of open and held runs: add tasks, release, close."""

from __future__ import annotations

import secrets

from hut.rest.answers import Answer, json_answer
from hut.rest.audit import audited
from hut.rest.bodies import NoFields, read_added, read_body
from hut.rest.exchange import exchange_of
from hut.rest.observing import count_added
from hut.rest.routing import RunId, new_router
from hut.views import run_document

__all__ = ["router"]

router = new_router()

_WARNINGS = 1000


@router.post(
    "/runs/<run>/tasks", summary="Add tasks to an open or held run", operation_id="addTasks"
)
def add_tasks(run: RunId) -> Answer:
    """Let tasks join a run, all of them or none; 200 if they had joined under the same key."""
    exchange = exchange_of(router)
    services, key = exchange.services, exchange.idempotency_key
    exchange.run(run)
    text, filename = read_added(exchange)
    with audited(exchange, "add", run=run) as found:
        adds, joined = services.control.add_tasks(
            run,
            text,
            filename=filename,
            key=key or secrets.token_hex(16),
            now=services.clock(),
            setting=services.configuring.setting(),
        )
        added = 0 if adds is None else len(adds.tasks)
        found.detail = {"tasks": added, "new": int(joined)}
    if joined:
        count_added(added)
    warnings = [] if adds is None else [str(each) for each in adds.warnings[:_WARNINGS]]
    document = {
        "added": added if joined else 0,
        "run": run_document(services.store.get_run(run)),
        "warnings": warnings,
    }
    return json_answer(document, 201 if joined else 200)


@router.post(
    "/runs/<run>/release",
    summary="Let the tasks of a held run be started",
    operation_id="releaseRun",
)
def release_run(run: RunId) -> Answer:
    """Release a run; one that is not held stays as it is."""
    exchange = exchange_of(router)
    read_body(exchange, NoFields)
    exchange.run(run)
    with audited(exchange, "release", run=run):
        record = exchange.services.store.release_run(run, exchange.services.clock())
    return json_answer(run_document(record))


@router.post(
    "/runs/<run>/close", summary="Take no more tasks into an open run", operation_id="closeRun"
)
def close_run(run: RunId) -> Answer:
    """Close a run; it ends when the tasks it has do."""
    exchange = exchange_of(router)
    read_body(exchange, NoFields)
    exchange.run(run)
    with audited(exchange, "close", run=run):
        record = exchange.services.control.close(run, exchange.services.clock())
    return json_answer(run_document(record))
