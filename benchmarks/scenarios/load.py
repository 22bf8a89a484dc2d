"""Load: what an event costs over the size of its run, and twenty runs while everything goes wrong."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import CommandError, announce
from benchmarks.plots import CostRow, plot_costs
from benchmarks.results import Claim, Findings, Table
from benchmarks.setting import Scenario, Setting

__all__ = ["SCENARIO"]

_ROOT = Path(__file__).resolve().parents[2]
_PICTURE = "load.svg"
_LIMIT = 7200.0  # seconds
_SIZES, _QUICK_SIZES = (100, 500, 2000, 5000), (20, 40)
_SIMULATED, _QUICK_SIMULATED = (1000, 10_000, 100_000), (50, 100)
_GROWS_AT_MOST = 1.1  # from the second size on: in the smallest one a run's own events show
_PEAK_MIB = 256.0  # half of what functions have


def _run(setting: Setting) -> Findings:
    sizes = _QUICK_SIZES if setting.quick else _SIZES
    plain = _loads(setting, ["--plain", "--runs", "1", "--tasks", *map(str, sizes)])
    runs, tasks = (2, 20) if setting.quick else (20, 500)
    (rough,) = _loads(setting, ["--runs", str(runs), "--tasks", str(tasks)])
    rows = [_row(each) for each in plain]
    simulated_sizes = _QUICK_SIMULATED if setting.quick else _SIMULATED
    simulated = [
        CostRow(
            each["tasks"],
            each["requests"] / each["attempts"],
            each["write_units"] / each["attempts"],
        )
        for each in _run_module(setting, "tests.simulation.load", list(map(str, simulated_sizes)))
    ]
    if not setting.quick:
        series = {"test bed": rows, "simulator": simulated}
        plot_costs(series, _ROOT / "benchmarks" / _PICTURE)
    for row in rows:
        announce(f"  {row.tasks:,} tasks: {row.requests:.2f} requests, {row.write_units:.2f} units")
    first, last = rows[1], rows[-1]
    return Findings(
        method=(
            "Runs on the emulator of the tests. A tenth of the tasks fails once and is repeated, a "
            "fiftieth fails, as many never run for it. Requests are calls of functions to AWS, "
            "counted by botocore in them; memory is the peak the system tells of their processes. "
            f"The last row is {runs} runs at once while a tenth of the events is lost, all come "
            "twice and late, the table throttles, Batch fails and loses answers; sweeps are in it. "
            "In the simulator all ends come in a few seconds of virtual time, so many are told at "
            "once and each costs less."
        ),
        commands=(
            ("One run", "python -m tests.e2e.load --plain --runs 1 --tasks 100 500 2000 5000"),
            ("Rough", "python -m tests.e2e.load --runs 20 --tasks 500"),
            ("Simulated", "python -m tests.simulation.load 1000 10000 100000"),
        ),
        figures=(),
        claims=(
            Claim(
                f"Requests for an attempt, {last.tasks:,} tasks to {first.tasks:,}",
                last.requests / first.requests,
                "times",
                "at most",
                _GROWS_AT_MOST,
            ),
            Claim(
                f"Write units for an attempt, {last.tasks:,} tasks to {first.tasks:,}",
                last.write_units / first.write_units,
                "times",
                "at most",
                _GROWS_AT_MOST,
            ),
            Claim(
                f"Simulated: requests for an attempt, {simulated[-1].tasks:,} tasks to "
                f"{simulated[0].tasks:,}",
                simulated[-1].requests / simulated[0].requests,
                "times",
                "at most",
                _GROWS_AT_MOST,
            ),
            Claim(
                "Memory of the largest function",
                max(row.peak_mib for row in (*rows, _row(rough))),
                "MiB",
                "at most",
                _PEAK_MIB,
            ),
        ),
        versions={},
        notes=("The emulator does not bound memory: the figure is what the processes took.",),
        tables=(_table([*plain, rough]), _simulated_table(simulated)),
        pictures=(_PICTURE,),
    )


def _loads(setting: Setting, arguments: Sequence[str]) -> list[dict[str, Any]]:
    return _run_module(setting, "tests.e2e.load", arguments)


def _run_module(setting: Setting, module: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Return what a module prints, a JSON object a line."""
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run(
            [str(setting.python), "-m", module, *arguments],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            timeout=_LIMIT,
            check=False,
        )
        errors.seek(0)
        said = errors.read().decode(errors="replace")[-2000:]
    if done.returncode:
        raise CommandError(f"the load failed with {done.returncode}\n{said}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _row(found: dict[str, Any]) -> CostRow:
    peaks = [kib for name, kib in found["peak_kib"].items() if name != "api"]
    requests = sum(found["requests"].values())
    return CostRow(
        found["tasks"],
        requests / found["ends"],
        found["write_units"] / found["ends"],
        max(peaks) / 1024,
    )


def _table(loads: Sequence[dict[str, Any]]) -> Table:
    head = (
        *("Runs", "Tasks of each", "Attempts", "Requests each", "Write units each", "Peak MiB"),
        *("Events lost", "Calls killed", "Seconds"),
    )
    rows = [
        (
            f"{each['runs']:,}",
            f"{each['tasks']:,}",
            f"{each['ends']:,}",
            f"{_row(each).requests:.2f}",
            f"{_row(each).write_units:.2f}",
            f"{_row(each).peak_mib:.0f}",
            f"{each['lost']:,}",
            f"{each['killed']:,}",
            f"{each['seconds']:.0f}",
        )
        for each in loads
    ]
    return Table("What an attempt costs", head, tuple(rows))


def _simulated_table(rows: Sequence[CostRow]) -> Table:
    head = ("Tasks of one run", "Requests each", "Write units each")
    cells = [(f"{r.tasks:,}", f"{r.requests:.2f}", f"{r.write_units:.2f}") for r in rows]
    return Table("What an attempt costs in the simulator", head, tuple(cells))


SCENARIO = Scenario("load", "Load", _run)
