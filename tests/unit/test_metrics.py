"""The table of metrics holds: everything in it is published, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

from hut import metrics
from hut.metrics import ENDED_RUNS, ENDED_TASKS, LOST_ATTEMPTS, Metric
from hut.model.states import INFRASTRUCTURE_REASONS, TERMINAL_RUN

LAMBDAS = Path(metrics.__file__).parents[1]
TABLE, PUBLISHER = Path(metrics.__file__).name, "measuring.py"
_USED = re.compile(r"\bMetric\.([A-Z_]+)\b")
_MAPS = {"ENDED_RUNS": ENDED_RUNS, "ENDED_TASKS": ENDED_TASKS, "LOST_ATTEMPTS": LOST_ATTEMPTS}


def sources() -> dict[Path, str]:
    return {path: path.read_text() for path in LAMBDAS.rglob("*.py") if path.name != TABLE}


def test_names_are_unique_and_as_cloudwatch_takes_them() -> None:
    titles = [metric.title for metric in Metric]
    assert len(set(titles)) == len(titles)
    assert all(re.fullmatch(r"[A-Z][A-Za-z]{2,40}", title) for title in titles)
    assert all(metric.meaning for metric in Metric)
    for metric in Metric:
        assert metric.title.endswith("Seconds") == (metric.unit is metrics.Unit.SECONDS)


def test_every_metric_is_measured_somewhere() -> None:
    used: set[Metric] = set()
    for text in sources().values():
        used |= {Metric[name] for name in _USED.findall(text)}
        for name, mapped in _MAPS.items():
            if re.search(rf"\b{name}\b", text):
                used |= set(mapped.values())
    assert set(Metric) - used == set()


def test_only_the_publisher_publishes() -> None:
    publishes = re.compile(r"add_metric|single_metric|powertools.*Metrics|\"_aws\"")
    found = {path.name for path, text in sources().items() if publishes.search(text)}
    assert found == {PUBLISHER}


def test_the_maps_leave_nothing_out() -> None:
    assert set(ENDED_RUNS) == TERMINAL_RUN
    assert set(LOST_ATTEMPTS) >= INFRASTRUCTURE_REASONS
