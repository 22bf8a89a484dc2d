"""Step Functions, EC2 and what is noted of instances, in memory. No test lives here.

The services are held against AWS's own model of them by `CheckedClient`; a test makes calls fail with
`Faults`.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from hut.backends.hosts import Host, IdleHost, JobNote, Phase
from tests.ec2.plain_ec2 import MACHINE

__all__ = ["Ec2", "Faults", "MemoryHosts", "States", "refusal"]


def refusal(operation: str, code: str, status: int = 400) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": f"{code} made by a test"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, operation)


class Faults:
    """Errors of the calls to come: before the call has an effect, or after it."""

    def __init__(self) -> None:
        self.before: dict[str, list[BaseException]] = defaultdict(list)
        self.after: dict[str, list[BaseException]] = defaultdict(list)

    def raise_before(self, operation: str) -> None:
        if self.before[operation]:
            raise self.before[operation].pop(0)

    def raise_after(self, operation: str) -> None:
        if self.after[operation]:
            raise self.after[operation].pop(0)


@dataclass
class Execution:
    name: str
    input: str
    started_at: float
    status: str = "RUNNING"
    error: str | None = None
    cause: str | None = None
    output: str | None = None
    stopped_at: float | None = None


class States(Faults):
    """Executions of one state machine, which do nothing by themselves.

    Attributes
    ----------
    hidden : set of str
        Executions that lists don't show yet.
    tokens : set of str
        Those that are waited under.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.executions: dict[str, Execution] = {}
        self.hidden: set[str] = set()
        self.tokens: set[str] = set()
        self.lock = threading.Lock()

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> dict[str, Any]:  # noqa: A002, N803
        with self.lock:
            self.raise_before("start")
            assert stateMachineArn == MACHINE
            known = self.executions.get(name)
            if known is not None and (known.status != "RUNNING" or known.input != input):
                raise refusal("StartExecution", "ExecutionAlreadyExists")
            if known is None:
                known = self.executions[name] = Execution(name, input, self.now)
            self.raise_after("start")
        return {"executionArn": _arn(name), "startDate": _time(known.started_at)}

    def stop_execution(self, *, executionArn: str, error: str, cause: str) -> dict[str, Any]:  # noqa: N803
        self.raise_before("stop")
        execution = self._find("StopExecution", executionArn)
        if execution.status == "RUNNING":
            execution.status, execution.error, execution.cause = "ABORTED", error, cause
            execution.stopped_at = self.now
        return {"stopDate": _time(self.now)}

    def describe_execution(self, *, executionArn: str) -> dict[str, Any]:  # noqa: N803
        self.raise_before("describe")
        execution = self._find("DescribeExecution", executionArn)
        told = {
            "executionArn": executionArn,
            "stateMachineArn": MACHINE,
            "name": execution.name,
            "status": execution.status,
            "startDate": _time(execution.started_at),
            "input": execution.input,
            "error": execution.error,
            "cause": execution.cause,
            "output": execution.output,
            "stopDate": None if execution.stopped_at is None else _time(execution.stopped_at),
        }
        return {key: value for key, value in told.items() if value is not None}

    def list_executions(
        self,
        *,
        stateMachineArn: str,  # noqa: N803
        statusFilter: str,  # noqa: N803
        maxResults: int,  # noqa: N803
        nextToken: str = "0",  # noqa: N803
    ) -> dict[str, Any]:
        self.raise_before("list")
        assert stateMachineArn == MACHINE
        assert maxResults <= 1000
        found = [
            {
                "executionArn": _arn(each.name),
                "stateMachineArn": MACHINE,
                "name": each.name,
                "status": each.status,
                "startDate": _time(each.started_at),
            }
            for each in self.executions.values()
            if each.status == statusFilter and each.name not in self.hidden
        ]
        first = int(nextToken)
        page: dict[str, Any] = {"executions": found[first : first + 3]}  # pages are short
        return page | ({"nextToken": str(first + 3)} if first + 3 < len(found) else {})

    def send_task_success(self, *, taskToken: str, output: str) -> dict[str, Any]:  # noqa: ARG002, N803
        self.raise_before("nudge")
        if taskToken not in self.tokens:
            raise refusal("SendTaskSuccess", "TaskTimedOut")
        self.tokens.remove(taskToken)
        return {}

    def end(self, name: str, status: str = "FAILED", **told: Any) -> None:
        """Let an execution end."""
        execution = self.executions[name]
        execution.status, execution.stopped_at = status, self.now
        for key, value in told.items():
            setattr(execution, key, value)

    def _find(self, operation: str, arn: str) -> Execution:
        execution = self.executions.get(arn.rpartition(":")[2])
        if execution is None or arn != _arn(execution.name):
            raise refusal(operation, "ExecutionDoesNotExist")
        return execution


@dataclass
class _Instance:
    id: str
    launched_at: float
    tags: dict[str, str]
    state: str = "running"


