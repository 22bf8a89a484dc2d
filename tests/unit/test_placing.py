"""Where tasks go that ask for properties: chosen at submit, refused, or waited for."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from hut.backends.advertising import advertised, targets_of
from hut.backends.as_submitted import AsSubmitted
from hut.backends.port import JobRequest, SubmitResult
from hut.control import Control
from hut.explanation import Facts, explain
from hut.lifecycle.retry import Spent
from hut.model.problems import InvalidInput
from hut.model.scheduler import Scheduler, scheduler_of
from hut.model.states import TaskState
from hut.scheduling.matching import Target
from hut.scheduling.placing import LAST, UNPLACED, Wishes, place, plain_sites, sites_of
from hut.scheduling.reasons import match_status
from hut.store.encoding import decode_settings, encode_settings
from hut.store.port import AttemptKey, Claim
from hut.submission import Setting, Submission
from tests.unit.plain_records import plain_run, plain_task

DECLARED = {"cpus": "minimum", "arch": "exact", "os": "priority"}


def scheduler(**more: Any) -> dict[str, Any]:
    return {"name": "MAIN", "simple": {"supported_platform_properties": DECLARED, **more}}


def sites(*entries: dict[str, Any], local: bool = False, pool: bool = False) -> dict[str, Any]:
    backends: list[dict[str, Any]] = [
        {
            "name": "batch",
            "type": "batch",
            "targets": [("default", {"cpus": "4", "arch": "x86"}), ("big", {"cpus": "64"})],
        },
        {"name": "ec2", "type": "ec2", "targets": [("arm", {"cpus": "8", "arch": "arm"})]},
    ]
    if local:
        backends = [{"name": "local", "type": "local", "targets": [("local", {"cpus": "2"})]}]
    if pool:
        backends.append({"name": "pool", "type": "workers", "targets": []})
    return plain_sites(entries, backends)


def plan(task: dict[str, Any], kept: dict[str, Any], workflow: Any = None, **more: Any) -> Any:
    names = tuple(each["name"] for each in kept.get("backends", ())) or ("batch", "ec2")
    tasks = [{"id": "t", "command": "true", **task}, {"id": "u", "command": "true"}]
    text = json.dumps({"tasks": tasks, **(workflow or {})})
    submission = Submission(text, "w.json", "w", **more)
    return Control(None).plan(submission, Setting(backends=names, sites=kept))  # type: ignore[arg-type]


def placed(task: dict[str, Any], kept: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    spec = plan(task, kept, **more)[0].tasks[0]
    return spec.backend, spec.partition


MAIN = sites(scheduler())

# name: the task, what is given beside it, backend and partition it gets
CHOSEN = {
    "the default one of equal ones": ({"properties": {"cpus": 1}}, {}, (None, "default")),
    "another partition": ({"properties": {"cpus": 5}}, {}, (None, "big")),
    "another backend": ({"properties": {"arch": "arm"}}, {}, ("ec2", "arm")),
    "the named backend": ({"properties": {"cpus": 1}, "backend": "ec2"}, {}, ("ec2", "arm")),
    "that of the run": ({"properties": {"cpus": 1}}, {"backend": "ec2"}, (None, "arm")),
    "the named partition": ({"properties": {"cpus": 1}, "partition": "big"}, {}, (None, "big")),
    "without properties": ({}, {}, (None, None)),
    "soft ones": ({"properties": {"os": "BeOS"}}, {}, (None, "default")),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_target_is_chosen_and_frozen(name: str) -> None:
    task, more, expected = CHOSEN[name]
    assert placed(task, MAIN, **more) == expected


# name: the task, what is given beside it, fields that are told, a part of what is told
REFUSED = {
    "more than any": ({"properties": {"cpus": 65}}, {}, ["properties.cpus"], "64 (batch/big)"),
    "not all at one": (
        {"properties": {"cpus": 9, "arch": "arm"}},
        {},
        ["properties"] * 3,  # one for each target
        "batch/default lacks cpus >= 9 (it has 4) and arch = arm (it has x86)",
    ),
    "every property": (
        {"properties": {"cpus": 65, "arch": "z"}},
        {},
        ["properties.cpus", "properties.arch"],
        "at least 65 was asked for",
    ),
    "at the named backend": (
        {"properties": {"cpus": 9}, "backend": "ec2"},
        {},
        ["properties.cpus"],
        "8 (ec2/arm)",
    ),
    "at the named partition": (
        {"properties": {"cpus": 9}, "partition": "default"},
        {},
        ["properties.cpus"],
        "4 (batch/default)",
    ),
    "unknown": ({"properties": {"cpu": 1}}, {}, ["properties.cpu"], "did you mean 'cpus'?"),
    "no number": ({"properties": {"cpus": "4G"}}, {}, ["properties.cpus"], "digits only"),
    "unknown scheduler": ({}, {"workflow": {"scheduler": "MIAN"}}, ["scheduler"], "'MAIN'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_task_nobody_could_run_is_refused(name: str) -> None:
    task, more, fields, told = REFUSED[name]
    with pytest.raises(InvalidInput) as refusal:
        plan(task, MAIN, **more)
    assert [problem.field for problem in refusal.value.problems] == fields
    assert told in refusal.value.problems[0].message


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as refusal:
        plan({"properties": {"cpus": 65}, "environment": "nowhere"}, MAIN)
    assert {p.field for p in refusal.value.problems} == {"environment", "properties.cpus"}


def test_without_schedulers_properties_change_nothing() -> None:
    assert sites() == {}
    made, settings = plan({"properties": {"anything": "at all"}}, {})
    assert (made.tasks[0].backend, made.tasks[0].partition) == (None, None)
    assert settings.sites == {}


def test_run_keeps_what_its_tasks_are_placed_by_only_where_they_need_it() -> None:
    assert plan({}, MAIN)[1].sites == {}
    kept = plan({"properties": {"cpus": 1}}, MAIN)[1]
    assert kept.sites == {**MAIN, "given": False}
    assert plan({"generates_source": "more.json"}, MAIN, backend="ec2")[1].sites["given"]
    again = decode_settings(encode_settings(kept))
    assert sites_of(again.sites) == sites_of(MAIN)


def test_generated_tasks_are_placed_by_the_same_rules() -> None:
    settings = plan({"generates_source": "more.json"}, MAIN)[1]

    class Ids:
        def task_ids(self, _: str) -> list[str]:
            return ["t", "u"]

    control, run = Control(Ids()), plain_run(settings=settings)  # type: ignore[arg-type]
    text = '[{"id": "new", "command": "true", "properties": {"cpus": "%d"}}]'
    assert control.plan_generated(run, text % 9, "g.json").tasks[0].partition == "big"
    with pytest.raises(InvalidInput, match="64"):
        control.plan_generated(run, text % 65, "g.json")


def test_open_pool_takes_what_nobody_else_can() -> None:
    kept = sites(scheduler(), pool=True)
    assert placed({"properties": {"cpus": 65}}, kept) == ("pool", None)
    assert placed({"properties": {"cpus": 5}}, kept) == (None, "big")


WAITS = {"properties": {"cpus": 65}}


def test_on_this_machine_it_waits_where_nothing_claims_it() -> None:
    kept = sites(scheduler(unsatisfiable="wait"), local=True)
    made, settings = plan(WAITS, kept)
    assert made.tasks[0].backend == UNPLACED
    (warning,) = made.warnings
    assert "at least 65 was asked for, and the most any target has is 2 (local)" in warning.message
    task = plain_task(TaskState.PENDING, made.tasks[0], backend=UNPLACED)
    told = explain(Facts(plain_run(settings=settings), task, 1.0))
    assert "t waits for a target" in told.sentence
    assert told.details[0] == "local lacks cpus >= 65 (it has 2)."


class Fake:
    """Takes every job, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.submitted: list[JobRequest] = []

    def submit(self, requests: Any) -> list[SubmitResult]:
        self.submitted += requests
        return [SubmitResult(request.claim.spec.id) for request in requests]

    def arrays(self, requests: Any) -> list[list[int]]:
        return [list(range(len(requests)))]


