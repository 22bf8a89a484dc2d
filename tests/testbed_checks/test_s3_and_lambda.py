"""S3 with presigned addresses; Lambda with logs, errors, metrics, and the way back."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.testbed_checks.making import Maker, wait_for


def test_a_large_upload_by_address(make: Maker) -> None:
    s3, bucket = make.bed.client("s3"), make.name("bucket")
    s3.create_bucket(Bucket=bucket)
    body = os.urandom(12_000_000)
    place = {"Bucket": bucket, "Key": "uploads/a b"}
    url = s3.generate_presigned_url("put_object", Params=place, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT")) as answer:
        assert answer.status == 200
    assert s3.get_object(**place)["Body"].read() == body
    assert s3.head_object(**place)["ContentLength"] == len(body)
    address = s3.generate_presigned_url("get_object", Params=place, ExpiresIn=60)
    some = urllib.request.Request(address, headers={"Range": "bytes=11999990-11999994"})
    with urllib.request.urlopen(some) as answer:
        assert (answer.status, answer.read()) == (206, body[11_999_990:11_999_995])
    s3.put_object(Bucket=bucket, Key="small", Body=b"x", Metadata={"a": "b"})
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="uploads/")
    assert [each["Key"] for each in listed["Contents"]] == ["uploads/a b"]


def invoke(make: Maker, function: str, event: Any = None) -> tuple[Any, str | None]:
    answer = make.bed.client("lambda").invoke(
        FunctionName=function, Payload=json.dumps(event).encode()
    )
    return json.load(answer["Payload"]), answer.get("FunctionError")


def test_what_a_function_says_is_in_its_log(make: Maker) -> None:
    function = make.function(
        "import sys, logging\n"
        'print("said", event["n"])\n'
        'print("complained", event["n"], file=sys.stderr)\n'
        'logging.getLogger().warning("warned %s", event["n"])\n'
        'return event["n"]'
    )
    assert [invoke(make, function, {"n": n})[0] for n in range(3)] == [0, 1, 2]
    events = make.bed.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{function}")
    said = [each["message"].strip() for each in events["events"]]
    for n in range(3):
        assert said.count(f"said {n}") == said.count(f"complained {n}") == 1
    starts = [n for n, line in enumerate(said) if line.startswith("START")]
    assert all("said" in "".join(said[n : n + 3]) for n in starts)  # each with its own lines


def test_errors_have_types(make: Maker) -> None:
    function = make.function('raise LookupError("no such thing")')
    answer, kind = invoke(make, function)
    assert (kind, answer["errorType"]) == ("Unhandled", "LookupError")
    assert answer["errorMessage"] == "no such thing"
    assert answer["stackTrace"]


def test_an_answer_can_be_too_large(make: Maker) -> None:
    answer, kind = invoke(make, make.function('return "x" * 7_000_000'))
    assert (kind, answer["errorType"]) == ("Unhandled", "Function.ResponseSizeTooLarge")


def test_functions_reach_the_test_bed(make: Maker) -> None:
    table = make.table()
    function = make.function(
        "import boto3\n"
        'item = {"pk": {"S": "from"}, "sk": {"S": context.function_name}}\n'
        'boto3.client("dynamodb").put_item(TableName=os.environ["TABLE"], Item=item)\n'
        'return os.environ["AWS_ENDPOINT_URL"]',
        TABLE=table,
    )
    assert invoke(make, function)[0] == make.bed.url
    assert make.bed.client("dynamodb").scan(TableName=table)["Count"] == 1


@pytest.mark.parametrize("package", ["yaml", "boto3", "hut", "tests.testbed"])
def test_a_function_that_brings_its_client_finds_nothing_else(make: Maker, package: str) -> None:
    function = make.function(
        f"import importlib; return importlib.import_module({package!r}).__name__",
        files={"botocore/__init__.py": ""},
    )
    answer, kind = invoke(make, function)
    assert (kind, answer["errorType"]) == ("Unhandled", "ModuleNotFoundError")


def test_functions_run_at_the_same_time(make: Maker) -> None:
    function = make.function(
        "import time\n"
        "note(os.getpid())\n"
        'while len(open(os.environ["SEEN"]).readlines()) < 3: time.sleep(0.01)\n'
        "return [os.getpid(), os.path.realpath(__file__)]"
    )
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: invoke(make, function)[0], range(3)))
    assert len({process for process, _ in found}) == 3
    assert len({file for _, file in found}) == 1  # its archive was unpacked once
    assert invoke(make, function)[0] in found  # it is warm


def test_metrics_in_a_log_are_metrics(make: Maker) -> None:
    directive = {
        "Namespace": "Hut",
        "Dimensions": [["service"]],
        "Metrics": [{"Name": "Tasks", "Unit": "Count"}],
    }
    name = make.name("service")
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
        "service": name,
        "Tasks": [2, 3],
    }
    invoke(make, make.function("print(json.dumps(event))"), line)

    def find() -> Any:
        return make.bed.client("cloudwatch").get_metric_statistics(
            Namespace="Hut",
            MetricName="Tasks",
            Dimensions=[{"Name": "service", "Value": name}],
            StartTime=time.time() - 600,
            EndTime=time.time() + 600,
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]

    assert sum(each["Sum"] for each in wait_for(find)) == 5
