"""Write the tasks of this run: a cell for each model and fold, then one report.

Usage: plan.py TASKS_FILE, with FOLDS and SEED in the environment.

Hut reads the file when this task has ended (``generates_source``); its tasks join the run.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from grid import MODELS

PYTHON = '"${PYTHON:-python3}"'
NEEDED = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}
MOST_FOLDS = 100  # the rarest digit has 174 images; each fold should have more than one of them


def require_packages() -> None:
    """End the program with a message if a package is missing that the cells will need."""
    missing = [package for module, package in NEEDED.items() if find_spec(module) is None]
    if missing:
        sys.exit(
            f"{sys.executable} has no {' and no '.join(missing)}. Run `make digits` at the top of "
            'the project, then start the run with PYTHON="$PWD/.venv/bin/python".'
        )


def number(name: str, least: int, most: int) -> int:
    """Return a whole number from the environment."""
    text = os.environ.get(name, "")
    if not text.isdecimal() or not least <= int(text) <= most:
        sys.exit(f"{name} is {text!r}; it must be a whole number from {least} to {most}")
    return int(text)


def grid_tasks(folds: int, seed: int) -> list[object]:
    """Return the tasks: ``fit.<model>.<fold>`` and ``report``, which waits for them all."""
    tasks: list[object] = [
        {
            "id": f"fit.{model}.{fold}",
            "name": f"{model}, fold {fold} of {folds}",
            "command": f"{PYTHON} cell.py {model} {fold} {folds} {seed}",
            "cpus": 1,
            "memory": "1G",
            "time_limit": "5m",
        }
        for model in MODELS
        for fold in range(1, folds + 1)
    ]
    tasks.append(
        {
            "id": "report",
            "name": "Accuracy, confusions, picture",
            "deps": ["fit.*"],
            "command": f"{PYTHON} report.py {folds}",
            "cpus": 1,
            "memory": "1G",
            "time_limit": "5m",
        }
    )
    return tasks


def main() -> None:
    """Write the tasks file."""
    target = Path(sys.argv[1])
    require_packages()
    folds, seed = number("FOLDS", 2, MOST_FOLDS), number("SEED", 0, 2**32 - 1)
    tasks = grid_tasks(folds, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Another run may read the file at this moment: it must see the old one or the new one, whole.
    draft = target.with_name(f"{target.name}.{os.getpid()}")
    draft.write_text(json.dumps(tasks, indent=1) + "\n", encoding="utf-8")
    draft.replace(target)
    print(f"{len(MODELS)} models x {folds} folds: {', '.join(MODELS)}")
    print(f"{len(tasks)} tasks written to {target}")


if __name__ == "__main__":
    main()
