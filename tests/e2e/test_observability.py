"""What the control plane tells of itself in its logs; what it must not tell is in test_secrets."""

from __future__ import annotations

import json

from tests.e2e.remote_hut import RemoteHut


def all_log_lines(hut: RemoteHut) -> dict[str, list[str]]:
    """Return what stands in each log group but those of jobs."""
    logs = hut.bed.client("logs")
    found: dict[str, list[str]] = {}
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            if name != "/hut/jobs":
                found[name] = [event["message"] for event in hut.deployment.log_events(name)]
    return found


def test_lines_are_json_with_the_run(hut: RemoteHut) -> None:
    run = hut.run([{"id": "a", "command": "true"}])["id"]
    lines = all_log_lines(hut)
    for name in ("api", "advance", "finish"):  # the others tell only of what is odd
        told = [line for line in lines[f"/aws/lambda/hut-{name}"] if run in line]
        assert told, name
        documents = [json.loads(line) for line in told if line.startswith("{")]
        assert any(run in (each.get("run"), each.get("run_id")) for each in documents)
