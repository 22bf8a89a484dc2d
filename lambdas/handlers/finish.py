"""The ``finish`` Lambda: the last step of a run's execution, which says how the run ended."""

from __future__ import annotations

from typing import Any

from handlers.wiring import surroundings
from hut.logs import new_logger
from hut.measuring import measure, measured
from hut.metrics import ENDED_RUNS, Metric
from hut.model.states import TaskState
from hut.views import run_document

__all__ = ["handler"]

logger = new_logger()


@measured
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer how the run ended; an exception makes the state machine ask again."""
    run_id = str(event["run"])
    logger.append_keys(run=run_id)
    store = surroundings(logger, context).store
    run = store.get_run(run_id)
    if store.standing(run_id).generation != int(event["generation"]):
        # How it had ended is in the attempts; the execution of the repetition tells how it ends.
        return {"id": run_id, "state": "repeated", "message": "the run was repeated meanwhile"}
    if run.ended_at is None:
        message = f"run {run_id} has not ended yet"
        raise RuntimeError(message)
    measure(ENDED_RUNS[run.state])
    measure(Metric.TASKS_DEP_FAILED, run.counts[TaskState.DEP_FAILED])
    # A repetition was asked for long after the run was submitted.
    begun = run.created_at if int(event["generation"]) == 0 else run.started_at
    seconds = run.ended_at - (begun or run.created_at)
    measure(Metric.RUN_SECONDS, seconds)
    logger.info("the run has ended", state=run.state, seconds=round(seconds, 3), tasks=run.total)
    document = run_document(run)
    names = ("id", "workflow", "state", "reason", "message", "total", "counts", "ended_at")
    return {name: document[name] for name in names}
