"""A control plane of its own for each test.

Its table and bucket are simulated: what stores make of a DynamoDB API is asked in `tests/contract` and
`tests/aws`, whether the simulated one does what the emulator does in `tests/simulation`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.aws_table import Clients
from tests.service.control_plane import ControlPlane
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.s3 import SimulatedS3


@pytest.fixture
def make_plane() -> Callable[..., ControlPlane]:
    """Makes control planes with options of their own."""

    def make(**options: Any) -> ControlPlane:
        simulated = {"dynamodb": SimulatedDynamoDB(time.time), "s3": SimulatedS3(time.time)}
        return ControlPlane(Clients(simulated), **options)

    return make


@pytest.fixture
def plane(make_plane: Callable[..., ControlPlane]) -> ControlPlane:
    return make_plane()
