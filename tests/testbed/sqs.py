"""SQS to Lambda functions: batches of more than ten messages, batching windows, requests.

Windows are kept only if the setting says so: they make tests slow, but without them functions
are called more often than AWS would, which matters when calls are counted. Each of several
pollers (`Settings.pollers`) has a window and a batch of its own on AWS: what came in the meantime
is then shared among them, and there are as many calls. A mapping's maximum concurrency is a bound
of theirs: Lambda reads no more than it may call a function with.

What a mapping asks of a queue is billed as if a program did it. Counted are a request for every
ten messages that are received and for every ten that are deleted, and another one for every
64 KiB of them ("Amazon SQS pricing"). Pollers that find nothing are not: they cost by the hour.

StartMessageMoveTask, which the emulator lacks, sends what a dead-letter queue holds to the queue it
came from. Ours: at once, and there is one such queue.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

from ministack.core.concurrency import esm_wake, spawn_background
from ministack.services import lambda_svc, sqs

from tests.testbed import record
from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset, replace, require, settings

_MOST = 10_000
_LARGEST = 6 * 1024 * 1024  # bytes of what a function is called with
_ENVELOPE = 600  # bytes of a record beside its body
_TICK = 0.1
_OF_ONE_REQUEST = 10
_BILLED = 64 * 1024

_left: dict[str, tuple[int, int]] = {}  # queue -> pollers whose window is over, messages of each


def install() -> None:
    require(sqs, "_queues_lock", "_get_q", "_expire_retained", "_dlq_sweep", "_collect_msgs")
    require(lambda_svc, "_esms")
    delete = replace(sqs, "_delete_messages_for_esm", None)

    def delete_counted(url: str, handles: set[str]) -> None:
        record.count("sqs", "DeleteMessageBatch", -(-len(handles) // _OF_ONE_REQUEST))
        delete(url, handles)

    sqs._delete_messages_for_esm = delete_counted
    replace(sqs, "_receive_messages_for_esm", _receive)
    on_reset.append(_left.clear)
    require(sqs, "_act_send_message", "_queues", "_Err")
    handlers = sqs._HANDLERS
    if "StartMessageMoveTask" in handlers:
        raise AssertionError("the emulator changed: it moves messages by itself")
    handlers["StartMessageMoveTask"] = _move


def _move(data: dict[str, Any], _: str) -> dict[str, Any]:
    """Send all messages of a dead-letter queue to the queue they came from."""
    arn = data.get("SourceArn", "")
    with sqs._queues_lock:
        queues = {queue["attributes"]["QueueArn"]: url for url, queue in sqs._queues.items()}
        if arn not in queues:
            raise sqs._Err("ResourceNotFoundException", f"there is no queue {arn}")
        targets = [url for url, queue in sqs._queues.items() if _dead_letters_of(queue) == arn]
        if not targets:  # also one that something else than a queue sends to, as a stream's mapping
            message = "Source queue must be configured as a Dead Letter Queue."
            raise sqs._Err("InvalidParameterValue", message)
        source = sqs._get_q(queues[arn])
        moved, source["messages"] = source["messages"], []
    for message in moved:
        sqs._act_send_message({"MessageBody": message["body"], "QueueUrl": targets[0]}, targets[0])
    return {"TaskHandle": f"{arn}-{len(moved)}"}


def _dead_letters_of(queue: Any) -> str | None:
    policy = queue["attributes"].get("RedrivePolicy")
    found = json.loads(policy) if isinstance(policy, str) and policy else {}
    return found.get("deadLetterTargetArn") if isinstance(found, dict) else None


@hook("POST", "mappings/windows")
def _keep_windows(body: dict[str, Any]) -> dict[str, Any]:
    """Keep batching windows from now on, or not: {"kept", "pollers"}."""
    settings.windows = bool(body["kept"])
    settings.pollers = int(body.get("pollers", 1))
    return {}


def requests_of(body: str) -> int:
    """Return how many requests it is to send a message."""
    return max(1, -(-len(body.encode()) // _BILLED))


def _receive(url: str, size: int) -> list[Any]:
    """Take a batch for a mapping; nothing while its window is open and it is not full."""
    with sqs._queues_lock:
        queue = sqs._get_q(url)
        sqs._expire_retained(queue)
        sqs._dlq_sweep(queue)
        now = time.time()
        waiting = [each for each in queue["messages"] if each["visible_at"] <= now]
        size = min(int(size or 1), _MOST)
        window, pollers = _shape(queue["attributes"].get("QueueArn"))
        if window and url not in _left and waiting:
            if len(waiting) < size and now - min(each["visible_at"] for each in waiting) < window:
                spawn_background(_wake, thread_name="testbed-sqs-window")
                return []
            _left[url] = pollers, -(-len(waiting) // pollers)
        if url in _left:
            size = min(size, _take_share(url))
        visibility = int(queue["attributes"].get("VisibilityTimeout", "30"))
        fitting = sum(1 for _ in _fitting(waiting[:size]))
        taken = list(sqs._collect_msgs(queue, fitting, visibility)) if fitting else []
    for start in range(0, len(taken), _OF_ONE_REQUEST):
        bodies = [each["body"] for each in taken[start : start + _OF_ONE_REQUEST]]
        record.count("sqs", "ReceiveMessage", requests_of("".join(bodies)))
    return taken


def _take_share(url: str) -> int:
    """Return how many messages the next poller whose window is over has."""
    pollers, share = _left[url]
    if pollers > 1:
        _left[url] = pollers - 1, share
    else:
        del _left[url]
    return share


def _fitting(messages: list[Any]) -> Iterator[int]:
    """Return the sizes of the messages that go into one call."""
    sizes = (len(each["body"]) * 11 // 10 + _ENVELOPE for each in messages)  # quotes are escaped
    totals = itertools.accumulate(sizes)
    return itertools.takewhile(lambda total: total <= _LARGEST, totals)


def _shape(arn: str | None) -> tuple[float, int]:
    """Return the window that is kept for a queue, and its pollers."""
    mapping = next((e for e in lambda_svc._esms.values() if e.get("EventSourceArn") == arn), None)
    if mapping is None or not settings.windows:
        return 0.0, 1
    most = (mapping.get("ScalingConfig") or {}).get("MaximumConcurrency") or settings.pollers
    window = float(mapping.get("MaximumBatchingWindowInSeconds") or 0)
    return window, min(settings.pollers, most)


def _wake() -> None:
    time.sleep(_TICK)
    esm_wake.set()
