"""A thousand tasks: where a tool's own start and end weigh as much as its tasks."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contestants import SLOTS, Contestant, Hut
from benchmarks.race import hypershells, run_race
from benchmarks.results import Findings
from benchmarks.setting import Scenario, Setting
from benchmarks.versions import versions_of

__all__ = ["SCENARIO"]

_OF_HYPERSHELL = 8.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tasks per run, and runs of each tool."""

    tasks: int
    rounds: int


_FULL = Sizes(tasks=1_000, rounds=3)
_QUICK = Sizes(tasks=20, rounds=1)


def _run(setting: Setting) -> Findings:
    sizes = _QUICK if setting.quick else _FULL
    peer = setting.peers.hypershell
    others = hypershells(peer)
    contestants: list[Contestant] = [Hut(setting.hutctl), *others]
    race = run_race(contestants, sizes.tasks, sizes.rounds)
    names = [one.name for one in others]
    missing = () if peer.program else (f"{peer.name}: {peer.missing}.",)
    return Findings(
        method=(
            f"{sizes.tasks:,} tasks `true` with {SLOTS} slots, in turn, each tool once in each of "
            f"{sizes.rounds} rounds, after one run of a single task that is not timed. How much of "
            "its wall time HyperShell spends waiting, its CPU time tells."
        ),
        commands=tuple((one.name, one.shown(sizes.tasks)) for one in contestants),
        figures=race.figures(),
        claims=(race.compare("Hut's throughput to HyperShell's best", names, _OF_HYPERSHELL),),
        versions=versions_of((peer,)),
        notes=(*missing, *race.notes),
    )


SCENARIO = Scenario("small", "A small workflow", _run, peers=("hypershell",))
