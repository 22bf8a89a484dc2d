"""EC2 backends over the API: listed, refined, added, and missed where the stack has none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.test_refining import EC2
from tests.rest.api_world import STACK, Api

BIG = {"name": "big", "type": "ec2", "instance_types": {"default": "m7i.48xlarge"}, "spot": "only"}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    world = Api(tmp_path, [*STACK, EC2])
    yield world
    world.store.close()


def apply(api: Api, *backends: Any, **sections: Any) -> Any:
    content = {"backends": list(backends), **sections}
    return api.put("/config", content, headers={"If-Match": "*"})


def refuse(api: Api, **entry: Any) -> dict[str, str]:
    answer = apply(api, {"name": "big", "type": "ec2", **entry})
    assert answer.status == 422
    return {each["field"]: each["message"] for each in answer.json["errors"]}


def test_the_stacks_own_is_listed_with_what_its_instances_are_made_of(api: Api) -> None:
    found = {each["name"]: each for each in api.get("/backends").json}
    assert list(found) == ["batch", "other", "ec2"]
    assert found["batch"]["ec2"] is None
    own = found["ec2"]
    assert (own["type"], own["origin"], own["can_run"]) == ("ec2", "stack", True)
    assert (own["max_concurrent"], own["active"]) == (20, 0)
    assert (own["queues"], own["default_queue"]) == (["default"], "default")
    assert own["ec2"]["instance_types"] == {"default": ["c5.xlarge"]}
    assert own["ec2"]["region"] == "eu-west-1"
    assert own["ec2"]["state_machine"] == EC2["machine"]
    assert (own["ec2"]["spot"], own["ec2"]["reuse"], own["ec2"]["ami"]) == (
        "never",
        False,
        "al2023",
    )


def test_it_is_refined_and_others_are_added_beside_it(api: Api) -> None:
    done = apply(api, {"name": "ec2", "type": "ec2", "max_instances": 3, "reuse": True}, BIG)
    assert (done.status, done.json["notes"]) == (201, [])
    found = {each["name"]: each for each in api.get("/backends").json}
    assert (found["ec2"]["refined"], found["ec2"]["max_concurrent"]) == (True, 3)
    assert found["ec2"]["ec2"]["reuse"]
    assert (found["big"]["origin"], found["big"]["ec2"]["spot"]) == ("configuration", "only")
    settings = api.store.get_run(api.run({"id": "t", "backend": "big"})).settings
    assert settings.backends["big"] == {
        "type": "ec2",
        "instance_types": {"default": ["m7i.48xlarge"]},
        "spot": "only",
    }
    assert settings.backends["ec2"] == {"type": "ec2", "reuse": True}


def test_it_can_be_the_default(api: Api) -> None:
    assert apply(api, BIG, settings={"default_backend": "big"}).status == 201
    assert api.get("/backends").json[0]["name"] == "big"
    run = api.run({"id": "t"})
    assert api.get(f"/runs/{run}/tasks/t").json["backend"] == "big"


def test_what_the_deployment_does_not_grant_is_refused_all_at_once(api: Api) -> None:
    told = refuse(
        api,
        aws={"region": "eu-north-1"},
        instance_profile_arn="arn:aws:iam::123456789012:instance-profile/mine",
    )
    assert "eu-west-1" in told["backends.big.aws.region"]
    assert "hut:ec2" in told["backends.big.instance_profile_arn"]
    told = refuse(api, instance_types={"gpu": ["g5.xlarge", "g5g.xlarge"]})
    assert "two partitions" in told["backends.big.instance_types.gpu"]
    told = refuse(api, ami="ubuntu", max_instances=0)
    assert told.keys() == {"backends[0].ami", "backends[0].max_instances"}


def test_a_name_of_the_stack_keeps_its_type(api: Api) -> None:
    answer = apply(api, {"name": "ec2", "type": "batch", "default_image": "debian"})
    assert answer.status == 422
    assert "of type ec2" in answer.json["errors"][0]["message"]


def test_a_backend_that_was_applied_before_the_stack_had_its_like(tmp_path: Path) -> None:
    before = Api(tmp_path)
    done = apply(before, BIG)
    assert "hut:ec2" in done.json["notes"][0]
    big = before.get("/backends/big").json
    assert (big["can_run"], big["ec2"]) == (False, None)
    assert "hut:ec2" in big["problem"]
    before.store.close()
    after = Api(tmp_path / "..", [*STACK, EC2])
    after.configurations.kept = before.configurations.kept
    assert "apply the configuration again" in after.get("/backends/big").json["problem"]
    refused = after.post("/runs", {"tasks": [{"id": "t", "command": "x", "backend": "big"}]})
    assert "apply the configuration again" in refused.body
    assert apply(after, BIG, settings={"default_backend": "big"}).status == 201
    assert after.get("/backends/big").json["can_run"]
    after.store.close()
