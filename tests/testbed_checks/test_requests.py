"""Requests are counted, and can be made to fail."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.testbed_checks.making import Maker


def test_requests_and_units_are_counted(make: Maker) -> None:
    db, table = make.bed.client("dynamodb"), make.table()
    sqs_url, _ = make.queue()
    bucket = make.name("bucket")
    make.bed.client("s3").create_bucket(Bucket=bucket)
    queue, definition = make.batch_queue(), make.definition("true")
    function = make.function(
        "import boto3\n"
        'key = {"pk": {"S": "a"}, "sk": {"S": "b"}}\n'
        f'boto3.client("dynamodb").get_item(TableName="{table}", Key=key, ConsistentRead=True)'
    )
    make.bed.hook("requests/reset", {})
    item = {"pk": {"S": "a"}, "sk": {"S": "b"}, "text": {"S": "x" * 2_500}}
    answer = db.put_item(TableName=table, Item=item)
    assert "ConsumedCapacity" not in answer
    put = {"Put": {"TableName": table, "Item": item}}
    db.transact_write_items(TransactItems=[put])
    make.bed.client("sqs").send_message(QueueUrl=sqs_url, MessageBody="x")
    make.bed.client("s3").put_object(Bucket=bucket, Key="a/b", Body=b"x")
    make.bed.client("lambda").invoke(FunctionName=function)
    make.ended(make.submit(queue, definition))
    found = make.bed.hook("requests")
    assert found["requests"]["dynamodb"] == {"PutItem": 1, "TransactWriteItems": 1, "GetItem": 1}
    assert found["of_lambdas"] == {"dynamodb": {"GetItem": 1}}
    assert found["requests"]["sqs"] == {"SendMessage": 1}
    assert found["requests"]["s3"] == {"PutObject": 1}
    assert found["requests"]["lambda"] == {"Invoke": 1}
    assert found["requests"]["batch"]["SubmitJob"] == 1
    assert found["invocations"] == {function: 1}
    assert found["dynamodb_units"] == {"write": 3 + 2 * 3, "read": 1}
    make.bed.hook("requests/reset", {})
    assert make.bed.hook("requests")["requests"] == {}


def test_requests_can_be_made_to_fail(make: Maker) -> None:
    db = make.bed.new_client("dynamodb", retries={"total_max_attempts": 1})
    table = make.table()
    item = {"pk": {"S": "a"}, "sk": {"S": "b"}}
    put = [{"Put": {"TableName": table, "Item": item}}]
    conflict = {
        "service": "dynamodb",
        "operation": "TransactWriteItems",
        "code": "TransactionCanceledException",
        "body": {"CancellationReasons": [{"Code": "TransactionConflict"}]},
    }
    make.bed.hook("faults", conflict)
    with pytest.raises(ClientError) as refused:
        db.transact_write_items(TransactItems=put)
    assert refused.value.response["CancellationReasons"] == [{"Code": "TransactionConflict"}]
    assert db.scan(TableName=table)["Count"] == 0
    lost = {"code": "InternalServerError", "status": 500, "after": True}
    make.bed.hook("faults", {"service": "dynamodb", "operation": "TransactWriteItems", **lost})
    with pytest.raises(ClientError, match="made to fail"):
        db.transact_write_items(TransactItems=put)
    assert db.scan(TableName=table)["Count"] == 1  # it was done, only the answer was lost
    assert make.bed.hook("faults/clear", {})["left"] == []
