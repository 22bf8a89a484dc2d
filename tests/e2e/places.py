"""Everything a deployment keeps or tells, by place, so that a test can look for what must not be there.

A place is a name that `tests/access/secrets.md` uses. What is compressed or encoded is found too.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from boto3.dynamodb.types import Binary

from tests.e2e.deployment import Deployment
from tests.e2e.remote_hut import RemoteHut

__all__ = ["Places", "everything", "holds", "watch_events"]

Places = dict[str, list[bytes]]
_FUNCTION_GROUPS = "/aws/lambda/"
_LETTERS = {"A": "of attempts", "I": "of ids", "L": "LOG", "R": "of ready tasks", "W": "of delays"}
_PACKED = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")
_WAIT = 1  # second; nothing comes any more once a queue is empty


def holds(content: bytes, canary: str) -> bool:
    """Say whether a content holds a text, as it is or in base64."""
    plain = canary.encode()
    if plain in content:
        return True
    # Of three ways to be aligned, each leaves out what depends on the neighbours.
    coded = (base64.b64encode(b"\0" * shift + plain)[shift * 2 : -4] for shift in range(3))
    return any(text and text in content for text in coded)


def watch_events(deployment: Deployment) -> Callable[[], Places]:
    """Keep all events of the bus from now on; return a function that gives them by place."""
    events, sqs = deployment.bed.client("events"), deployment.bed.client("sqs")
    url = sqs.create_queue(QueueName="all-events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    pattern = json.dumps({"source": [{"prefix": ""}]})
    events.put_rule(Name="all-events", EventPattern=pattern)
    events.put_targets(Rule="all-events", Targets=[{"Id": "q", "Arn": arn["QueueArn"]}])

    def seen() -> Places:
        events.remove_targets(Rule="all-events", Ids=["q"])
        events.delete_rule(Name="all-events")
        found: Places = {}
        while got := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=_WAIT
        ).get("Messages"):
            for message in got:
                source = json.loads(message["Body"])["source"]
                place = "events of Batch" if source == "aws.batch" else "other events"
                found.setdefault(place, []).append(message["Body"].encode())
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        sqs.delete_queue(QueueUrl=url)
        return found

    return seen


def everything(hut: RemoteHut, runs: list[str]) -> Places:
    """Return what can be had of the deployment, by place."""
    places: Places = {}
    for found in (_logs, _table, _audit, _bucket, _jobs, _instances, _metrics, _dead_letters):
        for place, content in found(hut.deployment):
            places.setdefault(place, []).append(content)
    for place, content in (*_executions(hut, runs), *_answers(hut, runs)):
        places.setdefault(place, []).append(content)
    return places


# AWS ----------------------------------------------------------------------------------------------


def _logs(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    logs = deployment.bed.client("logs")
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            place = "logs of functions" if name.startswith(_FUNCTION_GROUPS) else "other logs"
            if name == f"/{deployment.prefix}/jobs":
                place = "logs of jobs"
            yield place, name.encode()
            for event in deployment.log_events(name):
                yield place, f"{event['logStreamName']} {event['message']}".encode()


def _items(deployment: Deployment, table: str) -> Iterator[Mapping[str, Any]]:
    pages = deployment.bed.client("dynamodb").get_paginator("scan").paginate(TableName=table)
    for page in pages:
        yield from page["Items"]


def _table(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    for item in _items(deployment, deployment.outputs["TableName"]):
        beginning, *rest = item["pk"]["S"].split("#")
        kind = item["sk"]["S"].partition("#")[0]
        if beginning != "RUN":
            kind = beginning
        elif len(rest) == 2 and rest[1][0] in _LETTERS:
            kind = _LETTERS[rest[1][0]]
        yield f"items {kind}", _plain(item)


def _audit(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    found = deployment.bed.client("lambda").get_function_configuration(
        FunctionName=f"{deployment.prefix}-api"
    )
    for item in _items(deployment, found["Environment"]["Variables"]["HUT_AUDIT_TABLE"]):
        yield "audit record", _plain(item)


def _plain(value: Any) -> bytes:
    """Return all texts of an item; what is compressed, as it was before."""
    if isinstance(value, Mapping):
        return b"\n".join(str(k).encode() + b" " + _plain(v) for k, v in value.items())
    if isinstance(value, list):
        return b"\n".join(map(_plain, value))
    if isinstance(value, (bytes, Binary)):
        return _unpacked(bytes(value))
    return str(value).encode()


def _unpacked(data: bytes) -> bytes:
    """Return a content with what is compressed in it, also where it stands in base64 in a JSON text."""
    for bits in (15, 31, -15):
        with contextlib.suppress(zlib.error):
            data += b"\n" + zlib.decompress(data, bits)
            break
    inner = [data]
    for match in _PACKED.finditer(data):
        with contextlib.suppress(zlib.error, ValueError):
            inner.append(zlib.decompress(base64.b64decode(match[0])))
    return b"\n".join(inner)


def _bucket(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    s3, bucket = deployment.bed.client("s3"), deployment.outputs["BucketName"]
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for key in (entry["Key"] for entry in page.get("Contents", ())):
            found = s3.get_object(Bucket=bucket, Key=key)
            tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
            yield "keys, tags and metadata of objects", f"{key} {tags} {found['Metadata']}".encode()
            yield f"objects {key.partition('/')[0]}/", _unpacked(found["Body"].read())


def _jobs(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    for job in deployment.bed.hook("batch/jobs", {})["jobs"]:
        container = job.pop("container", {})
        yield "names, tags and parameters of jobs", json.dumps(job).encode()
        yield "what a job runs", json.dumps(container).encode()
    pages = deployment.bed.client("batch").get_paginator("describe_job_definitions").paginate()
    for definition in (each for page in pages for each in page["jobDefinitions"]):
        yield "job definitions", json.dumps(definition, default=str).encode()


def _instances(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    """Yield what EC2, Systems Manager and Step Functions know of tasks on instances."""
    for instance in deployment.bed.hook("ec2/instances")["instances"]:
        yield "instances", json.dumps(instance, default=str).encode()
    for launch in deployment.bed.hook("ec2/launches")["launches"]:
        yield "instances", json.dumps(launch, default=str).encode()
    for command in deployment.bed.hook("ssm/commands")["commands"]:
        yield "commands of Systems Manager", json.dumps(command, default=str).encode()
    states = deployment.bed.client("stepfunctions")
    for machine in states.list_state_machines()["stateMachines"]:
        if machine["name"] != f"{deployment.prefix}-ec2-task":
            continue
        arn = machine["stateMachineArn"]
        for page in states.get_paginator("list_executions").paginate(stateMachineArn=arn):
            for execution in page["executions"]:
                told = states.describe_execution(executionArn=execution["executionArn"])
                yield "executions", json.dumps(told, default=str).encode()
                history = states.get_paginator("get_execution_history").paginate(
                    executionArn=execution["executionArn"]
                )
                for event in (event for page in history for event in page["events"]):
                    yield "histories of executions", json.dumps(event, default=str).encode()


def _metrics(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    for page in deployment.bed.client("cloudwatch").get_paginator("list_metrics").paginate():
        for metric in page["Metrics"]:
            yield "metrics", json.dumps(metric).encode()


def _dead_letters(deployment: Deployment) -> Iterator[tuple[str, bytes]]:
    sqs = deployment.bed.client("sqs")
    for url in sqs.list_queues().get("QueueUrls", ()):
        if "DeadLetters" in url:
            got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
            for message in got.get("Messages", ()):
                yield "dead letters", message["Body"].encode()


def _executions(hut: RemoteHut, runs: list[str]) -> Iterator[tuple[str, bytes]]:
    states = hut.bed.client("stepfunctions")
    for run in runs:
        execution = hut.execution(run)
        told = {name: execution.get(name) for name in ("name", "input", "output", "error", "cause")}
        yield "executions", json.dumps(told).encode()
        pages = states.get_paginator("get_execution_history").paginate(
            executionArn=execution["executionArn"]
        )
        for event in (event for page in pages for event in page["events"]):
            yield "histories of executions", json.dumps(event, default=str).encode()


# The API ------------------------------------------------------------------------------------------


def _answers(hut: RemoteHut, runs: list[str]) -> Iterator[tuple[str, bytes]]:
    def ask(place: str, path: str) -> tuple[str, bytes]:
        answer = hut.call("GET", path)
        assert answer.status < 500, path
        return place, f"{answer.headers} {answer.text}".encode()

    for path in ("/config", "/config/history", "/environments", "/backends"):
        yield ask("answers: configuration", path)
    for path in ("/runs", "/jobs", "/health", "/openapi.json"):
        yield ask("answers: runs and tasks", path)
    yield ask("answers: audit", "/audit")
    for run in runs:
        for path in ("", "/changes"):
            yield ask("answers: runs and tasks", f"/runs/{run}{path}")
        yield ask("answers: failures", f"/runs/{run}/failures")
        tasks = hut.get(f"/runs/{run}/tasks", limit=100)
        yield "answers: runs and tasks", tasks.text.encode()
        for task in (each["id"] for each in tasks.document):
            for path in ("", "/why"):
                yield ask("answers: runs and tasks", f"/runs/{run}/tasks/{task}{path}")
            yield ask("answers: scripts", f"/runs/{run}/tasks/{task}/script")
            for path in ("/logs/output", "/logs/error"):
                yield ask("answers: logs", f"/runs/{run}/tasks/{task}{path}")
