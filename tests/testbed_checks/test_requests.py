"""Requests are counted, and can be made to fail."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from tests.testbed_checks.making import Maker, wait_for


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
    assert found["sent"] == found[f"sent by {function}"] == {"dynamodb.GetItem": 1}
    assert found["log_bytes"][function] > 0
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


def test_each_try_of_a_function_is_counted_on_both_sides(make: Maker) -> None:
    table = make.table()
    function = make.function(
        "import boto3\n"
        f'boto3.client("dynamodb").describe_table(TableName="{table}")\n'
        'boto3.client("sqs").list_queues()\n'
        'raise ValueError("after all that")'
    )
    make.bed.hook("requests/reset", {})
    fault = {"service": "dynamodb", "operation": "DescribeTable", "code": "InternalServerError"}
    make.bed.hook("faults", {**fault, "status": 500, "times": 2})
    make.bed.client("lambda").invoke(FunctionName=function)
    found = make.bed.hook("requests")
    assert found["sent"] == {"dynamodb.DescribeTable": 3, "sqs.ListQueues": 1}
    assert found["of_lambdas"] == {"dynamodb": {"DescribeTable": 3}, "sqs": {"ListQueues": 1}}


def test_the_memory_of_a_function_is_seen_and_its_process_can_be_killed(make: Maker) -> None:
    function = make.function("import time\ntime.sleep(event.get('for', 0))\nreturn 1")
    client = make.bed.client("lambda")
    client.invoke(FunctionName=function, Payload=b"{}")
    peak = make.bed.hook("requests")["peak_kib"][function]
    assert 1_000 < peak < 1_000_000
    assert make.bed.hook("lambdas/kill", {"name": function}) == {"killed": 0}
    with ThreadPoolExecutor() as pool:
        called = pool.submit(client.invoke, FunctionName=function, Payload=b'{"for": 20}')
        wait_for(lambda: make.bed.hook("lambdas/kill", {"name": function})["killed"])
        assert "FunctionError" in called.result()
    again = client.invoke(FunctionName=function, Payload=b"{}")
    assert again["Payload"].read() == b"1"


def test_what_mappings_ask_of_queues_is_counted(make: Maker) -> None:
    _, arn = make.queue()
    source = f"aws.{make.name('source')}"
    make.rule({"source": [source]}, arn)
    function = make.function('note(len(event["Records"]))')
    make.bed.hook("requests/reset", {})
    for size in (10, 100_000):
        entry = {"Source": source, "DetailType": "Any", "Detail": json.dumps({"x": "x" * size})}
        make.bed.hook("events/put", {"Entries": [entry] * 7})
    make.mapping(arn, function, BatchSize=100, MaximumBatchingWindowInSeconds=1)
    wait_for(lambda: sum(make.seen(function)) == 14)
    wait_for(lambda: "DeleteMessageBatch" in make.bed.hook("requests")["sqs"])
    found = make.bed.hook("requests")["sqs"]
    assert found["SendMessage"] == 7 + 7 * 2  # a request for every 64 KiB of a message
    assert found["ReceiveMessage"] == 5 + 7  # ten messages and four, of 300 and 400 KB
    assert found["DeleteMessageBatch"] == 2
