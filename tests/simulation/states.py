"""Simulated Step Functions as a client sees it: the machine of runs, and that of tasks on EC2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.refusing import refusal_of
from tests.simulation.task_executions import MACHINE, TaskExecutions

if TYPE_CHECKING:
    from tests.simulation.executions import SimulatedStepFunctions

__all__ = ["SimulatedStates"]


class SimulatedStates:
    """Hands calls on to the machine they are about.

    Parameters
    ----------
    runs, tasks
        The two machines.
    """

    def __init__(self, runs: SimulatedStepFunctions, tasks: TaskExecutions) -> None:
        self._runs = runs
        self._tasks = tasks

    def start_execution(self, *, stateMachineArn: str, **given: str) -> dict[str, Any]:  # noqa: N803
        """Start an execution of either machine."""
        if stateMachineArn == MACHINE:
            return self._tasks.start_execution(**given)
        return self._runs.start_execution(**given)

    def send_task_success(self, *, taskToken: str, output: str) -> dict[str, Any]:  # noqa: N803
        """Let who waits under a token go on."""
        if self._tasks.knows(taskToken):
            return self._tasks.send_task_success(taskToken=taskToken, output=output)
        return self._runs.send_task_success(taskToken=taskToken, output=output)

    def list_executions(self, *, stateMachineArn: str, **asked: Any) -> dict[str, Any]:  # noqa: N803
        """List executions of tasks."""
        if stateMachineArn != MACHINE:
            raise refusal_of("ListExecutions", "StateMachineDoesNotExist", stateMachineArn)
        return self._tasks.list_executions(**asked)

    def stop_execution(self, **given: Any) -> dict[str, Any]:
        """Stop the execution of a task."""
        return self._tasks.stop_execution(**given)

    def describe_execution(self, **given: Any) -> dict[str, Any]:
        """Tell of the execution of a task."""
        return self._tasks.describe_execution(**given)
