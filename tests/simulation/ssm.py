"""Simulated AWS Systems Manager: instances that come online late or never, and commands sent to them.

SendCommand has no token: what is sent twice arrives twice ("AWS Systems Manager Run Command"). What
is told of commands and instances may lag behind, and events are best effort. What a command does is
up to whoever made this: it is handed over when it arrives, and says when it has ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.simulation.ec2 import SimulatedEC2, SimulatedInstance
from tests.simulation.refusing import refusal_of

__all__ = ["Command", "SimulatedSSM"]

Body = dict[str, Any]

_STATUS = {
    "Delivery Timed Out": "TimedOut",
    "Execution Timed Out": "TimedOut",
    "In Progress": "InProgress",
}
"""What stands for the details of a status; others are the same word."""


@dataclass(eq=False)
class Command:
    """A command sent to one instance.

    Attributes
    ----------
    delivered_within, runs_at_most : float
        Seconds.
    lag : float
        How old what is told of it is.
    history : list of tuple
        When it came into which status, in the words of its details.
    """

    id: str
    instance: SimulatedInstance
    parameters: Mapping[str, list[str]]
    sent_at: float
    delivered_within: float
    runs_at_most: float
    lag: float
    history: list[tuple[float, str]] = field(default_factory=list)
    output: str = ""
    code: int = -1

    @property
    def details(self) -> str:
        """How it stands."""
        return self.history[-1][1]

    @property
    def is_over(self) -> bool:
        """Whether it has ended, as far as Systems Manager knows."""
        return self.details not in ("Pending", "In Progress")


class SimulatedSSM:
    """See the module's docstring.

    Parameters
    ----------
    clock, at
        Seconds since the epoch; `at` calls something at a time.
    tell
        Takes an EventBridge event.
    arrived
        Told of each command that has arrived on its instance; whoever gets it calls `report`.
    pauses
        Returns for a label how many seconds something takes: that a command arrives, that it is known.

    Attributes
    ----------
    commands : dict of str to Command
        All, by id.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        at: Callable[[float, Callable[[], object]], object],
        tell: Callable[[Body], object],
        ec2: SimulatedEC2,
        *,
        arrived: Callable[[Command], object],
        pauses: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        self._clock = clock
        self._at = at
        self._tell = tell
        self._ec2 = ec2
        self._arrived = arrived
        self._pauses = pauses
        self._numbers = itertools.count(1)
        self._online: dict[str, float] = {}
        self.commands: dict[str, Command] = {}
        ec2.changed.append(self._changed)

    # What clients call ---------------------------------------------------------------------------

    def describe_instance_information(self, *, Filters: Any, **_: Any) -> Body:  # noqa: N803
        """Tell of instances that were online once; a list, empty for those that never were."""
        (wanted,) = Filters
        assert wanted["Key"] == "InstanceIds"
        found = []
        for name in wanted["Values"]:
            if name in self._online and self._clock() >= self._online[name]:
                is_there = not self._ec2.instances[name].stopped
                ping = "Online" if is_there else "ConnectionLost"
                found.append({"InstanceId": name, "PingStatus": ping})
        return {"InstanceInformationList": found}

    def send_command(
        self,
        *,
        DocumentName: str,  # noqa: N803
        InstanceIds: list[str],  # noqa: N803
        Parameters: Mapping[str, list[str]],  # noqa: N803
        TimeoutSeconds: int = 3600,  # noqa: N803
        **_: Any,
    ) -> Body:
        """Send a command to an instance that is, or was, online."""
        (name,) = InstanceIds
        instance = self._ec2.instances.get(name)
        if instance is None or name not in self._online or not instance.is_alive:
            message = "Instances [[{0}]] not in a valid state for account 123456789012"
            raise refusal_of("SendCommand", "InvalidInstanceId", message.format(name))
        number = next(self._numbers)
        command = Command(
            f"{number:08x}-0000-4000-8000-000000000000",
            instance,
            Parameters,
            self._clock(),
            TimeoutSeconds,
            float(Parameters["ExecutionTimeout"][0]),
            self._pauses(f"lag of command {number}"),
        )
        self.commands[command.id] = command
        self._set(command, "Pending")
        self._later(self._pauses(f"way of command {number}"), self._deliver, command)
        self._later(command.delivered_within, self._give_up, command)
        return {"Command": {"CommandId": command.id, "DocumentName": DocumentName}}

    def get_command_invocation(self, *, CommandId: str, InstanceId: str) -> Body:  # noqa: N803
        """Tell how a command stands, as it was a moment ago."""
        command = self.commands.get(CommandId)
        seen_at = self._clock() - (command.lag if command is not None else 0.0)
        if command is None or command.instance.id != InstanceId or seen_at < command.sent_at:
            raise refusal_of("GetCommandInvocation", "InvocationDoesNotExist", "")
        details = [details for at, details in command.history if at <= seen_at][-1]
        is_over = details == command.details and command.is_over
        return {
            "CommandId": command.id,
            "InstanceId": InstanceId,
            "Status": _STATUS.get(details, details),
            "StatusDetails": details.replace(" ", ""),
            "ResponseCode": command.code if is_over else -1,
            "StandardOutputContent": command.output if is_over else "",
            "StandardErrorContent": "",
        }

    # What commands do ----------------------------------------------------------------------------

    def report(self, command: Command, output: str) -> None:
        """Take what a command has printed at its end, with exit code 0."""
        if not command.is_over:
            command.output, command.code = output, 0
            self._set(command, "Success")

    def _changed(self, instance: SimulatedInstance) -> None:
        online = instance.nature.online
        if instance.state == "running" and online is not None:
            self._later(online, self._comes, instance)

    def _comes(self, instance: SimulatedInstance) -> None:
        if instance.is_alive:
            self._online[instance.id] = self._clock()

    def _deliver(self, command: Command) -> None:
        if command.is_over or not command.instance.is_alive:
            return
        self._set(command, "In Progress")
        self._later(command.runs_at_most, self._time_out, command)
        self._arrived(command)

    def _give_up(self, command: Command) -> None:
        if command.details == "Pending":
            self._set(command, "Delivery Timed Out")

    def _time_out(self, command: Command) -> None:
        if not command.is_over:
            self._set(command, "Execution Timed Out")

    def _set(self, command: Command, details: str) -> None:
        command.history.append((self._clock(), details))
        self._tell(
            {
                "source": "aws.ssm",
                "detail-type": "EC2 Command Invocation Status-change Notification",
                "detail": {
                    "command-id": command.id,
                    "instance-id": command.instance.id,
                    "status": _STATUS.get(details, details),
                },
            }
        )

    def _later(self, seconds: float, step: Callable[..., object], *given: Any) -> None:
        self._at(self._clock() + seconds, partial(step, *given))
