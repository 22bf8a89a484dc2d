"""A store over a table of its own for each test, with its client watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.store_world import StoreWorld
from tests.testbed.running import TestBed


@pytest.fixture
def make_world(test_bed: TestBed) -> Callable[..., StoreWorld]:
    """Makes stores with options of their own."""

    def make(**options: Any) -> StoreWorld:
        return StoreWorld(test_bed, **options)

    return make


@pytest.fixture
def world(make_world: Callable[..., StoreWorld]) -> StoreWorld:
    return make_world()
