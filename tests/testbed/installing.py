"""Put all parts of the test bed into the emulator."""

from __future__ import annotations

from typing import Any

from tests.testbed import (
    accounts,
    api_gateway,
    archives,
    batch,
    batch_secrets,
    cloudformation,
    dynamodb,
    ec2,
    events,
    faults,
    hooks,
    iam,
    lambdas,
    logs,
    metrics,
    record,
    sqs,
    ssm,
    stepfunctions,
    stepfunctions_calls,
    streams,
)
from tests.testbed.patching import on_reset


def install(app: Any) -> None:
    """Change the emulator; its modules are imported, its server has not started."""
    for part in (
        logs,
        events,
        faults,
        record,
        batch,
        batch_secrets,
        archives,
        lambdas,
        metrics,
        streams,
        sqs,
        dynamodb,
        stepfunctions,
        stepfunctions_calls,
        api_gateway,
        cloudformation,
        ec2,
        ssm,
        iam,
        accounts,
    ):
        part.install()
    hooks.install(app, on_reset)
