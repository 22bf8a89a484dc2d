"""Pools of workers: a queue that rings for each, and the entries of ``HUT_BACKENDS``.

A queue costs nothing while nobody sends to it or asks it; who asks is a worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from aws_cdk import Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs

from infra.permissions import acknowledge, allow
from infra.settings import Settings
from infra.storage import StorageStack

if TYPE_CHECKING:
    from constructs import Construct

__all__ = ["allow_workers", "make_bells", "pool_entries"]

_HEARD_FOR = Duration.minutes(5)
_TAKEN_FOR = Duration.seconds(10)


def make_bells(scope: Construct, settings: Settings) -> dict[str, sqs.Queue]:
    """Make the queue of each pool: one message for each thing that is put in, which says nothing else."""
    made = {}
    for pool in settings.pools:
        words = "".join(
            word.capitalize() for word in pool.replace("_", "-").replace(".", "-").split("-")
        )
        queue = sqs.Queue(
            scope,
            f"{words}Bell",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=_HEARD_FOR,
            visibility_timeout=_TAKEN_FOR,
            receive_message_wait_time=Duration.seconds(20),
        )
        acknowledge(
            queue,
            "AwsSolutions-SQS3",
            "It only rings: what is waited for stands in the table, and workers look there anyway.",
        )
        made[pool] = queue
    return made


def pool_entries(
    scope: Construct, settings: Settings, bells: Mapping[str, sqs.IQueue]
) -> list[Mapping[str, object]]:
    """Return the entries of HUT_BACKENDS for pools."""
    urls = {pool: queue.queue_url for pool, queue in bells.items()}
    return [
        {
            "name": pool,
            "type": "workers",
            "log_group": f"/{settings.prefix}/jobs",
            "region": Stack.of(scope).region,
            "bells": urls,
        }
        for pool in settings.pools
    ]


def allow_workers(
    policy: iam.ManagedPolicy, storage: StorageStack, bells: Mapping[str, sqs.IQueue]
) -> None:
    """Allow what a worker needs beside the API: to hear the bells, and to send what tasks print."""
    if bells:
        allow(
            policy,
            ["sqs:DeleteMessage", "sqs:ReceiveMessage"],
            [queue.queue_arn for queue in bells.values()],
        )
    allow(
        policy,
        ["logs:CreateLogStream", "logs:PutLogEvents"],
        [f"{storage.job_logs.log_group_arn.removesuffix(':*')}:log-stream:pools/*"],
        because="a stream for each session of a worker, under the names of pools",
    )
