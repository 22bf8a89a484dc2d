"""A run, an attempt and a backend's options in their plainest form; a test says what differs."""

from __future__ import annotations

from typing import Any

from hut.backends.batch import BatchOptions, read_options
from hut.backends.port import JobRequest, job_name
from hut.lifecycle.retry import Spent
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec
from hut.store.port import AttemptKey, Claim
from tests.unit.plain_records import plain_run

QUEUES = {name: f"arn:aws:batch:us-east-1:1:job-queue/{name}" for name in ("ec2", "fargate")}

ENTRY = {
    "name": "batch",
    "type": "batch",
    "queues": QUEUES,
    "default_queue": "fargate",
    "platforms": {"ec2": "EC2", "fargate": "FARGATE"},
    "default_image": "debian:stable-slim",
    "job_role_arn": "arn:aws:iam::111122223333:role/job",
    "execution_role_arn": "arn:aws:iam::111122223333:role/execution",
    "log_group": "/hut/jobs",
    "max_concurrent": None,
}


def options(**changes: Any) -> BatchOptions:
    return read_options({**ENTRY, **changes})


def run_of(**changes: Any) -> RunRecord:
    return plain_run(id="abcdefghij", created_at=1_700_000_000.25, **changes)


def request_of(spec: TaskSpec, run: RunRecord | None = None, attempt: int = 1) -> JobRequest:
    run = run or run_of()
    key = AttemptKey(3, attempt, 2)
    return JobRequest(run, Claim(key, spec, Spent()), job_name("hut", run.id, key))
