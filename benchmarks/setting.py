"""What a scenario is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import Peers
from benchmarks.results import Findings

__all__ = ["Scenario", "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What all scenarios share.

    Attributes
    ----------
    python : Path
        The interpreter that Hut runs with.
    hutctl : Path
        Its command, from the same virtual environment.
    peers : Peers
    quick : bool
        Whether tiny sizes will do, to see that everything works.
    """

    python: Path
    hutctl: Path
    peers: Peers
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to measure.

    Attributes
    ----------
    name : str
        For the command line.
    title : str
        For the report.
    run : callable
        Measures.
    peers : tuple of str
        Fields of `Peers` that it makes use of.
    """

    name: str
    title: str
    run: Callable[[Setting], Findings]
    peers: tuple[str, ...] = ()
