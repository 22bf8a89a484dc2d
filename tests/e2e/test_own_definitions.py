"""A deployment whose jobs are submitted against a job definition that somebody else registered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deployment import Cdk, Deployment, deploy
from tests.e2e.remote_hut import RemoteHut

NAME = "lab-tools"
GROUP = "/lab/tools"
IMAGE = "registry.example/lab/tools:1"


@pytest.fixture(scope="module")
def deployment(cdk: Cdk) -> Iterator[Deployment]:
    client = cdk.bed.client
    client("logs").create_log_group(logGroupName=GROUP)
    options = {"awslogs-group": GROUP, "awslogs-stream-prefix": "tools"}
    client("batch").register_job_definition(
        jobDefinitionName=NAME,
        type="container",
        platformCapabilities=["EC2"],
        containerProperties={
            "image": IMAGE,
            "command": ["false"],
            "environment": [{"name": "OWN", "value": "kept"}],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "512"},
            ],
            "logConfiguration": {"logDriver": "awslogs", "options": options},
        },
    )
    made = deploy(
        cdk,
        prefix="own",
        removal="destroy",
        sweep_minutes=60,
        default_partition="ec2",
        job_definition=NAME,
        job_log_group=GROUP,
    )
    yield made
    made.destroy()


@pytest.fixture
def own(deployment: Deployment, tmp_path: Path) -> RemoteHut:
    hut = RemoteHut(tmp_path, deployment=deployment)
    hut.add_target("own")
    return hut


TASKS = [
    {"id": "plain", "command": 'echo "$OWN plain"'},
    {"id": "other", "command": 'echo "$OWN other"', "image": "registry.example/other:2"},
]


def image_of(own: RemoteHut, run: str, task: str) -> str:
    return str(own.job(run, task)["container"]["image"])


def revisions(own: RemoteHut) -> list[dict[str, Any]]:
    batch = own.bed.client("batch")
    return list(batch.describe_job_definitions(jobDefinitionName=NAME)["jobDefinitions"])


def test_an_ignored_image_is_said_wherever_one_looks(own: RemoteHut) -> None:
    file = own.write(TASKS)
    said = f"'registry.example/other:2' is ignored: job definition '{NAME}'"
    assert said in own("plan", file).stderr
    submitted = own("run", file)
    assert said in submitted.stderr
    [run] = own.json("runs")
    assert run["state"] == "completed"
    assert {image_of(own, run["id"], task["id"]) for task in TASKS} == {IMAGE}
    assert own("logs", run["id"], "other").stdout == "kept other\n"
    message = own.task(run["id"], "other")["attempts"][0]["message"]
    assert "image 'registry.example/other:2' was ignored" in message
    assert "was ignored" in own("why", run["id"], "other").stdout
    assert own.task(run["id"], "plain")["message"] == ""
    assert len(revisions(own)) == 1


def test_what_a_run_costs_is_told(own: RemoteHut) -> None:
    run = own.run([{"id": "a", "command": "sleep 1"}])
    assert run["cost"] > 0
    assert (run["cost_lost"], run["losses"]) == (0, 0)
    assert own.task(run["id"], "a")["attempts"][0]["cost"] == run["cost"]
    assert "cost" in own("show", run["id"]).stdout
