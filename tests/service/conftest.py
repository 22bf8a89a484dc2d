"""A control plane of its own for each test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.service.control_plane import ControlPlane
from tests.testbed.running import TestBed


@pytest.fixture
def make_plane(test_bed: TestBed) -> Callable[..., ControlPlane]:
    """Makes control planes with options of their own."""

    def make(**options: Any) -> ControlPlane:
        return ControlPlane(test_bed, **options)

    return make


@pytest.fixture
def plane(make_plane: Callable[..., ControlPlane]) -> ControlPlane:
    return make_plane()
