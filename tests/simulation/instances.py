"""EC2, SSM and the machine of tasks in a simulated deployment: what there is, and what chance makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.simulation.asl import Execution
from tests.simulation.ec2 import Launch, Nature, SimulatedEC2
from tests.simulation.hosts import SimulatedHosts
from tests.simulation.ssm import SimulatedSSM
from tests.simulation.task_executions import (
    MACHINE,
    Circumstances,
    TaskExecutions,
    task_machine,
)

if TYPE_CHECKING:
    from tests.simulation.world import World

__all__ = ["DOCUMENT", "Ec2", "Instances"]

DOCUMENT = "hut-task"
_NO_CAPACITY = (
    "InsufficientInstanceCapacity",
    "We currently do not have sufficient {} capacity in the Availability Zone you requested.",
)
_NO_SPOT = (
    "InsufficientInstanceCapacity",
    "There is no Spot capacity available that matches your request.",
)
_LIMIT = (
    "VcpuLimitExceeded",
    "You have requested more vCPU capacity than your current vCPU limit of 32 allows.",
)


class Ec2(NamedTuple):
    """How the EC2 backend of a deployment is.

    Attributes
    ----------
    most : int
        ``max_instances``.
    reuse : bool
    spot : str
        ``never``, ``prefer`` or ``only``.
    idle : int
        ``idle_terminate_seconds``.
    """

    most: int = 4
    reuse: bool = False
    spot: str = "never"
    idle: int = 120

    def entry(self) -> dict[str, Any]:
        """Return the backend as ``HUT_BACKENDS`` describes it."""
        account = "arn:aws:iam::123456789012"
        return {
            "name": "ec2",
            "type": "ec2",
            "machine": MACHINE,
            "document": DOCUMENT,
            "launch_template": "lt-0123456789abcdef0",
            "instance_profile_arn": f"{account}:instance-profile/hut-task",
            "subnet_ids": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
            "security_group_ids": ["sg-0123456789abcdef0"],
            "instance_types": {"default": ["c5.xlarge", "m5.xlarge"], "big": ["c5.4xlarge"]},
            "max_instances": self.most,
            "idle_terminate_seconds": self.idle,
            "startup_timeout_seconds": 120,
            "launch_timeout_seconds": 600,
            "spot": self.spot,
            "reuse": self.reuse,
            "log_group": "/hut/jobs",
            "prices": {"c5.xlarge": 0.17, "m5.xlarge": 0.192},
        }


class Instances:
    """See the module's docstring.

    Parameters
    ----------
    services
        The world's, which the machine calls.

    Attributes
    ----------
    refused : set of str
        The attempts (by the beginning of their tokens) that got no instance at least once.
    """

    def __init__(self, world: World, services: Mapping[str, Any]) -> None:
        self._world = world
        clock, at = lambda: world.agenda.now, world.agenda.at
        self.refused: set[str] = set()
        self.ec2 = SimulatedEC2(clock, at, world.tell, nature=self._nature, refuse=self._refuse)
        self.hosts = SimulatedHosts(
            clock,
            at,
            self.ec2,
            world.s3,
            world.logs,
            fate=world.fate_on_host,
            changed=world.attempt_changed,
        )
        arrived = self.hosts.arrived
        self.ssm = SimulatedSSM(
            clock, at, world.tell, self.ec2, arrived=arrived, pauses=self._command_pause
        )
        self.hosts.ssm = self.ssm
        chances = Circumstances(
            roll=world.chance.roll,
            pause=self._call_pause,
            verdict=world.verdict_on_machine,
            lag=lambda name: self._lag(f"listed {name}"),
            note=world.history.note,
        )
        self.machine = TaskExecutions(
            task_machine(world.options.table, DOCUMENT, "observe"),
            clock,
            at,
            {**services, "ec2": self.ec2, "ssm": self.ssm},
            tell=world.tell,
            chances=chances,
        )

    @property
    def running(self) -> list[Execution]:
        """The executions that have not ended."""
        return [each for each in self.machine.executions.values() if each.status == "RUNNING"]

    # Chance --------------------------------------------------------------------------------------

    def _lag(self, label: str) -> float:
        return self._world.chance.between(label, 0.0, self._world.faults.list_lag)

    def _call_pause(self, label: str) -> float:
        most = self._world.faults.calls_at_most
        return self._world.chance.between(f"takes {label}", most / 10, most)

    def _command_pause(self, label: str) -> float:
        return self._world.chance.between(label, 0.2, 1.5 + self._world.faults.list_lag / 4)

    def _name(self, launch: Launch) -> str:
        return launch.token.rpartition("-")[0]

    def _nature(self, launch: Launch) -> Nature:
        world, label = self._world, f"instance {launch.token}"
        chance, faults = world.chance, world.faults_now()
        online: float | None = chance.between(f"online {label}", 2.0, 15.0)
        if chance.fault("offline", label, faults.offline):
            online = None
        dies = None
        if chance.fault("reclaimed", label, faults.reclaimed):
            dies = chance.between(f"dies {label}", 5.0, 150.0)
        return Nature(
            boots=chance.between(f"boots {label}", 3.0, 10.0),
            online=online,
            seen=self._lag(f"seen {label}"),
            stale=self._lag(f"stale {label}") / 2,
            ends=chance.between(f"ends {label}", 5.0, 40.0),
            dies=dies,
            tells=chance.roll(f"tells {label}") < 0.5,
            is_broken=chance.fault("stillborn", label, faults.reclaimed / 2),
        )

    def _refuse(self, launch: Launch) -> tuple[str, str] | None:
        label = f"{launch.token} {launch.type} {launch.number}"
        if not self._world.chance.fault("no capacity", label, self._world.faults_now().no_capacity):
            return None
        self.refused.add(self._name(launch))
        if self._world.chance.roll(f"limit {label}") < 0.2:
            return _LIMIT
        code, message = _NO_SPOT if launch.spot else _NO_CAPACITY
        return code, message.format(launch.type)


def told_of(event: Mapping[str, Any]) -> str:
    """Say in a few words what an event is about."""
    detail = event["detail"]
    who = detail.get("jobName") or detail.get("name") or detail.get("instance-id")
    what = detail.get("status") or detail.get("state") or detail.get("instance-action")
    return f"{who} {what}"


def is_wanted(event: Mapping[str, Any]) -> bool:
    """Say whether the rules for tasks on EC2 let an event through."""
    detail = event["detail"]
    if event["source"] == "aws.ssm":
        return detail["status"] not in ("Pending", "InProgress")
    if event["source"] == "aws.ec2" and "state" in detail:
        return detail["state"] in ("shutting-down", "terminated", "stopping", "stopped")
    return True


def outcome_of(execution: Execution) -> dict[str, Any]:
    """Return the document that an execution has ended with; empty if there is none."""
    if execution.status == "SUCCEEDED":
        return dict(execution.output)
    if execution.status == "FAILED" and execution.cause.startswith("{"):
        return dict(json.loads(execution.cause))
    return {}
