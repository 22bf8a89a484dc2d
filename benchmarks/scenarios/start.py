"""How long after a person's Enter the first task does its first thing."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Command, CommandError, announce, spread, timed
from benchmarks.results import Claim, Figure, Findings
from benchmarks.setting import Scenario, Setting
from benchmarks.versions import versions_of

__all__ = ["SCENARIO"]

_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Sizes:
    """Runs."""

    runs: int


_FULL = Sizes(runs=10)
_QUICK = Sizes(runs=2)


def _run(setting: Setting) -> Findings:
    sizes = _QUICK if setting.quick else _FULL
    with tempfile.TemporaryDirectory(prefix="hut-benchmark-") as root:
        _start_once(setting, Path(root, "warm-up"))
        samples = [_start_once(setting, Path(root, str(i))) for i in range(sizes.runs)]
    median = spread(samples).median
    announce(f"  median {median:.3f} s")
    return Findings(
        method=(
            "From the moment before the process is created until the time that the only task of "
            f"the workflow writes down. {sizes.runs} runs, each with an empty home, after one that "
            "does not count."
        ),
        commands=(
            ("Hut", "HUT_HOME=<empty folder> hutctl run workflow.json"),
            ("the task", "date +%s.%N > began"),
        ),
        figures=(Figure("Hut: until the first task's first instruction", "s", tuple(samples)),),
        claims=(Claim("Start of the first task", median, "s", "at most", _SECONDS),),
        versions=versions_of((), commands=("bash", "date")),
    )


def _start_once(setting: Setting, folder: Path) -> float:
    folder.mkdir()
    began = folder / "began"
    task = {"id": "first", "command": "date +%s.%N > began", "working_dir": str(folder)}
    (folder / "workflow.json").write_text(json.dumps({"tasks": [task]}), encoding="utf-8")
    command = (str(setting.hutctl), "run", "workflow.json")
    before = time.time_ns()
    timed(Command(command, folder, {"HUT_HOME": str(folder / "home")}, timeout=60))
    try:
        seconds, _, nanoseconds = began.read_text(encoding="ascii").strip().partition(".")
        return (int(seconds) * 10**9 + int(nanoseconds) - before) / 1e9
    except (OSError, ValueError) as error:
        raise CommandError(f"the task did not write the time: {error}") from None


SCENARIO = Scenario("start", "Start of the first task", _run)
