"""What functions write: metrics in their logs (embedded metric format), and how much it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ministack.services import cloudwatch, lambda_svc

from tests.testbed import record
from tests.testbed.patching import replace, require

_OVERHEAD = 26  # bytes that CloudWatch Logs bills for each event
_PLATFORM = ("x" * 70, "x" * 60, "x" * 150)  # as long as START, END and REPORT


def install() -> None:
    emit_logs = replace(lambda_svc, "_emit_lambda_logs", None)
    record_metric = replace(cloudwatch, "record_metric", None)
    require(cloudwatch, "_evaluate_all_alarms")

    def emit_logs_and_metrics(
        function: Any, request_id: str, text: str, *rest: Any, **options: Any
    ) -> None:
        emit_logs(function, request_id, text, *rest, **options)
        name = (function.get("config") or function)["FunctionName"]
        lines = [*_PLATFORM, *(text or "").splitlines()]
        record.count("log_bytes", name, sum(len(line.encode()) + _OVERHEAD for line in lines))
        for line in (text or "").splitlines():
            for metric in _metrics_in(line):
                cloudwatch.record_metric(*metric)

    def record_and_evaluate(*arguments: Any, **options: Any) -> None:
        record_metric(*arguments, **options)
        cloudwatch._evaluate_all_alarms()

    lambda_svc._emit_lambda_logs = emit_logs_and_metrics
    cloudwatch.record_metric = record_and_evaluate


def _metrics_in(line: str) -> Iterator[tuple[str, str, float, str, dict[str, str]]]:
    """Return namespace, name, value, unit and dimensions of what a line of a log says."""
    if '"_aws"' not in line:
        return
    try:
        document = json.loads(line)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for names in directive.get("Dimensions") or [[]]:
                dimensions = {name: str(document[name]) for name in names}
                for metric in directive["Metrics"]:
                    values = document[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        unit = metric.get("Unit", "None")
                        yield directive["Namespace"], metric["Name"], value, unit, dimensions
    except (ValueError, KeyError, TypeError):
        return  # CloudWatch ignores lines it can't read, too
