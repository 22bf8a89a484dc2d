"""Seeds, one after the other: a few runs each, with faults of several kinds at random strengths.

`make soak` looks at more than twenty thousand. `python -m tests.simulation SEED` tells the shrunken history of a
seed that goes wrong; what it found gets a test of its own, as a seed's history changes with the code.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.scenarios import random_trial
from tests.simulation.shrinking import try_seed
from tests.simulation.world import simulated

_ROOT = Path(__file__).resolve().parents[2]
_SEEDS = 240 * int(os.environ.get("HUT_SIMULATION_EXAMPLES", "1"))
_AT_ONCE = 20


@pytest.mark.parametrize("first", range(0, _SEEDS, _AT_ONCE))
def test_whatever_goes_wrong_every_run_ends_right(first: int) -> None:
    for seed in range(first, first + _AT_ONCE):
        told = try_seed(random_trial(seed))
        assert not told, told


def test_a_seed_is_always_the_same_history() -> None:
    code = (
        "from tests.simulation.scenarios import random_trial\n"
        "from tests.simulation.world import simulated\n"
        "for seed in (3, 8):\n"
        "    trial = random_trial(seed)\n"
        "    with simulated(seed, **trial.options) as world:\n"
        "        trial.play(world)\n"
        "    print(world.history.digest, world.calls)\n"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": hashes},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hashes in ("0", "1", "17")
    }
    assert len(told) == 1, told


def test_seeds_have_faults_of_every_kind() -> None:
    kinds: set[str] = set()
    for seed in range(20):
        trial = random_trial(seed)
        with simulated(seed, **trial.options) as world:
            trial.play(world)
        kinds |= {fault.partition(":")[0] for fault in world.chance.faults}
    assert kinds >= {
        "broken",
        "crash after",
        "crash before",
        "left",
        "lost",
        "people",
        "poisoned",
        "raced",
        "reclaimed",
        "repeated",
        "throttled",
        "unanswered",
        "vanished",
    }
