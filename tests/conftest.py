"""What all tests that run hutctl start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hutctl_process import Hut


@pytest.fixture
def hut(tmp_path: Path) -> Hut:
    """hutctl with a folder and a home of its own."""
    return Hut(tmp_path)
