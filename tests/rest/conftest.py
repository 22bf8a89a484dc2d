"""An API of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rest.api_world import Api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    world = Api(tmp_path)
    yield world
    world.store.close()
