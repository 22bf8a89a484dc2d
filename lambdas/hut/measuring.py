"""Publishes what `hut.metrics` declares, as lines of the log (CloudWatch's embedded metric format).

Values are kept until the function ends, then written in one line. Without any, nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from aws_lambda_powertools import Metrics

from hut.metrics import NAMESPACE, Metric, Unit

__all__ = ["measure", "measured", "publish"]

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


@cache
def _metrics() -> Metrics:
    return Metrics(namespace=NAMESPACE, service=os.environ.get("HUT_PREFIX", "hut"))


def measure(metric: Metric, value: float = 1.0) -> None:
    """Keep a value for `publish`; zero counts are not worth their price."""
    if value or metric.unit is not Unit.COUNT:
        _metrics().add_metric(metric.title, metric.unit, value)


def publish() -> None:
    """Write what was measured, if anything was."""
    if _metrics().provider.metric_set:
        _metrics().flush_metrics()


def measured(handler: Callable[_Given, _Answer]) -> Callable[_Given, _Answer]:
    """Return a function's handler that publishes what was measured, however it ends."""

    @wraps(handler)
    def publishing(*arguments: _Given.args, **named: _Given.kwargs) -> _Answer:
        try:
            return handler(*arguments, **named)
        finally:
            publish()

    return publishing
