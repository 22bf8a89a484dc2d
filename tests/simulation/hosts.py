"""What runs on simulated instances: the agent, which runs each attempt once, whatever commands come.

It does as `hut.backends.ec2.host` does on a real one: it fetches what to run from S3, sets the
instance's own timer, runs the task, ships its output, and reports. A command that is repeated waits
for the first one and reports the same. What the task does is a `Fate`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hut.backends.ec2.host.timer import IDLE_SLACK, LEAST_SLACK, PREPARATION
from tests.simulation.ec2 import SimulatedEC2, SimulatedInstance
from tests.simulation.fates import Fate, marked_lines
from tests.simulation.logs import SimulatedLogs
from tests.simulation.s3 import SimulatedS3
from tests.simulation.ssm import Command, SimulatedSSM

__all__ = ["SimulatedAttempt", "SimulatedHosts"]

_MARK = re.compile(r"_m=::hut:([0-9a-f]{16}):")


@dataclass(eq=False)
class SimulatedAttempt:
    """An attempt on an instance; it looks like a job of Batch to whoever watches jobs.

    Attributes
    ----------
    name : str
        Of the job.
    state : str
        ``STARTING``, ``RUNNING``, and how it ended: ``SUCCEEDED`` or ``FAILED``.
    commands : list of Command
        All that came for it.
    report : str
        What they print, once it has ended by itself.
    """

    name: str
    instance: SimulatedInstance
    payload: dict[str, Any]
    fate: Fate = field(default_factory=Fate)
    state: str = "STARTING"
    reason: str = ""
    commands: list[Command] = field(default_factory=list)
    report: str = ""
    started: float | None = None
    index: None = None
    summary: None = None

    @property
    def handle(self) -> str:
        """What tells it from the same attempt on another instance."""
        return f"{self.name}@{self.instance.id}"

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return self.state in ("SUCCEEDED", "FAILED")


class SimulatedHosts:
    """The agents of all instances.

    Parameters
    ----------
    clock, at
        Seconds since the epoch; `at` calls something at a time.
    fate
        What becomes of an attempt; asked when its first command arrives.
    changed
        Told of each attempt that runs, or has ended after it ran.

    Attributes
    ----------
    attempts : dict of tuple of str to SimulatedAttempt
        By instance and name.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        at: Callable[[float, Callable[[], object]], object],
        ec2: SimulatedEC2,
        s3: SimulatedS3,
        logs: SimulatedLogs,
        *,
        fate: Callable[[SimulatedAttempt], Fate],
        changed: Callable[[SimulatedAttempt], object],
    ) -> None:
        self._clock = clock
        self._at = at
        self._ec2 = ec2
        self._s3 = s3
        self._logs = logs
        self._fate = fate
        self._changed = changed
        self.ssm: SimulatedSSM | None = None
        self.attempts: dict[tuple[str, str], SimulatedAttempt] = {}
        ec2.changed.append(self._signal)
        ec2.ended.append(self._lose)

    def live_on(self, instance: SimulatedInstance) -> list[SimulatedAttempt]:
        """Return what has begun on an instance and has not ended."""
        return [
            each
            for each in self.attempts.values()
            if each.instance is instance and not each.is_over
        ]

    def arrived(self, command: Command) -> None:
        """Take a command, as the agent does: the first of an attempt runs it."""
        (name,), (place,) = command.parameters["Attempt"], command.parameters["Payload"]
        key = command.instance.id, name
        attempt = self.attempts.get(key)
        if attempt is None:
            bucket, _, path = place.removeprefix("s3://").partition("/")
            body = self._s3.get_object(Bucket=bucket, Key=path)["Body"].read()
            attempt = self.attempts[key] = SimulatedAttempt(
                name, command.instance, json.loads(body)
            )
            self._begin(attempt)
        attempt.commands.append(command)
        if attempt.report:
            self._tell(attempt, command)

    def _begin(self, attempt: SimulatedAttempt) -> None:
        payload = attempt.payload
        assert payload["attempt"] == attempt.name
        longest = payload["time_limit"] + payload["grace"] + max(payload["slack"], LEAST_SLACK)
        self._set_timer(attempt, longest + PREPARATION)
        attempt.fate = self._fate(attempt)
        self._later(attempt.fate.starts, self._start, attempt)

    def _start(self, attempt: SimulatedAttempt) -> None:
        if attempt.is_over:
            return
        fate, limit = attempt.fate, attempt.payload["time_limit"]
        attempt.started = self._clock()
        log = attempt.payload["log"]
        assert self._logs.open(log["group"], log["stream"])
        self._logs.write(log["group"], log["stream"], fate.lines)
        self._set(attempt, "RUNNING")
        if fate.runs > limit:
            self._later(limit, self._exit, attempt, "timeout")
        else:
            self._later(fate.runs, self._exit, attempt, "exit")

    def _exit(self, attempt: SimulatedAttempt, how: str) -> None:
        if attempt.is_over:
            return
        fate, payload = attempt.fate, attempt.payload
        nonce = _MARK.search(json.dumps(payload["argv"]))
        assert nonce is not None
        log = payload["log"]
        self._logs.write(log["group"], log["stream"], marked_lines(fate, nonce[1]))
        self._report(attempt, how, fate.exit_code if how == "exit" else fate.stopped_code)
        if payload["idle_seconds"] is not None:
            self._set_timer(attempt, payload["idle_seconds"] + IDLE_SLACK)

    def _report(self, attempt: SimulatedAttempt, how: str, code: int | None) -> None:
        told = {"how": how, "exit_code": code, "started": attempt.started, "ended": self._clock()}
        attempt.report = json.dumps({**told, "said": ""})
        self._set(attempt, "SUCCEEDED" if code == 0 else "FAILED", f"exit code {code}")
        for command in attempt.commands:
            self._tell(attempt, command)

    def _tell(self, attempt: SimulatedAttempt, command: Command) -> None:
        assert self.ssm is not None
        self.ssm.report(command, f"{attempt.report}\n")

    def _signal(self, instance: SimulatedInstance) -> None:
        """Let the shutdown of an instance end what runs there, if the agent is to report that."""
        if instance.state == "shutting-down" and instance.nature.tells:
            for attempt in self.live_on(instance):
                if attempt.state == "RUNNING":
                    self._report(attempt, "signal", 143)

    def _lose(self, instance: SimulatedInstance) -> None:
        """End what runs on an instance that is gone: nobody reports it."""
        for attempt in self.live_on(instance):
            self._set(attempt, "FAILED", "its instance is gone")

    def _set(self, attempt: SimulatedAttempt, state: str, reason: str = "") -> None:
        attempt.state, attempt.reason = state, reason
        self._changed(attempt)

    def _set_timer(self, attempt: SimulatedAttempt, seconds: float) -> None:
        self._ec2.set_timer(attempt.instance, 60.0 * math.ceil(seconds / 60))  # shutdown's minutes

    def _later(self, seconds: float, step: Callable[..., object], *given: Any) -> None:
        self._at(self._clock() + seconds, partial(step, *given))
