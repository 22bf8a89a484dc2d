"""Simulated Step Functions: executions of the machine "ec2-task", which is the one that is deployed.

Its calls go to the simulated services. What is told of executions may lag behind (DescribeExecution
and ListExecutions are "eventually consistent"), and a call that was under way when its execution was
stopped is done all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from botocore.exceptions import ClientError

from infra.task_machine import definition
from tests.simulation.asl import Answer, Execution, Interpreter, StatesError
from tests.simulation.asl_machine import Machine, load
from tests.simulation.integrations import call, error_of, parts_of, unanswered
from tests.simulation.refusing import refusal_of

__all__ = ["MACHINE", "Circumstances", "TaskExecutions", "task_machine"]

Body = dict[str, Any]

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:hut-ec2-task"
_EXECUTION = MACHINE.replace(":stateMachine:", ":execution:")
_LARGEST = 262_144  # bytes of an input
_PAGE = 100


@cache
def task_machine(table: str, document: str, queue: str) -> Machine:
    """Return the machine, for a table, a document and a queue."""
    filled = {
        "Partition": "aws",
        "TableName": table,
        "DocumentName": document,
        "ObserveQueueUrl": queue,
    }
    return load("hut-ec2-task", definition(), filled)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What chance brings to executions.

    Attributes
    ----------
    roll, pause : callable
        Return for a label a number in [0, 1), and how many seconds a call takes.
    verdict : callable
        Says for a call what goes wrong with it; empty: nothing.
    lag : callable
        How old what is told of an execution is.
    note : callable
        Takes what happened, for the history: who, and what they did.
    """

    roll: Callable[[str], float] = lambda _: 0.5
    pause: Callable[[str], float] = lambda _: 0.02
    verdict: Callable[[str], str] = lambda _: ""
    lag: Callable[[str], float] = lambda _: 0.0
    note: Callable[[str, str], object] = lambda *_: None


