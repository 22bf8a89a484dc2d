"""An account in memory, with an EC2 backend over it. No test lives here."""

from __future__ import annotations

from typing import Any

from hut.backends.ec2 import Ec2Backend, Ec2Clients
from hut.backends.pace import Pace
from tests.ec2.fake_aws import Ec2, Faults, MemoryHosts, States
from tests.ec2.plain_ec2 import options
from tests.simulation.checked_client import CheckedClient


class Bucket(Faults):
    """S3, as far as it is used here."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> dict[str, Any]:  # noqa: ARG002, N803
        self.raise_before("put")
        self.objects[Key] = Body
        return {}


class Logs:
    """CloudWatch Logs with one page for each stream."""

    def __init__(self) -> None:
        self.streams: dict[str, list[list[str]]] = {}
        self.reads = 0

    def get_log_events(self, *, logStreamName: str, **_: Any) -> dict[str, Any]:  # noqa: N803
        self.reads += 1
        versions = self.streams.get(logStreamName, [[]])
        lines = versions.pop(0) if len(versions) > 1 else versions[0]
        events = [{"message": line, "timestamp": 0} for line in lines]
        return {"events": events, "nextForwardToken": "f/1", "nextBackwardToken": "b/1"}


class Account:
    """See the module's docstring."""

    def __init__(self) -> None:
        self.states, self.ec2, self.bucket, self.logs = States(), Ec2(), Bucket(), Logs()
        self.hosts = MemoryHosts()
        self.slept: list[float] = []
        self.active = 0
        self.client = CheckedClient("stepfunctions", self.states)
        self.ec2_client = CheckedClient("ec2", self.ec2)

    @property
    def now(self) -> float:
        return self.states.now

    def backend(self, **changes: Any) -> Ec2Backend:
        clients = Ec2Clients(
            self.client,
            self.ec2_client,
            CheckedClient("logs", self.logs),
            CheckedClient("s3", self.bucket),
            "bucket",
        )
        return Ec2Backend(
            options(**changes),
            clients,
            hosts=self.hosts,
            pace=Pace(most=1e9, clock=lambda: self.now, sleep=self.slept.append),
            active=lambda: self.active,
            clock=lambda: self.now,
            sleep=self.slept.append,
        )
