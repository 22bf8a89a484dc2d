from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from hut.metrics import NAMESPACE, Metric
from infra.alarms import ALARMS
from infra.settings import Settings
from tests.infra.aws_metrics import AWS_METRICS
from tests.infra.synthesis import ROOT, Synthesis, flat, synthesize
from tests.infra.watching import alarms, anchors, board, graphs, lines, seen

GUIDE = (ROOT / "docs/operations.md").read_text()
GAUGES = {"RunsActive", "TasksActive", "TasksPending", "JobsStuck"} | {
    "PoolWorkers",
    "PoolTasksWaiting",
    "PoolTasksUnserved",
}
SECONDS = {"p50", "p90", "p95", "Maximum", "Average"}


# Names -------------------------------------------------------------------------------------------


def test_all_that_is_watched_is_published(default: Synthesis) -> None:
    ours = {metric.title: metric for metric in Metric}
    for each in seen(default):
        if each.namespace == NAMESPACE:
            assert each.name in ours, each
            assert each.dimensions == (("service", "hut"),), each
        else:
            allowed = AWS_METRICS[each.namespace][each.name]
            assert {name for name, _ in each.dimensions} in allowed, each


def test_all_that_is_published_is_watched(default: Synthesis) -> None:
    on_board = {title for title in (g["properties"]["title"] for g in graphs(default)) if title}
    shown = {each.name for each in seen(default) if each.where in on_board}
    assert {metric.title for metric in Metric} - shown == set()


def test_statistics_suit_what_is_measured(default: Synthesis) -> None:
    for each in seen(default):
        if each.namespace != NAMESPACE:
            continue
        if each.name.endswith("Seconds"):
            assert each.statistic in SECONDS, each
        elif each.name in GAUGES:
            assert each.statistic == "Maximum", each
        else:
            assert each.statistic == "Sum", each


def test_the_names_are_those_of_this_deployment(disposable: Synthesis) -> None:
    for each in seen(disposable):
        values = " ".join(value for _, value in each.dimensions)
        assert "hut" not in values, each
    assert disposable.properties("AWS::CloudWatch::Dashboard")["DashboardName"] == "lab"


def test_metrics_are_named_after_things_that_are_there(default: Synthesis) -> None:
    functions = {
        each["Properties"]["FunctionName"]
        for each in default.resources("AWS::Lambda::Function").values()
    }
    groups = {
        each["Properties"]["LogGroupName"]
        for each in default.resources("AWS::Logs::LogGroup").values()
    }
    indexes = {
        each["IndexName"]
        for table in default.resources("AWS::DynamoDB::Table").values()
        for each in table["Properties"].get("GlobalSecondaryIndexes", ())
    }
    api = default.properties("AWS::ApiGateway::RestApi")["Name"]
    there = {"FunctionName": functions, "LogGroupName": groups, "ApiName": {api}}
    there["GlobalSecondaryIndexName"] = indexes
    for each in seen(default):
        for name, value in each.dimensions:
            assert value in there.get(name, {value}), each
            if name in ("QueueName", "TableName", "StateMachineArn"):
                assert value.startswith("<"), f"{each}: it should be a reference"


# The dashboard -----------------------------------------------------------------------------------


def test_nothing_overlaps_and_every_row_is_full(default: Synthesis) -> None:
    widgets = board(default)["widgets"]
    taken: set[tuple[int, int]] = set()
    for each in widgets:
        cells = set(
            itertools.product(
                range(each["x"], each["x"] + each["width"]),
                range(each["y"], each["y"] + each["height"]),
            )
        )
        assert not taken & cells, each
        taken |= cells
        assert each["x"] + each["width"] <= 24
    deep = max(y for _, y in taken) + 1
    assert len(taken) == 24 * deep, "there are holes"


def test_a_person_finds_the_way(default: Synthesis) -> None:
    first, status, *rest = board(default)["widgets"]
    assert first["type"] == "text"
    assert "look here first" in first["properties"]["markdown"]
    assert len(status["properties"]["alarms"]) == len(ALARMS)
    assert rest[0]["properties"]["markdown"].startswith("## ")
    titles = [each["properties"]["title"] for each in graphs(default)]
    assert len(set(titles)) == len(titles)
    assert all(len(title) <= 50 for title in titles), "a title is cut off"


def test_every_line_has_a_label_of_its_own(default: Synthesis) -> None:
    for widget in graphs(default):
        labels = [
            options.get("label") for _, options in lines(widget) if options.get("visible", True)
        ]
        assert all(labels), widget["properties"]["title"]
        assert len(set(labels)) == len(labels), widget["properties"]["title"]


def test_thresholds_are_drawn_in(default: Synthesis) -> None:
    marks = {
        mark["label"]: mark["value"]
        for widget in graphs(default)
        for mark in widget["properties"].get("annotations", {}).get("horizontal", ())
    }
    assert len(marks) >= 4
    for label, value in marks.items():
        assert value == ALARMS[label.removeprefix("alarm ")].threshold


def test_expressions_use_what_stands_beside_them(default: Synthesis) -> None:
    for widget in graphs(default):
        known = {options["id"] for _, options in lines(widget) if "id" in options}
        for _, options in lines(widget):
            words = set(re.findall(r"\b[a-z]\w*", options.get("expression", "")))
            assert words - {"e"} <= known, options


# The alarms --------------------------------------------------------------------------------------


