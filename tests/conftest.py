"""What all tests that run hutctl start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hutctl_process import Hut
from tests.testbed.running import TestBed, start_test_bed


@pytest.fixture
def hut(tmp_path: Path) -> Hut:
    """hutctl with a folder and a home of its own."""
    return Hut(tmp_path)


@pytest.fixture(scope="session")
def test_bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    """A test bed for the tests of this process; each test uses names of its own in it."""
    with start_test_bed(tmp_path_factory.mktemp("test-bed")) as bed:
        yield bed
