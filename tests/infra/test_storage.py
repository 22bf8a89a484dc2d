from __future__ import annotations

from typing import Any

import pytest

from tests.infra.synthesis import Synthesis


def tables(app: Synthesis) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the table of runs and that of the audit record."""
    found = app.resources("AWS::DynamoDB::Table")
    [audit] = [name for name in found if "AuditTable" in name]
    [runs] = found.keys() - {audit}
    return found[runs]["Properties"], found[audit]["Properties"]


def test_the_table(default: Synthesis) -> None:
    table, _ = tables(default)
    assert table["KeySchema"] == [
        {"AttributeName": "pk", "KeyType": "HASH"},
        {"AttributeName": "sk", "KeyType": "RANGE"},
    ]
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert {entry["AttributeType"] for entry in table["AttributeDefinitions"]} == {"S"}


def test_the_audit_record_is_a_table_without_anybody_who_follows_it(default: Synthesis) -> None:
    runs, audit = tables(default)
    assert "StreamSpecification" not in audit
    assert "GlobalSecondaryIndexes" not in audit
    for name in (
        "KeySchema",
        "BillingMode",
        "TimeToLiveSpecification",
        "PointInTimeRecoverySpecification",
        "SSESpecification",
        "DeletionProtectionEnabled",
    ):
        assert audit[name] == runs[name]


def test_the_indexes_hold_keys_only(default: Synthesis) -> None:
    indexes = tables(default)[0]["GlobalSecondaryIndexes"]
    assert {entry["Projection"]["ProjectionType"] for entry in indexes} == {"KEYS_ONLY"}
    assert {
        entry["IndexName"]: tuple(key["AttributeName"] for key in entry["KeySchema"])
        for entry in indexes
    } == {
        "runs": ("list", "listed"),
        "owners": ("owner_list", "listed"),
        "workflows": ("workflow_list", "listed"),
        "active": ("active", "listed"),
    }


def test_the_bucket_is_closed(default: Synthesis) -> None:
    bucket = default.properties("AWS::S3::Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    statements = default.properties("AWS::S3::BucketPolicy")["PolicyDocument"]["Statement"]
    assert {statement["Effect"] for statement in statements} == {"Deny"}
    conditions = [statement["Condition"] for statement in statements]
    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
    assert {"NumericLessThan": {"s3:TlsVersion": 1.2}} in conditions


def test_what_is_in_the_bucket_goes_away(default: Synthesis) -> None:
    rules = default.properties("AWS::S3::Bucket")["LifecycleConfiguration"]["Rules"]
    assert {rule["Status"] for rule in rules} == {"Enabled"}
    assert {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule} == {
        "uploads/": 1,
        "plans/": 90,
        "bodies/": 90,
        "scripts/": 90,
        "documents/": 90,
    }
    [aborted] = [rule for rule in rules if "Prefix" not in rule]
    assert aborted["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_every_log_group_has_a_retention(default: Synthesis) -> None:
    groups = default.resources("AWS::Logs::LogGroup").values()
    assert {
        group["Properties"]["LogGroupName"]: group["Properties"]["RetentionInDays"]
        for group in groups
    } == {
        "/hut/jobs": 90,
        "/hut/api-access": 30,
        "/aws/vendedlogs/states/hut-run": 30,
        "/aws/vendedlogs/states/hut-ec2-task": 30,
        **{
            f"/aws/lambda/hut-{name}": 30
            for name in ("api", "register", "advance", "observe", "sweep", "finish", "check")
        },
    }


def test_data_outlives_its_stack(default: Synthesis) -> None:
    kept = {
        name
        for kind in ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::Logs::LogGroup")
        for name, resource in default.resources(kind).items()
        if resource["DeletionPolicy"] == "Retain"
    }
    assert [name.partition("/")[2][:6] for name in sorted(kept)] == [
        "AuditT",
        "Bucket",
        "JobLog",
        "TableC",
    ]
    assert tables(default)[0]["DeletionProtectionEnabled"] is True
    assert not default.resources("Custom::EmptyBucket")


def test_nothing_outlives_a_disposable_deployment(disposable: Synthesis) -> None:
    policies = {
        resource.get("DeletionPolicy", "Delete")
        for template in disposable.templates.values()
        for resource in template["Resources"].values()
    }
    assert policies == {"Delete"}
    assert [table["DeletionProtectionEnabled"] for table in tables(disposable)] == [False, False]
    assert disposable.properties("Custom::EmptyBucket")["Bucket"]["Ref"].startswith("Bucket")


@pytest.mark.parametrize(
    ("days", "kept"), [(1, 1), (2, 3), (90, 90), (91, 120), (366, 545), (3650, 3653)]
)
def test_logs_are_kept_at_least_as_long_as_asked(days: int, kept: int) -> None:
    from infra.storage import retention

    offered = retention(days)
    assert (
        offered.name
        in {
            1: "ONE_DAY",
            3: "THREE_DAYS",
            90: "THREE_MONTHS",
            120: "FOUR_MONTHS",
            545: "EIGHTEEN_MONTHS",
            3653: "TEN_YEARS",
        }[kept]
    )
