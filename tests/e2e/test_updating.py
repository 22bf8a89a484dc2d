"""The life of a deployment: updated while a run is going on, a second one beside it, destroyed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deployment import Cdk, Deployment, deploy
from tests.e2e.remote_hut import HOLD, TERMINAL, RemoteHut, until
from tests.testbed.running import TestBed


def function(bed: TestBed, name: str) -> dict[str, Any]:
    found: dict[str, Any] = bed.client("lambda").get_function_configuration(FunctionName=name)
    return found


def test_an_update_while_a_run_goes_on_loses_nothing(
    hut: RemoteHut, deployment: Deployment
) -> None:
    numbers = [str(i) for i in range(100)]
    command = "[ -e go ] || sleep 2; echo {} >> ran; [ $HUT_ATTEMPT = 2 ]"
    tasks = [
        {"id": "hold", "command": f"{HOLD}; echo hold >> ran", "priority": 9},
        *({"id": f"t.{i}", "command": command.format(i), "retries": 1} for i in numbers),
        {"id": "end", "command": "echo end >> ran", "deps": ["t.*"]},
    ]
    run = hut.start(tasks, "--max-concurrent", "6")
    until(lambda: hut.lines("ran"), "a task ended")
    before = function(hut.bed, "hut-advance")["Environment"]["Variables"]["HUT_RETENTION_DAYS"]
    deployment.update(data_days=30, log_days=7, stream_window=0)
    after = function(hut.bed, "hut-advance")["Environment"]["Variables"]["HUT_RETENTION_DAYS"]
    assert (before, after) == ("90", "30")
    assert hut.show(run)["state"] == "running"
    hut.go()
    # The test bed kills functions that it updates while they run, which AWS does not: what they
    # had taken comes again after minutes, and the sweep, which is called every two, is quicker.
    until(lambda: hut.sweep() and hut.show(run)["state"] in TERMINAL, "the run ended", 120)
    assert hut.ended(run)["state"] == "completed"
    assert sorted(hut.lines("ran")) == sorted([*numbers, *numbers, "hold", "end"])
    assert {hut.task(run, f"t.{i}")["attempt"] for i in numbers} == {2}
    assert hut.run([{"id": "a", "command": "true"}])["state"] == "completed"


def everything(bed: TestBed) -> dict[str, set[str]]:
    """Return what there is in the account, by kind."""

    def names(service: str, operation: str, path: str, key: str | None) -> set[str]:
        client = bed.client(service)
        if client.can_paginate(operation):
            pages = list(client.get_paginator(operation).paginate())
        else:
            pages = [getattr(client, operation)()]
        found = [entry for page in pages for entry in page.get(path, [])]
        return {entry if key is None else entry[key] for entry in found}

    kinds: dict[str, tuple[str, str, str, str | None]] = {
        "tables": ("dynamodb", "list_tables", "TableNames", None),
        "buckets": ("s3", "list_buckets", "Buckets", "Name"),
        "functions": ("lambda", "list_functions", "Functions", "FunctionName"),
        "mappings": ("lambda", "list_event_source_mappings", "EventSourceMappings", "UUID"),
        "queues": ("sqs", "list_queues", "QueueUrls", None),
        "rules": ("events", "list_rules", "Rules", "Name"),
        "schedules": ("scheduler", "list_schedules", "Schedules", "Name"),
        "machines": ("stepfunctions", "list_state_machines", "stateMachines", "name"),
        "log groups": ("logs", "describe_log_groups", "logGroups", "logGroupName"),
        "roles": ("iam", "list_roles", "Roles", "RoleName"),
        "profiles": (
            "iam",
            "list_instance_profiles",
            "InstanceProfiles",
            "InstanceProfileName",
        ),
        "APIs": ("apigateway", "get_rest_apis", "items", "id"),
        "job queues": ("batch", "describe_job_queues", "jobQueues", "jobQueueName"),
        "environments": (
            "batch",
            "describe_compute_environments",
            "computeEnvironments",
            "computeEnvironmentName",
        ),
        "networks": ("ec2", "describe_vpcs", "Vpcs", "VpcId"),
        "subnets": ("ec2", "describe_subnets", "Subnets", "SubnetId"),
        "security groups": ("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
        "templates": (
            "ec2",
            "describe_launch_templates",
            "LaunchTemplates",
            "LaunchTemplateName",
        ),
    }
    found = {kind: names(*where) for kind, where in kinds.items()}
    stacks = bed.client("cloudformation").list_stacks()["StackSummaries"]
    found["stacks"] = {
        each["StackName"] for each in stacks if each["StackStatus"] != "DELETE_COMPLETE"
    }
    return found


@pytest.fixture
def lab(cdk: Cdk, deployment: Deployment) -> Iterator[Callable[[], Deployment]]:
    """A second deployment in the same account, under another prefix."""
    del deployment  # it must be there before
    made: list[Deployment] = []

    def make() -> Deployment:
        made.append(deploy(cdk, prefix="lab", removal="destroy", sweep_minutes=60))
        return made[-1]

    yield make
    if made and "LabStorage" in everything(cdk.bed)["stacks"]:
        made[-1].destroy()


def test_destroy_leaves_nothing_and_touches_no_other_deployment(
    hut: RemoteHut, lab: Callable[[], Deployment], tmp_path: Path
) -> None:
    before = everything(hut.bed)
    deployed = lab()
    assert everything(hut.bed) != before
    folder = tmp_path / "lab"
    folder.mkdir()
    there = RemoteHut(folder, deployment=deployed)
    there.add_target("lab")
    run = there.run([{"id": "a", "command": "true # " + "x" * 20_000}])
    assert run["state"] == "completed"
    assert hut.call("GET", f"/runs/{run['id']}").status == 404
    bucket = deployed.outputs["BucketName"]
    assert hut.bed.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] > 0
    deployed.destroy()
    after = everything(hut.bed)
    left = {kind: after[kind] - before[kind] for kind in after}
    gone = {kind: before[kind] - after[kind] for kind in after}
    assert {kind: names for kind, names in left.items() if names} == {}
    assert {kind: names for kind, names in gone.items() if names} == {}
    assert hut.run([{"id": "a", "command": "true"}])["state"] == "completed"