class Options:
    name = "batch"


def test_on_aws_it_waits_behind_the_others_until_a_target_is_there() -> None:
    made, settings = plan(WAITS, sites(scheduler(unsatisfiable="wait")))
    assert made.tasks[0].priority == LAST
    run, fake = plain_run(settings=settings), Fake()
    requests = [
        JobRequest(run, Claim(AttemptKey(at, 1, 1), spec, Spent(0, 0)), f"j{at}")
        for at, spec in enumerate(made.tasks)
    ]
    options: Any = Options()

    def backend(targets: list[Target]) -> AsSubmitted:
        return AsSubmitted(options, lambda _: options, lambda _: fake, targets)  # type: ignore[arg-type, return-value]

    small = backend([Target("big", {"cpus": "64"})])
    assert small.arrays(requests) == [[1]]
    refused, taken = small.submit(requests)
    assert (refused.handle, refused.outcome) == (None, None)  # the claim is given back
    assert "the most any target has is 64 (batch/big)" in refused.detail
    assert taken.handle == "u"
    (late,) = backend([Target("new", {"cpus": "128"})]).submit(requests[:1])
    assert late.handle == "t"
    assert fake.submitted[-1].claim.spec.partition == "new"


def test_alike_tasks_are_judged_once_and_each_is_told() -> None:
    specs = plan({}, MAIN)[0].tasks
    asking = [spec._replace(properties={"cpus": "65"}) for spec in specs]
    found = place(asking, sites_of(MAIN), Wishes("batch"))
    assert [problem.task for problem in found.problems] == ["t", "u"]


