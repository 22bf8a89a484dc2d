"""DynamoDB: what the store relies on."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testbed_checks.making import Maker, wait_for


def key(pk: str, sk: str = "-") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def test_conditions_and_what_they_met(make: Maker) -> None:
    db, table = make.bed.client("dynamodb"), make.table()
    put: dict[str, Any] = {"TableName": table, "ConditionExpression": "attribute_not_exists(pk)"}
    db.put_item(Item={**key("a"), "n": {"N": "1"}}, **put)
    with pytest.raises(ClientError) as refused:
        db.put_item(Item=key("a"), ReturnValuesOnConditionCheckFailure="ALL_OLD", **put)
    assert refused.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert refused.value.response["Item"]["n"] == {"N": "1"}


def test_a_cancelled_transaction_says_why(make: Maker) -> None:
    db, table = make.bed.client("dynamodb"), make.table()
    db.put_item(TableName=table, Item={**key("b"), "n": {"N": "5"}})
    with pytest.raises(ClientError) as refused:
        db.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": table, "Item": key("a")}},
                {
                    "Update": {
                        "TableName": table,
                        "Key": key("b"),
                        "UpdateExpression": "SET n = :six",
                        "ConditionExpression": "n = :four",
                        "ExpressionAttributeValues": {":four": {"N": "4"}, ":six": {"N": "6"}},
                        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                    }
                },
            ]
        )
    answer = refused.value.response
    assert answer["Error"]["Code"] == "TransactionCanceledException"
    first, second = answer["CancellationReasons"]
    assert (first["Code"], second["Code"]) == ("None", "ConditionalCheckFailed")
    assert second["Item"]["n"] == {"N": "5"}
    assert "Item" not in db.get_item(TableName=table, Key=key("a"))


def test_no_update_is_lost_among_eight_threads(make: Maker) -> None:
    db, table = make.bed.client("dynamodb"), make.table()
    db.put_item(TableName=table, Item={**key("sum"), "n": {"N": "0"}})

    def count(number: int) -> int:
        done = 0
        while done < 20:
            add = {
                "TableName": table,
                "Key": key("sum"),
                "UpdateExpression": "ADD n :one",
                "ExpressionAttributeValues": {":one": {"N": "1"}},
            }
            note = {"TableName": table, "Item": key("note", f"{number}-{done}")}
            try:
                db.transact_write_items(TransactItems=[{"Update": add}, {"Put": note}])
            except ClientError as error:
                reasons = {each["Code"] for each in error.response["CancellationReasons"]}
                assert "TransactionConflict" in reasons
            else:
                done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(count, range(8))) == 160
    assert db.get_item(TableName=table, Key=key("sum"))["Item"]["n"] == {"N": "160"}
    notes = db.query(
        TableName=table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "note"}},
        Select="COUNT",
    )
    assert notes["Count"] == 160


def test_a_token_makes_a_transaction_happen_once(make: Maker) -> None:
    db, table = make.bed.client("dynamodb"), make.table()
    add = {
        "TableName": table,
        "Key": key("a"),
        "UpdateExpression": "ADD n :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    for _ in range(2):
        db.transact_write_items(TransactItems=[{"Update": add}], ClientRequestToken="once")
    assert db.get_item(TableName=table, Key=key("a"))["Item"]["n"] == {"N": "1"}


def test_batches(make: Maker) -> None:
    db, table = make.bed.client("dynamodb"), make.table()
    items = [{"PutRequest": {"Item": key("batch", str(n))}} for n in range(25)]
    assert db.batch_write_item(RequestItems={table: items})["UnprocessedItems"] == {}
    keys = [key("batch", str(n)) for n in range(30)]
    got = db.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
    assert len(got["Responses"][table]) == 25
    with pytest.raises(ClientError):
        db.batch_write_item(RequestItems={table: [*items, items[0]]})


def test_number_sets(make: Maker) -> None:
    db, table = make.bed.client("dynamodb"), make.table()

    def change(expression: str, *numbers: int) -> Any:
        values = {":n": {"NS": [str(number) for number in numbers]}}
        changed = db.update_item(
            TableName=table,
            Key=key("set"),
            UpdateExpression=expression,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        return sorted(int(n) for n in changed["Attributes"].get("waits", {}).get("NS", []))

    assert change("ADD waits :n", 3, 1) == [1, 3]
    assert change("ADD waits :n", 3, 2) == [1, 2, 3]
    assert change("DELETE waits :n", 1, 9) == [2, 3]
    assert change("DELETE waits :n", 2, 3) == []  # an empty set is no attribute at all


def test_expired_items_leave_through_the_stream(make: Maker) -> None:
    db, table = make.bed.client("dynamodb"), make.table()
    db.update_time_to_live(
        TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"}
    )
    function = make.function('for record in event["Records"]: note(record)')
    make.mapping(make.stream(table), function)
    for pk, seconds in (("old", -5), ("new", 3600)):
        db.put_item(
            TableName=table, Item={**key(pk), "ttl": {"N": str(int(time.time()) + seconds)}}
        )
    assert make.bed.hook("dynamodb/expire", {})["deleted"] >= 1
    seen = wait_for(lambda: (found := make.seen(function)) and len(found) == 3 and found)
    [removed] = [each for each in seen if each["eventName"] == "REMOVE"]
    assert removed["dynamodb"]["OldImage"]["pk"] == {"S": "old"}
    assert removed["userIdentity"]["principalId"] == "dynamodb.amazonaws.com"
