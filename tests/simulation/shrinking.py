"""From a seed that fails to the fewest faults that still make it fail, and a history a person can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.simulation.invariants import Violation
from tests.simulation.world import World, simulated

__all__ = ["Failure", "Trial", "shrunken", "try_seed"]

_MOST_TRIALS = 200
_LINES = 150


class Failure(NamedTuple):
    """How a history went wrong.

    Attributes
    ----------
    what : str
        What must not have happened.
    faults : list of str
        The faults that had happened by then.
    history : str
        Its lines, if they were kept.
    """

    what: str
    faults: list[str]
    history: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A history that can be told again and again.

    Attributes
    ----------
    options : dict
        What `World` takes beside the seed.
    play : callable
        Lets it happen.
    """

    seed: int
    options: dict[str, object]
    play: Callable[[World], None]

    def run(self, allowed: Sequence[str] | None = None, *, kept: bool = False) -> Failure | None:
        """Let it happen; return how it went wrong, if it did."""
        with simulated(self.seed, allowed=allowed, kept=kept, **self.options) as world:
            try:
                self.play(world)
            except (Violation, AssertionError, LookupError) as error:
                told = f"{type(error).__name__}: {error}"
                return Failure(told, world.chance.faults, world.history.text(last=_LINES))
        return None


def try_seed(trial: Trial) -> str:
    """Return a shrunken history in which something goes wrong; empty if nothing does."""
    failure = trial.run()
    if failure is None:
        return ""
    faults = shrunken(trial, failure.faults)
    if faults is None:
        told = trial.run(kept=True) or failure
        head = f"seed {trial.seed}, all of its {len(failure.faults)} faults"
    else:
        told = trial.run(faults, kept=True) or failure
        head = f"seed {trial.seed}, {len(faults)} of its {len(failure.faults)} faults"
    listed = "\n".join(f"    {fault}" for fault in (failure.faults if faults is None else faults))
    return f"{told.what}\n  {head}:\n{listed}\n  what happened:\n{told.history}"


def shrunken(trial: Trial, faults: Sequence[str]) -> list[str] | None:
    """Return a part of some faults, none of which can be left out; None if all of them don't do.

    Zeller's delta debugging, with complements first: large parts are left out as long as the history
    still goes wrong, then smaller ones.
    """
    left, parts, trials = list(faults), 2, 0
    if trial.run(left) is None:
        return None
    if trial.run([]) is not None:
        return []
    while len(left) > 1 and trials < _MOST_TRIALS:
        size = max(1, len(left) // parts)
        for start in range(0, len(left), size):
            trials += 1
            others = left[:start] + left[start + size :]
            if trial.run(others) is not None:
                left, parts = others, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(len(left), parts * 2)
    return left
