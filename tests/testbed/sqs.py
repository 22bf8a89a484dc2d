"""SQS to Lambda functions: batches of more than ten messages, and batching windows.

Windows are kept only if the setting says so: they make tests slow, but without them functions
are called more often than AWS would, which matters when calls are counted.
"""

from __future__ import annotations

import time
from typing import Any

from ministack.core.concurrency import esm_wake, spawn_background
from ministack.services import lambda_svc, sqs

from tests.testbed.patching import replace, require, settings

_MOST = 10_000
_TICK = 0.1


def install() -> None:
    require(sqs, "_queues_lock", "_get_q", "_expire_retained", "_dlq_sweep", "_collect_msgs")
    require(lambda_svc, "_esms")
    replace(sqs, "_receive_messages_for_esm", _receive)


def _receive(url: str, size: int) -> list[Any]:
    """Take a batch for a mapping; nothing while its window is open and it is not full."""
    with sqs._queues_lock:
        queue = sqs._get_q(url)
        sqs._expire_retained(queue)
        sqs._dlq_sweep(queue)
        window = _window(queue["attributes"].get("QueueArn")) if settings.windows else 0
        if window and _is_open(queue, window, size):
            spawn_background(_wake, thread_name="testbed-sqs-window")
            return []
        visibility = int(queue["attributes"].get("VisibilityTimeout", "30"))
        return list(sqs._collect_msgs(queue, min(int(size or 1), _MOST), visibility))


def _window(arn: str | None) -> float:
    mappings = [each for each in lambda_svc._esms.values() if each.get("EventSourceArn") == arn]
    return max(
        (float(each.get("MaximumBatchingWindowInSeconds") or 0) for each in mappings), default=0
    )


def _is_open(queue: Any, window: float, size: int) -> bool:
    now = time.time()
    waiting = [each["visible_at"] for each in queue["messages"] if each["visible_at"] <= now]
    return bool(waiting) and len(waiting) < size and now - min(waiting) < window


def _wake() -> None:
    time.sleep(_TICK)
    esm_wake.set()
