"""A hundred thousand tasks that do nothing, through two workers: what a pool costs beside HyperShell."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contestants import Contestant, HutWorkers
from benchmarks.race import hypershells, run_race
from benchmarks.results import Findings
from benchmarks.setting import Scenario, Setting
from benchmarks.versions import versions_of

__all__ = ["SCENARIO"]

_OF_HYPERSHELL = 2.5
_BUNDLES = (100, 1000)  # smaller ones are slower by far: see the throughput of 10,000 tasks


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tasks per run, and runs of each tool."""

    tasks: int
    rounds: int


_FULL = Sizes(tasks=100_000, rounds=1)
_QUICK = Sizes(tasks=50, rounds=1)


def _run(setting: Setting) -> Findings:
    sizes = _QUICK if setting.quick else _FULL
    contestants: list[Contestant] = [HutWorkers(setting.hutctl)]
    peers = hypershells(setting.peers.hypershell, _BUNDLES)
    contestants += peers
    race = run_race(contestants, sizes.tasks, sizes.rounds)
    hypershell = [one.name for one in peers]
    peer = setting.peers.hypershell
    return Findings(
        method=(
            f"{sizes.tasks:,} lines `true` of a task file. Hut sends them to a pool with two workers of one "
            "slot; the time is from their start to their end. HyperShell's cluster has one client with "
            "two slots. Both keep an SQLite database in which every task is recorded, counted after the "
            "run, and both run tasks with `sh`."
        ),
        commands=tuple((one.name, one.shown(sizes.tasks)) for one in contestants),
        figures=race.figures(),
        claims=(
            race.compare(
                "Hut's throughput through workers to HyperShell's best",
                hypershell,
                _OF_HYPERSHELL,
                own=HutWorkers.name,
            ),
        ),
        versions=versions_of((peer,)),
        notes=((f"{peer.name}: {peer.missing}.",) if peer.program is None else ()) + race.notes,
    )


SCENARIO = Scenario("workers", "Workers", _run, peers=("hypershell",))