class TaskExecutions:
    """See the module's docstring.

    Parameters
    ----------
    clock, at
        Seconds since the epoch; `at` calls something at a time.
    services
        Clients of the services that the machine calls, by name.
    tell
        Takes an EventBridge event.
    chances
        What chance brings.

    Attributes
    ----------
    running : int
        How many executions have not ended.
    stopped : set of str
        The executions that were stopped by `verdict`.
    """

    def __init__(
        self,
        machine: Machine,
        clock: Callable[[], float],
        at: Callable[[float, Callable[[], object]], object],
        services: Mapping[str, Any],
        *,
        tell: Callable[[Body], object],
        chances: Circumstances | None = None,
    ) -> None:
        self._clock = clock
        self._at = at
        self._services = services
        self._tell = tell
        self._chances = chances = chances or Circumstances()
        self._given: dict[str, str] = {}
        self._lags: dict[str, float] = {}
        self.running = 0
        self.stopped: set[str] = set()
        self.runs = Interpreter(machine, clock, at, self._call, over=self._over, roll=chances.roll)

    @property
    def executions(self) -> dict[str, Execution]:
        """All executions, by name."""
        return self.runs.executions

    # What clients call ---------------------------------------------------------------------------

    def start_execution(self, *, name: str, input: str, **_: str) -> Body:  # noqa: A002
        """Start an execution, once under a name; the same again is fine as long as it runs."""
        known = self.executions.get(name)
        assert len(name) <= 80
        assert len(input.encode()) <= _LARGEST
        if known is not None:
            if self._given[name] != input or known.status != "RUNNING":
                message = f"Execution Already Exists: '{_arn(name)}'"
                raise refusal_of("StartExecution", "ExecutionAlreadyExists", message)
        else:
            self._given[name] = input
            self._lags[name] = self._chances.lag(name)
            self.runs.start(name, json.loads(input))
            self.running += 1
        return {"executionArn": _arn(name)}

    def stop_execution(self, *, executionArn: str, error: str = "", cause: str = "") -> Body:  # noqa: N803
        """Stop an execution; nothing happens to one that has ended."""
        self.runs.stop(self._known("StopExecution", executionArn, at_once=True).name, error, cause)
        return {}

    def describe_execution(self, *, executionArn: str) -> Body:  # noqa: N803
        """Tell of an execution as it was a moment ago."""
        return self._document(self._known("DescribeExecution", executionArn))

    def list_executions(self, **asked: Any) -> Body:
        """List executions as they were a moment ago, the newest first."""
        wanted = asked.get("statusFilter")
        found = [each for each in self.executions.values() if self._is_shown(each)]
        listed = [each for each in found if wanted in (None, self._status(each))]
        listed.sort(key=lambda each: -each.started_at)
        first = int(asked.get("nextToken") or 0)
        page = listed[first : first + asked.get("maxResults", _PAGE)]
        keys = ("executionArn", "stateMachineArn", "name", "status", "startDate", "stopDate")
        shown = [
            {key: value for key, value in self._document(each).items() if key in keys}
            for each in page
        ]
        more = {"nextToken": str(first + len(page))} if first + len(page) < len(listed) else {}
        return {"executions": shown, **more}

    def knows(self, token: str) -> bool:
        """Say whether a token was ever given out."""
        return self.runs.knows(token)

    def send_task_success(self, *, taskToken: str, output: str) -> Body:  # noqa: N803
        """Let who waits under a token go on."""
        if not self.runs.answer(taskToken, json.loads(output)):
            raise refusal_of("SendTaskSuccess", "TaskTimedOut", "Task Timed Out")
        return {}

    # What is told --------------------------------------------------------------------------------

    def _known(self, operation: str, arn: str, *, at_once: bool = False) -> Execution:
        execution = self.executions.get(arn.rpartition(":")[2])
        if execution is None or not (at_once or self._is_shown(execution)):
            message = f"Execution Does Not Exist: '{arn}'"
            raise refusal_of(operation, "ExecutionDoesNotExist", message)
        assert arn == _arn(execution.name)
        return execution

    def _is_shown(self, execution: Execution) -> bool:
        return self._clock() >= execution.started_at + self._lags[execution.name]

    def _status(self, execution: Execution) -> str:
        ended = execution.ended_at
        if ended is None or self._clock() < ended + self._lags[execution.name]:
            return "RUNNING"
        return execution.status

    def _document(self, execution: Execution) -> Body:
        status = self._status(execution)
        document: Body = {
            "executionArn": _arn(execution.name),
            "stateMachineArn": MACHINE,
            "name": execution.name,
            "status": status,
            "startDate": execution.started_at,
            "input": self._given[execution.name],
        }
        if status == "RUNNING":
            return document
        document["stopDate"] = execution.ended_at
        if status == "SUCCEEDED":
            document["output"] = json.dumps(execution.output)
        else:
            document |= {"error": execution.error, "cause": execution.cause}
        return document

    def _over(self, execution: Execution) -> None:
        """Send the event of an end; now and then without what it ended with, as if that were large."""
        self.running -= 1
        self._chances.note("ec2-task", f"{execution.name} {execution.status} {execution.error}")
        detail: Body = {
            "executionArn": _arn(execution.name),
            "stateMachineArn": MACHINE,
            "name": execution.name,
            "status": execution.status,
            "startDate": int(execution.started_at * 1000),
            "stopDate": int(self._clock() * 1000),
            "output": None,
            **dict.fromkeys(("error", "cause"), None),
        }
        if self._chances.roll(f"told {execution.name}") < 0.8:
            if execution.status == "SUCCEEDED":
                detail["output"] = json.dumps(execution.output)
            else:
                detail |= {"error": execution.error, "cause": execution.cause}
        self._tell({"source": "aws.states", "detail": detail})

    # What it calls -------------------------------------------------------------------------------

    def _call(self, execution: Execution, resource: str, arguments: Any, answer: Answer) -> None:
        label = f"{execution.name} {parts_of(resource)[1]} {execution.steps}"
        pause = self._chances.pause(label)
        self._at(
            self._clock() + pause,
            partial(self._perform, execution, resource, arguments, answer, label),
        )

    def _perform(
        self, execution: Execution, resource: str, arguments: Any, answer: Answer, label: str
    ) -> None:
        """Do what the machine asked for, unless something goes wrong; an end does not call it off."""
        service, operation = parts_of(resource)
        happens = self._chances.verdict(f"ec2-task {operation} {label}")
        if happens == "stopped before":
            self._stop(execution)
        result: Any = _failure(service, happens, operation, arguments)
        if result is None:
            try:
                result = call(self._services, resource, arguments)
            except ClientError as error:
                result = error_of(service, error, lambda: self._chances.roll(f"named {label}"))
        told = f": {result}" if isinstance(result, StatesError) else ""
        self._chances.note("ec2-task", f"{execution.name} {operation}{told}")
        if happens == "stopped after":
            self._stop(execution)
        if happens == "unanswered":
            result = unanswered(service)
        answer(result)

    def _stop(self, execution: Execution) -> None:
        if execution.status == "RUNNING":
            self.stopped.add(execution.name)
            self.runs.stop(execution.name, "", "by hand")


def _failure(service: str, happens: str, operation: str, arguments: Any) -> StatesError | None:
    """Return the error of a call that was not done."""
    if happens == "throttled":
        code, text, status = {
            "ec2": ("RequestLimitExceeded", "Request limit exceeded.", 503),
            "dynamodb": ("ProvisionedThroughputExceededException", "Too much", 400),
        }.get(service, ("ThrottlingException", "Rate exceeded", 400))
    elif happens == "broken":
        code, text, status = "InternalFailure", "An internal error has occurred", 500
    elif happens == "raced" and operation == "transact_write_items":
        text = "Transaction cancelled, please refer cancellation reasons for specific reasons"
        codes = ["TransactionConflict", *["None"] * (len(arguments["TransactItems"]) - 1)]
        code, text, status = (
            "TransactionCanceledException",
            f"{text} [{', '.join(codes)}]",
            400,
        )
    else:
        return None
    return error_of(service, refusal_of(operation, code, text, status), lambda: 0.0)


def _arn(name: str) -> str:
    return f"{_EXECUTION}:{name}"
