"""Simulated Amazon EC2, called as its client: instances that come, are seen late, and go.

What is modelled: RunInstances with its client token ("Ensuring idempotency in Amazon EC2 API
requests"), lack of capacity, DescribeInstances that lags behind ("Eventual consistency in the Amazon
EC2 API"), states and their events, termination, spot reclaim with its warning, the instance's own
shutdown. Not modelled: stopping and starting, networks, volumes, prices.
"""

from __future__ import annotations

import base64
import copy
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from tests.simulation.refusing import refusal_of

__all__ = ["ALIVE", "BY_CALL", "Launch", "Nature", "SimulatedEC2", "SimulatedInstance"]

Body = dict[str, Any]

ALIVE = ("pending", "running")
_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}
_FORGOTTEN_AFTER = 3600.0
_WARNING = 120.0  # seconds before a spot instance is taken away
_PAGE = 1000
_TIMER = re.compile(r"shutdown\s+(?:-[hP]\s+)?\+(\d+)")

Reason = tuple[str, str]
BY_CALL = ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown")
_OWN = (
    "Client.InstanceInitiatedShutdown",
    "Client.InstanceInitiatedShutdown: Instance initiated shutdown",
)
_SPOT = (
    "Server.SpotInstanceTermination",
    "Server.SpotInstanceTermination: Spot instance termination",
)
_BROKEN = ("Server.InternalError", "Server.InternalError: Internal error on launch")


class Launch(NamedTuple):
    """What RunInstances is asked for, in short.

    Attributes
    ----------
    number : int
        Which call of all it is.
    """

    type: str
    subnet: str
    spot: bool
    token: str
    number: int


@dataclass(frozen=True, slots=True)
class Nature:
    """What becomes of an instance; times are in seconds.

    Attributes
    ----------
    boots : float
        Until it runs.
    online : float or None
        From then until its SSM agent is; None: never.
    seen : float
        Until EC2 shows it.
    stale : float
        How old what EC2 shows of it is, from then on.
    ends : float
        From its shutdown on until it is terminated.
    stops : float
        How long processes on it go on after the shutdown has begun.
    dies : float or None
        After its launch it is taken away: a spot instance with a warning, another without.
    is_broken : bool
        Whether it ends instead of running.
    tells : bool
        Whether the agent still reports that its shutdown ended the task by a signal.
    """

    boots: float = 8.0
    online: float | None = 12.0
    seen: float = 0.0
    stale: float = 0.0
    ends: float = 20.0
    stops: float = 0.0
    dies: float | None = None
    is_broken: bool = False
    tells: bool = False


@dataclass(eq=False)
class SimulatedInstance:
    """An instance.

    Attributes
    ----------
    asked : mapping
        The arguments of its launch.
    history : list of tuple
        When it came into which state, and why.
    timer : float or None
        When it shuts itself down.
    """

    id: str
    launch: Launch
    nature: Nature
    asked: Mapping[str, Any]
    tags: dict[str, str]
    launched_at: float
    history: list[tuple[float, str, Reason | None]] = field(default_factory=list)
    timer: float | None = None
    stopped: bool = False

    @property
    def state(self) -> str:
        """The state it is in."""
        return self.history[-1][1]

    @property
    def is_alive(self) -> bool:
        """Whether it has not begun to end."""
        return self.state in ALIVE

    def shown(self, now: float) -> tuple[str, Reason | None] | None:
        """Return the state that EC2 shows, and why; None if it shows nothing."""
        if now < self.launched_at + self.nature.seen:
            return None
        found = [entry for entry in self.history if entry[0] <= now - self.nature.stale]
        at, state, reason = (found or self.history[:1])[-1]
        if state == "terminated" and now - at > _FORGOTTEN_AFTER:
            return None
        return state, reason


