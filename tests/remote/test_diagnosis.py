"""What doctor says of a control plane's backends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from hutctl.client import Unreachable
from hutctl.remote.diagnosis import look_at_backends
from hutctl.remote.http import Answer

REGION = "eu-west-1"
MACHINE = f"arn:aws:states:{REGION}:123456789012:stateMachine:hut-ec2-task"


class FakeApi:
    """A control plane that says what backends it has, and the caller's account."""

    def __init__(self, backends: Any, refused: str = "") -> None:
        self.account = SimpleNamespace(client=self._client)
        self._backends = backends
        self._refused = refused

    def call(self, _method: str, _path: str) -> Answer:
        if isinstance(self._backends, Exception):
            raise self._backends
        return Answer(200, {}, json.dumps(self._backends).encode(), 1, 0.1)

    def _client(self, service: str) -> Any:
        if service == self._refused:
            denied = {"Error": {"Code": "UnauthorizedOperation", "Message": "not for you"}}
            raise ClientError(denied, "Describe")  # type: ignore[arg-type]
        return botocore.session.get_session().create_client(service, region_name=REGION)


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a backend is made of, all of it there."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        session = botocore.session.get_session()
        states = session.create_client("stepfunctions", region_name=REGION)
        role = "arn:aws:iam::123456789012:role/x"
        states.create_state_machine(name="hut-ec2-task", definition="{}", roleArn=role)
        client = session.create_client("ec2", region_name=REGION)
        [group] = client.describe_security_groups()["SecurityGroups"]
        yield {
            "state_machine": MACHINE,
            "subnet_ids": [client.describe_subnets()["Subnets"][0]["SubnetId"]],
            "security_group_ids": [group["GroupId"]],
        }


def backend(ec2: Any = None, problem: str | None = None) -> dict[str, Any]:
    return {"name": "b", "can_run": problem is None, "problem": problem, "ec2": ec2}


def look(api: Any) -> list[tuple[str, bool, str]]:
    return look_at_backends(api)


def test_what_instances_are_launched_with_is_there(ec2: dict[str, Any]) -> None:
    [(what, well, said)] = look(FakeApi([backend(), backend(ec2)]))
    assert (what, well) == ("backend", True)
    assert said == "b: its state machine, subnets and security groups are there"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("state_machine", f"{MACHINE}-x", "state machine: "),
        ("subnet_ids", ["subnet-00000000"], "subnets: "),
        ("security_group_ids", ["sg-00000000"], "security groups: "),
    ],
)
def test_what_is_missing_is_told(ec2: dict[str, Any], field: str, value: Any, told: str) -> None:
    [(_, well, said)] = look(FakeApi([backend({**ec2, field: value})]))
    assert not well
    assert told in said


def test_what_one_may_not_look_at_is_no_fault(ec2: dict[str, Any]) -> None:
    [(_, well, said)] = look(FakeApi([backend(ec2)], refused="ec2"))
    assert well
    assert said.startswith("b: not looked at: subnets: not for you")


def test_a_backend_that_can_run_nothing_is_a_fault() -> None:
    assert look(FakeApi([backend(problem="no such queue")])) == [
        ("backend", False, "b: no such queue")
    ]
    [(what, well, said)] = look(FakeApi(Unreachable("gone")))
    assert (what, well, said) == ("backends", False, "gone")
