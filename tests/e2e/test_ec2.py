"""Tasks on EC2 instances of their own, on a deployed control plane: as on this machine, and as on Batch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.test_hqs_runner import CASES
from tests.e2e.conftest import calm
from tests.e2e.deployment import Deployment
from tests.e2e.instances import SLOW, attempts, backends, begin, calm_ec2, instances, settled
from tests.e2e.remote_hut import RemoteHut, until
from tests.e2e.test_examples import EXAMPLES, EXIT_CODES, NAMES, NEEDS, SMALL, two_places
from tests.e2e.test_task_programs import (
    FLOW,
    breaking,
    hold,
    hold_flow,
    register,
    tasks_of,
    write_programs,
)

MOST = 20
IMAGE = "public.ecr.aws/docker/library/python:3.12"
REUSING = {"reuse": True, "instance_types": {"default": "c6i.large"}}
INNER = json.dumps([{"id": "inner", "command": "echo inner >> ran"}])
KINDS = [
    {"id": "boxed", "image": IMAGE, "command": "echo in $HUT_TASK_ID; exit 3"},
    {"id": "writes", "command": f"echo '{INNER}' > w.json", "generates_source": "w.json"},
    {"id": "long", "command": "echo begun; sleep 600", "time_limit": "1s"},
    {"id": "flaky", "command": "[ $HUT_ATTEMPT = 2 ]", "retries": 1},
]
PROGRAMS = ("success", "exit code", "both", "killed", "neither", "too long")
CHAIN = [
    {"id": "a", "command": "echo a >> reused"},
    {"id": "b", "command": "echo b >> reused", "deps": ["a"]},
    {"id": "c", "command": "echo c >> reused", "deps": ["b"]},
]


@pytest.fixture
def hut(deployment: Deployment, targets: Any, tmp_path: Any) -> Iterator[RemoteHut]:
    """hutctl with the deployment, and backends on EC2, as its target."""
    it = RemoteHut(tmp_path, {"XDG_CONFIG_HOME": str(targets)}, deployment=deployment)
    it.empty_home()
    begin(it, backends(reusing=REUSING))
    yield it
    calm(it)
    it.call("PUT", "/config", {}, headers={"If-Match": "*"})
    calm_ec2(it)


def test_task_programs_are_judged_by_their_files(hut: RemoteHut, tmp_path: Any) -> None:
    register(hut, write_programs(tmp_path / "task programs"))
    cases = [case for case in CASES if case.does in PROGRAMS]
    run = hut.run([*map(breaking, cases), *FLOW], exit_code=1, backend="ec2", bundle=4)["id"]
    tasks = tasks_of(hut, run)
    for case in cases:
        hold(tasks, case)
    hold_flow(hut, run, tasks)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {*NEEDS, "hqs"}])
def test_an_example_gives_the_same_as_on_this_machine(hut: RemoteHut, name: str) -> None:
    """Run all but those that only take more time: what needs packages needs them anywhere.

    That documents flow there, `test_task_programs_are_judged_by_their_files` looks at.
    """
    file = str(EXAMPLES / name / "workflow.json")
    code = EXIT_CODES.get(name, 0)
    with two_places(hut, name) as (here, there):
        local = here.do("run", "workflow.json", "--target", "local", *SMALL, exit_code=code)
        remote = there.do("run", file, "--backend", "ec2", *SMALL, exit_code=code)
        for what, found in local.items():
            assert remote[what] == found
        assert remote["files"] or remote["documents"]
    run = hut.json("show", "last")["id"]
    settled(hut, run, state="failed" if code else "completed")


def test_sixty_tasks_on_twenty_instances(hut: RemoteHut) -> None:
    """What does not fit waits, in order; beside them, tasks of every kind go their way."""
    tasks = [{"id": f"t.{number:02}", "command": "true"} for number in range(60)]
    run = hut.start(tasks, backend="ec2")
    kinds = hut.start(KINDS, backend="ec2")
    chain = hut.start(CHAIN, backend="reusing")
    settled(hut, run)
    look_at_kinds(hut, kinds)
    look_at_reused(hut, chain)
    found = [*instances(hut, run), *instances(hut, kinds)]
    changes = [(each["launched"], 1) for each in found] + [(each["ended"], -1) for each in found]
    assert max(itertools.accumulate(change for _, change in sorted(changes))) <= MOST
    order = [int(each["tags"]["hut:attempt"].split("-")[2]) for each in instances(hut, run)]
    assert sorted(order) == list(range(60))
    assert all(abs(at - position) < MOST for at, position in enumerate(order))


def look_at_kinds(hut: RemoteHut, run: str) -> None:
    """Look at a task in a container, one that writes tasks, one that is too long, one that is repeated."""
    settled(hut, run, state="failed")
    boxed, writes, long, flaky, inner = hut.tasks(run).values()
    assert (boxed["reason"], boxed["exit_code"]) == ("exit", 3)
    assert hut("logs", run, "boxed").stdout == "in boxed\n"
    assert writes["state"] == inner["state"] == flaky["state"] == "completed"
    assert hut.lines("ran") == ["inner"]
    assert hut("logs", run, "writes").stdout == ""
    assert (long["state"], long["reason"]) == ("failed", "timeout")
    assert hut("logs", run, "long").stdout.splitlines()[0] == "begun"
    assert [each["state"] for each in hut.task(run, "flaky")["attempts"]] == ["failed", "completed"]
    assert all(each["cost"] > 0 for each in attempts(hut, run))


def look_at_reused(hut: RemoteHut, run: str) -> None:
    """Look at tasks that took one instance after the other, and at its end."""
    settled(hut, run, shared=True)
    assert hut.lines("reused") == ["a", "b", "c"]
    [found] = instances(hut, run)
    assert found["state"] == "running"
    forget_idle(hut)
    until(
        lambda: hut.sweep() and instances(hut, run)[0]["state"] == "terminated",
        "the sweep ended the idle instance",
        SLOW,
    )


def forget_idle(hut: RemoteHut) -> None:
    """Let the time of idle instances be over."""
    table = hut.deployment.outputs["TableName"]
    client = hut.bed.client("dynamodb")
    for item in client.scan(TableName=table)["Items"]:
        if item["pk"]["S"].startswith("IDLE#"):
            client.update_item(
                TableName=table,
                Key={"pk": item["pk"], "sk": item["sk"]},
                UpdateExpression="SET #until = :past",
                ExpressionAttributeNames={"#until": "until"},
                ExpressionAttributeValues={":past": {"N": "1"}},
            )


def test_ten_short_tasks_share_an_instance(hut: RemoteHut) -> None:
    tasks = [{"id": f"t{n}", "command": f"echo out {n}; exit {n // 9}"} for n in range(10)]
    file = hut.write(tasks, bundle=10)
    hut("run", file, "--backend", "ec2", exit_code=1)
    run = hut.json("show", "last")["id"]
    found = {task["id"]: task for task in hut.json("tasks", run)}
    assert {task["job_id"].partition("#")[0] for task in found.values()} == {
        found["t0"]["job_id"].partition("#")[0]
    }
    assert [task for task in found if found[task]["state"] == "failed"] == ["t9"]
    assert {task["attempt"] for task in found.values()} == {1}
    assert hut("logs", run, "t4").stdout == "out 4\n"
    settled(hut, run, state="failed")
