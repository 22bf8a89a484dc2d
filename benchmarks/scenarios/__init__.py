"""What is measured; `ALL` holds the scenarios in the order of the report."""

from __future__ import annotations

from benchmarks.scenarios import cloud, functions, load, planning, small, start, throughput, workers
from benchmarks.scenarios import help as help_text
from benchmarks.setting import Scenario, Setting

__all__ = ["ALL", "Scenario", "Setting"]

ALL: tuple[Scenario, ...] = (
    throughput.SCENARIO,
    workers.SCENARIO,
    small.SCENARIO,
    start.SCENARIO,
    help_text.SCENARIO,
    planning.SCENARIO,
    cloud.SCENARIO,
    load.SCENARIO,
    functions.SCENARIO,
)
