"""What a deployment costs in a month in which nobody uses it, service by service.

The table in docs/deploy.md comes from here, and a test compares the two and what is counted from the
templates. What is not listed costs nothing while idle: API Gateway, Step Functions, events of AWS
services, SNS, Batch, the network, launch templates, SSM documents. What one keeps is priced per GB in
the docs.
"""

from __future__ import annotations

from dataclasses import dataclass

from infra.prices import PRICES

__all__ = ["Line", "Standing", "idle_month"]

_MINUTES = 30 * 24 * 60
_POLLERS, _POLLS_A_MINUTE = 5, 3  # Lambda's for a queue: five, each waiting for 20 seconds
_SWEEP_SECONDS = 0.1  # a warm call with one query that finds nothing; generous
_READS = 0.5  # read units of that query
_READS_OF_A_POOL = 5  # the workers three times, the queue twice, each a unit while they are empty
_LOG_BYTES = 1024  # START, END, REPORT and one line of ours
_KEY_MINUTES = 5  # how long DynamoDB keeps the key of a table in use


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands there, whether used or not.

    Attributes
    ----------
    alarm_metrics : int
        Metrics in alarms: each is billed, also where several are in one alarm.
    polled_queues : int
        Queues that call a function.
    sweep_minutes, sweep_memory : int
        Interval, and MiB, of the sweep.
    pools : int
        Pools of workers.
    """

    alarm_metrics: int
    dashboards: int
    polled_queues: int
    sweep_minutes: int
    sweep_memory: int
    pools: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the bill: dollars with the free amounts of an account, and without them."""

    service: str
    what: str
    units: float
    dollars: float
    without_free: float


def idle_month(standing: Standing) -> list[Line]:
    """Return the bill of an idle month of 30 days."""
    sweeps = _MINUTES / standing.sweep_minutes
    reads = _READS + standing.pools * _READS_OF_A_POOL
    used = {
        "alarm": ("CloudWatch", "metrics in alarms", standing.alarm_metrics),
        "dashboard": ("CloudWatch", "dashboards", standing.dashboards),
        "metric": ("CloudWatch", "custom metrics: none is published", 0),
        "log_byte": ("CloudWatch Logs", "bytes of log lines of sweeps", sweeps * _LOG_BYTES),
        "sqs_request": (
            "SQS",
            "polls of the queues by Lambda",
            standing.polled_queues * _POLLERS * _POLLS_A_MINUTE * _MINUTES,
        ),
        "lambda_request": ("Lambda", "sweeps", sweeps),
        "lambda_gb_second": (
            "Lambda",
            "GB-seconds of sweeps",
            sweeps * _SWEEP_SECONDS * standing.sweep_memory / 1024,
        ),
        "schedule": ("EventBridge Scheduler", "calls of the sweep", sweeps),
        "dynamodb_read": ("DynamoDB", "read units of sweeps", sweeps * reads),
        "key_request": ("KMS", "uses of the key of DynamoDB", _MINUTES / _KEY_MINUTES),
        "trace": ("X-Ray", "traces of sweeps", sweeps),
    }
    return [
        Line(
            service,
            what,
            units,
            PRICES[key].month(units, free=True),
            PRICES[key].month(units, free=False),
        )
        for key, (service, what, units) in used.items()
    ]
