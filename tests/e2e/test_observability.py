"""What the control plane tells of itself in its logs, and what it must not tell."""

from __future__ import annotations

import json

from tests.e2e.remote_hut import RemoteHut

SECRET = "tell-nobody-7c1f"


def all_log_lines(hut: RemoteHut) -> dict[str, list[str]]:
    """Return what stands in each log group but those of jobs."""
    logs = hut.bed.client("logs")
    found: dict[str, list[str]] = {}
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            if name != "/hut/jobs":
                pages = logs.get_paginator("filter_log_events").paginate(logGroupName=name)
                found[name] = [event["message"] for page in pages for event in page["events"]]
    return found


def test_no_command_and_no_value_is_in_the_logs(hut: RemoteHut) -> None:
    secret = {"command": f"echo {SECRET}; exit 3", "env_vars": {"PASSWORD": SECRET}}
    generated = f'echo \'[{{"id": "x", "command": "{SECRET}"}}]\' > g.json'
    tasks = [
        {"id": "bad", **secret, "retries": 1, "tags": {"note": SECRET}},
        {"id": "strange", **secret, "partition": "nowhere"},
        {"id": "gen", "command": generated, "generates_source": "g.json"},
        {"id": "wrong", "command": f"echo {SECRET} > w.json", "generates_source": "w.json"},
        {"id": "wait", "command": "sleep 1"},
    ]
    file = hut.write(tasks, env_vars={"TOKEN": SECRET})
    key = f"{SECRET}-{hut.folder.name}"
    run = hut("run", file, "--detach", "--env", f"X={SECRET}", "--idempotency-key", key)
    run_id = run.stdout.strip()
    hut.ended(run_id)
    hut("run", hut.write([{"id": "a", "comand": SECRET}], "bad.json"), exit_code=2)
    for name in ("script", "why", "logs"):
        assert hut(name, run_id, "bad").stdout
    hut("cancel", run_id)
    hut.sweep()
    lines = all_log_lines(hut)
    assert {f"/aws/lambda/hut-{name}" for name in ("api", "advance", "observe")} <= set(lines)
    assert any(run_id in line for line in lines["/aws/lambda/hut-api"])
    assert [line for some in lines.values() for line in some if SECRET in line] == []
    states = hut.bed.client("stepfunctions")
    history = states.get_execution_history(executionArn=hut.execution(run_id)["executionArn"])
    assert SECRET not in json.dumps(history["events"], default=str)


def test_lines_are_json_with_the_run(hut: RemoteHut) -> None:
    run = hut.run([{"id": "a", "command": "true"}])["id"]
    lines = all_log_lines(hut)
    for name in ("api", "advance", "finish"):  # the others tell only of what is odd
        told = [line for line in lines[f"/aws/lambda/hut-{name}"] if run in line]
        assert told, name
        documents = [json.loads(line) for line in told if line.startswith("{")]
        assert any(run in (each.get("run"), each.get("run_id")) for each in documents)
