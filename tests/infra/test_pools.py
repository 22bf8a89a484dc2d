"""Pools of workers as the stacks make them: a queue that rings for each, and what functions are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hut.backends.kinds import read_backends
from infra.settings import SettingsError, read_settings
from tests.infra.synthesis import Synthesis, flat, synthesize


def entries(synthesis: Synthesis) -> list[dict[str, object]]:
    for function in synthesis.resources("AWS::Lambda::Function").values():
        variables = function["Properties"].get("Environment", {}).get("Variables", {})
        if "HUT_BACKENDS" in variables:
            found: list[dict[str, object]] = json.loads(flat(variables["HUT_BACKENDS"]))
            return found
    raise AssertionError("no function has backends")


def bells(synthesis: Synthesis) -> list[str]:
    return [name for name in synthesis.resources("AWS::SQS::Queue") if "Bell" in name]


def test_there_is_a_pool_without_a_choice_and_it_costs_nothing_idle(default: Synthesis) -> None:
    *_, pool = entries(default)
    assert (pool["name"], pool["type"], pool["log_group"]) == ("workers", "workers", "/hut/jobs")
    assert len(bells(default)) == 1
    bell = default.properties("AWS::SQS::Queue", "WorkersBell")
    assert bell["MessageRetentionPeriod"] == 300
    assert "RedrivePolicy" not in bell
    mapped = default.resources("AWS::Lambda::EventSourceMapping").values()
    assert not any("Bell" in flat(each["Properties"]["EventSourceArn"]) for each in mapped)


def test_each_pool_is_a_backend_with_a_queue_of_its_own(code: Path) -> None:
    synthesis = synthesize(code, {"pools": ["cpu", "big-gpu"], "prefix": "lab"})
    found = [entry for entry in entries(synthesis) if entry["type"] == "workers"]
    assert [entry["name"] for entry in found] == ["cpu", "big-gpu"]
    assert len(bells(synthesis)) == 2
    assert all(set(entry["bells"]) == {"cpu", "big-gpu"} for entry in found)  # type: ignore[call-overload]
    *_, last = read_backends(json.dumps(found), prefix="lab")
    assert (last.name, last.cap) == ("big-gpu", None)


def test_without_pools_nothing_of_them_is_there(code: Path) -> None:
    synthesis = synthesize(code, {"pools": False})
    assert not bells(synthesis)
    assert all(entry["type"] != "workers" for entry in entries(synthesis))
    for role, statement in synthesis.statements():
        assert "POOL#*" not in json.dumps(statement), role


@pytest.mark.parametrize(
    ("pools", "said"),
    [
        (["Batch!"], "names such as workers"),
        (["batch"], "named 'batch' already"),
        (["ec2"], "named 'ec2' already"),
        (["a", "a"], "twice"),
        ("a b", "names such as workers"),
    ],
)
def test_names_that_can_be_none_are_refused(pools: object, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"hut": {"pools": pools}})
    assert said in str(refused.value)
