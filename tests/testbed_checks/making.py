"""Make tables, functions, queues and job definitions for a check."""

from __future__ import annotations

import io
import itertools
import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.testbed.running import ACCOUNT, REGION, TestBed

_numbers = itertools.count(1)
_ROLE = f"arn:aws:iam::{ACCOUNT}:role/any"
_NOTE = """
import json, os

def note(thing):
    with open(os.environ["SEEN"], "a") as file:
        file.write(json.dumps(thing) + "\\n")

"""


def wait_for(find: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Return what is found, once it is something."""
    until = time.monotonic() + seconds
    while True:
        found = find()
        if found:
            return found
        assert time.monotonic() < until, f"it never came: {found}"
        time.sleep(0.02)


@dataclass
class Maker:
    bed: TestBed
    folder: Path
    mappings: list[str] = field(default_factory=list)

    def name(self, kind: str) -> str:
        return f"{kind}-{os.getpid()}-{next(_numbers)}"

    def table(self, **more: Any) -> str:
        name = self.name("table")
        self.bed.client("dynamodb").create_table(
            TableName=name,
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
            **more,
        )
        return name

    def stream(self, table: str) -> str:
        found = self.bed.client("dynamodb").describe_table(TableName=table)
        return str(found["Table"]["LatestStreamArn"])

    def function(
        self, body: str, files: Mapping[str, str] = MappingProxyType({}), **environment: str
    ) -> str:
        """Make a function of a handler's body; ``note(thing)`` writes down what it saw.

        `files` are in its archive beside it.
        """
        name = self.name("function")
        lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
        source = f"{_NOTE}def handler(event, context):\n{lines}\n"
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("index.py", source)
            for path, text in files.items():
                file.writestr(path, text)
        self.bed.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.12",
            Role=_ROLE,
            Handler="index.handler",
            Code={"ZipFile": archive.getvalue()},
            Timeout=20,
            Environment={"Variables": {"SEEN": str(self.folder / name), **environment}},
        )
        return name

    def seen(self, function: str) -> list[Any]:
        """Return what a function noted so far."""
        path = self.folder / function
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def mapping(self, source: str, function: str, **options: Any) -> str:
        if ":dynamodb:" in source:
            options.setdefault("StartingPosition", "TRIM_HORIZON")
        made = self.bed.client("lambda").create_event_source_mapping(
            EventSourceArn=source, FunctionName=function, **options
        )
        self.mappings.append(made["UUID"])
        return str(made["UUID"])

    def queue(self, **attributes: str) -> tuple[str, str]:
        """Return URL and ARN of a new queue."""
        sqs = self.bed.client("sqs")
        url = sqs.create_queue(QueueName=self.name("queue"), Attributes=attributes)["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, found["Attributes"]["QueueArn"]

    def receive(self, url: str) -> list[Any]:
        """Take the messages of a queue."""
        got = self.bed.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in got.get("Messages", [])]

    def batch_queue(self, most_cpus: int | None = None) -> str:
        """Return a queue, whose environment has the same name and may have so many vCPUs."""
        name = self.name("environment")
        batch = self.bed.client("batch")
        resources = {"type": "EC2", "maxvCpus": most_cpus, "subnets": ["subnet-1"]}
        managed = {"type": "MANAGED", "computeResources": resources}
        kind = {"type": "UNMANAGED"} if most_cpus is None else managed
        batch.create_compute_environment(computeEnvironmentName=name, **kind)
        made = batch.create_job_queue(
            jobQueueName=name,
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}],
        )
        return str(made["jobQueueArn"])

    def definition(self, *command: str, name: str | None = None, **container: Any) -> str:
        properties = {
            "image": "debian:stable-slim",
            "command": list(command),
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "2048"},
            ],
            **container,
        }
        made = self.bed.client("batch").register_job_definition(
            jobDefinitionName=name or self.name("definition"),
            type="container",
            containerProperties=properties,
        )
        return str(made["jobDefinitionArn"])

    def submit(self, queue: str, definition: str, *command: str, **more: Any) -> str:
        overrides = {"command": list(command)} if command else {}
        overrides |= more.pop("overrides", {})
        made = self.bed.client("batch").submit_job(
            jobName=more.pop("name", None) or self.name("job"),
            jobQueue=queue,
            jobDefinition=definition,
            containerOverrides=overrides,
            **more,
        )
        return str(made["jobId"])

    def job(self, job_id: str) -> Any:
        [found] = self.bed.client("batch").describe_jobs(jobs=[job_id])["jobs"]
        return found

    def ended(self, job_id: str) -> Any:
        def find() -> Any:
            found = self.job(job_id)
            return found if found["status"] in ("SUCCEEDED", "FAILED") else None

        return wait_for(find)

    def in_state(self, job_id: str, state: str) -> None:
        wait_for(lambda: self.job(job_id)["status"] == state)

    def log(self, job: Any, group: str = "/aws/batch/job") -> list[str]:
        """Return the lines of a job's log."""
        events = self.bed.client("logs").get_log_events(
            logGroupName=group, logStreamName=job["container"]["logStreamName"], startFromHead=True
        )
        return [event["message"] for event in events["events"]]

    def machine(self, definition: dict[str, Any]) -> str:
        made = self.bed.client("stepfunctions").create_state_machine(
            name=self.name("machine"), definition=json.dumps(definition), roleArn=_ROLE
        )
        return str(made["stateMachineArn"])

    def execution(self, arn: str) -> Any:
        """Return an execution once it has ended."""

        def find() -> Any:
            found = self.bed.client("stepfunctions").describe_execution(executionArn=arn)
            return found if found["status"] != "RUNNING" else None

        return wait_for(find)

    def rule(self, pattern: dict[str, Any], target: str) -> str:
        name = self.name("rule")
        events = self.bed.client("events")
        events.put_rule(Name=name, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": target}])
        return name

    def function_arn(self, name: str) -> str:
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"

    def forget(self) -> None:
        for mapping in self.mappings:
            self.bed.client("lambda").delete_event_source_mapping(UUID=mapping)