class SimulatedEC2:
    """See the module's docstring.

    Parameters
    ----------
    clock, at
        Seconds since the epoch; `at` calls something at a time.
    tell
        Takes an EventBridge event.
    nature
        What becomes of an instance.
    refuse
        The code and the message of an error for a launch that gets none; None: it gets one.

    Attributes
    ----------
    instances : dict of str to SimulatedInstance
        All there ever were, by id.
    launches : list of Launch
        All calls of RunInstances that asked for an instance, also in vain.
    changed : list of callable
        Called with an instance after each change of its state; the launch is the first.
    ended : list of callable
        Called with an instance once nothing on it runs any more.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        at: Callable[[float, Callable[[], object]], object],
        tell: Callable[[Body], object],
        *,
        nature: Callable[[Launch], Nature] = lambda _: Nature(),
        refuse: Callable[[Launch], tuple[str, str] | None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._at = at
        self._tell = tell
        self._nature = nature
        self._refuse = refuse
        self._tokens: dict[str, tuple[Body, SimulatedInstance]] = {}
        self._numbers = itertools.count(1)
        self.instances: dict[str, SimulatedInstance] = {}
        self.launches: list[Launch] = []
        self.changed: list[Callable[[SimulatedInstance], object]] = []
        self.ended: list[Callable[[SimulatedInstance], object]] = []

    @property
    def alive(self) -> list[SimulatedInstance]:
        """The instances that have not begun to end."""
        return [each for each in self.instances.values() if each.is_alive]

    # What clients call ---------------------------------------------------------------------------

    def run_instances(self, **asked: Any) -> Body:
        """Launch one instance; the same token is the same instance, ended or not."""
        if asked["MinCount"] != 1 or asked["MaxCount"] != 1:
            raise NotImplementedError("several instances at once")
        token = asked.get("ClientToken", "")
        if len(token) > 64 or not token.isascii():
            raise refusal_of(
                "RunInstances", "InvalidParameterValue", "The client token is not valid"
            )
        if token in self._tokens:
            before, instance = self._tokens[token]
            if before != asked:
                message = "Request token was used with different parameters"
                raise refusal_of("RunInstances", "IdempotentParameterMismatch", message)
            return {"ReservationId": f"r-{instance.id}", "Instances": [self._document(instance)]}
        launch = Launch(
            asked["InstanceType"],
            asked.get("SubnetId", ""),
            "InstanceMarketOptions" in asked,
            token,
            next(self._numbers),
        )
        self.launches.append(launch)
        refused = self._refuse(launch)
        if refused is not None:
            status = 500 if refused[0].startswith("Insufficient") else 400
            raise refusal_of("RunInstances", *refused, status)
        instance = self._launch(launch, asked)
        if token:
            self._tokens[token] = copy.deepcopy(asked), instance
        return {"ReservationId": f"r-{instance.id}", "Instances": [self._document(instance)]}

    def describe_instances(self, **asked: Any) -> Body:
        """Show instances as they were a moment ago."""
        if asked.keys() - {"InstanceIds", "Filters", "MaxResults", "NextToken"}:
            raise NotImplementedError(f"not simulated: {sorted(asked)}")
        wanted = asked.get("InstanceIds")
        if wanted is None:
            found = list(self.instances.values())
        else:
            found = [self._shown("DescribeInstances", each) for each in wanted]
        now = self._clock()
        listed = [
            each
            for each in found
            if (shown := each.shown(now)) and self._fits(each, shown[0], asked)
        ]
        first = int(asked.get("NextToken") or 0)
        page = listed[first : first + asked.get("MaxResults", _PAGE)]
        more = {"NextToken": str(first + len(page))} if first + len(page) < len(listed) else {}
        reservations = [
            {"ReservationId": f"r-{i.id}", "Instances": [self._document(i)]} for i in page
        ]
        return {"Reservations": reservations, **more}

    def terminate_instances(self, *, InstanceIds: Iterable[str]) -> Body:  # noqa: N803
        """Terminate instances: all of them, or none if one is not known."""
        found = [self._shown("TerminateInstances", each) for each in InstanceIds]
        changes = []
        for instance in found:
            before = instance.state
            self.shut_down(instance, BY_CALL)
            changes.append(
                {
                    "InstanceId": instance.id,
                    "PreviousState": _state(before),
                    "CurrentState": _state(instance.state),
                }
            )
        return {"TerminatingInstances": changes}

    # What instances do ---------------------------------------------------------------------------

    def shut_down(self, instance: SimulatedInstance, reason: Reason = _OWN) -> None:
        """End an instance, from outside or by itself: its own shutdown terminates it."""
        if not instance.is_alive:
            return
        self._set(instance, "shutting-down", reason)
        self._later(instance.nature.stops, self._stop, instance)
        self._later(
            max(instance.nature.ends, instance.nature.stops),
            self._set,
            instance,
            "terminated",
            reason,
        )

    def set_timer(self, instance: SimulatedInstance, seconds: float) -> None:
        """Let an instance shut itself down in a while, instead of at another time."""
        instance.timer = at = self._clock() + seconds

        def over() -> None:
            if instance.timer == at:
                self.shut_down(instance)

        self._at(at, over)

    def reclaim(self, instance: SimulatedInstance) -> None:
        """Take an instance away: one of the spot market after a warning."""
        if not instance.is_alive:
            return
        if instance.launch.spot:
            detail = {"instance-id": instance.id, "instance-action": "terminate"}
            self._event("EC2 Spot Instance Interruption Warning", detail)
            self._later(_WARNING, self.shut_down, instance, _SPOT)
        else:
            self.shut_down(instance, _BROKEN)

    def _launch(self, launch: Launch, asked: Body) -> SimulatedInstance:
        nature = self._nature(launch)
        tags = {
            tag["Key"]: tag["Value"]
            for each in asked.get("TagSpecifications", ())
            if each["ResourceType"] == "instance"
            for tag in each["Tags"]
        }
        instance = SimulatedInstance(
            f"i-{launch.number:017x}", launch, nature, copy.deepcopy(asked), tags, self._clock()
        )
        self.instances[instance.id] = instance
        self._set(instance, "pending")
        if nature.is_broken:
            self._later(nature.boots, self.shut_down, instance, _BROKEN)
        else:
            self._later(nature.boots, self._boot, instance)
        if nature.dies is not None:
            self._later(nature.dies, self.reclaim, instance)
        return instance

    def _boot(self, instance: SimulatedInstance) -> None:
        if not instance.is_alive:
            return
        self._set(instance, "running")
        data = base64.b64decode(instance.asked.get("UserData", "")).decode()
        timer = _TIMER.search(data)
        if timer is not None and instance.timer is None:
            self.set_timer(instance, 60.0 * int(timer[1]))

    def _set(self, instance: SimulatedInstance, state: str, reason: Reason | None = None) -> None:
        instance.history.append((self._clock(), state, reason))
        for see in self.changed:
            see(instance)
        self._event(
            "EC2 Instance State-change Notification", {"instance-id": instance.id, "state": state}
        )

    def _stop(self, instance: SimulatedInstance) -> None:
        instance.stopped = True
        for see in self.ended:
            see(instance)

    # Parts ---------------------------------------------------------------------------------------

    def _later(self, seconds: float, step: Callable[..., object], *given: Any) -> None:
        self._at(self._clock() + seconds, partial(step, *given))

    def _event(self, kind: str, detail: Body) -> None:
        self._tell({"source": "aws.ec2", "detail-type": kind, "detail": detail})

    def _shown(self, operation: str, name: str) -> SimulatedInstance:
        instance = self.instances.get(name)
        if instance is None or instance.shown(self._clock()) is None:
            message = f"The instance ID '{name}' does not exist"
            raise refusal_of(operation, "InvalidInstanceID.NotFound", message)
        return instance

    def _fits(self, instance: SimulatedInstance, state: str, asked: Body) -> bool:
        for each in asked.get("Filters", ()):
            name, values = each["Name"], each["Values"]
            if name.startswith("tag:"):
                value: object = instance.tags.get(name.removeprefix("tag:"))
            elif name == "tag-key":
                value = next((key for key in values if key in instance.tags), None)
            else:
                value = {
                    "instance-id": instance.id,
                    "instance-state-name": state,
                    "client-token": instance.launch.token,
                }[name]
            if value not in values:
                return False
        return True

    def _document(self, instance: SimulatedInstance) -> Body:
        state, reason = instance.shown(self._clock()) or instance.history[0][1:]
        launch = instance.launch
        document = {
            "InstanceId": instance.id,
            "InstanceType": launch.type,
            "SubnetId": launch.subnet,
            "ClientToken": launch.token,
            "LaunchTime": datetime.fromtimestamp(int(instance.launched_at), UTC),
            "State": _state(state),
            "Tags": [{"Key": key, "Value": value} for key, value in instance.tags.items()],
        }
        if launch.spot:
            document["InstanceLifecycle"] = "spot"
        if reason is not None:
            document["StateReason"] = dict(zip(("Code", "Message"), reason, strict=True))
        return document


def _state(name: str) -> Body:
    return {"Name": name, "Code": _CODES[name]}
