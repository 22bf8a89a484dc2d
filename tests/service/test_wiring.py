"""What a process of a function is made of where a deployment has backends of two kinds."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from handlers.wiring import Edge, Process
from tests.backends.test_refining import EC2, STACK


class Client:
    """A client of a service that knows nothing, and keeps what it is asked."""

    def __init__(self, service: str, asked: list[str]) -> None:
        self._service = service
        self._asked = asked

    def __getattr__(self, operation: str) -> Any:
        def call(**_: Any) -> Mapping[str, Any]:
            self._asked.append(f"{self._service}:{operation}")
            return {"Responses": {}} if operation == "batch_get_item" else {}

        return call


class Place:
    """A process, and what it has asked AWS."""

    def __init__(self, *backends: Mapping[str, Any]) -> None:
        self.asked: list[str] = []
        self.clients: list[str] = []
        environment = {
            "HUT_TABLE": "table",
            "HUT_BUCKET": "bucket",
            "HUT_STATE_MACHINE_ARN": "arn:aws:states:eu-west-1:123456789012:stateMachine:hut-run",
            "HUT_BACKENDS": json.dumps(backends),
        }
        self.process = Process(Edge(client=self._client, environment=environment))

    def _client(self, service: str, *, repeats: bool = True) -> Client:  # noqa: ARG002
        self.clients.append(service)
        return Client(service, self.asked)

    def around(self) -> Any:
        return self.process.surroundings(logging.getLogger("test"))  # type: ignore[arg-type]


@pytest.fixture
def both() -> Place:
    return Place(*STACK, EC2)


def test_backends_of_both_kinds_are_there_by_their_names(both: Place) -> None:
    around = both.around()
    assert set(around.backends) == {"batch", "ec2"}
    assert dict(around.caps) == {"batch": 100, "ec2": 20}
    assert {name: backend.name for name, backend in around.backends.items()} == {
        "batch": "batch",
        "ec2": "ec2",
    }
    found = both.process.find_backend("ec2")
    assert found is not None
    assert found.name == "ec2"


def test_clients_are_made_when_somebody_uses_the_backend(both: Place) -> None:
    around = both.around()
    assert len(around.backends) == 2
    assert {"batch", "ec2", "logs"}.isdisjoint(both.clients)
    around.backends["ec2"].quiet({})
    assert {"ec2", "stepfunctions", "logs", "s3"} <= set(both.clients)
    assert "batch" not in both.clients


def test_news_of_tasks_go_to_the_machine_of_the_stack(both: Place) -> None:
    around = both.around()
    assert list(around.instances) == [EC2["machine"]]
    instances = around.instances[EC2["machine"]]()
    assert instances is around.instances[EC2["machine"]]()
    assert str(instances.nudge("i-0123456789abcdef0")) == "nobody"
    assert both.asked[-1] == "dynamodb:batch_get_item"


def test_a_deployment_without_instances_hears_of_none() -> None:
    place = Place(*STACK)
    around = place.around()
    assert (set(around.backends), dict(around.instances)) == ({"batch"}, {})
    assert place.process.find_backend("ec2") is None
