"""The alarms: each one is something a person has to look at, and says what to do.

docs/operations.md has a section for each, under the alarm's name. What repairs itself within minutes
is no alarm: single errors are tried again, lost events are found by the sweep, and a run that fails
because its tasks fail is its owner's business.

An alarm costs ten cents a month for each metric in it; the first ten of an account are free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns

from hut.metrics import Metric
from infra.watched import Watched

if TYPE_CHECKING:
    from constructs import Construct

__all__ = ["ALARMS", "AlarmPlan", "add_alarms"]

_GUIDE = "docs/operations.md"
_BUSY = ("advance", "observe")  # what events call; the others are called by AWS services that tell


@dataclass(frozen=True, slots=True)
class AlarmPlan:
    """When to call a person, and what to tell them.

    Attributes
    ----------
    says, does : str
        What has happened; what to do first.
    threshold : float
        Reached or passed, in each of `periods` periods in a row. With `below`: not reached.
    missing : TreatMissingData
        What it means that nothing was published.
    of_pools : bool
        It is only for deployments that have pools of workers.
    """

    says: str
    does: str
    metric: Callable[[Watched], cloudwatch.IMetric]
    threshold: float
    periods: int = 1
    below: bool = False
    missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING
    of_pools: bool = False


def _dead(queue: str) -> Callable[[Watched], cloudwatch.IMetric]:
    return lambda watched: watched.queue(queue, "ApproximateNumberOfMessagesVisible")


def _age(queue: str) -> Callable[[Watched], cloudwatch.IMetric]:
    return lambda watched: watched.queue(queue, "ApproximateAgeOfOldestMessage")


def _error_rate(watched: Watched) -> cloudwatch.IMetric:
    """Return which share of calls failed, in percent; with fewer than five calls it means nothing."""
    used: dict[str, cloudwatch.IMetric] = {}
    for name in _BUSY:
        used[f"errors_{name}"] = watched.function(name, "Errors")
        used[f"calls_{name}"] = watched.function(name, "Invocations")
    errors = " + ".join(f"FILL(errors_{name}, 0)" for name in _BUSY)
    calls = " + ".join(f"FILL(calls_{name}, 0)" for name in _BUSY)
    return cloudwatch.MathExpression(
        expression=f"IF(({calls}) >= 5, 100 * ({errors}) / ({calls}), 0)",
        using_metrics=used,
        label="calls that fail, in percent",
    )


def _throttled(watched: Watched) -> cloudwatch.IMetric:
    return cloudwatch.MathExpression(
        expression=" + ".join(f"FILL({name}, 0)" for name in _BUSY),
        using_metrics={name: watched.function(name, "Throttles") for name in _BUSY},
        label="calls refused for want of concurrency",
    )


def _sweeps(watched: Watched) -> cloudwatch.IMetric:
    """Return how many sweeps came to their end."""
    period = watched.sweep_period
    return cloudwatch.MathExpression(
        expression="calls - FILL(errors, 0)",
        using_metrics={
            "calls": watched.function("sweep", "Invocations", period=period),
            "errors": watched.function("sweep", "Errors", period=period),
        },
        label="sweeps that came to their end",
        period=period,
    )


ALARMS: dict[str, AlarmPlan] = {
    "observe-dead-letters": AlarmPlan(
        "Events of jobs or executions could not be taken in after ten tries.",
        "Find the cause in the log of hut-observe, mend it, then redrive the queue.",
        _dead("observe_dead"),
        1,
    ),
    "wake-dead-letters": AlarmPlan(
        "A run could not be brought forward after ten tries.",
        "Find the run and the cause in the log of hut-advance; the sweep goes on trying.",
        _dead("wake_dead"),
        1,
    ),
    "stream-dead-letters": AlarmPlan(
        "Records of the table's stream were given up; what follows from them waits for the sweep.",
        "Find the cause in the log of hut-advance; then delete the messages.",
        _dead("stream_dead"),
        1,
    ),
    # A batch that failed once comes again after six minutes: a quarter of an hour is more than that.
    "observe-queue-old": AlarmPlan(
        "Events of jobs wait for a quarter of an hour: starts and ends are told late.",
        "Look whether hut-observe fails, is throttled or is only behind a very large fan.",
        _age("observe"),
        900,
        periods=2,
    ),
    # Wake messages are delayed by up to a quarter of an hour on purpose.
    "wake-queue-old": AlarmPlan(
        "Runs that are to be looked at again wait for half an hour beyond their delay.",
        "Look whether hut-advance fails or is throttled.",
        _age("wake"),
        2700,
        periods=2,
    ),
    "stream-behind": AlarmPlan(
        "Ends are followed up five minutes late or more, for a quarter of an hour.",
        "Look whether hut-advance fails, is throttled, or has very many runs at once.",
        lambda watched: watched.function("advance", "IteratorAge", "Maximum"),
        300_000,
        periods=3,
    ),
    "functions-failing": AlarmPlan(
        "One in five calls of hut-advance and hut-observe failed, for a quarter of an hour.",
        "Read their logs: a fault of AWS passes, a fault of a release wants the previous one.",
        _error_rate,
        20,
        periods=3,
    ),
    "functions-throttled": AlarmPlan(
        "Calls of hut-advance or hut-observe were refused in each five minutes of a quarter hour.",
        "See what uses up the account's Lambda concurrency; have the quota raised.",
        _throttled,
        1,
        periods=3,
    ),
    "executions-broken": AlarmPlan(
        "An execution gave up, failed or timed out although its run had not ended.",
        "Open the execution in the Step Functions console; the run is being stopped.",
        lambda watched: watched.hut(Metric.EXECUTIONS_BROKEN),
        1,
    ),
    # Sweeps happen while nothing runs, too: that none is told of is a fault at any time, and one to
    # know of before the next run needs it.
    "sweep-missing": AlarmPlan(
        "No sweep came to its end for a while: lost events are not repaired.",
        "See whether the schedule is enabled and what the log of hut-sweep says.",
        _sweeps,
        1,
        periods=3,
        below=True,
        missing=cloudwatch.TreatMissingData.BREACHING,
    ),
    "runs-not-swept": AlarmPlan(
        "Sweep after sweep, at least one run can't be looked at.",
        "The log of hut-sweep names the run and the error.",
        lambda watched: watched.hut(Metric.SWEEP_FAILED, period=watched.sweep_period),
        1,
        periods=3,
    ),
    "submissions-refused": AlarmPlan(
        "For half an hour AWS Batch has not taken some of the submissions, nor when tried again.",
        "The log of hut-advance has Batch's words: its rate, a permission, a queue that is gone?",
        lambda watched: watched.hut(Metric.CLAIMS_GIVEN_BACK),
        1,
        periods=6,
    ),
    "jobs-stuck": AlarmPlan(
        "Jobs have waited for half an hour in queues that will not start them.",
        "hutctl why RUN TASK has Batch's reason; mend the queue or its environment.",
        lambda watched: watched.hut(Metric.JOBS_STUCK, "Maximum", watched.sweep_period),
        1,
        periods=3,
    ),
    "pools-unserved": AlarmPlan(
        "For half an hour tasks have waited in pools of which no worker could run them.",
        "hutctl pool show POOL; start workers that have what the tasks ask for.",
        lambda watched: watched.hut(Metric.POOL_TASKS_UNSERVED, "Maximum", watched.sweep_period),
        1,
        periods=6,
        of_pools=True,
    ),
    "workers-lost": AlarmPlan(
        "Workers were lost with their tasks in each five minutes of a quarter of an hour.",
        "Look at their machines: memory, Spot, the network; drain those that come back and die.",
        lambda watched: watched.hut(Metric.WORKERS_LOST),
        1,
        periods=3,
        of_pools=True,
    ),
    "api-failing": AlarmPlan(
        "One in twenty API requests ended as a fault of Hut's own, for a quarter of an hour.",
        "The log of hut-api has a line for each, with the place where it was raised.",
        lambda watched: watched.api("5XXError", "Average"),
        0.05,
        periods=3,
    ),
}


def add_alarms(
    scope: Construct, watched: Watched, topic: sns.ITopic
) -> dict[str, cloudwatch.Alarm]:
    """Add the alarms of what there is; each tells the topic when it begins and when it is over."""
    action = actions.SnsAction(topic)
    made = {}
    for name, plan in ALARMS.items():
        if plan.of_pools and not watched.has_pools:
            continue
        alarm = cloudwatch.Alarm(
            scope,
            "".join(word.capitalize() for word in name.split("-")),
            alarm_name=f"{watched.prefix}-{name}",
            alarm_description=f"{plan.says} {plan.does} See {_GUIDE}#{name}",
            metric=plan.metric(watched),
            threshold=plan.threshold,
            evaluation_periods=plan.periods,
            comparison_operator=(
                cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
                if plan.below
                else cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD
            ),
            treat_missing_data=plan.missing,
        )
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)
        made[name] = alarm
    return made
