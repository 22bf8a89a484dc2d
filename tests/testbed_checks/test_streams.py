"""Streams to functions: filters, partial failures, halving, retries, what is given up."""

from __future__ import annotations

import json
from typing import Any

from tests.testbed_checks.making import Maker, wait_for

NOTE_KEYS = 'note([r["dynamodb"]["Keys"]["sk"]["S"] for r in event["Records"]])'


def put(make: Maker, table: str, *keys: str, **more: Any) -> None:
    for sk in keys:
        item = {"pk": {"S": "same"}, "sk": {"S": sk}, **more}
        make.bed.client("dynamodb").put_item(TableName=table, Item=item)


def flat(seen: list[Any]) -> list[Any]:
    return [sk for batch in seen for sk in batch]


def test_changes_come_in_order_with_both_images(make: Maker) -> None:
    table = make.table()
    function = make.function('for record in event["Records"]: note(record)')
    make.mapping(make.stream(table), function)
    put(make, table, "a", n={"N": "1"})
    put(make, table, "a", n={"N": "2"})
    put(make, table, "a", n={"N": "2"})  # changes nothing: no record
    make.bed.client("dynamodb").delete_item(
        TableName=table, Key={"pk": {"S": "same"}, "sk": {"S": "a"}}
    )
    seen = wait_for(lambda: (found := make.seen(function)) and len(found) >= 3 and found)
    assert [each["eventName"] for each in seen] == ["INSERT", "MODIFY", "REMOVE"]
    assert seen[1]["dynamodb"]["OldImage"]["n"] == {"N": "1"}
    assert seen[1]["dynamodb"]["NewImage"]["n"] == {"N": "2"}
    assert seen[1]["eventSourceARN"] == make.stream(table)


def test_filters(make: Maker) -> None:
    table, function = make.table(), make.function(NOTE_KEYS)
    states = [{"anything-but": ["failed"]}]
    pattern = {
        "eventName": ["INSERT", "MODIFY"],
        "dynamodb": {"NewImage": {"sk": {"S": [{"prefix": "T#"}]}, "state": {"S": states}}},
    }
    make.mapping(
        make.stream(table), function, FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]}
    )
    put(make, table, "T#1", state={"S": "failed"})
    put(make, table, "A#1", state={"S": "ended"})
    put(make, table, "T#2", state={"S": "ended"})
    assert wait_for(lambda: make.seen(function)) == [["T#2"]]


def test_partial_failures_begin_again_at_the_first(make: Maker) -> None:
    table = make.table()
    function = make.function(
        NOTE_KEYS + "\n"
        "import os\n"
        'late = [r for r in event["Records"] if r["dynamodb"]["Keys"]["sk"]["S"] == "b"]\n'
        'if late and not os.path.exists(os.environ["SEEN"] + ".once"):\n'
        '    open(os.environ["SEEN"] + ".once", "w").close()\n'
        '    number = late[0]["dynamodb"]["SequenceNumber"]\n'
        '    return {"batchItemFailures": [{"itemIdentifier": number}]}\n'
        'return {"batchItemFailures": []}'
    )
    put(make, table, "a", "b", "c")
    make.mapping(make.stream(table), function, FunctionResponseTypes=["ReportBatchItemFailures"])
    wait_for(lambda: len(make.seen(function)) == 2)
    assert make.seen(function) == [["a", "b", "c"], ["b", "c"]]


def test_what_keeps_failing_is_found_by_halving_and_given_up(make: Maker) -> None:
    table, (url, queue) = make.table(), make.queue()
    function = make.function(
        NOTE_KEYS
        + '\nassert all(r["dynamodb"]["Keys"]["sk"]["S"] != "bad" for r in event["Records"])'
    )
    put(make, table, "a", "b", "bad", "c", "d")
    make.mapping(
        make.stream(table),
        function,
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": queue}},
    )
    wait_for(lambda: "d" in flat(make.seen(function)[1:]))
    put(make, table, "later")
    wait_for(lambda: "later" in flat(make.seen(function)))
    assert make.seen(function).count(["bad"]) == 2  # once, and one retry
    [told] = wait_for(lambda: make.receive(url))
    assert told["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert told["DDBStreamBatchInfo"]["batchSize"] == 1


def test_without_a_limit_it_is_tried_for_ever(make: Maker) -> None:
    table = make.table()
    function = make.function(
        NOTE_KEYS + '\nimport os\nassert os.path.exists(os.environ["SEEN"] + ".fixed")'
    )
    make.mapping(make.stream(table), function)
    put(make, table, "a")
    wait_for(lambda: len(make.seen(function)) >= 2)
    (make.folder / f"{function}.fixed").touch()
    put(make, table, "b")
    wait_for(lambda: "b" in flat(make.seen(function)))
