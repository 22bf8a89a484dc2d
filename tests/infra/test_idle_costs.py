"""What stands there while nobody works, counted in the templates, and its price."""

from __future__ import annotations

import json
import re

import pytest

from hut.metrics import Metric
from infra.idle import Standing, idle_month
from infra.prices import PRICES
from tests.infra.synthesis import ROOT, Synthesis
from tests.infra.watching import alarm_metrics, alarms

DEPLOY = (ROOT / "docs/deploy.md").read_text()
MOST = 2.0  # dollars a month
PAID_BY_THE_HOUR = (
    "AWS::EC2::NatGateway",
    "AWS::EC2::EIP",
    "AWS::EC2::Instance",
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::KMS::Key",
    "AWS::SecretsManager::Secret",
    "AWS::RDS::DBInstance",
    "AWS::EFS::FileSystem",
    "AWS::WAFv2::WebACL",
)


def standing(synthesis: Synthesis) -> Standing:
    """Count what stands there."""
    [minutes] = re.findall(
        r"rate\((\d+) minutes?\)",
        synthesis.properties("AWS::Scheduler::Schedule")["ScheduleExpression"],
    )
    polled = [
        name
        for name, resource in synthesis.resources("AWS::Lambda::EventSourceMapping").items()
        if "StartingPosition" not in resource["Properties"]
    ]
    [sweep] = [
        resource["Properties"]
        for resource in synthesis.resources("AWS::Lambda::Function").values()
        if resource["Properties"].get("FunctionName", "").endswith("-sweep")
    ]
    bells = {name.rstrip("0123456789ABCDEF") for name in synthesis.resources("AWS::SQS::Queue")}
    return Standing(
        alarm_metrics=sum(len(alarm_metrics(alarm)) for alarm in alarms(synthesis).values()),
        dashboards=len(synthesis.resources("AWS::CloudWatch::Dashboard")),
        polled_queues=len(polled),
        sweep_minutes=int(minutes),
        sweep_memory=sweep["MemorySize"],
        pools=sum(name.endswith("Bell") for name in bells),
    )


def test_an_idle_month_costs_less_than_two_dollars(default: Synthesis) -> None:
    bill = idle_month(standing(default))
    assert 0.5 < sum(line.dollars for line in bill) < MOST


def test_the_table_in_the_docs_is_the_bill(default: Synthesis) -> None:
    bill = idle_month(standing(default))
    for line in bill:
        prices = f"{line.dollars:.2f} | {line.without_free:.2f}"
        row = f"| {line.service} | {line.what} | {line.units:,.0f} | {prices} |"
        assert row in DEPLOY, f"docs/deploy.md lacks:\n{row}"
    free, full = sum(e.dollars for e in bill), sum(e.without_free for e in bill)
    assert f"| together | | | **{free:.2f}** | {full:.2f} |" in DEPLOY
    assert f"the {len(Metric)} custom metrics" in DEPLOY


@pytest.mark.parametrize("kind", PAID_BY_THE_HOUR)
def test_nothing_is_paid_by_the_hour(default: Synthesis, kind: str) -> None:
    assert not default.resources(kind)


def test_nothing_is_provisioned(default: Synthesis) -> None:
    text = json.dumps(default.templates)
    for word in ("ProvisionedConcurrency", "ProvisionedThroughput", "ProvisionedPollerConfig"):
        assert f"{word}" not in text, word
    for table in default.resources("AWS::DynamoDB::Table").values():
        assert table["Properties"]["BillingMode"] == "PAY_PER_REQUEST"
    environments = default.resources("AWS::Batch::ComputeEnvironment").values()
    assert environments
    for each in environments:
        resources = each["Properties"]["ComputeResources"]
        assert resources.get("MinvCpus", 0) == 0
        assert resources.get("DesiredvCpus", 0) == 0


def test_endpoints_of_the_network_are_free_ones(default: Synthesis) -> None:
    for endpoint in default.resources("AWS::EC2::VPCEndpoint").values():
        assert endpoint["Properties"]["VpcEndpointType"] == "Gateway"


def test_alarms_are_of_the_cheap_kind(default: Synthesis) -> None:
    assert not default.resources("AWS::CloudWatch::CompositeAlarm")
    assert not default.resources("AWS::CloudWatch::AnomalyDetector")
    for alarm in alarms(default).values():
        periods = [
            each["MetricStat"]["Period"]
            for each in alarm.get("Metrics", ())
            if "MetricStat" in each
        ] or [alarm["Period"]]
        assert all(period >= 60 for period in periods)  # below it costs three times as much


def test_free_amounts_are_taken_off_once() -> None:
    assert PRICES["alarm"].month(12, free=True) == pytest.approx(0.2)
    assert PRICES["alarm"].month(12, free=False) == pytest.approx(1.2)
    assert PRICES["alarm"].month(3, free=True) == 0
