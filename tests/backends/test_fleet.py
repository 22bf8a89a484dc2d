"""Backends as configured now, and jobs as each run's version of the configuration says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hut.backends.batch import BatchBackend, Clients, Pace
from hut.backends.fleet import Fleet
from hut.backends.port import ArrayRequest, SubmitResult
from hut.model.records import RunSettings
from hut.model.states import Reason
from hut.model.workflow import TaskSpec
from hut.scheduling.pacing import Place
from tests.backends.test_refining import EC2
from tests.batch.plain_batch import ENTRY, QUEUES, request_of, run_of

TASK = TaskSpec("t", "true")


class FakeBatch:
    """Registers definitions and takes jobs."""

    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.jobs: list[tuple[str, str]] = []

    def get_paginator(self, _name: str) -> FakeBatch:
        return self

    def paginate(self, **_query: Any) -> list[dict[str, Any]]:
        return [{"jobDefinitions": []}]

    def register_job_definition(self, **given: Any) -> dict[str, str]:
        arn = f"arn:{len(self.images)}"
        self.images[arn] = given["containerProperties"]["image"]
        return {"jobDefinitionArn": arn}

    def submit_job(self, **given: Any) -> dict[str, str]:
        self.jobs.append((self.images[given["jobDefinition"]], given["jobQueue"]))
        return {"jobId": f"job-{len(self.jobs)}"}


def fleet(batch: Any = None, **stack: Any) -> Fleet:
    clients, pace = Clients(batch, None, None, "bucket"), Pace()
    make = {"batch": lambda options: BatchBackend(options, clients, pace=pace)}
    return Fleet([{**ENTRY, **stack}], "hut", make)


def requests(*settings: RunSettings) -> list[Any]:
    return [request_of(TASK, replace(run_of(), settings=each)) for each in settings]


def test_a_run_gets_the_image_and_the_queue_of_its_version() -> None:
    batch = FakeBatch()
    gpu = fleet(batch).backends([{"name": "gpu", "default_image": "new"}])["gpu"]
    old = RunSettings(
        backends={"gpu": {"default_image": "old", "default_queue": "ec2"}}, config_version=1
    )
    new = RunSettings(backends={"gpu": {"default_image": "new"}}, config_version=2)
    results = gpu.submit(requests(new, old, old, RunSettings()))
    assert [result.handle for result in results] == ["job-1", "job-2", "job-3", "job-4"]
    assert batch.jobs == [
        ("new", QUEUES["fargate"]),
        ("old", QUEUES["ec2"]),
        ("old", QUEUES["ec2"]),
        ("debian:stable-slim", QUEUES["fargate"]),
    ]
    assert len(batch.images) == 3  # each looked up once


def test_an_array_gets_them_too() -> None:
    batch = FakeBatch()
    gpu = fleet(batch).backends([{"name": "gpu", "default_image": "new"}])["gpu"]
    run = replace(run_of(), settings=RunSettings(backends={"gpu": {"default_image": "old"}}))
    some = [request_of(TASK, run), request_of(TASK, run)]
    assert gpu.arrays(some) == [[0, 1]]
    assert gpu.arrays([]) == []
    assert gpu.submit_array(ArrayRequest("hut-abcdefghij-a1", some)).handle == "job-1"
    assert batch.jobs == [("old", QUEUES["fargate"])]
    gone = replace(run, settings=RunSettings(backends={"gpu": {"default_queue": "spot"}}))
    some = [request_of(TASK, gone), request_of(TASK, gone)]
    assert gpu.arrays(some) == []
    assert gpu.submit_array(ArrayRequest("hut-abcdefghij-a2", some)).outcome is not None


def test_a_run_from_before_the_first_version_keeps_the_stacks_image() -> None:
    batch = FakeBatch()
    own = fleet(batch).backends([{"name": "batch", "default_image": "new"}])["batch"]
    own.submit(requests(RunSettings()))
    assert batch.jobs == [("debian:stable-slim", QUEUES["fargate"])]


def test_a_run_whose_queue_is_gone_is_told_so_and_the_others_go_on() -> None:
    batch = FakeBatch()
    gpu = fleet(batch).backends([{"name": "gpu"}])["gpu"]
    gone = RunSettings(backends={"gpu": {"default_queue": "spot"}}, config_version=1)
    first, second = gpu.submit(requests(gone, RunSettings()))
    assert first.outcome is not None
    assert first.outcome.reason is Reason.UNSATISFIABLE
    assert "spot" in first.outcome.message
    assert second.handle == "job-1"


def test_backends_are_kept_as_long_as_they_stay_the_same() -> None:
    it = fleet(FakeBatch())
    first = it.backends([{"name": "gpu", "default_image": "a"}])
    assert first.keys() == {"batch", "gpu"}
    second = it.backends([{"name": "gpu", "default_image": "b"}])
    assert second["batch"] is first["batch"]
    assert second["gpu"] is not first["gpu"]
    assert it.backends([]).keys() == {"batch"}


def test_caps_are_those_of_now() -> None:
    it = fleet(FakeBatch(), max_concurrent=9)
    assert it.caps([]) == {"batch": 9}
    assert it.caps([{"name": "batch", "max_concurrent": 2}, {"name": "gpu"}]) == {
        "batch": 2,
        "gpu": 9,
    }
    retired = [{"name": "gpu", "max_concurrent": 1, "retired": True}]
    assert it.caps(retired) == {"batch": 9, "gpu": 1}


class FakeLaunching:
    """An EC2 backend that only says which options it was made of."""

    def __init__(self, options: Any) -> None:
        self.options = options

    def submit(self, requests: Any) -> list[Any]:
        return [SubmitResult(self.options.ami)] * len(requests)

    def place(self) -> Place:
        return Place(has_room=True, again_at=0.0)


def test_backends_of_two_kinds_are_made_when_they_are_needed() -> None:
    made: list[Any] = []

    def launching(options: Any) -> Any:
        made.append(options)
        return FakeLaunching(options)

    make = {"batch": lambda _: pytest.fail("nobody needs it"), "ec2": launching}
    it = Fleet([ENTRY, EC2], "hut", make)
    now = [{"name": "ec2", "type": "ec2", "ami": "ami-00000002", "max_instances": 7}]
    found = it.backends(now)
    assert (found.keys(), it.caps(now)) == ({"batch", "ec2"}, {"ec2": 7})
    assert made == []
    assert found["ec2"].place().has_room
    old = RunSettings(backends={"ec2": {"type": "ec2", "ami": "ami-00000001"}}, config_version=1)
    first = RunSettings()
    other = RunSettings(backends={"ec2": {"default_image": "debian"}}, config_version=1)
    results = found["ec2"].submit(requests(old, first, other))
    assert [result.handle for result in results] == ["ami-00000001", "al2023", None]
    assert [each.ami for each in made] == ["ami-00000002", "ami-00000001", "al2023"]
    assert {each.max_instances for each in made} == {7}
    assert "was of type batch" in results[2].detail
