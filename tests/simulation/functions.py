"""Simulated Lambda: real handlers, each call a greenlet that gives way at every call to AWS.

What lies between two calls to AWS happens at once; before each of them the function may be killed,
others may get in between, the call may be throttled, break, or lose its answer. So every order of
calls that real functions could make can come about, and every one can be told again from its seed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError, ReadTimeoutError
from greenlet import getcurrent, greenlet

from handlers import advance, api, check, finish, observe, register, sweep, wiring
from tests.aws.watched_client import refusal
from tests.simulation.history import about

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["FUNCTIONS", "Functions", "Killed", "Result"]


class _Function(NamedTuple):
    handler: Callable[[dict[str, Any], Any], Any]
    timeout: float
    at_once: int


FUNCTIONS = {
    "api": _Function(api.handler, 29, 8),
    "register": _Function(register.handler, 120, 10),
    "advance": _Function(advance.handler, 60, 8),
    "observe": _Function(observe.handler, 60, 2),
    "sweep": _Function(sweep.handler, 120, 1),
    "finish": _Function(finish.handler, 60, 8),
    "check": _Function(check.handler, 18, 8),
}
"""Time limits are those of `infra.functions`; a test compares them."""

_TRIES = 6  # of a call, by botocore's standard mode as `handlers.wiring` sets it
_REPEATED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
_THROTTLED = {
    "batch": "TooManyRequestsException",
    "dynamodb": "ProvisionedThroughputExceededException",
    "ec2": "RequestLimitExceeded",
    "s3": "SlowDown",
}
_COLD_SECONDS = 0.8


class Killed(BaseException):
    """The process is gone: nothing catches it, nothing it does after it has an effect."""


class Result(NamedTuple):
    """How a call of a function ended.

    Attributes
    ----------
    answer : object
        What it returned.
    error : str
        The name of the exception it raised, or ``Killed``; empty if it returned.
    """

    answer: Any = None
    error: str = ""


class _Request(NamedTuple):
    service: str
    operation: str
    arguments: dict[str, Any]


@dataclass(eq=False)
class Invocation:
    """One call of a function.

    Attributes
    ----------
    name : str
        What histories call it.
    process : _Running
        Where it runs.
    """

    function: str
    name: str
    event: dict[str, Any]
    deadline: float
    done: Callable[[Result], None]
    process: _Running
    dead: bool = False
    calls: int = 0
    thread: _Thread = field(init=False)


@dataclass(eq=False)
class _Running:
    """A process of a function, warm after its first call."""

    name: str
    skew: float
    wired: wiring.Process = field(init=False)


class _Context:
    """The context of an invocation, as the runtime gives it."""

    memory_limit_in_mb = 512

    def __init__(self, invocation: Invocation, clock: Callable[[], float]) -> None:
        name = f"hut-{invocation.function}"
        self.function_name = name
        self.invoked_function_arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
        self.aws_request_id = f"{invocation.name}"
        self._left = lambda: int((invocation.deadline - clock()) * 1000)

    def get_remaining_time_in_millis(self) -> int:
        return self._left()


class _Thread(greenlet):
    """The greenlet of an invocation."""

    invocation: Invocation


class _Client:
    """A client of one service in one process: makes requests of the invocation that runs."""

    def __init__(self, functions: Functions, service: str, *, repeats: bool) -> None:
        self._functions = functions
        self._service = service
        self._tries = _TRIES if repeats else 1

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(*parts: Any, **arguments: Any) -> Any:
            if operation == "generate_presigned_url":
                return f"https://bucket.invalid/{arguments.get('Params', {}).get('Key', parts)}"
            return self._call(operation, arguments)

        return call

    def get_paginator(self, operation: str) -> _Paginator:
        return _Paginator(getattr(self, operation))

    def _call(self, operation: str, arguments: dict[str, Any]) -> Any:
        for attempt in range(self._tries):
            answer = self._functions.request(_Request(self._service, operation, arguments))
            if not isinstance(answer, Exception):
                return answer
            if attempt + 1 == self._tries or not _is_repeated(answer):
                raise answer
            self._functions.sleep(min(20.0, 0.5 * 2**attempt))
        raise AssertionError("no try at all")


class _Paginator:
    """Pages by ``nextToken`` or ``NextToken``, which is how the paged calls of Hut page."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def paginate(self, **arguments: Any) -> Any:
        arguments.pop("PaginationConfig", None)
        token: dict[str, Any] = {}
        while True:
            answer = self._call(**arguments, **token)
            yield answer
            token = {key: answer[key] for key in ("nextToken", "NextToken") if answer.get(key)}
            if not token:
                return


