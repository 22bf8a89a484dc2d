"""What the dashboard and the alarms look at: the metrics of one deployment, as CDK objects.

Names and dimensions of AWS's own metrics are those its documentation lists; a test compares them
with a list that was checked by hand (tests/infra/aws_metrics.py). Hut's own come from `hut.metrics`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from hut.metrics import NAMESPACE, Metric

__all__ = ["FIVE_MINUTES", "Watched", "filled"]

FIVE_MINUTES = Duration.minutes(5)


@dataclass(frozen=True, slots=True)
class Watched:
    """The things of one deployment that have metrics, by the names CloudWatch knows.

    Attributes
    ----------
    prefix : str
        Of the deployment; also the name of its API, and what its functions' names begin with.
    table, machine : str
        Name of the table, ARN of the state machine.
    queues : dict of str to str
        Names of the queues, by ``observe``, ``wake`` and the same with ``_dead``, and ``stream_dead``.
    sweep_minutes : int
        Interval of the sweep.
    task_machine : str or None
        ARN of the state machine of tasks on instances, where there is one.
    has_pools : bool
        Whether there are pools of workers.
    """

    prefix: str
    table: str
    machine: str
    queues: dict[str, str]
    sweep_minutes: int
    task_machine: str | None = None
    has_pools: bool = False

    @property
    def sweep_period(self) -> Duration:
        """Whole five minutes in which at least one sweep happens, with one missed at the most."""
        minutes = -(-2 * self.sweep_minutes // 5) * 5
        return Duration.minutes(max(5, minutes))

    def hut(
        self, metric: Metric, statistic: str = "Sum", period: Duration = FIVE_MINUTES
    ) -> cloudwatch.Metric:
        """Return one of Hut's own metrics."""
        return _metric(NAMESPACE, metric.title, {"service": self.prefix}, statistic, period)

    def function(
        self, name: str, metric: str, statistic: str = "Sum", period: Duration = FIVE_MINUTES
    ) -> cloudwatch.Metric:
        """Return a metric of a Lambda function."""
        dimensions = {"FunctionName": f"{self.prefix}-{name}"}
        return _metric("AWS/Lambda", metric, dimensions, statistic, period)

    def queue(self, name: str, metric: str, statistic: str = "Maximum") -> cloudwatch.Metric:
        """Return a metric of a queue."""
        return _metric("AWS/SQS", metric, {"QueueName": self.queues[name]}, statistic)

    def run(self, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """Return a metric of the run state machine."""
        return _metric("AWS/States", metric, {"StateMachineArn": self.machine}, statistic)

    def task(self, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """Return a metric of the state machine of tasks on instances."""
        machine = {"StateMachineArn": self.task_machine or ""}
        return _metric("AWS/States", metric, machine, statistic)

    def api(self, metric: str, statistic: str = "Sum") -> cloudwatch.Metric:
        """Return a metric of the REST API."""
        return _metric("AWS/ApiGateway", metric, {"ApiName": self.prefix}, statistic)

    def items(self, metric: str, *, index: str | None = None) -> cloudwatch.Metric:
        """Return a metric of the table, or of one of its indexes: a table's does not hold theirs."""
        dimensions = {"TableName": self.table}
        if index is not None:
            dimensions["GlobalSecondaryIndexName"] = index
        return _metric("AWS/DynamoDB", metric, dimensions, "Sum")

    def logs(self, function: str) -> cloudwatch.Metric:
        """Return the bytes of log a function wrote."""
        group = {"LogGroupName": f"/aws/lambda/{self.prefix}-{function}"}
        return _metric("AWS/Logs", "IncomingBytes", group, "Sum")


def _metric(
    namespace: str,
    name: str,
    dimensions: dict[str, str],
    statistic: str,
    period: Duration = FIVE_MINUTES,
) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=namespace,
        metric_name=name,
        dimensions_map=dimensions,
        statistic=statistic,
        period=period,
    )


def filled(metric: cloudwatch.Metric, label: str) -> cloudwatch.MathExpression:
    """Return a metric that is zero where nothing was published: Hut publishes no zeros.

    Labels of one graph must differ: CloudWatch wants names for what stands in expressions.
    """
    name = "m_" + re.sub(r"\W+", "_", label.lower())
    return cloudwatch.MathExpression(
        expression=f"FILL({name}, 0)",
        using_metrics={name: metric},
        label=label,
        period=metric.period,
    )
