"""An EC2 backend's options, an attempt and a document in their plainest form; a test says what differs."""

from __future__ import annotations

import json
from typing import Any

from hut.backends.ec2 import Ec2Options, read_options
from hut.backends.port import JobRequest, job_name
from hut.lifecycle.retry import Spent
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec
from hut.store.port import AttemptKey, Claim
from tests.unit.plain_records import plain_run

MACHINE = "arn:aws:states:us-east-1:111122223333:stateMachine:hut-ec2-task"
SUBNETS = [f"subnet-{number:017x}" for number in range(3)]

ENTRY: dict[str, Any] = {
    "name": "ec2",
    "type": "ec2",
    "machine": MACHINE,
    "document": "hut-task",
    "launch_template": "lt-0123456789abcdef0",
    "instance_profile_arn": "arn:aws:iam::111122223333:instance-profile/hut-task",
    "subnet_ids": SUBNETS[:1],
    "security_group_ids": ["sg-0123456789abcdef0"],
    "instance_types": {"default": ["c5.xlarge"]},
    "log_group": "/hut/jobs",
}


def options(**changes: Any) -> Ec2Options:
    return read_options({**ENTRY, **changes})


def run_of(**changes: Any) -> RunRecord:
    return plain_run(id="abcdefghij", created_at=1_700_000_000.25, **changes)


def request_of(
    spec: TaskSpec, run: RunRecord | None = None, *, position: int = 3, attempt: int = 1
) -> JobRequest:
    run = run or run_of()
    key = AttemptKey(position, attempt, 2)
    return JobRequest(run, Claim(key, spec, Spent()), job_name("hut", run.id, key))


def document(**changes: Any) -> dict[str, Any]:
    """Return what the state machine tells of an attempt that has ended well."""
    return {
        "name": "hut-abcdefghij-3-1-2",
        "reason": "exit",
        "exit_code": 0,
        "message": "",
        "instance": "i-0123456789abcdef0",
        "type": "c5.xlarge",
        "spot": False,
        "subnet": SUBNETS[0],
        "launched_at": 1000.0,
        "sent_at": 1060.0,
        "started_at": 1070.5,
        "ended_at": 1360.0,
        "capacity_errors": 0,
        **changes,
    }


def ended(status: str = "FAILED", **changes: Any) -> dict[str, Any]:
    """Return an event's detail: an execution that ended with a document that differs so."""
    told = json.dumps(document(**changes))
    return {
        "executionArn": "arn:aws:states:us-east-1:111122223333:execution:hut-ec2-task:"
        "hut-abcdefghij-3-1-2",
        "stateMachineArn": MACHINE,
        "name": "hut-abcdefghij-3-1-2",
        "status": status,
        "startDate": 990_000,
        "stopDate": 1_400_000,
        "input": "{}",
        "output": told if status == "SUCCEEDED" else None,
        "error": None if status == "SUCCEEDED" else changes.get("reason", "exit"),
        "cause": None if status == "SUCCEEDED" else told,
    }
