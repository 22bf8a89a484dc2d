"""Runs at once while everything goes wrong; the full size is ``python -m tests.e2e.load``."""

from __future__ import annotations

from tests.e2e.load import FUNCTIONS, load
from tests.e2e.remote_hut import RemoteHut

RUNS, TASKS = 4, 50
REQUESTS, WRITES = 16.0, 12.0  # for each attempt; small runs cost most, and each repairs something
PEAK_KIB = 160 * 1024  # of the 512 MiB that functions have


def test_runs_at_once_end_right_whatever_happens(hut: RemoteHut) -> None:
    found = load(hut, RUNS, TASKS)
    assert found.lost > 0
    assert found.requests_per_end < REQUESTS, found
    assert found.writes_per_end < WRITES, found
    for name in set(FUNCTIONS) - {"api", "check"}:  # nobody asks to have a document checked
        assert 0 < found.peak_kib[name] < PEAK_KIB, found
