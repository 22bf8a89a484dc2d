"""Gives each test of the contract a fresh store of each adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.worlds import ADAPTERS, World


@pytest.fixture(params=ADAPTERS, ids=str)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return ADAPTERS[request.param](tmp_path, lambda: request.getfixturevalue("test_bed"))
