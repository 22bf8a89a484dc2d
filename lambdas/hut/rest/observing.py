"""What the API tells its operators: a line per request, faults of our own, what was submitted.

Ids, routes, statuses and times only. Bodies, variables, commands and the messages of exceptions
(which may quote any of these) never reach the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from hut.faults import facts_of
from hut.logs import new_logger
from hut.measuring import measure, publish
from hut.metrics import Metric

__all__ = ["count_added", "count_submission", "log_failure", "log_request"]

_logger = new_logger()


def log_request(
    method: str, route: str, status: int, milliseconds: float, notes: Mapping[str, str]
) -> None:
    """Log that a request was answered."""
    facts = {"method": method, "route": route, "status": status, "ms": round(milliseconds, 1)}
    _logger.info("request", extra={**facts, **notes})


def log_failure(
    error: Exception, notes: Mapping[str, str], what: str = "the request failed"
) -> None:
    """Log an error that is no fault of the request: its type, and where it was raised."""
    _logger.error(what, extra={**facts_of(error), **notes})


def count_submission(tasks: int) -> None:
    """Publish the metrics of a submitted run, through the log (EMF)."""
    measure(Metric.RUNS_SUBMITTED)
    measure(Metric.TASKS_PLANNED, tasks)
    publish()


def count_added(tasks: int) -> None:
    """Publish the metrics of tasks that joined a run."""
    measure(Metric.TASKS_PLANNED, tasks)
    publish()
