"""The executions of the state machine that runs attempts: started, stopped, asked for.

An execution is named after its job, and its name is the job's handle. "StartExecution" in the API
reference of Step Functions: a name can't be used again for 90 days, and the same start again, while the
execution runs, is answered like the first one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from hut.backends.calls import each
from hut.backends.errors import code_of

__all__ = ["Executions"]

_GONE = "ExecutionDoesNotExist"
_OVER = frozenset({"TaskDoesNotExist", "TaskTimedOut", "InvalidToken"})
_LONGEST_ERROR, _LONGEST_CAUSE = 256, 32768
_AT_ONCE = 1000


class Executions:
    """The executions of one state machine.

    Parameters
    ----------
    states
        A client of boto3.
    machine
        ARN of the state machine.
    """

    def __init__(self, states: Any, machine: str) -> None:
        self._states = states
        self._machine = machine
        self._beginning = machine.replace(":stateMachine:", ":execution:")

    def start(self, name: str, text: str) -> bool:
        """Start an execution; False if there is, or was, one of this name with another input."""
        try:
            self._states.start_execution(stateMachineArn=self._machine, name=name, input=text)
        except ClientError as error:
            if code_of(error) != "ExecutionAlreadyExists":
                raise
            return False
        return True

    def stop(self, name: str, error: str, cause: str) -> None:
        """Stop an execution; one that has ended, or that there is none of, is left alone."""
        try:
            self._states.stop_execution(
                executionArn=self._arn(name),
                error=error[:_LONGEST_ERROR],
                cause=cause[:_LONGEST_CAUSE],
            )
        except ClientError as refused:
            if code_of(refused) != _GONE:
                raise

    def describe(self, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Return what is known of executions; those that there are none of are left out."""
        answers = zip(names, each(self._describe, names), strict=True)
        return {name: answer for name, answer in answers if answer is not None}

    def running(self) -> dict[str, float]:
        """Return when the executions began that run, by their names.

        It may lag a little behind ("ListExecutions": best effort): an execution that is not in it is
        described before anything is done about it.
        """
        pages = self._states.get_paginator("list_executions").paginate(
            stateMachineArn=self._machine,
            statusFilter="RUNNING",
            maxResults=_AT_ONCE,
        )
        return {
            str(entry["name"]): _seconds(entry["startDate"])
            for page in pages
            for entry in page["executions"]
        }

    def nudge(self, token: str) -> bool:
        """Answer the token an execution waits under; False if it does not wait for it any more."""
        try:
            self._states.send_task_success(taskToken=token, output="{}")
        except ClientError as error:
            if code_of(error) not in _OVER:
                raise
            return False
        return True

    def _describe(self, name: str) -> Mapping[str, Any] | None:
        try:
            answer: Mapping[str, Any] = self._states.describe_execution(
                executionArn=self._arn(name)
            )
        except ClientError as error:
            if code_of(error) != _GONE:
                raise
            return None
        return answer

    def _arn(self, name: str) -> str:
        return f"{self._beginning}:{name}"


def _seconds(value: Any) -> float:
    return value.timestamp() if isinstance(value, datetime) else float(value)
