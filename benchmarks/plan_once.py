"""Plans one file and prints seconds and peak memory as JSON; a fresh process for each measurement.

``python -I plan_once.py {hut,scripthut} FILE``, with the interpreter that has the planner. It must
not import anything else of this package, which ScriptHut's interpreter does not see.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["main"]


def _hut() -> Callable[[str], object]:
    plan_text: Callable[..., object] = importlib.import_module("hut.planning").plan_text
    return lambda text: plan_text(text, filename="w.json")


def _scripthut() -> Callable[[str], object]:
    """Return what ScriptHut does with a submitted document before it makes a run of it."""
    manager: Any = importlib.import_module("scripthut.runs.manager").RunManager
    models: Any = importlib.import_module("scripthut.runs.models")

    def plan(text: str) -> object:
        tasks, _, _ = models.TaskDefinition.parse_document(json.loads(text))
        manager._resolve_wildcard_deps(tasks)  # noqa: SLF001  (it has no public way in)
        manager._validate_dependencies(tasks)  # noqa: SLF001
        return tasks

    return plan


def _peak_bytes() -> int:
    """Return the most memory this process had; `getrusage` would count its parent's too."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(arguments: list[str]) -> None:
    """Plan the file that `arguments` name with the planner they name."""
    planner, path = arguments
    plan = {"hut": _hut, "scripthut": _scripthut}[planner]()
    text = Path(path).read_text(encoding="utf-8")
    began = time.perf_counter()
    planned = plan(text)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "peak_bytes": _peak_bytes()}), flush=True)
    del planned


if __name__ == "__main__":
    main(sys.argv[1:])
