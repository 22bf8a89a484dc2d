"""Runs as executions of the run state machine."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

__all__ = ["StateMachine"]

_GONE = ("InvalidToken", "TaskDoesNotExist", "TaskTimedOut")


class StateMachine:
    """Implements `hut.service.ports.Executions`.

    Parameters
    ----------
    client
        A Step Functions client.
    arn
        The state machine; empty where only tokens are used.
    """

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn

    def start(self, run_id: str, generation: int, blocks: int, time_limit: float) -> bool:
        """Start the execution; if one of this name was started before, nothing happens.

        Returns
        -------
        bool
            False if that one is over: Step Functions takes the same start as often as it comes while
            the execution runs, and refuses the name for 90 days afterwards.
        """
        what = {
            "run": run_id,
            "generation": generation,
            "blocks": blocks,
            "time_limit": max(1, round(time_limit)),
        }
        try:
            self._client.start_execution(
                stateMachineArn=self._arn,
                name=f"{run_id}-{generation}",
                input=json.dumps(what),
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ExecutionAlreadyExists":
                raise
            return False
        return True

    def tell_end(self, token: str) -> None:
        """Let the execution that waits under a token go on; one that is gone is fine."""
        try:
            self._client.send_task_success(taskToken=token, output="{}")
        except ClientError as error:
            if error.response["Error"]["Code"] not in _GONE:
                raise
