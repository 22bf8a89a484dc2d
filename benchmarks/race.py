"""Lets contestants run the same tasks in turn, so that what disturbs the machine disturbs all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import Contestant, GnuParallel, Hut, HutWorkers, HyperShell, Xargs
from benchmarks.measure import CommandError, Timing, announce, spread, timed
from benchmarks.peers import Peer
from benchmarks.results import Claim, Figure
from benchmarks.setting import Setting

__all__ = ["Race", "hypershells", "line_up", "run_race"]

_BUNDLES = (100, 1)


@dataclass(frozen=True, slots=True)
class Race:
    """How a race went.

    Attributes
    ----------
    count : int
        Tasks in each run.
    timings : mapping of str to tuple of Timing
        By contestant, one timing per round.
    notes : tuple of str
        Who dropped out.
    """

    count: int
    timings: Mapping[str, tuple[Timing, ...]]
    notes: tuple[str, ...]

    def figures(self) -> tuple[Figure, ...]:
        """Return wall time, CPU time and tasks per second of everyone."""
        found: list[Figure] = []
        for name, timings in self.timings.items():
            wall = tuple(timing.wall for timing in timings)
            found += (
                Figure(f"{name}: wall time", "s", wall),
                Figure(f"{name}: CPU time", "s", tuple(timing.cpu for timing in timings)),
                Figure(f"{name}: tasks", "1/s", tuple(self.count / wait for wait in wall)),
            )
        return tuple(found)

    def compare(
        self, label: str, others: Sequence[str], target: float, *, own: str = "Hut"
    ) -> Claim:
        """Claim that Hut's (`own`) throughput is at least `target` times the best of the others'."""
        present = [name for name in others if name in self.timings]
        if not present:
            return Claim(label, None, "times", "at least", target)
        best = min(present, key=lambda name: spread(self._wall(name)).median)
        mine, theirs = self._wall(own), self._wall(best)
        ratios = [other / hut for hut, other in zip(mine, theirs, strict=True)]
        value = spread(theirs).median / spread(mine).median
        return Claim(label, value, "times", "at least", target, (min(ratios), max(ratios)))

    def _wall(self, name: str) -> list[float]:
        return [timing.wall for timing in self.timings[name]]


def hypershells(peer: Peer, bundles: Sequence[int] = _BUNDLES) -> list[HyperShell]:
    """Return HyperShell with each of the bundle sizes, or nothing if it is not there."""
    if peer.program is None:
        return []
    return [HyperShell(peer.program, size) for size in bundles]


def line_up(setting: Setting) -> list[Contestant]:
    """Return everyone who is there."""
    everyone: list[Contestant] = [Xargs(), Hut(setting.hutctl)]
    everyone += hypershells(setting.peers.hypershell)
    if setting.peers.parallel.program is not None:
        everyone.append(GnuParallel(setting.peers.parallel.program))
    return everyone


def run_race(contestants: Sequence[Contestant], count: int, rounds: int) -> Race:
    """Run each contestant once per round, after one run of a single task that is not timed.

    Raises
    ------
    CommandError
        If Hut or xargs fails; a peer that fails drops out with a note.
    """
    timings: dict[str, list[Timing]] = {one.name: [] for one in contestants}
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hut-benchmark-") as root:
        folders = {one.name: Path(root, str(i)) for i, one in enumerate(contestants)}
        for number in range(rounds + 1):
            for one in contestants:
                if one.name not in timings:
                    continue
                folders[one.name].mkdir(exist_ok=True)
                try:
                    timing = _run_once(one, folders[one.name], count if number else 1)
                except CommandError as error:
                    if isinstance(one, Hut | HutWorkers | Xargs):
                        raise
                    del timings[one.name]
                    notes.append(f"{one.name} dropped out: {str(error).splitlines()[0]}.")
                    announce(f"  {one.name} dropped out: {error}")
                    continue
                if number:
                    timings[one.name].append(timing)
                    announce(f"  round {number} of {rounds}: {one.name} {timing.wall:.2f} s")
    return Race(count, {name: tuple(all_of) for name, all_of in timings.items()}, tuple(notes))


def _run_once(contestant: Contestant, folder: Path, count: int) -> Timing:
    command = contestant.prepare(folder, count)
    os.sync()  # what others wrote is on the disk before this one starts
    timing = timed(command)
    contestant.check(folder, count)
    return timing