class Functions:
    """The functions of a deployment.

    Parameters
    ----------
    world
        Whose services they call.
    environment
        Their variables.
    """

    def __init__(self, world: World, environment: Mapping[str, str]) -> None:
        self._world = world
        self._environment = environment
        self._idle: dict[str, list[_Running]] = defaultdict(list)
        self._made: Counter[str] = Counter()
        self._numbers: Counter[str] = Counter()
        self._random = 0
        self.running: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.invocations: Counter[str] = Counter()
        self.answered: Callable[[str, Any], object] = lambda *_: None

    # Calling functions ---------------------------------------------------------------------------

    def has_room(self, function: str) -> bool:
        """Say whether another call of a function may begin."""
        return self.running[function] < FUNCTIONS[function].at_once

    def invoke(
        self, function: str, event: dict[str, Any], done: Callable[[Result], None]
    ) -> Invocation:
        """Call a function; `done` is told how it ended."""
        world = self._world
        self.running[function] += 1
        self._numbers[function] += 1
        self.invocations[function] += 1
        name = f"{function}-{self._numbers[function]}"
        process, cold = self._take(function, name)
        begin = world.agenda.now + (_COLD_SECONDS if cold else 0.0)
        limit = FUNCTIONS[function].timeout
        invocation = Invocation(function, name, event, begin + limit, done, process)
        thread = _Thread(self._run)
        thread.invocation = invocation
        invocation.thread = thread
        world.agenda.at(begin, lambda: self._resume(invocation, invocation))
        world.agenda.at(invocation.deadline, lambda: self._time_out(invocation))
        return invocation

    def _take(self, function: str, label: str) -> tuple[_Running, bool]:
        """Take a warm process, or start one; say whether it is a new one."""
        idle = self._idle[function]
        if idle and self._world.chance.roll(f"warm {label}") < 0.9:
            return idle.pop(), False
        self._made[function] += 1
        name = f"{function}/{self._made[function]}"
        chance, skew = self._world.chance, self._world.faults.skew
        process = _Running(name, chance.between(f"skew {name}", -skew, skew))
        process.wired = wiring.Process(
            wiring.Edge(
                client=lambda service, *, repeats=True: _Client(self, service, repeats=repeats),
                clock=lambda: self._world.agenda.now + process.skew,
                monotonic=lambda: self._world.agenda.now,
                sleep=self.sleep,
                random_bytes=self._random_bytes,
                environment=self._environment,
            )
        )
        return process, True

    def _random_bytes(self, count: int) -> bytes:
        self._random += 1
        return bytes(
            self._world.chance.below(f"byte {self._random} {n}", 256) for n in range(count)
        )

    def _run(self, invocation: Invocation) -> None:
        """Run a handler to its end; the body of a greenlet."""
        context = _Context(invocation, lambda: self._world.agenda.now)
        try:
            answer = FUNCTIONS[invocation.function].handler(invocation.event, context)
            result = Result(answer)
        except Killed:
            result = Result(error="Killed")
        except Exception as error:  # noqa: BLE001 - as the runtime does it
            result = Result(error=type(error).__name__)
            self._world.history.note(invocation.name, f"raises {error!r:.300}")
        self._end(invocation, result)

    def _end(self, invocation: Invocation, result: Result) -> None:
        invocation.dead = True
        self.running[invocation.function] -= 1
        if not result.error:
            self._idle[invocation.function].append(invocation.process)
        self._world.agenda.after(0.0, lambda: invocation.done(result))

    def kill(self, invocation: Invocation, why: str) -> None:
        """Kill the process of an invocation where it stands."""
        if invocation.dead:
            return
        self._world.history.note(invocation.name, f"DIES {why}", is_fault=True)
        invocation.dead = True
        if invocation.thread:
            invocation.thread.throw(Killed)
        else:
            self._end(invocation, Result(error="Killed"))

    def _time_out(self, invocation: Invocation) -> None:
        if not invocation.dead:
            self.kill(invocation, "at its time limit")

    # What functions ask for ----------------------------------------------------------------------

    def request(self, request: _Request) -> Any:
        """Make a request from within a greenlet; give way until it is answered."""
        thread = getcurrent()
        assert isinstance(thread, _Thread)
        if thread.invocation.dead:
            raise Killed
        answer = self._world.hub.switch(("request", thread.invocation, request))
        if thread.invocation.dead:
            raise Killed
        return answer

    def sleep(self, seconds: float) -> None:
        """Wait, from within a greenlet."""
        thread = getcurrent()
        assert isinstance(thread, _Thread)
        if thread.invocation.dead:
            raise Killed
        self._world.hub.switch(("sleep", thread.invocation, seconds))
        if thread.invocation.dead:
            raise Killed

    def _resume(self, invocation: Invocation, value: Any) -> None:
        """Let an invocation go on to where it gives way again."""
        if invocation.dead:
            return
        self._world.current = invocation.process.wired
        wants = invocation.thread.switch(value)
        if not isinstance(wants, tuple):
            return  # it has ended
        kind, who, what = wants
        agenda = self._world.agenda
        if kind == "sleep":
            agenda.after(max(what, 0.0), lambda: self._resume(who, None))
            return
        who.calls += 1
        label = self._world.chance.numbered(
            f"{who.function} {about(what.operation, what.arguments)}"
        )
        most = self._world.faults.calls_at_most
        pause = self._world.chance.between(f"takes {label}", most / 10, most)
        agenda.after(pause, lambda: self._perform(who, what, label))

    def _perform(self, invocation: Invocation, request: _Request, label: str) -> None:
        """Do what a function asked AWS for, unless something goes wrong."""
        if invocation.dead:
            return
        world = self._world
        self.calls[f"{request.service}.{request.operation}"] += 1
        happens = world.verdict(label)
        if happens == "crash before":
            self.kill(invocation, f"before {label}")
            return
        answer: Any = _refused(request, happens)
        if answer is None:
            answer = self._serve(request)
            self.answered(invocation.name, answer)
        told = "" if not isinstance(answer, Exception) else f": {_code(answer)}"
        world.history.note(invocation.name, about(request.operation, request.arguments) + told)
        if happens == "crash after":
            self.kill(invocation, f"after {label}")
            return
        if happens == "unanswered":
            world.history.note(invocation.name, "gets no answer", is_fault=True)
            answer = ReadTimeoutError(endpoint_url=f"https://{request.service}.invalid")
        self._resume(invocation, answer)

    def _serve(self, request: _Request) -> Any:
        service = self._world.services[request.service]
        try:
            return getattr(service, request.operation)(**request.arguments)
        except ClientError as error:
            return error


def _refused(request: _Request, happens: str) -> Exception | None:
    """Return the error of a call that was not done."""
    if happens == "throttled":
        code = _THROTTLED.get(request.service, "ThrottlingException")
        return refusal(code, ResponseMetadata={"HTTPStatusCode": 429 if code[0] == "T" else 400})
    if happens == "broken":
        code = "InternalServerError" if request.service == "dynamodb" else "InternalFailure"
        return refusal(code, ResponseMetadata={"HTTPStatusCode": 500})
    if happens == "raced" and request.operation == "transact_write_items":
        reasons = [{"Code": "None"} for _ in request.arguments["TransactItems"]]
        reasons[0] = {"Code": "TransactionConflict"}
        return refusal("TransactionCanceledException", CancellationReasons=reasons)
    return None


def _is_repeated(error: Exception) -> bool:
    """Say whether botocore repeats a call by itself."""
    if not isinstance(error, ClientError):
        return True
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    return _code(error) in _REPEATED or status >= 500


def _code(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"])
    return type(error).__name__
