"""Write the tasks of this run: some pricing tasks per contract, then one report.

Usage: plan.py TASKS_FILE, with STREAMS, SAMPLES and SEED in the environment.

Hut reads the file when this task has ended (``generates_source``); its tasks join the run.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from options import read_options

PYTHON = '"${PYTHON:-python3}"'


def positive(name: str) -> int:
    """Return a positive whole number from the environment."""
    text = os.environ.get(name, "")
    if not text.isdecimal() or int(text) == 0:
        sys.exit(f"{name} is {text!r}; it must be a whole number above zero")
    return int(text)


def pricing_tasks(contracts: list[str], streams: int, sample_count: int, seed: str) -> list[object]:
    """Return the tasks: ``price.<contract>.<stream>`` and ``report``, which waits for them all."""
    width = len(str(streams))
    tasks: list[object] = []
    for contract in contracts:
        for stream in range(1, streams + 1):
            number = f"{stream:0{width}}"
            tasks.append(
                {
                    "id": f"price.{contract}.{number}",
                    "name": f"{contract}, stream {number}",
                    "command": f"{PYTHON} price.py {contract} {number} {sample_count} {seed}",
                    "time_limit": "10m",
                }
            )
    tasks.append(
        {
            "id": "report",
            "name": "Prices, confidence intervals, closed forms",
            "deps": ["price.*"],
            "command": f"{PYTHON} report.py {streams}",
        }
    )
    return tasks


def main() -> None:
    """Write the tasks file."""
    target = Path(sys.argv[1])
    streams, sample_count, seed = positive("STREAMS"), positive("SAMPLES"), positive("SEED")
    contracts = list(read_options())
    tasks = pricing_tasks(contracts, streams, sample_count, str(seed))
    target.parent.mkdir(parents=True, exist_ok=True)
    # Another run may read the file at this moment: it must see the old one or the new one, whole.
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    draft.write_text(json.dumps(tasks, indent=1) + "\n", encoding="utf-8")
    draft.replace(target)
    print(f"{len(contracts)} contracts x {streams} streams x {sample_count:,} samples")
    print(f"{len(tasks)} tasks written to {target}")


if __name__ == "__main__":
    main()
