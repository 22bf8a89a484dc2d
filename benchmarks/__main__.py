"""``python -m benchmarks [SCENARIO ...]``: measures and writes RESULTS.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import read_conditions
from benchmarks.measure import CommandError, announce
from benchmarks.peers import Peers, prepare_peers
from benchmarks.report import render
from benchmarks.results import Record, load_records, save_records
from benchmarks.scenarios import ALL, Scenario, Setting

__all__ = ["main"]

_HERE = Path(__file__).resolve().parent
_TITLES = {scenario.name: scenario.title for scenario in ALL}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for.

    Attributes
    ----------
    scenarios : tuple of Scenario
    quick : bool
        Tiny sizes; the report goes to standard output, and nothing is kept.
    peers : bool
        Whether to measure other tools too.
    """

    scenarios: tuple[Scenario, ...]
    quick: bool
    peers: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what `arguments` ask for; return 1 if a scenario could not be measured."""
    options = _read(arguments)
    python = Path(sys.executable)
    setting = Setting(python, python.with_name("hutctl"), _peers(options), quick=options.quick)
    path = _HERE / "results.json"
    records = {} if options.quick else load_records(path)
    failed = False
    for scenario in options.scenarios:
        conditions = read_conditions()
        announce(f"{scenario.title} (load average {conditions.load})")
        try:
            records[scenario.name] = Record(scenario.run(setting), conditions)
        except CommandError as error:
            announce(f"  not measured: {error}")
            failed = True
            continue
        if not options.quick:
            save_records(path, records)
    page = render(records, _TITLES)
    if options.quick:
        print(page, end="")
    elif records:
        (_HERE / "RESULTS.md").write_text(page, encoding="utf-8")
        announce("Wrote benchmarks/RESULTS.md")
    return 1 if failed else 0


def _read(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure Hut beside other tools and write benchmarks/RESULTS.md.",
        epilog="A scenario that does not run keeps its figures in RESULTS.md.",
    )
    parser.add_argument(
        "scenarios",
        nargs="*",
        metavar="SCENARIO",
        help=f"{', '.join(_TITLES)}; all of them if none is named",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="tiny sizes, to see that all works; prints the report and keeps nothing",
    )
    parser.add_argument("--no-peers", action="store_true", help="measure no other tools")
    found = parser.parse_args(arguments)
    for name in found.scenarios:
        if name not in _TITLES:
            parser.error(f"unknown scenario {name!r}; there are {', '.join(_TITLES)}")
    chosen = tuple(one for one in ALL if not found.scenarios or one.name in found.scenarios)
    return Options(chosen, found.quick, not found.no_peers)


def _peers(options: Options) -> Peers:
    if not options.peers:
        return Peers()
    wanted = {name for scenario in options.scenarios for name in scenario.peers}
    return prepare_peers(sorted(wanted))


if __name__ == "__main__":
    sys.exit(main())
