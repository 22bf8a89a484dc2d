"""The ``sweep`` Lambda: runs every few minutes, one at a time, and repairs what events lost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from handlers.wiring import surroundings
from hut.logs import new_logger
from hut.measuring import measure, measured
from hut.metrics import Metric
from hut.service.sweeping import Sweeping
from hut.store.port import UnusableStore

__all__ = ["handler"]

logger = new_logger()

_NAMES = {
    "runs": Metric.RUNS_ACTIVE,
    "active": Metric.TASKS_ACTIVE,
    "pending": Metric.TASKS_PENDING,
    "ends_found": Metric.ENDS_FOUND,
    "claims_returned": Metric.CLAIMS_RETURNED,
    "started_again": Metric.STARTED_AGAIN,
    "failed": Metric.SWEEP_FAILED,
    "stuck": Metric.JOBS_STUCK,
    "unwanted": Metric.JOBS_UNWANTED,
    "workers": Metric.POOL_WORKERS,
    "waiting": Metric.POOL_TASKS_WAITING,
    "unserved": Metric.POOL_TASKS_UNSERVED,
}


@measured
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, int]:  # noqa: ARG001
    """Look at every run that has not ended; answer what was found."""
    around = surroundings(logger, context)
    try:
        around.migrate()
    except UnusableStore:
        raise
    except Exception:  # the next sweep goes on with it; the runs need this one
        logger.exception("the table could not be brought to its newest form")
    swept: dict[str, int] = asdict(Sweeping(around).sweep())
    for name, metric in _NAMES.items():
        measure(metric, swept[name])
    logger.info("swept", extra=swept)
    return swept