def test_every_alarm_says_what_to_do_and_has_a_section(default: Synthesis) -> None:
    for name, alarm in alarms(default).items():
        text = alarm["AlarmDescription"]
        assert text.endswith(f"docs/operations.md#{name}")
        assert len(text) <= 1024
    part = GUIDE.partition("## Alarms")[2].partition("\n## ")[0]
    assert sorted(anchors(part, "###")) == sorted(ALARMS)
    assert set(alarms(default)) == set(ALARMS)


@pytest.mark.parametrize("name", ALARMS)
def test_each_section_says_what_it_means_and_what_to_do(name: str) -> None:
    part = GUIDE.partition(f"### {name}\n")[2].partition("\n##")[0]
    for wanted in ("**Means**", "**Look**", "**Do**", "**Ignore**"):
        assert wanted in part, f"{name} lacks {wanted}"


def test_the_guide_quotes_what_the_functions_say(default: Synthesis) -> None:
    sources = [path.read_text() for path in (ROOT / "lambdas").rglob("*.py")]
    part = GUIDE.partition("## Alarms")[2].partition("\n## ")[0].replace("\n", " ")
    quoted = set(re.findall(r"`((?!hutctl)[a-z]+(?: [a-z]+){1,12})`", part))
    assert len(quoted) >= 6
    for words in quoted:
        assert any(f'"{words}"' in text for text in sources), f"nobody says {words!r}"
    for setting in re.findall(r"hut:([a-z_]+)", GUIDE):
        assert setting in {field.name for field in dataclasses.fields(Settings)}, setting
    rules = {name.partition("/")[2] for name in default.resources("AWS::Events::Rule")}
    for rule in re.findall(r"rules?\s+`(\w+)`", GUIDE):
        assert any(name.startswith(rule) for name in rules), rule


def test_alarms_tell_the_topic_when_they_begin_and_end(default: Synthesis) -> None:
    [topic] = default.resources("AWS::SNS::Topic")
    for alarm in alarms(default).values():
        assert [flat(each) for each in alarm["AlarmActions"]] == [f"<{topic.partition('/')[2]}>"]
        assert alarm["OKActions"] == alarm["AlarmActions"]


def test_silence_is_a_fault_of_the_sweep_only(default: Synthesis) -> None:
    missing = {name: alarm["TreatMissingData"] for name, alarm in alarms(default).items()}
    assert missing.pop("sweep-missing") == "breaching"
    assert set(missing.values()) == {"notBreaching"}


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 300), (2, 300), (5, 600), (60, 7200)])
def test_each_period_of_the_sweeps_alarm_holds_a_sweep(
    code: Path, minutes: int, seconds: int
) -> None:
    alarm = alarms(synthesize(code, {"sweep_minutes": minutes}))["sweep-missing"]
    periods = {each["MetricStat"]["Period"] for each in alarm["Metrics"] if each.get("MetricStat")}
    assert periods == {seconds}
    assert seconds >= minutes * 60
    assert seconds * alarm["EvaluationPeriods"] <= 24 * 3600
    assert alarm["ComparisonOperator"] == "LessThanThreshold"


def test_a_single_error_is_no_alarm(default: Synthesis) -> None:
    found = alarms(default)
    for name in ("functions-failing", "functions-throttled", "runs-not-swept", "api-failing"):
        assert found[name]["EvaluationPeriods"] >= 3, name
    assert found["api-failing"]["Statistic"] == "Average"
    [rate] = [e["Expression"] for e in found["functions-failing"]["Metrics"] if "Expression" in e]
    assert ">= 5, 100 *" in rate


def test_a_failed_run_is_no_alarm(default: Synthesis) -> None:
    in_alarms = {each.name for each in seen(default) if each.where in ALARMS}
    assert not in_alarms & {"RunsFailed", "ExecutionsFailed", "TasksFailed"}
    assert "ExecutionsBroken" in in_alarms


# The topic ---------------------------------------------------------------------------------------


def test_only_alarms_of_this_deployment_may_publish(default: Synthesis) -> None:
    policy = default.properties("AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    allowed = [each for each in policy if each["Effect"] == "Allow"]
    denied = [each for each in policy if each["Effect"] == "Deny"]
    assert [each["Condition"] for each in denied] == [{"Bool": {"aws:SecureTransport": "false"}}]
    [statement] = allowed
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Action"] == "sns:Publish"
    condition: dict[str, Any] = statement["Condition"]
    assert flat(condition["StringEquals"]["aws:SourceAccount"]) == "<AWS::AccountId>"
    assert flat(condition["ArnLike"]["aws:SourceArn"]).endswith(":alarm:hut-*")


def test_who_is_told(code: Path, default: Synthesis) -> None:
    assert not default.resources("AWS::SNS::Subscription")
    told = synthesize(code, {"alarm_email": "me@example.org"})
    subscription = told.properties("AWS::SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "me@example.org")


def test_it_can_be_left_out(code: Path) -> None:
    quiet = synthesize(code, {"alarms": False})
    assert not quiet.resources("AWS::CloudWatch::Alarm")
    assert not quiet.resources("AWS::SNS::Topic")
    assert "alarm" not in {each["type"] for each in board(quiet)["widgets"]}
    plain = synthesize(code, {"dashboard": False})
    assert not plain.resources("AWS::CloudWatch::Dashboard")
    assert set(alarms(plain)) == set(ALARMS)
    poolless = synthesize(code, {"pools": False})
    assert set(ALARMS) - set(alarms(poolless)) == {"pools-unserved", "workers-lost"}
    assert not {each.name for each in seen(poolless)} & {"PoolWorkers", "WorkersLost"}
    nothing = synthesize(code, {"dashboard": False, "alarms": False})
    assert not [name for name in nothing.templates if name.endswith("Watch")]
