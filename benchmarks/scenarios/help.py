"""How long ``hutctl --help`` takes beside an interpreter that does nothing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Command, announce, spread, timed
from benchmarks.results import Claim, Figure, Findings
from benchmarks.setting import Scenario, Setting

__all__ = ["SCENARIO"]

_TIMES_PYTHON = 5.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Runs of each command."""

    runs: int


_FULL = Sizes(runs=20)
_QUICK = Sizes(runs=3)


def _run(setting: Setting) -> Findings:
    sizes = _QUICK if setting.quick else _FULL
    with tempfile.TemporaryDirectory(prefix="hut-benchmark-") as root:
        folder = Path(root)
        home = {"HUT_HOME": str(folder / "home")}
        hutctl = Command((str(setting.hutctl), "--help"), folder, home, timeout=60)
        python = Command((str(setting.python), "-c", "pass"), folder, timeout=60)
        pairs = [(timed(hutctl).wall, timed(python).wall) for _ in range(sizes.runs + 1)][1:]
    own, bare = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    value = spread(own).median / spread(bare).median
    ratios = [pair[0] / pair[1] for pair in pairs]
    announce(f"  {value:.2f} times the bare interpreter")
    return Findings(
        method=(
            f"Both with the same interpreter, {sizes.runs} runs in turn, after one of each that "
            "does not count."
        ),
        commands=(("Hut", "hutctl --help"), ("Python", "python -c pass")),
        figures=(Figure("Hut: help", "s", own), Figure("Python: nothing", "s", bare)),
        claims=(
            Claim(
                "`hutctl --help` to the bare interpreter",
                value,
                "times",
                "at most",
                _TIMES_PYTHON,
                (min(ratios), max(ratios)),
            ),
        ),
        versions={},
    )


SCENARIO = Scenario("help", "Help", _run)
