"""EventBridge, SQS and Scheduler: rules, partial batches, dead letters, lost events."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.testbed_checks.making import Maker, wait_for

FAIL_BAD = """
failed = []
for record in event["Records"]:
    detail = json.loads(record["body"])["detail"]
    note([detail["n"], record["attributes"]["ApproximateReceiveCount"]])
    if detail["n"] == "bad":
        failed.append({"itemIdentifier": record["messageId"]})
return {"batchItemFailures": failed}
"""


def put(make: Maker, source: str, *numbers: str) -> None:
    entries = [
        {"Source": source, "DetailType": "Any", "Detail": json.dumps({"n": n})} for n in numbers
    ]
    make.bed.hook("events/put", {"Entries": entries})


def test_partial_batches_and_dead_letters(make: Maker) -> None:
    dead_url, dead = make.queue()
    redrive = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 2})
    _, arn = make.queue(VisibilityTimeout="3", RedrivePolicy=redrive)
    source = f"aws.{make.name('source')}"
    make.rule({"source": [source]}, arn)
    function = make.function(FAIL_BAD)
    make.mapping(arn, function, BatchSize=10, FunctionResponseTypes=["ReportBatchItemFailures"])
    put(make, source, "good", "bad")
    [letter] = wait_for(lambda: make.receive(dead_url))
    assert letter["detail"] == {"n": "bad"}
    assert sorted(make.seen(function)) == [["bad", "1"], ["bad", "2"], ["good", "1"]]


def test_events_can_be_lost(make: Maker) -> None:
    url, arn = make.queue()
    make.rule({"source": ["aws.batch"], "detail": {"jobName": [{"prefix": "lost-"}]}}, arn)
    queue, definition = make.batch_queue(), make.definition("true")
    make.bed.hook("events/lose", {"source": "aws.batch", "share": 1.0})
    try:
        make.ended(make.submit(queue, definition, name="lost-1"))
        wait_for(lambda: make.bed.hook("events/lost")["aws.batch"] >= 4)
    finally:
        make.bed.hook("events/lose", {"source": "aws.batch", "share": 0})
    assert make.receive(url) == []
    make.submit(queue, definition, name="lost-2")
    assert wait_for(lambda: make.receive(url))[0]["detail"]["jobName"] == "lost-2"


def test_events_can_come_more_than_once(make: Maker) -> None:
    url, arn = make.queue()
    make.rule({"source": ["aws.batch"], "detail": {"jobName": [{"prefix": "twice-"}]}}, arn)
    queue, definition = make.batch_queue(), make.definition("true")
    make.bed.hook("events/disturb", {"source": "aws.batch", "copies": 2, "delay": 0.1})
    got: list[Any] = []

    def all_came() -> bool:
        got.extend(each["detail"]["status"] for each in make.receive(url))
        return got.count("SUCCEEDED") == 2 and len(got) == 8

    try:
        make.ended(make.submit(queue, definition, name="twice-1"))
        wait_for(all_came)
    finally:
        make.bed.hook("events/disturb", {"source": "aws.batch"})


PATTERNS = {
    "suffix": {"detail": {"jobName": [{"suffix": "-s"}]}},
    "anything-but": {"detail": {"status": [{"anything-but": ["RUNNING"]}]}},
    "exists": {"detail": {"arrayProperties": {"index": [{"exists": True}]}}},
    "absent": {"detail": {"arrayProperties": {"size": [{"exists": False}]}}},
    "or": {"detail": {"$or": [{"status": ["FAILED"]}, {"jobName": [{"suffix": "-s"}]}]}},
    "not-suffix": {"detail": {"jobName": [{"anything-but": {"suffix": "-s"}}]}},
}


@pytest.mark.parametrize(
    ("detail", "wanted"),
    [
        (
            {"jobName": "a-s", "status": "RUNNING"},
            {"suffix", "absent", "or"},
        ),
        (
            {"jobName": "a", "status": "FAILED", "arrayProperties": {"index": 0}},
            {"anything-but", "exists", "absent", "or", "not-suffix"},
        ),
        (
            {"jobName": "a", "status": "SUCCEEDED", "arrayProperties": {"size": 2}},
            {"anything-but", "not-suffix"},
        ),
    ],
)
def test_patterns(make: Maker, detail: dict[str, Any], wanted: set[str]) -> None:
    source = f"aws.{make.name('source')}"
    urls = {}
    for name, pattern in PATTERNS.items():
        urls[name], arn = make.queue()
        make.rule({"source": [source], **pattern}, arn)
    entry = {"Source": source, "DetailType": "Any", "Detail": json.dumps(detail)}
    make.bed.hook("events/put", {"Entries": [entry]})
    assert {name for name, url in urls.items() if make.receive(url)} == wanted


def test_a_delayed_message_waits(make: Maker) -> None:
    url, arn = make.queue()
    function = make.function('note([r["attributes"]["SentTimestamp"] for r in event["Records"]])')
    make.mapping(arn, function)
    make.bed.client("sqs").send_message(QueueUrl=url, MessageBody="{}", DelaySeconds=1)
    [[sent]] = wait_for(lambda: make.seen(function))
    assert time.time() * 1000 - int(sent) >= 1000


def test_schedules_fire(make: Maker) -> None:
    scheduler, name = make.bed.client("scheduler"), make.name("sweep")
    function = make.function('note(event)\nreturn {"swept": True}')
    scheduler.create_schedule(
        Name=name,
        ScheduleExpression="rate(1 minutes)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": make.function_arn(function),
            "RoleArn": "arn:aws:iam::000000000000:role/any",
            "Input": '{"all": true}',
        },
    )
    fired = make.bed.hook("scheduler/fire", {"name": name})
    assert fired == {"error": False, "result": {"swept": True}}
    assert make.seen(function) == [{"all": True}]
    scheduler.delete_schedule(Name=name)
    with pytest.raises(ValueError, match="0 schedules"):
        make.bed.hook("scheduler/fire", {"name": name})


def test_a_mapping_may_take_more_than_ten_messages(make: Maker) -> None:
    url, arn = make.queue()
    for start in range(0, 30, 10):
        entries = [{"Id": str(n), "MessageBody": "{}"} for n in range(start, start + 10)]
        make.bed.client("sqs").send_message_batch(QueueUrl=url, Entries=entries)
    function = make.function('note(len(event["Records"]))')
    make.mapping(arn, function, BatchSize=50, MaximumBatchingWindowInSeconds=1)
    wait_for(lambda: make.seen(function))
    assert make.seen(function) == [30]


def test_a_batch_is_at_most_six_megabytes(make: Maker) -> None:
    url, arn = make.queue()
    for _ in range(9):
        make.bed.client("sqs").send_message(QueueUrl=url, MessageBody="x" * 1_000_000)
    function = make.function('note(len(event["Records"]))')
    make.mapping(arn, function, BatchSize=10_000, MaximumBatchingWindowInSeconds=1)
    wait_for(lambda: sum(make.seen(function)) == 9)
    assert sorted(make.seen(function)) == [4, 5]
