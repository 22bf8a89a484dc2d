"""One test bed for all of these checks; each check makes things under names of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.testbed.running import TestBed, start_test_bed
from tests.testbed_checks.making import Maker


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBed]:
    with start_test_bed(tmp_path_factory.mktemp("bed"), options={"HUT_TESTBED_GRACE": "0.5"}) as it:
        yield it


@pytest.fixture
def make(bed: TestBed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maker]:
    maker = Maker(bed, tmp_path_factory.mktemp("seen"))
    yield maker
    maker.forget()
