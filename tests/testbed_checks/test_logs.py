"""CloudWatch Logs: pages, and tokens that go on where a page ended."""

from __future__ import annotations

import time
from typing import Any

from tests.testbed_checks.making import Maker


def test_logs_are_read_in_pages(make: Maker) -> None:
    logs, group = make.bed.client("logs"), make.name("group")
    place = {"logGroupName": group, "logStreamName": "stream"}
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(**place)

    def put(*messages: str) -> None:
        now = int(time.time() * 1000)
        events = [{"timestamp": now, "message": message} for message in messages]
        logs.put_log_events(logEvents=events, **place)

    def page(**more: Any) -> tuple[list[str], str]:
        found = logs.get_log_events(startFromHead=True, **place, **more)
        return [each["message"] for each in found["events"]], found["nextForwardToken"]

    put("a", "b", "c")
    first, token = page(limit=2)
    rest, token = page(nextToken=token)
    assert (first, rest) == (["a", "b"], ["c"])
    assert page(nextToken=token) == ([], token)
    put("d")
    more, token = page(nextToken=token)
    assert more == ["d"]
    for letter in "efgh":
        put(*[letter * 200_000 for _ in range(2)])
    large, token = page(nextToken=token)
    assert [each[0] for each in large] == ["e", "e", "f", "f", "g"]  # a megabyte at most
    assert [each[0] for each in page(nextToken=token)[0]] == ["g", "h", "h"]
