"""The ``register`` Lambda: the steps of the run state machine that write.

- ``block``: write a part of a run's plan; several at a time, each at least once
- ``start``: keep the token of the execution, let tasks be claimed
- ``expire``: the run's time is over: stop it, and keep the token of the step that waits now
- ``abandon``: the tasks could not be stored: end the run
"""

from __future__ import annotations

from typing import Any

from handlers.wiring import surroundings
from hut.logs import new_logger
from hut.measuring import measure, measured
from hut.metrics import Metric
from hut.model.states import Reason
from hut.service.advancing import Advancing

__all__ = ["handler"]

logger = new_logger()


@measured
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Do one step; an exception makes the state machine repeat it."""
    run_id, step = str(event["run"]), str(event["step"])
    logger.append_keys(run=run_id, step=step)
    around = surroundings(logger, context)
    store, now = around.store, around.clock()
    generation = int(event["generation"])
    if step == "block":
        store.register_block(run_id, int(event["block"]), now)
        return {"block": event["block"]}
    if store.standing(run_id).generation != generation:
        logger.warning("a step of an execution that is over")
        if "token" in event:  # it came late; nobody else knows that it waits
            around.executions.tell_end(str(event["token"]))
        return {"run": run_id, "state": "repeated"}
    if step == "start":
        store.keep_token(run_id, generation, str(event["token"]))
        Advancing(around).tell_earlier(run_id, generation)
        store.begin_run(run_id, generation, now)
    elif step == "expire":
        store.keep_token(run_id, generation, str(event["token"]), turn=1)
        store.cancel_run(run_id, Reason.TIMEOUT, now)
    elif step == "abandon":
        logger.error("the tasks of a run could not be stored", error=event.get("error"))
        measure(Metric.EXECUTIONS_BROKEN)
        store.cancel_run(run_id, Reason.CANCELLED, now)
    else:
        message = f"unknown step {step!r}"
        raise ValueError(message)
    # The run may have ended before its token was there, and its end would not be told again.
    run = store.get_run(run_id)
    if run.ended_at is not None:
        Advancing(around).tell_end(run)
    return {"run": run_id, "state": run.state}