def test_match_status_names_property_value_and_the_best_worker() -> None:
    main: Scheduler = scheduler_of(scheduler())
    workers = [Target("a", {"cpus": "4", "arch": "x86"}, {"cpus": 3}), Target("b", {"arch": "arm"})]
    waiting = [{"cpus": "4"}, {"cpus": "4"}, {"arch": "z"}, {"cpus": "1"}]
    assert match_status(main, waiting, workers) == [
        "2 tasks wait: cpus >= 4, the best worker has 3 left",
        "1 task waits: arch = z, workers have x86, arm",
    ]
    assert match_status(main, [{}], []) == ["1 task waits: there is no worker"]


def ec2_options(types: dict[str, tuple[str, ...]]) -> Any:
    return SimpleNamespace(
        default_partition="default", partitions=tuple(sorted(types)), instance_types=types
    )


# name: the types of a partition, what is known of them
KNOWN = {
    "one type": (
        ("c5.xlarge",),
        {
            "OSFamily": "Linux",
            "cpu_arch": "x86_64",
            "instance_type": "c5.xlarge",
            "cpu_count": "4",
            "memory_kb": str(8 * 1024**2),
            "memory_mb": str(8 * 1024),
        },
    ),
    "the least of several": (
        ("m7g.2xlarge", "c7g.xlarge"),
        {
            "OSFamily": "Linux",
            "cpu_arch": "aarch64",
            "cpu_count": "4",
            "memory_kb": str(8 * 1024**2),
            "memory_mb": str(8 * 1024),
        },
    ),
    "what a name does not say is left out": (
        ("g5.metal",),
        {"OSFamily": "Linux", "cpu_arch": "x86_64", "instance_type": "g5.metal"},
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known_of_ec2_types_without_saying_it(name: str) -> None:
    types, expected = KNOWN[name]
    found = advertised("ec2", ec2_options({"a": types, "default": ("c5.xlarge",)}))
    assert list(found) == ["default", "a"]
    assert found["a"] == expected


def test_what_is_configured_goes_before_what_is_known() -> None:
    entry = {
        "properties": {"cpu_count": "3", "rack": "7"},
        "targets": {"default": {"properties": {"rack": "8"}}},
    }
    options = ec2_options({"default": ("c5.xlarge",), "a": ("c5.large",)})
    default, other = targets_of("ec2", "ec2", options, entry)
    assert (default.properties["cpu_count"], default.properties["rack"]) == ("3", "8")
    assert (other.properties["cpu_arch"], other.properties["rack"]) == ("x86_64", "7")


def test_kinds_of_workers_are_those_that_are_configured() -> None:
    assert targets_of("p", "workers", None, {}) == ()
    (one,) = targets_of("p", "workers", None, {"properties": {"gpu": "a100"}})
    assert (one.name, one.properties) == ("p", {"gpu": "a100"})
