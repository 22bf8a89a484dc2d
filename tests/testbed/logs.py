"""CloudWatch Logs: what a container writes, line by line; pages of a megabyte at most."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import threading
import time
import uuid
from typing import Any

from ministack.services import cloudwatch_logs, lambda_svc

from tests.testbed.patching import replace, require

_PAUSE = 0.5  # seconds in which what is sent to subscribers comes together
_PAGE = 1 << 20  # bytes of one answer
_OVERHEAD = 26  # bytes that count for every event
_LONGEST = 262_118  # bytes of one log event; the awslogs driver splits longer lines


def install() -> None:
    require(
        cloudwatch_logs,
        "_append_log_events",
        "_subscription_pattern_matches",
        "_log_groups",
        "_make_group_arn",
    )
    get_events = replace(cloudwatch_logs, "_get_log_events", None)

    def get_page(data: dict[str, Any]) -> Any:
        """Answer with as many events as go into a page, and at least one."""
        answer = get_events(data)
        if len(answer[2]) <= _PAGE:
            return answer
        events = json.loads(answer[2])["events"]
        token = data.get("nextToken")
        forward = token.startswith("f/") if token else data.get("startFromHead", False)
        sizes = [len(each["message"].encode()) + _OVERHEAD for each in events]
        ordered = sizes if forward else reversed(sizes)
        fitting = sum(total <= _PAGE for total in itertools.accumulate(ordered))
        return get_events({**data, "limit": max(1, fitting)})

    cloudwatch_logs._get_log_events = get_page


def group_exists(group: str) -> bool:
    return group in cloudwatch_logs._log_groups


def make_group(group: str) -> None:
    """Make a log group if it is not there."""
    if not group_exists(group):
        cloudwatch_logs._log_groups[group] = {
            "arn": cloudwatch_logs._make_group_arn(group),
            "creationTime": _now(),
            "retentionInDays": None,
            "tags": {},
            "subscriptionFilters": {},
            "streams": {},
        }


class _Subscribers:
    """Calls functions with what they subscribed to, together for each stream and one after the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._runs = False

    def take(self, group: str, stream: str, events: list[dict[str, Any]]) -> None:
        if not (cloudwatch_logs._log_groups.get(group) or {}).get("subscriptionFilters"):
            return
        with self._lock:
            self._waiting.setdefault((group, stream), []).extend(events)
            if self._runs:
                return
            self._runs = True
        threading.Thread(target=self._deliver, name="log subscriptions", daemon=True).start()

    def _deliver(self) -> None:
        while True:
            time.sleep(_PAUSE)
            with self._lock:
                waiting, self._waiting = self._waiting, {}
                self._runs = bool(waiting)
            if not waiting:
                return
            for (group, stream), events in waiting.items():
                filters = (cloudwatch_logs._log_groups.get(group) or {}).get("subscriptionFilters")
                for one in (filters or {}).values():
                    _call(one, group, stream, events)


def _call(
    subscription: dict[str, Any], group: str, stream: str, events: list[dict[str, Any]]
) -> None:
    matches = cloudwatch_logs._subscription_pattern_matches
    wanted = [e for e in events if matches(subscription.get("filterPattern", ""), e["message"])]
    name = subscription["destinationArn"].rpartition(":function:")[2].partition(":")[0]
    function = lambda_svc._functions.get(name)
    if not wanted or function is None:
        return
    told = {
        "messageType": "DATA_MESSAGE",
        "owner": subscription["destinationArn"].split(":")[4],
        "logGroup": group,
        "logStream": stream,
        "subscriptionFilters": [subscription["filterName"]],
        "logEvents": [
            {"id": uuid.uuid4().hex, "timestamp": e["timestamp"], "message": e["message"]}
            for e in wanted
        ],
    }
    data = base64.b64encode(gzip.compress(json.dumps(told).encode())).decode()
    lambda_svc._execute_function_with_config_scope(function, {"awslogs": {"data": data}})


_subscribers = _Subscribers()


class LogStream:
    """One stream of a container. As with the awslogs driver, empty lines are left out."""

    def __init__(self, group: str, name: str) -> None:
        self._rest = b""
        self._place = group, name
        self._stream = cloudwatch_logs._log_groups[group]["streams"].setdefault(
            name,
            {
                "events": [],
                "uploadSequenceToken": "1",
                "creationTime": _now(),
                "firstEventTimestamp": None,
                "lastEventTimestamp": None,
                "lastIngestionTime": None,
            },
        )

    def write(self, data: bytes) -> None:
        """Add what was read; a line without an end waits for it."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._append(lines)

    def close(self) -> None:
        """Add the last line even if it has no end."""
        self._append([self._rest])
        self._rest = b""

    def _append(self, lines: list[bytes]) -> None:
        now = _now()
        messages = [
            line[start : start + _LONGEST].decode(errors="replace")
            for line in lines
            for start in range(0, len(line), _LONGEST)
        ]
        events = [{"timestamp": now, "message": each, "ingestionTime": now} for each in messages]
        cloudwatch_logs._append_log_events(self._stream, events)
        _subscribers.take(*self._place, events)


def _now() -> int:
    return int(time.time() * 1000)
