"""The words for where a task, an attempt and a run stand.

The public states are the seed's; what explains them (`Reason`) stands beside the state, so an
exit code never has to carry two meanings.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "ACTIVE",
    "AUTOMATIC_VARIABLES",
    "INFRASTRUCTURE_REASONS",
    "TERMINAL",
    "TERMINAL_RUN",
    "Reason",
    "RunState",
    "TaskState",
    "read_reason",
]


class TaskState(StrEnum):
    """State of a task; an attempt has the subset from SUBMITTED on."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    DEP_FAILED = "dep_failed"


class RunState(StrEnum):
    """State of a run."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why a task, an attempt or a run is in its state."""

    EXIT = "exit"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    OUT_OF_MEMORY = "out_of_memory"
    HOST_TERMINATED = "host_terminated"
    LOST = "lost"
    LAUNCH_FAILED = "launch_failed"
    NO_CAPACITY = "no_capacity"
    STARTUP_TIMEOUT = "startup_timeout"
    UNSATISFIABLE = "unsatisfiable"
    QUEUE_TIMEOUT = "queue_timeout"
    BUDGET = "budget"
    INVALID_OUTPUT = "invalid_output"
    INVALID_INPUT = "invalid_input"
    REPORTED = "reported"  # a task program wrote error reports
    DEPENDENCY = "dependency"
    TASK_FAILED = "task_failed"
    OTHER = "other"  # one of a later Hut, which this one does not know; never written


def read_reason(text: str | None) -> Reason | None:
    """Return a reason as a store keeps it; one that is not known becomes `Reason.OTHER`."""
    try:
        return None if text is None else Reason(text)
    except ValueError:
        return Reason.OTHER


ACTIVE = frozenset({TaskState.SUBMITTED, TaskState.RUNNING})
TERMINAL = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.DEP_FAILED})
TERMINAL_RUN = frozenset({RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED})

INFRASTRUCTURE_REASONS = frozenset({Reason.LOST, Reason.HOST_TERMINATED})
"""Ends that are not the task's doing. They are retried apart from the task's own retries."""

AUTOMATIC_VARIABLES = (
    "HUT_RUN_ID",
    "HUT_WORKFLOW",
    "HUT_TASK_ID",
    "HUT_ATTEMPT",
    "HUT_CREATED_AT",
    "SCRIPTHUT_WORKFLOW",
    "SCRIPTHUT_RUN_ID",
    "SCRIPTHUT_CREATED_AT",
    "SCRIPTHUT_GIT_REPO",
    "SCRIPTHUT_GIT_BRANCH",
    "SCRIPTHUT_GIT_SHA",
)
"""Variables Hut sets itself; a workflow can't override them (contract, "Workflow file")."""
