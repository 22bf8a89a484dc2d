"""Two runs that many tests look at: one that has ended, one that is under way."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.hutctl_process import Hut, wait_until

ENDED = [
    {"id": "good", "command": "seq 1 30; echo careful >&2", "tags": {"kind": "first"}},
    {"id": "silent", "command": "true"},
    {
        "id": "bad",
        "name": "The bad one",
        "command": "echo \"it's begun\"\nseq 1 20 >&2\necho 'no such \\ input' >&2\nexit 3",
        "tags": {"kind": "second", "urgent": ""},
    },
    {
        "id": "flaky",
        "command": "echo this is $HUT_ATTEMPT; [ $HUT_ATTEMPT = 2 ]",
        "retries": 1,
        "env_vars": {"QUOTED": 'it\'s "so" $HOME'},
    },
    {"id": "after", "command": "true", "deps": ["bad"]},
    {"id": "map.1", "command": "echo one", "deps": ["good"]},
    {"id": "map.2", "command": "echo two", "deps": ["good"]},
    {"id": "end", "command": "true", "deps": ["map.*", "after"]},
]

UNDER_WAY = [
    {"id": "again", "command": "exit 7", "priority": 9, "retries": 2, "retry_delay": "1h"},
    *({"id": f"quick.{i}", "command": "true", "priority": 8} for i in range(20)),
    {"id": "hold", "command": "echo printed; touch on; sleep 7200", "priority": 5},
    {"id": "blocked", "command": "true", "deps": ["hold", "again"]},
    *({"id": f"ready.{i}", "command": "echo never"} for i in range(6)),
]


@pytest.fixture(scope="session")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Hut:
    """A failed run: 5 completed (one on its second attempt), 1 failed, 2 not run; only looked at."""
    hut = Hut(tmp_path_factory.mktemp("ended"))
    hut("run", hut.write(ENDED, name="mixed.json"), exit_code=1)
    return hut


@pytest.fixture(scope="session")
def under_way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hut]:
    """A run of which `hold` takes the only slot, and `again` waits for its retry; only looked at."""
    hut = Hut(tmp_path_factory.mktemp("under-way"))
    process = hut.popen("run", hut.write(UNDER_WAY), "--max-concurrent", "1")
    wait_until((hut.folder / "on").exists)
    wait_until(lambda: hut.states()["hold"] == "running")
    yield hut
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
