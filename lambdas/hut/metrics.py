"""Every metric Hut publishes: its name, its unit and what it counts. Nothing else may be published.

The functions measure by these (`hut.measuring`), the dashboard and the alarms watch them
(`infra.dashboard`, `infra.alarms`), docs/operations.md explains them, and tests hold the four together.

A metric has one dimension, ``service``: the prefix of the deployment. CloudWatch bills each
combination of name and dimensions by the hour in which it is published, so there are none per run,
task or function, and a zero is not published: an idle deployment has no metrics at all.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from types import MappingProxyType

from hut.model.states import Reason, RunState, TaskState

__all__ = ["ENDED_RUNS", "ENDED_TASKS", "LOST_ATTEMPTS", "NAMESPACE", "Metric", "Unit"]

NAMESPACE = "Hut"


class Unit(StrEnum):
    """A unit, as CloudWatch writes it."""

    COUNT = "Count"
    SECONDS = "Seconds"


class Metric(Enum):
    """A metric: its name in CloudWatch, its unit, what one value of it says."""

    # Runs
    RUNS_SUBMITTED = ("RunsSubmitted", Unit.COUNT, "runs submitted")
    TASKS_PLANNED = ("TasksPlanned", Unit.COUNT, "tasks of the runs that were submitted")
    RUNS_COMPLETED = ("RunsCompleted", Unit.COUNT, "runs ended, every task completed")
    RUNS_FAILED = ("RunsFailed", Unit.COUNT, "runs ended with tasks that failed, or by their limit")
    RUNS_CANCELLED = ("RunsCancelled", Unit.COUNT, "runs ended because somebody stopped them")
    RUN_SECONDS = ("RunSeconds", Unit.SECONDS, "from the submission of a run to its end")
    EXECUTIONS_BROKEN = (
        "ExecutionsBroken",
        Unit.COUNT,
        "executions that gave up, failed or ran out of time while their run had not ended",
    )
    # Tasks and attempts
    ATTEMPTS_SUBMITTED = ("AttemptsSubmitted", Unit.COUNT, "attempts handed to a backend")
    TASKS_COMPLETED = ("TasksCompleted", Unit.COUNT, "tasks ended as completed")
    TASKS_FAILED = ("TasksFailed", Unit.COUNT, "tasks ended as failed by their last attempt")
    TASKS_DEP_FAILED = (
        "TasksDepFailed",
        Unit.COUNT,
        "tasks that never ran because a dependency failed; told when their run ends",
    )
    ATTEMPTS_REPEATED = (
        "AttemptsRepeated",
        Unit.COUNT,
        "attempts after which the task waits again",
    )
    ATTEMPTS_LOST = ("AttemptsLost", Unit.COUNT, "attempts whose job the backend has forgotten")
    ATTEMPTS_HOST_TERMINATED = (
        "AttemptsHostTerminated",
        Unit.COUNT,
        "attempts that ended with their host",
    )
    ATTEMPTS_REFUSED = ("AttemptsRefused", Unit.COUNT, "attempts that no backend would ever run")
    # How long Hut takes
    DISPATCH_SECONDS = (
        "DispatchSeconds",
        Unit.SECONDS,
        "from what makes tasks ready (an end, the beginning of a run) to their submission",
    )
    EVENT_SECONDS = ("EventSeconds", Unit.SECONDS, "from the end of a job to its being recorded")
    # Throttles and faults
    SUBMITS_THROTTLED = ("SubmitsThrottled", Unit.COUNT, "submissions that AWS throttled")
    CLAIMS_PACED = (
        "ClaimsPaced",
        Unit.COUNT,
        "submissions put off because all functions together call at the rate AWS allows",
    )
    CLAIMS_GIVEN_BACK = (
        "ClaimsGivenBack",
        Unit.COUNT,
        "submissions the backend did not take, for now; they are tried again",
    )
    ADVANCE_FAILED = ("AdvanceFailed", Unit.COUNT, "tries to bring a run forward that failed")
    OBSERVE_FAILED = ("ObserveFailed", Unit.COUNT, "tries to take in a run's events that failed")
    # What the sweep sees and repairs
    RUNS_ACTIVE = ("RunsActive", Unit.COUNT, "runs that have not ended, at a sweep")
    TASKS_ACTIVE = ("TasksActive", Unit.COUNT, "tasks submitted or running, at a sweep")
    TASKS_PENDING = ("TasksPending", Unit.COUNT, "tasks that wait, at a sweep")
    ENDS_FOUND = ("EndsFoundBySweep", Unit.COUNT, "ends that no event told of")
    CLAIMS_RETURNED = ("ClaimsReturned", Unit.COUNT, "claims without a job, given back")
    STARTED_AGAIN = ("ExecutionsStartedAgain", Unit.COUNT, "runs whose execution was missing")
    JOBS_STUCK = (
        "JobsStuck",
        Unit.COUNT,
        "jobs that have waited long for what no machine will bring, at a sweep",
    )
    JOBS_UNWANTED = (
        "JobsUnwanted",
        Unit.COUNT,
        "jobs the sweep ended because no attempt wanted them",
    )
    # Pools of workers
    POOL_WORKERS = ("PoolWorkers", Unit.COUNT, "workers of all pools, at a sweep")
    POOL_TASKS_WAITING = (
        "PoolTasksWaiting",
        Unit.COUNT,
        "tasks in pools that no worker has taken yet, at a sweep",
    )
    POOL_TASKS_UNSERVED = (
        "PoolTasksUnserved",
        Unit.COUNT,
        "those of them that no worker of their pool could ever run, at a sweep",
    )
    WORKERS_LOST = (
        "WorkersLost",
        Unit.COUNT,
        "workers that were not heard of any more while they had tasks",
    )
    # The sweep itself
    SWEEP_FAILED = ("SweepFailed", Unit.COUNT, "runs and backends that could not be swept")

    def __init__(self, title: str, unit: Unit, meaning: str) -> None:
        self.title = title
        self.unit = unit
        self.meaning = meaning


ENDED_RUNS = MappingProxyType(
    {
        RunState.COMPLETED: Metric.RUNS_COMPLETED,
        RunState.FAILED: Metric.RUNS_FAILED,
        RunState.CANCELLED: Metric.RUNS_CANCELLED,
    }
)
ENDED_TASKS = MappingProxyType(
    {TaskState.COMPLETED: Metric.TASKS_COMPLETED, TaskState.FAILED: Metric.TASKS_FAILED}
)
LOST_ATTEMPTS = MappingProxyType(
    {
        Reason.LOST: Metric.ATTEMPTS_LOST,
        Reason.HOST_TERMINATED: Metric.ATTEMPTS_HOST_TERMINATED,
        Reason.LAUNCH_FAILED: Metric.ATTEMPTS_REFUSED,
        Reason.UNSATISFIABLE: Metric.ATTEMPTS_REFUSED,
    }
)
"""Attempts whose end is the infrastructure's doing."""
