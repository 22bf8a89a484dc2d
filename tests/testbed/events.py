"""EventBridge: events of AWS services, and how a test loses, repeats or delays them.

AWS delivers the events of Batch at least once and in no certain order; those of Step Functions
at best effort. Disturbances are ours.
"""

from __future__ import annotations

import contextvars
import json
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ministack.core.concurrency import spawn_background
from ministack.services import eventbridge, scheduler, sqs

from tests.testbed import record
from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset, replace, require
from tests.testbed.sqs import requests_of

_ENVELOPE = ("version", "id", "account", "time", "region", "replay-name")


@dataclass(frozen=True)
class Disturbance:
    """What happens to the events of a source."""

    lose: float = 0.0  # share that never arrives
    copies: int = 1
    delay: float = 0.0  # each copy comes at a time of its own within these seconds


_disturbed: dict[str, Disturbance] = {}
_lost: Counter[str] = Counter()
_outgoing: queue.SimpleQueue[tuple[contextvars.Context, dict[str, Any]]] = queue.SimpleQueue()


def emit(
    source: str, detail_type: str, detail: Mapping[str, Any], resources: Sequence[str] = ()
) -> None:
    """Send an event of an AWS service, in the order of the calls, without waiting for it.

    One that no rule wants is not made at all: arrays have many of them.
    """
    event = {"source": source, "detail-type": detail_type, "resources": resources, "detail": detail}
    if not _is_wanted(event):
        return
    entry = {
        "Source": source,
        "DetailType": detail_type,
        "Detail": json.dumps(detail, default=str),
        "Resources": list(resources),
        "EventBusName": "default",
    }
    _outgoing.put((contextvars.copy_context(), entry))


def _is_wanted(event: dict[str, Any]) -> bool:
    """Say whether a rule may match; in doubt it may."""
    for rule in eventbridge._rules.values():
        pattern = rule.get("EventPattern")
        alternatives = eventbridge._compiled_pattern(pattern) if isinstance(pattern, str) else None
        for each in alternatives or ():
            known = {name: each[name] for name in each if name not in _ENVELOPE}
            if not known or eventbridge._matches_detail(event, known):
                return True
    return bool(eventbridge._archives)


def install() -> None:
    require(eventbridge, "_rules", "_archives", "_compiled_pattern", "_matches_detail")
    _deliver_safely()
    put_events = replace(eventbridge, "_put_events", None)

    def put_disturbed(data: dict[str, Any], allow_aws_source: bool = False) -> Any:
        """Put events; those of disturbed sources may never come, twice, or late."""
        kept = [entry for entry in data.get("Entries", []) if not _disturb(entry, put_events)]
        return put_events({**data, "Entries": kept}, allow_aws_source)

    def send() -> None:
        while True:
            context, entry = _outgoing.get()
            context.run(put_disturbed, {"Entries": [entry]}, True)

    eventbridge._put_events = put_disturbed
    threading.Thread(target=send, daemon=True, name="testbed-events").start()
    on_reset.extend((_disturbed.clear, _lost.clear))

    @hook("POST", "events/put")
    def put(body: dict[str, Any]) -> Any:
        """Put events of any source; they are never disturbed."""
        return json.loads(put_events({"Entries": body["Entries"]}, True)[2])

    require(scheduler, "_schedules", "_tick_schedules")  # it fires rate(...) by itself


def _deliver_safely() -> None:
    """Put an event into a queue while nothing else changes the queue's list of messages.

    The emulator does not: an event that comes while messages are deleted is lost there.
    """
    deliver = replace(eventbridge, "_dispatch_to_sqs", None)

    def deliver_locked(queue: Any, payload: str, *rest: Any) -> None:
        record.count("sqs", "SendMessage", requests_of(payload))
        with sqs._queues_lock:
            deliver(queue, payload, *rest)

    eventbridge._dispatch_to_sqs = deliver_locked


def _disturb(entry: dict[str, Any], put_events: Any) -> bool:
    """Take an event out of the normal way; say whether that was done."""
    source = entry.get("Source", "")
    how = _disturbed.get(source)
    if how is None:
        return False
    if random.random() < how.lose:
        _lost[source] += 1
        return True

    def deliver(after: float) -> None:
        time.sleep(after)
        put_events({"Entries": [entry]}, True)

    for _ in range(how.copies):
        spawn_background(deliver, random.uniform(0, how.delay), thread_name="testbed-event")
    return True


@hook("POST", "events/lose")
def _lose(body: dict[str, Any]) -> dict[str, Any]:
    """Lose a share (0 to 1) of the events of a source; 0 ends it."""
    _set(body["source"], Disturbance(lose=float(body["share"])))
    return {"lost": dict(_lost)}


@hook("POST", "events/disturb")
def _disturb_more(body: dict[str, Any]) -> dict[str, Any]:
    """Lose, repeat and delay the events of a source; without anything it ends."""
    how = {name: body[name] for name in ("lose", "copies", "delay") if name in body}
    _set(body["source"], Disturbance(**how))
    return {"lost": dict(_lost)}


@hook("GET", "events/lost")
def _count_lost(_: dict[str, Any]) -> dict[str, int]:
    return dict(_lost)


def _set(source: str, how: Disturbance) -> None:
    if how == Disturbance():
        _disturbed.pop(source, None)
    else:
        _disturbed[source] = how


@hook("POST", "scheduler/fire")
def _fire(body: dict[str, Any]) -> dict[str, Any]:
    """Run the target of a schedule now and, if it is a Lambda function, wait for its answer."""
    from ministack.services import lambda_svc

    name = body["name"]
    found = [
        schedule
        for key, schedule in list(scheduler._schedules.items())
        if key.rpartition("/")[2] == name or schedule.get("Arn") == name
    ]
    if len(found) != 1:
        raise ValueError(f"there are {len(found)} schedules named {name}")
    target = found[0]["Target"]
    event = json.loads(target.get("Input") or "{}")
    if ":lambda:" not in target["Arn"]:
        raise ValueError(f"only schedules of Lambda functions can be fired, not {target['Arn']}")
    function, config, _ = lambda_svc._get_func_record_for_ref(target["Arn"])
    if not function:
        raise ValueError(f"there is no function {target['Arn']}")
    record = lambda_svc._execution_record_for_config(function, config)
    result = lambda_svc._execute_function_with_config_scope(record, event)
    return {"error": bool(result.get("error")), "result": result.get("body")}
