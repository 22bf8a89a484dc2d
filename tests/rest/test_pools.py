"""Routes of pools: workers join, take turns and leave; people look and drain."""

from __future__ import annotations

from typing import Any

import pytest

from hut.pools.port import Order, Queued
from tests.rest.api_world import Api

JOIN = {"name": "big one", "properties": {"cpus": "4"}, "slots": 2, "host": "h", "pid": 7}


def join(api: Api, **fields: Any) -> str:
    answer = api.post("/pools/gpu/workers", {**JOIN, **fields})
    assert answer.status == 201, answer.body
    worker: str = answer.json["worker"]
    return worker


def put(api: Api, name: str = "hut-r1-0-1-1") -> None:
    pool = api.pooling._pool("gpu").pool
    pool.enqueue([Queued(name, "r1", 0, "1", {}, (Order(name, 0, "r1", "a", 1, "true"),))], 0.0)


def test_a_worker_is_told_what_it_needs_to_know(api: Api) -> None:
    answer = api.post("/pools/gpu/workers", JOIN)
    assert answer.status == 201
    assert answer.json == {
        "worker": "big-one-n1",
        "keepalive_s": 10.0,
        "timeout_s": 30.0,
        "draining": False,
        "queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/hut-pool-gpu",
        "log_group": "/hut/jobs",
        "log_stream": "pools/gpu/big-one-n1",
    }


def test_a_turn_gives_tasks_and_leaving_ends_it(api: Api) -> None:
    worker = join(api)
    put(api)
    answer = api.post(f"/pools/gpu/workers/{worker}/turn", {"want": 1, "holding": []})
    assert answer.status == 200
    (order,) = answer.json["tasks"]
    assert (order["lease"], order["epoch"], order["script"]) == ("hut-r1-0-1-1", 1, "true")
    (shown,) = api.get("/pools/gpu").json["workers"]
    assert [lease["lease"] for lease in shown["leases"]] == ["hut-r1-0-1-1"]
    again = api.post(f"/pools/gpu/workers/{worker}/turn", {"want": 1})
    assert again.json["tasks"] == []


def test_a_worker_that_is_not_known_is_told_so(api: Api) -> None:
    answer = api.post("/pools/gpu/workers/w-9/turn", {"holding": ["hut-r1-0-1-1"]})
    assert answer.status == 200
    assert answer.json["gone"] is True
    assert answer.json["refused"] == ["hut-r1-0-1-1"]
    assert api.delete("/pools/gpu/workers/w-9").status == 200


def test_all_that_is_wrong_is_told_at_once(api: Api) -> None:
    answer = api.post("/pools/gpu/workers", {"slots": 0, "properties": {"a": 1}, "colour": "red"})
    assert answer.status == 400
    fields = {problem["field"] for problem in answer.json["errors"]}
    assert fields == {"colour", "name", "properties.a", "slots"}
    turn = {"want": -1, "reports": [{"lease": "", "epoch": 0, "how": "sideways"}], "x": 1}
    answer = api.post("/pools/gpu/workers/w/turn", turn)
    assert answer.status == 400
    assert len(answer.json["errors"]) == 6, answer.body
    number = api.post("/pools/gpu/workers", {**JOIN, "properties": {"cpus": "-4"}})
    assert (number.status, number.json["errors"][0]["field"]) == (400, "properties.cpus")


@pytest.mark.parametrize("body", [None, "", "[]", "{", '{"name": "a", "name": "b"}', "null"])
@pytest.mark.parametrize("path", ["/pools/gpu/workers", "/pools/gpu/workers/w/turn"])
def test_a_body_that_is_none_is_refused(api: Api, path: str, body: str | None) -> None:
    assert api.post(path, body).status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/pools/gqu"),
        ("POST", "/pools/gqu/drain"),
        ("POST", "/pools/gqu/resume"),
        ("POST", "/pools/gqu/workers/w/drain"),
        ("DELETE", "/pools/gqu/workers/w"),
    ],
)
def test_a_pool_that_is_not_there_is_named_with_the_nearest(
    api: Api, method: str, path: str
) -> None:
    answer = {"GET": api.get, "POST": api.post, "DELETE": api.delete}[method](path)
    assert (answer.status, answer.kind) == (404, "unknown-pool")
    assert "'gpu'" in answer.json["detail"]
    assert api.audit.begun == []


def test_draining_is_noted_and_undone(api: Api) -> None:
    worker = join(api)
    assert api.post("/pools/gpu/drain").json["draining"] is True
    put(api)
    told = api.post(f"/pools/gpu/workers/{worker}/turn", {"want": 1, "holding": []}).json
    assert (told["tasks"], told["draining"]) == ([], True)
    assert api.post("/pools/gpu/resume").json["draining"] is False
    shown = api.post(f"/pools/gpu/workers/{worker}/drain").json
    assert [each["draining"] for each in shown["workers"]] == [True]
    assert [act.action for act in api.audit.begun] == ["pool.drain", "pool.resume", "pool.drain"]
    assert api.audit.begun[-1].detail == {"pool": "gpu", "worker": worker}


def test_draining_a_worker_that_is_not_there_is_said(api: Api) -> None:
    answer = api.post("/pools/gpu/workers/nobody/drain")
    assert (answer.status, answer.kind) == (404, "unknown-worker")


def test_pools_are_listed_with_their_workers(api: Api) -> None:
    join(api)
    (pool,) = api.get("/pools").json
    assert (pool["name"], pool["queued"], pool["running"], pool["slots"]) == ("gpu", 0, 0, 2)
    assert pool["workers"][0]["remaining"] == {}
