"""The Amazon States Language, as far as Hut's machines use it, in virtual time.

It runs the definition that is deployed (`asl_machine.Machine`), not a model of it. What a state does
follows "States" and "Transforming data with JSONata in Step Functions" in the developer guide; an
expression that is undefined is an error. Not modelled: the size of data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.simulation.asl_machine import Machine, Retrier, State, Way
from tests.simulation.query_language import Moment, QueryError, Template

__all__ = ["MOST_EVENTS", "Execution", "Interpreter", "StatesError"]

MOST_EVENTS = 25_000
"""Entries in the history of an execution; one more and it fails."""

_EVENTS_OF_A_STATE = 2  # entered, exited
_EVENTS_OF_A_TRY = {False: 3, True: 4}  # scheduled, started, (submitted,) ended


class StatesError(Exception):
    """An error as Step Functions names it."""

    def __init__(self, error: str, cause: str = "") -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause


@dataclass(eq=False)
class Execution:
    """An execution of a machine.

    Attributes
    ----------
    given : dict
        Its input.
    state : str
        Where it stands.
    status : str
        ``RUNNING`` or how it ended.
    token : str
        What the state waits for; empty if it doesn't.
    events : int
        How long its history is.
    """

    name: str
    given: dict[str, Any]
    started_at: float
    state: str = ""
    status: str = "RUNNING"
    output: Any = None
    error: str = ""
    cause: str = ""
    ended_at: float | None = None
    token: str = ""
    events: int = 1
    variables: dict[str, Any] = field(default_factory=dict)
    entered_at: float = 0.0
    steps: int = 0
    retried: Counter[int] = field(default_factory=Counter)
    input: Any = None

    @property
    def retries(self) -> int:
        """How often the state has been tried again."""
        return sum(self.retried.values())


Answer = Callable[[Any], None]
"""Takes what a call came to: its result, or a `StatesError`."""


class Interpreter:
    """Runs executions.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    at
        Calls something at a time.
    call
        Calls a resource with arguments; the answer may come later, and once.
    over
        Told of each execution that has ended.
    roll
        Returns a number in [0, 1) for a label: for jitter and `$random`.
    """

    def __init__(
        self,
        machine: Machine,
        clock: Callable[[], float],
        at: Callable[[float, Callable[[], object]], object],
        call: Callable[[Execution, str, Any, Answer], None],
        *,
        over: Callable[[Execution], object] = lambda _: None,
        roll: Callable[[str], float] = lambda _: 0.5,
    ) -> None:
        self._machine = machine
        self._clock = clock
        self._at = at
        self._call = call
        self._over = over
        self._roll = roll
        self._tokens: dict[str, Execution] = {}
        self.executions: dict[str, Execution] = {}

    # What clients call ---------------------------------------------------------------------------

    def start(self, name: str, given: dict[str, Any], *, after: float = 0.05) -> Execution:
        """Start an execution under a name that no other has had."""
        assert name not in self.executions
        execution = Execution(name, given, self._clock())
        self.executions[name] = execution
        if self._machine.limit is not None:
            over = StatesError("States.Timeout")
            self._later(self._machine.limit, lambda: self._end(execution, "TIMED_OUT", over))
        self._later(after, lambda: self._go(execution, self._machine.start, given))
        return execution

    def stop(self, name: str, error: str = "", cause: str = "") -> None:
        """Stop an execution; one that has ended stays as it is."""
        self._end(self.executions[name], "ABORTED", StatesError(error, cause))

    def knows(self, token: str) -> bool:
        """Say whether a token was ever given out."""
        return token in self._tokens

    def answer(self, token: str, result: Any) -> bool:
        """Let the state go on that waits for a token; say whether one does."""
        execution = self._tokens[token]
        if execution.token != token or execution.status != "RUNNING":
            return False
        execution.token = ""
        step = execution.steps
        self._later(0.02, lambda: self._answered(execution, step, result))
        return True

    # How it goes on ------------------------------------------------------------------------------

    def _later(self, seconds: float, what: Callable[[], object]) -> None:
        self._at(self._clock() + seconds, what)

    def _go(self, execution: Execution, name: str, given: Any) -> None:
        """Enter a state, and those that follow until one takes time."""
        going: tuple[str, Any] | None = (name, given)
        while going is not None and execution.status == "RUNNING":
            name, execution.input = going
            execution.state, execution.entered_at = name, self._clock()
            execution.retried.clear()
            execution.steps += 1
            execution.events += _EVENTS_OF_A_STATE
            if execution.events > MOST_EVENTS:
                many = (
                    f"The execution reached the maximum number of history events ({MOST_EVENTS})."
                )
                self._end(execution, "FAILED", StatesError("States.Runtime", many))
                return
            going = self._safely(execution, lambda: self._do(execution))

    def _safely(
        self, execution: Execution, what: Callable[[], tuple[str, Any] | None]
    ) -> tuple[str, Any] | None:
        """Do something of the state; where it fails, do what the state says of that."""
        try:
            return what()
        except StatesError as error:
            return self._fail(execution, error)
        except QueryError as error:
            return self._fail(execution, StatesError("States.QueryEvaluationError", str(error)))

    def _do(self, execution: Execution) -> tuple[str, Any] | None:
        state = self._machine.states[execution.state]
        match state.kind:
            case "Choice":
                for way in state.choices:
                    assert way.condition is not None
                    if self._judge(execution, way.condition):
                        return self._leave(execution, way, execution.input)
                if state.way.next is None:
                    raise StatesError("States.NoChoiceMatched", execution.state)
                return self._leave(execution, state.way, execution.input)
            case "Pass":
                return self._leave(execution, state.way, execution.input)
            case "Wait":
                self._wait(execution, state)
            case "Task":
                self._try(execution, state)
            case "Succeed":
                output = self._fill(execution, state.way.output, execution.input)
                self._end(execution, "SUCCEEDED", output=output)
            case "Fail":
                error, cause = (
                    self._text(execution, state.given.get(part)) for part in ("Error", "Cause")
                )
                self._end(execution, "FAILED", StatesError(error, cause))
        return None

    def _wait(self, execution: Execution, state: State) -> None:
        step = execution.steps
        if "Timestamp" in state.given:
            text = self._text(execution, state.given["Timestamp"])
            until = datetime.fromisoformat(text).timestamp()
        else:
            until = self._clock() + self._seconds(execution, state.given["Seconds"], 0)

        def over() -> None:
            if self._is_at(execution, step):
                self._go_on(execution, lambda: self._leave(execution, state.way, execution.input))

        self._at(until, over)

    def _try(self, execution: Execution, state: State) -> None:
        """Call what a task calls; the answer, or the token's, comes later."""
        execution.steps += 1  # an answer to an earlier try is nobody's
        execution.events += _EVENTS_OF_A_TRY[state.waits_for_token]
        step = execution.steps
        token = f"{self._machine.name}/{execution.name}/{step}" if state.waits_for_token else ""
        if token:
            self._tokens[token] = execution
        variables = self._variables(execution, task={"Token": token} if token else None)
        arguments = state.given["Arguments"](variables, self._moment(execution))
        if (limit := state.given.get("TimeoutSeconds")) is not None:
            seconds = self._seconds(execution, limit, 1)
            late = StatesError("States.Timeout")
            self._later(seconds, lambda: self._answered(execution, step, late))
        execution.token = token

        def answered(result: Any) -> None:
            if not token or isinstance(result, StatesError):
                self._answered(execution, step, result)

        self._call(execution, state.resource, arguments, answered)

    def _answered(self, execution: Execution, step: int, result: Any) -> None:
        """Go on with what a call came to, unless nobody waits for it any more."""
        if not self._is_at(execution, step):
            return
        execution.token = ""
        execution.steps += 1
        state = self._machine.states[execution.state]
        if isinstance(result, StatesError):
            self._go_on(execution, lambda: self._fail(execution, result))
        else:
            self._go_on(execution, lambda: self._leave(execution, state.way, result, result=result))

    def _is_at(self, execution: Execution, step: int) -> bool:
        return execution.status == "RUNNING" and execution.steps == step

    def _go_on(self, execution: Execution, what: Callable[[], tuple[str, Any] | None]) -> None:
        going = self._safely(execution, what)
        if going is not None:
            self._go(execution, *going)

    def _leave(
        self, execution: Execution, way: Way, default: Any, **states: Any
    ) -> tuple[str, Any] | None:
        """Assign and hand on what a way says, both of what was before; return where it leads."""
        variables, now = self._variables(execution, **states), self._moment(execution)
        assigned = {name: value(variables, now) for name, value in way.assign.items()}
        output = default if way.output is None else way.output(variables, now)
        execution.variables.update(assigned)
        if way.next is None:
            self._end(execution, "SUCCEEDED", output=output)
            return None
        return way.next, output

    def _fail(self, execution: Execution, error: StatesError) -> tuple[str, Any] | None:
        """Try again, go where a catcher leads, or fail."""
        state = self._machine.states[execution.state]
        execution.token = ""
        for number, retrier in enumerate(state.retriers):
            if _matches(retrier.errors, error.error):
                if self._tries_again(execution, number, retrier):
                    return None
                break
        for way in state.catchers:
            if _matches(way.errors, error.error):
                told = {"Error": error.error, "Cause": error.cause}
                try:
                    return self._leave(execution, way, told, errorOutput=told)
                except QueryError as other:
                    error = StatesError("States.QueryEvaluationError", str(other))
                    break
        self._end(execution, "FAILED", error)
        return None

    def _tries_again(self, execution: Execution, number: int, retrier: Retrier) -> bool:
        """Try a task again in a while, unless that was done often enough."""
        done = execution.retried[number]
        if done >= retrier.most:
            return False
        execution.retried[number] += 1
        pause = min(retrier.interval * retrier.rate**done, retrier.longest)
        if retrier.is_jittered:
            pause *= self._roll(f"jitter {execution.name} {execution.steps}")
        step = execution.steps

        def again() -> None:
            if self._is_at(execution, step):
                self._go_on(execution, lambda: self._do(execution))

        self._later(pause, again)
        return True

    def _end(
        self,
        execution: Execution,
        status: str,
        error: StatesError | None = None,
        *,
        output: Any = None,
    ) -> None:
        if execution.status != "RUNNING":
            return
        execution.status, execution.token = status, ""
        execution.ended_at = self._clock()
        execution.output = output
        if error is not None:
            execution.error, execution.cause = error.error, error.cause
        self._over(execution)

    # Expressions ---------------------------------------------------------------------------------

    def _variables(
        self, execution: Execution, *, task: Mapping[str, str] | None = None, **states: Any
    ) -> dict[str, Any]:
        context = {
            "Execution": {
                "Id": f"arn:aws:states:us-east-1:123456789012:execution:"
                f"{self._machine.name}:{execution.name}",
                "Input": execution.given,
                "Name": execution.name,
                "StartTime": _stamp(execution.started_at),
            },
            "State": {
                "Name": execution.state,
                "EnteredTime": _stamp(execution.entered_at),
                "RetryCount": execution.retries,
            },
            "StateMachine": {"Name": self._machine.name},
            **({"Task": task} if task is not None else {}),
        }
        return {
            **execution.variables,
            "states": {"input": execution.input, "context": context, **states},
        }

    def _moment(self, execution: Execution) -> Moment:
        return Moment(self._clock(), self._roll(f"random {execution.name} {execution.steps}"))

    def _fill(self, execution: Execution, template: Template | None, default: Any) -> Any:
        if template is None:
            return default
        return template(self._variables(execution), self._moment(execution))

    def _text(self, execution: Execution, template: Template | None) -> str:
        found = self._fill(execution, template, "")
        if not isinstance(found, str):
            raise QueryError(f"{found!r} is not a string")
        return found

    def _judge(self, execution: Execution, condition: Template) -> bool:
        found = self._fill(execution, condition, None)
        if not isinstance(found, bool):
            raise QueryError(f"the condition is {found!r}, neither true nor false")
        return found

    def _seconds(self, execution: Execution, template: Template, least: int) -> int:
        found = self._fill(execution, template, None)
        if isinstance(found, bool) or not isinstance(found, int) or found < least:
            raise QueryError(f"{found!r} is not a whole number of seconds from {least} on")
        return found


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _matches(patterns: tuple[str, ...], error: str) -> bool:
    """Say whether an error is one of those a retrier or catcher is for."""
    for pattern in patterns:
        if pattern == error:
            return True
        if pattern == "States.ALL" and error not in ("States.DataLimitExceeded", "States.Runtime"):
            return True
        if pattern == "States.TaskFailed" and error != "States.Timeout":
            return True
    return False
