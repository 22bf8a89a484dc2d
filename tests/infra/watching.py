"""What a template watches: its alarms, its dashboard, and every metric in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.infra.synthesis import Synthesis, flat


@dataclass(frozen=True)
class Seen:
    """A metric that an alarm or a widget looks at."""

    where: str
    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    statistic: str


def alarms(synthesis: Synthesis) -> dict[str, dict[str, Any]]:
    """Return the properties of alarms by their names without the prefix."""
    found = synthesis.resources("AWS::CloudWatch::Alarm").values()
    return {
        resource["Properties"]["AlarmName"].partition("-")[2]: resource["Properties"]
        for resource in found
    }


def alarm_metrics(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics of an alarm; each is billed."""
    if "Metrics" not in alarm:
        return [alarm]
    return [each["MetricStat"] for each in alarm["Metrics"] if "MetricStat" in each]


def board(synthesis: Synthesis) -> dict[str, Any]:
    """Return the dashboard's body, references in angle brackets."""
    body = synthesis.properties("AWS::CloudWatch::Dashboard")["DashboardBody"]
    found: dict[str, Any] = json.loads(flat(body))
    return found


def graphs(synthesis: Synthesis) -> list[dict[str, Any]]:
    return [each for each in board(synthesis)["widgets"] if each["type"] == "metric"]


def lines(widget: dict[str, Any]) -> list[tuple[list[str], dict[str, Any]]]:
    """Return the entries of a graph: namespace, name and dimensions, or nothing; and options."""
    found = []
    for entry in widget["properties"]["metrics"]:
        options = entry[-1] if isinstance(entry[-1], dict) else {}
        found.append(([each for each in entry if isinstance(each, str)], options))
    return found


def seen(synthesis: Synthesis) -> Iterator[Seen]:
    """Yield every metric that is looked at."""
    for widget in graphs(synthesis):
        where = widget["properties"]["title"]
        for entry, options in lines(widget):
            if entry:
                namespace, name, *rest = entry
                dimensions = tuple(sorted(zip(rest[::2], rest[1::2], strict=True)))
                yield Seen(where, namespace, name, dimensions, options.get("stat", "Average"))
    for where, alarm in alarms(synthesis).items():
        for found in alarm_metrics(alarm):
            metric = found.get("Metric", found)
            dimensions = tuple(
                sorted((each["Name"], flat(each["Value"])) for each in metric["Dimensions"])
            )
            statistic = found.get("Stat") or found.get("Statistic") or found["ExtendedStatistic"]
            yield Seen(where, metric["Namespace"], metric["MetricName"], dimensions, statistic)


def anchors(markdown: str, level: str) -> list[str]:
    """Return the headings of one level as they are linked to."""
    found = re.findall(rf"^{level} (.+)$", markdown, re.MULTILINE)
    return [re.sub(r"[^\w-]+", "", each.lower().replace(" ", "-")) for each in found]
