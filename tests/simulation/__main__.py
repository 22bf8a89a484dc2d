"""Tell the history of one seed, or look for seeds that go wrong.

python -m tests.simulation 4711            # the shrunken history, if it goes wrong; else how it went
python -m tests.simulation 4711 --whole    # every step of it
python -m tests.simulation soak --seeds 20000 --processes 2
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.scenarios import random_trial
from tests.simulation.shrinking import try_seed
from tests.simulation.world import simulated

_AT_ONCE = 20


def main(arguments: list[str] | None = None) -> int:
    """Do as told; 1 if a seed goes wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("seed", help="a number, or `soak`")
    parser.add_argument("--whole", action="store_true", help="tell every step")
    parser.add_argument("--seeds", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    if given.seed == "soak":
        return _soak(range(given.first, given.first + given.seeds), given.processes)
    if given.whole:
        return _tell(int(given.seed))
    found = try_seed(random_trial(int(given.seed)))
    print(found or f"seed {given.seed}: everything holds")
    return bool(found)


def _tell(seed: int) -> int:
    trial = random_trial(seed)
    with simulated(seed, kept=True, **trial.options) as world:
        try:
            trial.play(world)
        finally:
            print(world.history.text())
    return 0


def _soak(seeds: range, processes: int) -> int:
    begin, bad = time.monotonic(), []
    chunks = [seeds[start : start + _AT_ONCE] for start in range(0, len(seeds), _AT_ONCE)]
    with ProcessPoolExecutor(processes) as pool:
        for number, found in enumerate(pool.map(_wrong, chunks), 1):
            bad += found
            if found or number % 50 == 0:
                seconds = time.monotonic() - begin
                print(
                    f"{number * _AT_ONCE:,} seeds in {seconds:.0f} s, {len(bad)} wrong: {bad[:20]}"
                )
                sys.stdout.flush()
    for seed in bad[:3]:
        print(try_seed(random_trial(seed)))
    return bool(bad)


def _wrong(seeds: range) -> list[int]:
    return [seed for seed in seeds if random_trial(seed).run() is not None]


if __name__ == "__main__":
    sys.exit(main())
