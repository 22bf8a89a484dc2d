"""What tests of the agent, and of the backend, start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ec2.account import Account
from tests.ec2.host_world import SmallAws, World, small_aws


@pytest.fixture
def aws() -> Iterator[SmallAws]:
    with small_aws() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, aws: SmallAws) -> Iterator[World]:
    """An instance; nothing of it is left at the end."""
    found = World(tmp_path, aws)
    try:
        yield found
    finally:
        found.clean()


@pytest.fixture
def account() -> Account:
    return Account()
