"""The ``sweep`` Lambda: runs every few minutes, one at a time, and repairs what events lost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from handlers.wiring import surroundings
from hut.service.sweeping import Sweeping

__all__ = ["handler"]

logger = Logger()
metrics = Metrics()

_NAMES = {
    "runs": "RunsSwept",
    "ends_found": "EndsFoundBySweep",
    "claims_returned": "ClaimsReturned",
    "lost": "AttemptsLost",
    "started_again": "ExecutionsStartedAgain",
    "failed": "SweepFailed",
}


@metrics.log_metrics
@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: Any) -> dict[str, int]:  # noqa: ARG001
    """Look at every run that has not ended; answer what was found."""
    swept: dict[str, int] = asdict(Sweeping(surroundings(logger, context)).sweep())
    if any(swept.values()):
        for name, count in swept.items():
            metrics.add_metric(_NAMES[name], MetricUnit.Count, count)
    logger.info("swept", extra=swept)
    return swept
