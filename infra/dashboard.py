"""The dashboard: what is running, how fast Hut is, what went wrong, what it costs. Top to bottom.

docs/operations.md explains it row by row. Lines are zero where nothing was published, because Hut
publishes no zeros; red lines are the thresholds of the alarms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from hut.metrics import Metric
from infra.alarms import ALARMS
from infra.functions import FUNCTIONS
from infra.prices import AS_OF, PRICES
from infra.storage import INDEXES
from infra.watched import FIVE_MINUTES, Watched, filled

if TYPE_CHECKING:
    from constructs import Construct

__all__ = ["add_dashboard"]

_WIDE, _THIRD = 24, 8
_HIGH = 6
_RED = cloudwatch.Color.RED
_TRANSITIONS_PER_TASK = 50  # of one on an instance that takes half a minute to boot
_TRANSITIONS_PER_RUN = 7  # of a run whose plan is one block; each further block is one more
_HOUR = Duration.hours(1)

_Lines = Sequence[cloudwatch.IMetric]

_FIRST = """
# Hut ({prefix}): look here first
1. **An alarm is red below?** Its description says what to do; `docs/operations.md` has a section under its name.
2. **Nothing is red, but a run stands still?** `hutctl why RUN TASK` says what it waits for. Then look at *tasks \
now*: many waiting and none active with capacity to spare is Hut's fault, else it is room.
3. **Everything is slow?** *How fast Hut is*: dispatch and events take seconds. If they do not, look at the \
queues and at throttles; if they do, the time goes into jobs.
"""


def add_dashboard(
    scope: Construct, watched: Watched, alarms: Sequence[cloudwatch.IAlarm]
) -> cloudwatch.Dashboard:
    """Add the dashboard.

    Parameters
    ----------
    alarms
        Shown at the top; none if there are none.
    """
    board = cloudwatch.Dashboard(
        scope,
        "Dashboard",
        dashboard_name=watched.prefix,
        default_interval=Duration.hours(12),
        period_override=cloudwatch.PeriodOverride.INHERIT,
    )
    board.add_widgets(_text(_FIRST.format(prefix=watched.prefix).strip(), height=4))
    if alarms:
        status = cloudwatch.AlarmStatusWidget(
            title="Alarms", alarms=list(alarms), width=_WIDE, height=4
        )
        board.add_widgets(status)
    rows: Mapping[str, Callable[[Watched], Sequence[cloudwatch.IWidget]]] = {
        "What is running": _runs,
        "What became of tasks": _tasks,
        "How fast Hut is": _speed,
        "Throttles, repairs, faults": _trouble,
        "Queues": _queues,
        "Functions": _functions,
        "Step Functions and the API": _edges,
        **({"Tasks on machines of their own": _machines} if watched.task_machine else {}),
        **({"Pools of workers": _pools} if watched.has_pools else {}),
        "What Hut itself costs": _costs,
    }
    for heading, widgets in rows.items():
        board.add_widgets(_text(f"## {heading}", height=1))
        board.add_widgets(*widgets(watched))
    return board


# Rows --------------------------------------------------------------------------------------------


def _runs(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    seconds = Metric.RUN_SECONDS
    return (
        _graph(
            "Runs by state, per 5 minutes",
            [
                _count(watched, Metric.RUNS_SUBMITTED, "submitted"),
                _count(watched, Metric.RUNS_COMPLETED, "completed"),
                _count(watched, Metric.RUNS_FAILED, "failed"),
                _count(watched, Metric.RUNS_CANCELLED, "cancelled"),
            ],
        ),
        _graph(
            "Runs and tasks now (as the sweep sees them)",
            [
                _gauge(watched, Metric.TASKS_ACTIVE, "tasks submitted or running"),
                _gauge(watched, Metric.TASKS_PENDING, "tasks waiting"),
            ],
            right=[_gauge(watched, Metric.RUNS_ACTIVE, "runs (right axis)")],
        ),
        _graph(
            "From submission to end of a run",
            [
                _named(watched.hut(seconds, "p50"), "half of the runs"),
                _named(watched.hut(seconds, "p90"), "nine in ten"),
                _named(watched.hut(seconds, "Maximum"), "the longest"),
            ],
            unit="seconds",
        ),
    )


def _tasks(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    return (
        _graph(
            "Tasks by state, per 5 minutes",
            [
                _count(watched, Metric.TASKS_PLANNED, "planned"),
                _count(watched, Metric.TASKS_COMPLETED, "completed"),
                _count(watched, Metric.TASKS_FAILED, "failed"),
                _count(watched, Metric.TASKS_DEP_FAILED, "dep_failed (at the end of the run)"),
            ],
        ),
        _graph(
            "Attempts, per 5 minutes",
            [
                _count(watched, Metric.ATTEMPTS_SUBMITTED, "submitted"),
                _count(watched, Metric.ATTEMPTS_REPEATED, "ended, to be repeated"),
            ],
        ),
        _graph(
            "Attempts lost to the infrastructure, by reason",
            [
                _count(watched, Metric.ATTEMPTS_HOST_TERMINATED, "host_terminated (Spot, hosts)"),
                _count(watched, Metric.ATTEMPTS_LOST, "lost (the job is gone)"),
                _count(watched, Metric.ATTEMPTS_REFUSED, "launch_failed, unsatisfiable"),
            ],
        ),
    )


def _speed(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    def latency(metric: Metric) -> _Lines:
        return [
            _named(watched.hut(metric, "p50"), "half"),
            _named(watched.hut(metric, "p95"), "19 in 20"),
            _named(watched.hut(metric, "Maximum"), "the longest"),
        ]

    behind = watched.function("advance", "IteratorAge", "Maximum")
    return (
        _graph("Dispatch: ready to submitted", latency(Metric.DISPATCH_SECONDS), unit="seconds"),
        _graph("Events: end of job to recorded", latency(Metric.EVENT_SECONDS), unit="seconds"),
        _graph(
            "How far hut-advance is behind the table",
            [_named(behind, "oldest record")],
            alarm="stream-behind",
            unit="milliseconds",
        ),
    )


def _trouble(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    writes = filled(watched.items("WriteThrottleEvents"), "table: writes")
    reads = filled(watched.items("ReadThrottleEvents"), "table: reads")
    refused = cloudwatch.MathExpression(
        expression=" + ".join(f"FILL(throttles_{name}, 0)" for name in FUNCTIONS),
        using_metrics={
            f"throttles_{name}": watched.function(name, "Throttles") for name in FUNCTIONS
        },
        label="functions: calls refused",
        period=FIVE_MINUTES,
    )
    return (
        _graph(
            "Throttles, per 5 minutes",
            [
                _count(watched, Metric.SUBMITS_THROTTLED, "SubmitJob throttled by Batch"),
                _count(watched, Metric.CLAIMS_GIVEN_BACK, "submissions not taken, tried again"),
                _count(watched, Metric.CLAIMS_PACED, "submissions put off by the pace"),
                refused,
                writes,
                reads,
            ],
            alarm="submissions-refused",
        ),
        _graph(
            "What the sweep repaired, and could not",
            [
                _count(watched, Metric.ENDS_FOUND, "ends no event told of"),
                _count(watched, Metric.CLAIMS_RETURNED, "claims without a job"),
                _count(watched, Metric.STARTED_AGAIN, "executions started again"),
                _count(watched, Metric.JOBS_UNWANTED, "jobs nobody wanted"),
                _gauge(watched, Metric.JOBS_STUCK, "jobs stuck (not repaired)"),
            ],
            alarm="jobs-stuck",
        ),
        _graph(
            "What failed (and is tried again)",
            [
                _count(watched, Metric.ADVANCE_FAILED, "bringing a run forward"),
                _count(watched, Metric.OBSERVE_FAILED, "taking in events of a run"),
                _count(watched, Metric.SWEEP_FAILED, "sweeping a run"),
                _count(watched, Metric.EXECUTIONS_BROKEN, "executions broken"),
            ],
            alarm="executions-broken",
        ),
    )


def _queues(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    age, depth = "ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"
    dead = {"observe_dead": "observe", "wake_dead": "wake", "stream_dead": "stream"}
    return (
        _graph(
            "Age of the oldest message",
            [filled(watched.queue(name, age), name) for name in ("observe", "wake")],
            alarm="observe-queue-old",
            unit="seconds",
        ),
        _graph(
            "Messages that wait",
            [filled(watched.queue(name, depth), name) for name in ("observe", "wake")],
        ),
        _graph(
            "Dead letters",
            [filled(watched.queue(name, depth), label) for name, label in dead.items()],
            alarm="observe-dead-letters",
        ),
    )


def _functions(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    def each(metric: str, statistic: str, *, fill: bool) -> _Lines:
        found = {name: watched.function(name, metric, statistic) for name in FUNCTIONS}
        return [filled(m, name) if fill else _named(m, name) for name, m in found.items()]

    return (
        _graph("Errors, per 5 minutes", each("Errors", "Sum", fill=True)),
        _graph(
            "Duration, 19 in 20 calls", each("Duration", "p95", fill=False), unit="milliseconds"
        ),
        _graph("Calls, per 5 minutes", each("Invocations", "Sum", fill=True)),
    )


def _edges(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    executions = {
        "ExecutionsStarted": "started",
        "ExecutionsSucceeded": "succeeded",
        "ExecutionsFailed": "failed (failed runs, too)",
        "ExecutionsTimedOut": "timed out",
        "ExecutionsAborted": "stopped by somebody",
    }
    requests = {"Count": "all", "4XXError": "4xx: the caller's", "5XXError": "5xx: Hut's"}
    return (
        _graph(
            "Executions of runs, per 5 minutes",
            [filled(watched.run(name), label) for name, label in executions.items()],
        ),
        _graph(
            "API requests, per 5 minutes",
            [filled(watched.api(name), label) for name, label in requests.items()],
        ),
        _graph(
            "API answers after",
            [
                _named(watched.api("Latency", "p50"), "half"),
                _named(watched.api("Latency", "p95"), "19 in 20"),
            ],
            unit="milliseconds",
        ),
    )


def _machines(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    executions = {
        "ExecutionsStarted": "started",
        "ExecutionsSucceeded": "exit code 0",
        "ExecutionsFailed": "ended otherwise (failed tasks, too)",
        "ExecutionsAborted": "cancelled",
    }
    return (
        _graph(
            "Tasks on machines of their own, per 5 minutes",
            [filled(watched.task(name), label) for name, label in executions.items()],
            width=2 * _THIRD,
        ),
        _graph(
            "From the start of its execution to its end",
            [
                _named(watched.task("ExecutionTime", "p50"), "half of the tasks"),
                _named(watched.task("ExecutionTime", "Maximum"), "the longest task"),
            ],
            unit="milliseconds",
        ),
    )


def _pools(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    return (
        _graph(
            "Tasks that wait in pools (as the sweep sees it)",
            [
                _gauge(watched, Metric.POOL_TASKS_WAITING, "not taken by a worker yet"),
                _gauge(watched, Metric.POOL_TASKS_UNSERVED, "that no worker there could run"),
            ],
            alarm="pools-unserved",
        ),
        _graph(
            "Workers of all pools",
            [_gauge(watched, Metric.POOL_WORKERS, "workers")],
        ),
        _graph(
            "Workers lost with their tasks, per 5 minutes",
            [_count(watched, Metric.WORKERS_LOST, "not heard of any more")],
            alarm="workers-lost",
        ),
    )


def _costs(watched: Watched) -> Sequence[cloudwatch.IWidget]:
    shares = {**_lambda_cost(watched), **_other_costs(watched)}
    total = cloudwatch.MathExpression(
        expression=" + ".join(shares),
        using_metrics=dict(shares),
        label="dollars in the time shown",
        period=_HOUR,
    )
    return (
        _graph(
            "Dollars per hour, by service (an estimate)",
            list(shares.values()),
            width=2 * _THIRD,
            stacked=True,
            unit="dollars",
        ),
        cloudwatch.SingleValueWidget(
            title="Estimate for the time shown",
            metrics=[total],
            width=_THIRD,
            height=_HIGH,
            set_period_to_time_range=True,
            full_precision=True,
        ),
        _text(
            f"List prices of us-east-1, {AS_OF}, without free amounts; not in it: S3, traces, what is stored, alarms, "
            "and what jobs cost (see `hutctl cost RUN`). `docs/operations.md` has the details.",
            height=2,
        ),
    )


def _lambda_cost(watched: Watched) -> dict[str, cloudwatch.MathExpression]:
    used: dict[str, cloudwatch.IMetric] = {}
    terms = []
    for name, options in FUNCTIONS.items():
        used[f"n_{name}"] = watched.function(name, "Invocations", period=_HOUR)
        used[f"ms_{name}"] = watched.function(name, "Duration", period=_HOUR)
        second = PRICES["lambda_gb_second"].each * options.memory / 1024
        terms.append(
            f"FILL(n_{name}, 0) * {PRICES['lambda_request'].each:.3g}"
            f" + FILL(ms_{name}, 0) / 1000 * {second:.4g}"
        )
    return {"lambda": _dollars("Lambda", " + ".join(terms), used)}


def _other_costs(watched: Watched) -> dict[str, cloudwatch.MathExpression]:
    write, read = PRICES["dynamodb_write"].each, PRICES["dynamodb_read"].each
    places: dict[str, str | None] = {"table": None, **{index: index for index in INDEXES}}
    units: dict[str, cloudwatch.IMetric] = {}
    items = []
    for place, index in places.items():
        units[f"w_{place}"] = watched.items("ConsumedWriteCapacityUnits", index=index)
        units[f"r_{place}"] = watched.items("ConsumedReadCapacityUnits", index=index)
        items.append(f"FILL(w_{place}, 0) * {write:.4g} + FILL(r_{place}, 0) * {read:.4g}")
    messages: dict[str, cloudwatch.IMetric] = {}
    for queue in ("observe", "wake"):
        # What is received comes several at a time; each counted alone is the upper bound.
        for short, name in {
            "sent": "NumberOfMessagesSent",
            "got": "NumberOfMessagesReceived",
            "gone": "NumberOfMessagesDeleted",
            "empty": "NumberOfEmptyReceives",
        }.items():
            messages[f"{short}_{queue}"] = watched.queue(queue, name, "Sum")
    requests = " + ".join(f"FILL({name}, 0)" for name in messages)
    logs: dict[str, cloudwatch.IMetric] = {f"b_{name}": watched.logs(name) for name in FUNCTIONS}
    written = " + ".join(f"FILL({name}, 0)" for name in logs)
    transition = PRICES["transition"].each
    executions: dict[str, cloudwatch.IMetric] = {"n_runs": watched.run("ExecutionsStarted")}
    steps = f"FILL(n_runs, 0) * {transition * _TRANSITIONS_PER_RUN:.4g}"
    if watched.task_machine:
        executions["n_tasks"] = watched.task("ExecutionsStarted")
        steps += f" + FILL(n_tasks, 0) * {transition * _TRANSITIONS_PER_TASK:.4g}"
    return {
        "dynamodb": _dollars("DynamoDB", " + ".join(items), units),
        "sqs": _dollars("SQS", f"({requests}) * {PRICES['sqs_request'].each:.3g}", messages),
        "api": _dollars(
            "API Gateway",
            f"FILL(n_requests, 0) * {PRICES['api_request'].each:.3g}",
            {"n_requests": watched.api("Count")},
        ),
        "states": _dollars("Step Functions", steps, executions),
        "logs": _dollars("Logs", f"({written}) * {PRICES['log_byte'].each:.4g}", logs),
    }


# Widgets -----------------------------------------------------------------------------------------


def _dollars(
    label: str, expression: str, used: dict[str, cloudwatch.IMetric]
) -> cloudwatch.MathExpression:
    """Return an estimate per hour, whatever the periods of the metrics in it."""
    return cloudwatch.MathExpression(
        expression=expression, using_metrics=used, label=label, period=_HOUR
    )


def _count(watched: Watched, metric: Metric, label: str) -> cloudwatch.MathExpression:
    return filled(watched.hut(metric), label)


def _gauge(watched: Watched, metric: Metric, label: str) -> cloudwatch.MathExpression:
    return filled(watched.hut(metric, "Maximum", watched.sweep_period), label)


def _named(metric: cloudwatch.Metric, label: str) -> cloudwatch.Metric:
    return metric.with_(label=label)


def _text(markdown: str, *, height: int) -> cloudwatch.TextWidget:
    return cloudwatch.TextWidget(
        markdown=markdown,
        width=_WIDE,
        height=height,
        background=cloudwatch.TextWidgetBackground.TRANSPARENT,
    )


def _graph(
    title: str,
    lines: _Lines,
    *,
    right: _Lines = (),
    alarm: str | None = None,
    unit: str | None = None,
    width: int = _THIRD,
    stacked: bool = False,
) -> cloudwatch.GraphWidget:
    """Return a graph; with the name of an alarm, its threshold is drawn in."""
    marks = []
    if alarm is not None:
        marks.append(
            cloudwatch.HorizontalAnnotation(
                value=ALARMS[alarm].threshold, label=f"alarm {alarm}", color=_RED
            )
        )
    return cloudwatch.GraphWidget(
        title=title,
        left=list(lines),
        right=list(right),
        left_annotations=marks,
        left_y_axis=cloudwatch.YAxisProps(min=0, label=unit, show_units=False),
        right_y_axis=cloudwatch.YAxisProps(min=0, show_units=False) if right else None,
        width=width,
        height=_HIGH,
        stacked=stacked,
    )
