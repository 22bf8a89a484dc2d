"""Simulated Step Functions: the run state machine, as `infra.run_machine` describes it.

The machine is modelled by hand; `tests/infra/test_simulated.py` compares its states and retry
rules with the definition that is deployed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.aws.watched_client import refusal
from tests.simulation.functions import Result

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = [
    "BLOCKS_AT_ONCE",
    "DAY",
    "MACHINE",
    "NOT_REGISTERED_RETRIES",
    "RETRIES",
    "Execution",
    "SimulatedStepFunctions",
]

RETRIES = 8
NOT_REGISTERED_RETRIES = 36
BLOCKS_AT_ONCE = 10
DAY = 24 * 3600.0
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:hut-run"


@dataclass(eq=False)
class Execution:
    """An execution of the machine.

    Attributes
    ----------
    state : str
        Where it stands, as the definition calls it.
    status : str
        ``RUNNING`` or how it ended.
    is_abandoned : bool
        Whether a function failed more often than the machine repeats it.
    """

    name: str
    given: dict[str, Any]
    state: str = "AnyTasks"
    status: str = "RUNNING"
    token: str = ""
    waits: int = 0
    blocks_left: list[int] = field(default_factory=list)
    blocks_running: int = 0
    is_abandoned: bool = False


class SimulatedStepFunctions:
    """Step Functions as a client sees it, and the machine itself.

    Parameters
    ----------
    world
        Where `register` and `finish` are called, and events are told.

    Attributes
    ----------
    executions : dict of str to Execution
        By their names.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens: dict[str, Execution] = {}
        self.executions: dict[str, Execution] = {}

    # What clients call ---------------------------------------------------------------------------

    def start_execution(self, *, name: str, input: str, **_: str) -> dict[str, Any]:  # noqa: A002
        """Start an execution, once under a name; the same again is fine as long as it runs."""
        known = self.executions.get(name)
        given = json.loads(input)
        if known is not None:
            if known.given == given and known.status == "RUNNING":
                return {"executionArn": name}
            raise refusal("ExecutionAlreadyExists", ResponseMetadata={"HTTPStatusCode": 400})
        execution = self.executions[name] = Execution(name, given)
        self._world.agenda.after(0.05, lambda: self._begin(execution))
        return {"executionArn": name}

    def send_task_success(self, *, taskToken: str, **_: str) -> dict[str, Any]:  # noqa: N803
        """Let who waits under a token go on."""
        execution = self._tokens.get(taskToken)
        if execution is None:
            raise refusal("InvalidToken", ResponseMetadata={"HTTPStatusCode": 400})
        if execution.token != taskToken or execution.status != "RUNNING":
            raise refusal("TaskTimedOut", ResponseMetadata={"HTTPStatusCode": 400})
        execution.token = ""
        self._world.agenda.after(0.02, lambda: self._finish(execution))
        return {}

    def stop(self, name: str) -> None:
        """Stop an execution, as somebody does in the console."""
        execution = self.executions[name]
        if execution.status == "RUNNING":
            self._over(execution, "ABORTED")

    # The machine ---------------------------------------------------------------------------------

    def _begin(self, execution: Execution) -> None:
        execution.blocks_left = list(range(execution.given["blocks"]))
        if not execution.blocks_left:
            self._wait(execution, "Start", "start", execution.given["time_limit"])
            return
        execution.state = "Register"
        for _ in range(min(BLOCKS_AT_ONCE, len(execution.blocks_left))):
            self._next_block(execution)

    def _next_block(self, execution: Execution) -> None:
        if execution.status != "RUNNING" or execution.state != "Register":
            return
        if not execution.blocks_left:
            if not execution.blocks_running:
                self._wait(execution, "Start", "start", execution.given["time_limit"])
            return
        block = execution.blocks_left.pop(0)
        execution.blocks_running += 1

        def done(result: Result) -> None:
            execution.blocks_running -= 1
            if result.error:
                self._abandon(execution)
            else:
                self._next_block(execution)

        event = {"step": "block", **self._run(execution), "block": block}
        self._call(execution, "register", lambda: event, done)

    def _wait(self, execution: Execution, state: str, step: str, limit: float) -> None:
        """Call `register` with a token, and wait until it is answered or time is over."""
        execution.state = state
        entered = execution.waits

        def event() -> dict[str, Any]:
            # Each try of the state has a token of its own; the one before is worth nothing then.
            execution.waits += 1
            execution.token = f"token-{execution.name}-{execution.waits}"
            self._tokens[execution.token] = execution
            return {"step": step, **self._run(execution), "token": execution.token}

        def over() -> None:
            if execution.state != state or not execution.token or execution.status != "RUNNING":
                return
            execution.token = ""
            if state == "Start":
                self._wait(execution, "Expire", "expire", DAY)
            else:
                self._abandon(execution)

        def done(result: Result) -> None:
            # The call returned; the token decides.
            if result.error and execution.state == state and execution.token:
                execution.token = ""
                self._abandon(execution)

        assert entered <= 100
        self._world.agenda.after(limit, over)
        self._call(execution, "register", event, done)

    def _finish(self, execution: Execution) -> None:
        if execution.status != "RUNNING":
            return
        execution.state = "Finish"

        def done(result: Result) -> None:
            if result.error:
                self._abandon(execution)
            else:
                how = "SUCCEEDED" if result.answer["state"] == "completed" else "FAILED"
                self._over(execution, how)

        self._call(execution, "finish", lambda: self._run(execution), done)

    def _abandon(self, execution: Execution) -> None:
        if execution.status != "RUNNING" or execution.state == "Abandon":
            return
        execution.state = "Abandon"
        execution.is_abandoned = True
        event = {"step": "abandon", **self._run(execution), "error": {"Error": "simulated"}}
        self._call(execution, "register", lambda: event, lambda _: self._over(execution, "FAILED"))

    def _over(self, execution: Execution, status: str) -> None:
        if execution.status != "RUNNING":
            return
        execution.status = status
        execution.token = ""
        self._world.history.note("states", f"execution {execution.name} {status}")
        if status != "SUCCEEDED":
            detail = {"stateMachineArn": MACHINE, "name": execution.name, "status": status}
            self._world.tell({"source": "aws.states", "detail": detail})

    def _run(self, execution: Execution) -> dict[str, Any]:
        return {name: execution.given[name] for name in ("run", "generation")}

    def _call(
        self,
        execution: Execution,
        function: str,
        event: Callable[[], dict[str, Any]],
        done: Callable[[Result], None],
        tries: tuple[int, int] = (0, 0),
    ) -> None:
        """Call a function, and again as the machine's rules say; each of them counts by itself."""
        state = execution.state

        def returned(result: Result) -> None:
            if execution.status != "RUNNING" or execution.state != state:
                return
            if state in ("Start", "Expire") and not execution.token:
                return  # it was answered meanwhile
            waited, failed = tries
            if result.error == "NotRegistered" and state == "Start":
                again, pause = waited < NOT_REGISTERED_RETRIES, 5.0
                next_try = (waited + 1, failed)
            else:
                again, pause = failed < RETRIES, min(60.0, 2.0**failed)
                next_try = (waited, failed + 1)
            if result.error and again:
                self._world.agenda.after(
                    pause, lambda: self._call(execution, function, event, done, next_try)
                )
            else:
                done(result)

        if execution.status != "RUNNING" or execution.state != state:
            return
        if not self._world.functions.has_room(function):
            self._world.agenda.after(
                1.0, lambda: self._call(execution, function, event, done, tries)
            )
            return
        self._world.functions.invoke(function, event(), returned)
