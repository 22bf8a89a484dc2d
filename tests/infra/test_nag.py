"""cdk-nag's AwsSolutions; what does not hold is acknowledged beside its resource, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from aws_cdk import App, Stack, Validations, aws_s3
from cdk_nag import AwsSolutionsChecks

from tests.infra.synthesis import synthesize

KEY = Validations.ACKNOWLEDGED_RULES_METADATA_KEY


def violations(app: App) -> list[str]:
    report = AwsSolutionsChecks(app).validate_scope(app)
    return [
        f"{violation.rule_name} {resource.construct_path}"
        for violation in report.violations
        for resource in violation.violating_resources
    ]


def test_the_check_finds_something_where_there_is_something() -> None:
    app = App()
    aws_s3.Bucket(Stack(app, "Careless"), "Bucket")
    assert any(found.startswith("AwsSolutions-S10") for found in violations(app))


@pytest.mark.parametrize(
    "hut",
    [
        {},
        {"removal": "destroy"},
        {"vpc_id": "vpc-0123456789abcdef0", "subnet_ids": ["subnet-0123456789abcdef0"]},
        {
            "queues": {
                "main": {
                    "arn": "arn:aws:batch:eu-west-1:123456789012:job-queue/mine",
                    "platform": "EC2",
                }
            },
            "default_partition": "main",
            "region": "eu-west-1",
            "account": "123456789012",
        },
    ],
    ids=["default", "disposable", "network", "queues"],
)
def test_nothing_is_left_unexplained(code: Path, hut: dict[str, object]) -> None:
    app = synthesize(code, hut).app
    assert violations(app) == []
    for construct in app.node.find_all():
        acknowledged = [entry for entry in construct.node.metadata if entry.type == KEY]
        if isinstance(construct, Stack | App):
            assert not acknowledged, "a whole stack is excused"
        for entry in acknowledged:
            for rule in entry.data if isinstance(entry.data, list) else [entry.data]:
                assert "AwsSolutions-" in str(rule)
