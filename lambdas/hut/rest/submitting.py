"""Routes before a run: plan a workflow, submit it, upload a large one."""

from __future__ import annotations

from typing import Annotated

from aws_lambda_powertools.event_handler.openapi.params import Query

from hut.model.rfc3339 import format_time
from hut.rest.answers import Answer, json_answer
from hut.rest.audit import audited
from hut.rest.bodies import NoFields, read_body, read_submission
from hut.rest.exchange import exchange_of
from hut.rest.observing import count_submission
from hut.rest.previews import plan_text, preview_script, with_remarks
from hut.rest.routing import new_router
from hut.submission import workflow_name
from hut.views import plan_document, run_document

__all__ = ["router"]

router = new_router()


@router.post("/plan", summary="Say what a workflow would run", operation_id="planWorkflow")
def plan_workflow(
    scripts: Annotated[
        bool, Query(description="With the script of each task, where they fit.")
    ] = False,
) -> Answer:
    """Plan; nothing is stored."""
    exchange = exchange_of(router)
    submission, setting = read_submission(exchange)
    plan, settings = exchange.services.control.plan(submission, setting)
    plan = with_remarks(exchange.services, plan, settings)
    name = workflow_name(submission, plan)
    script = preview_script(exchange.services, name, settings) if scripts else None
    return json_answer(plan_text(plan, plan_document(plan, settings, name=name), script))


@router.post("/runs", summary="Submit a workflow", operation_id="submitRun")
def submit_run() -> Answer:
    """Store a run and start it."""
    exchange = exchange_of(router)
    key = exchange.idempotency_key
    submission, setting = read_submission(exchange, key=key)
    with audited(exchange, "submit") as found:
        run, plan, created = exchange.services.submit(submission, setting)
        found.run = run.id
        found.detail = {"workflow": run.workflow, "tasks": run.total, "new": int(created)}
    exchange.notes["run_id"] = run.id
    if created:
        count_submission(run.total)
    plan = with_remarks(exchange.services, plan, run.settings)
    warnings = [str(warning) for warning in plan.warnings[:1000]]
    return json_answer(
        {**run_document(run), "warnings": warnings},
        201 if created else 200,
        {"Location": exchange.url("runs", run.id)},
    )


@router.post("/uploads", summary="Get leave to upload a file", operation_id="createUpload")
def create_upload() -> Answer:
    """Hand out an address for a workflow that is too large for a body."""
    exchange = exchange_of(router)
    read_body(exchange, NoFields)
    ticket = exchange.services.uploads.ticket(exchange.owner)
    document = {
        "id": ticket.id,
        "method": "PUT",
        "url": ticket.url,
        "headers": dict(ticket.headers),
        "expires_at": format_time(ticket.expires_at),
    }
    return json_answer(document, 201)
