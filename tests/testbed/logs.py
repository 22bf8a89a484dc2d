"""CloudWatch Logs: what a container writes, line by line; pages of a megabyte at most."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

from ministack.services import cloudwatch_logs

from tests.testbed.patching import replace, require

_PAGE = 1 << 20  # bytes of one answer
_OVERHEAD = 26  # bytes that count for every event
_LONGEST = 262_118  # bytes of one log event; the awslogs driver splits longer lines


def install() -> None:
    require(
        cloudwatch_logs,
        "_append_log_events",
        "_fanout_to_subscription_filters",
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
        cloudwatch_logs._fanout_to_subscription_filters(*self._place, events)


def _now() -> int:
    return int(time.time() * 1000)