class Ec2(Faults):
    """Instances by id; what is found of them comes in short pages."""

    def __init__(self) -> None:
        super().__init__()
        self.instances: dict[str, _Instance] = {}
        self.filters: list[dict[str, list[str]]] = []

    def launch(self, number: int, attempt: str = "", at: float = 0.0, **tags: str) -> str:
        instance = f"i-{number:017x}"
        told = {"hut": "hut", "hut:attempt": attempt, "hut:backend": "ec2", **tags}
        told = {key: value for key, value in told.items() if value}
        self.instances[instance] = _Instance(instance, at, told)
        return instance

    @property
    def live(self) -> set[str]:
        return {each.id for each in self.instances.values() if each.state != "terminated"}

    def describe_instances(
        self,
        *,
        Filters: list[dict[str, Any]],  # noqa: N803
        MaxResults: int,  # noqa: N803
        NextToken: str = "0",  # noqa: N803
    ) -> dict[str, Any]:
        self.raise_before("describe")
        assert MaxResults <= 1000
        wanted = {each["Name"]: each["Values"] for each in Filters}
        assert all(len(values) <= 200 for values in wanted.values())
        self.filters.append(wanted)
        found = [each for each in self.instances.values() if _fits(each, wanted)]
        first = int(NextToken)
        page: dict[str, Any] = {
            "Reservations": [
                {
                    "Instances": [
                        {
                            "InstanceId": each.id,
                            "LaunchTime": _time(each.launched_at),
                            "Tags": [
                                {"Key": key, "Value": text} for key, text in each.tags.items()
                            ],
                        }
                    ]
                }
                for each in found[first : first + 2]
            ]
        }
        return page | ({"NextToken": str(first + 2)} if first + 2 < len(found) else {})

    def terminate_instances(self, *, InstanceIds: list[str]) -> dict[str, Any]:  # noqa: N803
        self.raise_before("terminate")
        if any(instance not in self.instances for instance in InstanceIds):
            raise refusal("TerminateInstances", "InvalidInstanceID.NotFound")
        for instance in InstanceIds:
            self.instances[instance].state = "terminated"
        return {}


class MemoryHosts:
    """Implements `hut.backends.hosts.Hosts`; one thing at a time."""

    def __init__(self) -> None:
        self.notes: dict[str, JobNote] = {}
        self.owners: dict[str, Host] = {}
        self.free: dict[str, IdleHost] = {}
        self.lock = threading.Lock()
        self.before_change: list[Any] = []

    def note(self, name: str, phase: Phase, **told: Any) -> None:
        self.notes[name] = replace(JobNote(name, "ec2", phase), **told)

    def own(self, instance: str, name: str, at: float = 0.0, shape: str = "shape") -> None:
        self.owners[instance] = Host(instance, name, "ec2", shape, at)

    def rest(
        self, instance: str, until: float, shape: str = "shape", name: str = "old"
    ) -> IdleHost:
        self.own(instance, name, shape=shape)
        self.free[instance] = IdleHost(instance, "c5.xlarge", False, "ec2", shape, until)
        return self.free[instance]

    def jobs(self, names: Collection[str]) -> dict[str, JobNote]:
        return {name: self.notes[name] for name in names if name in self.notes}

    def hosts(self, instances: Collection[str]) -> dict[str, Host]:
        return {each: self.owners[each] for each in instances if each in self.owners}

    def idle(self, backend: str) -> Sequence[IdleHost]:
        found = [host for host in self.free.values() if host.backend == backend]
        return sorted(found, key=lambda host: host.until)

    def idle_among(self, hosts: Collection[Host]) -> dict[str, IdleHost]:
        return {
            host.instance: self.free[host.instance] for host in hosts if host.instance in self.free
        }

    def take(self, host: IdleHost, name: str, at: float) -> bool:
        self._happens()
        with self.lock:
            if self.free.pop(host.instance, None) is None:
                return False
            self.own(host.instance, name, at, host.shape)
        return True

    def give_back(self, host: IdleHost, name: str) -> None:
        self._happens()
        if self.owners.get(host.instance, host).name == name:  # type: ignore[union-attr]
            self.free[host.instance] = host

    def evict(self, host: IdleHost) -> bool:
        self._happens()
        with self.lock:
            if self.free.pop(host.instance, None) is None:
                return False
            self.owners.pop(host.instance, None)
        return True

    def disown(self, instance: str, name: str, host: Host | None) -> bool:
        self._happens()
        owner = self.owners.get(instance)
        if owner is not None and owner.name != name:
            return False
        self.owners.pop(instance, None)
        if host is not None:
            self.free.pop(instance, None)
        return True

    def _happens(self) -> None:
        """Let something else come first."""
        if self.before_change:
            self.before_change.pop(0)()


def _fits(instance: _Instance, wanted: dict[str, list[str]]) -> bool:
    for name, values in wanted.items():
        if name == "instance-state-name":
            fits = instance.state in values
        elif name == "tag-key":
            fits = any(key in instance.tags for key in values)
        else:
            fits = instance.tags.get(name.removeprefix("tag:")) in values
        if not fits:
            return False
    return True


def _arn(name: str) -> str:
    return f"{MACHINE.replace(':stateMachine:', ':execution:')}:{name}"


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
