"""Ten thousand tasks that do nothing: what the tools themselves cost."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contestants import SLOTS
from benchmarks.race import hypershells, line_up, run_race
from benchmarks.results import Findings
from benchmarks.setting import Scenario, Setting
from benchmarks.versions import versions_of

__all__ = ["SCENARIO"]

_OF_XARGS = 0.9
_OF_HYPERSHELL = 2.5


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tasks per run, and runs of each tool."""

    tasks: int
    rounds: int


_FULL = Sizes(tasks=10_000, rounds=3)
_QUICK = Sizes(tasks=50, rounds=2)


def _run(setting: Setting) -> Findings:
    sizes = _QUICK if setting.quick else _FULL
    contestants = line_up(setting)
    race = run_race(contestants, sizes.tasks, sizes.rounds)
    hypershell = [one.name for one in hypershells(setting.peers.hypershell)]
    peers = (setting.peers.hypershell, setting.peers.parallel)
    missing = tuple(f"{peer.name}: {peer.missing}." for peer in peers if peer.program is None)
    return Findings(
        method=(
            f"{sizes.tasks:,} tasks `true` with {SLOTS} slots. The tools run in turn, each once in "
            f"each of {sizes.rounds} rounds, after one run of a single task that is not timed. "
            "HyperShell keeps an SQLite database and asks it as often as its options allow; it "
            "runs tasks with `sh`, the others run them with `bash`."
        ),
        commands=tuple((one.name, one.shown(sizes.tasks)) for one in contestants),
        figures=race.figures(),
        claims=(
            race.compare("Hut's throughput to that of xargs", ["xargs"], _OF_XARGS),
            race.compare("Hut's throughput to HyperShell's best", hypershell, _OF_HYPERSHELL),
        ),
        versions=versions_of(peers, commands=("bash", "xargs")),
        notes=(*missing, *race.notes),
    )


SCENARIO = Scenario("throughput", "Throughput", _run, peers=("hypershell", "parallel"))
