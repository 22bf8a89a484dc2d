"""Tasks that ask for properties, over the API: placed, refused with every reason, or waiting."""

from __future__ import annotations

from typing import Any

import pytest

from tests.rest.api_world import Api

PROPERTIES = {"cpu_count": "minimum", "gpu": "exact", "os": "priority"}


def offer(api: Api, **simple: Any) -> None:
    """Configure a scheduler, and what the queues of ``batch`` advertise."""
    simple["supported_platform_properties"] = PROPERTIES
    targets = {
        "fargate": {"properties": {"cpu_count": "4"}},
        "ec2": {"properties": {"cpu_count": "64", "gpu": "a100"}},
    }
    api.apply(
        schedulers=[{"name": "MAIN", "simple": simple}],
        backends=[{"name": "batch", "type": "batch", "targets": targets}],
    )


def task(name: str, **properties: str) -> dict[str, Any]:
    return {"id": name, "command": "x", "properties": properties}


def test_a_task_goes_to_the_queue_that_has_what_it_asks_for(api: Api) -> None:
    offer(api)
    body = {"tasks": [task("small", cpu_count="2"), task("large", cpu_count="8")]}
    assert api.post("/runs", body).status == 201
    planned = api.post("/plan", body).json["tasks"]
    assert {each["id"]: each.get("partition") for each in planned} == {
        "small": "fargate",
        "large": "ec2",
    }


@pytest.mark.parametrize("path", ["/runs", "/plan"])
def test_what_nobody_could_ever_run_is_refused_with_every_reason(api: Api, path: str) -> None:
    offer(api)
    tasks = [
        task("fine", cpu_count="64", gpu="a100"),
        task("both", cpu_count="128", gpu="h100"),
        task("typo", gpus="1"),
        task("unit", cpu_count="8GB"),
    ]
    answer = api.post(path, {"tasks": tasks})
    assert answer.status == 422
    found = {(e["task"], e["field"]): e["message"] for e in answer.json["errors"]}
    assert set(found) == {
        ("both", "properties.cpu_count"),
        ("both", "properties.gpu"),
        ("typo", "properties.gpus"),
        ("unit", "properties.cpu_count"),
    }
    assert "at least 128 was asked for" in found["both", "properties.cpu_count"]
    assert "the most any target has is 64" in found["both", "properties.cpu_count"]
    assert "h100 was asked for, and targets have a100" in found["both", "properties.gpu"]
    assert "gpu" in found["typo", "properties.gpus"]
    assert "8GB" in found["unit", "properties.cpu_count"]
    assert api.get("/runs").json == []


def test_why_a_task_waits_for_a_target_names_what_each_lacks(api: Api) -> None:
    offer(api, unsatisfiable="wait")
    run = api.post("/runs", {"tasks": [task("big", cpu_count="128", gpu="a100")]}).json["id"]
    why = api.get(f"/runs/{run}/tasks/big/why").json
    assert "waits for a target" in why["why"]
    said = " ".join(why["details"])
    assert "fargate lacks cpu_count >= 128 (it has 4) and gpu = a100 (it does not say)" in said
    assert "ec2 lacks cpu_count >= 128 (it has 64)" in said
