"""The section ``schedulers``, what backends advertise, and what of both a control plane keeps."""

from __future__ import annotations

import json

import pytest

from hut.model.applied import content_of, difference, left_out
from hut.model.configuration_reading import read_configuration
from hut.model.problems import InvalidInput
from hut.model.scheduler import (
    Allocation,
    Kind,
    Scheduler,
    UnknownProperty,
    Unsatisfiable,
    scheduler_of,
)

SEED = """\
schedulers:
  - name: "PRODUCTION_SCHEDULER"
    simple: {
      supported_platform_properties: {
        # Resource minimums
        cpu_count: "minimum",
        memory_kb: "minimum",
        disk_read_iops: "minimum",
        # Exact matches
        cpu_arch: "exact",
        cpu_vendor: "exact",
        OSFamily: "exact",
        # Preferences
        "container-image": "priority",
        # Optional
        "build-id": "ignore"
      },
      allocation_strategy: "least_recently_used",
      worker_timeout_s: 10,
      max_job_retries: 5
    }
"""


def read(text: str):
    return read_configuration(text, filename="hut.yaml")


def schedulers(text: str) -> list[Scheduler]:
    return [entry.scheduler() for entry in read(text).schedulers]


def one(simple: str, beside: str = "") -> Scheduler:
    (found,) = schedulers(f"schedulers: [{{name: S, simple: {{{simple}}}{beside}}}]")
    return found


def faults(text: str) -> dict[str | None, str]:
    with pytest.raises(InvalidInput) as refusal:
        read(text)
    assert all(problem.line for problem in refusal.value.problems)
    return {problem.field: problem.message for problem in refusal.value.problems}


def test_the_seeds_example_is_accepted():
    (found,) = schedulers(SEED)
    assert found == Scheduler(
        "PRODUCTION_SCHEDULER",
        {
            "cpu_count": Kind.MINIMUM,
            "memory_kb": Kind.MINIMUM,
            "disk_read_iops": Kind.MINIMUM,
            "cpu_arch": Kind.EXACT,
            "cpu_vendor": Kind.EXACT,
            "OSFamily": Kind.EXACT,
            "container-image": Kind.PRIORITY,
            "build-id": Kind.IGNORE,
        },
        Allocation.LEAST_RECENTLY_USED,
        max_job_retries=5,
        worker_timeout_s=10,
        worker_timeout_given=True,
    )


def test_defaults_are_those_of_the_seed():
    found = one("")
    assert found == Scheduler("S")
    assert (found.retain_completed_for_s, found.client_action_timeout_s) == (60, 60)
    assert (found.worker_timeout_s, found.max_job_retries) == (5, 3)
    assert found.max_action_executing_timeout_s == 0
    assert found.worker_match_logging_interval_s == 10
    assert found.unknown_property is UnknownProperty.REJECT
    assert found.unsatisfiable is Unsatisfiable.FAIL


ZERO = {
    "worker_timeout_s": 5.0,
    "client_action_timeout_s": 60.0,
    "max_job_retries": 3,
    "retain_completed_for_s": 60.0,
    "max_action_executing_timeout_s": 0.0,
    "worker_match_logging_interval_s": 0.0,
}


@pytest.mark.parametrize("name", ZERO)
def test_0_is_the_default_of_four_and_off_for_the_rest(name: str):
    assert getattr(one(f"{name}: 0"), name) == ZERO[name]
    assert getattr(one(f"{name}: 7"), name) == 7
    assert not one(f"{name}: 0").worker_timeout_given


def test_minus_1_switches_the_log_off():
    assert one("worker_match_logging_interval_s: -1").worker_match_logging_interval_s == 0


@pytest.mark.parametrize("inside", [True, False])
def test_what_is_ours_stands_in_simple_or_beside_it(inside: bool):
    ours = "unknown_property: match, unsatisfiable: wait"
    found = one(ours) if inside else one("", f", {ours}")
    assert found.unknown_property is UnknownProperty.MATCH
    assert found.unsatisfiable is Unsatisfiable.WAIT


# name: inside of `simple`, the field it is told of, what is told
WRONG = {
    "kind": ("supported_platform_properties: {a: minimun}", "{s}.a", "did you mean 'minimum'?"),
    "kind of another type": ("supported_platform_properties: {a: 1}", "{s}.a", "1 is not known"),
    "no mapping": ("supported_platform_properties: [a]", "{s}", "a list"),
    "name of a property": ('supported_platform_properties: {" ": exact}', "{s}. ", "one line"),
    "strategy": ("allocation_strategy: least_recent", "allocation_strategy", "did you mean"),
    "unknown key": ("worker_timeout: 5", "worker_timeout", "did you mean 'worker_timeout_s'?"),
    "text": ('worker_timeout_s: "5"', "worker_timeout_s", "'5'"),
    "below zero": ("client_action_timeout_s: -1", "client_action_timeout_s", "-1"),
    "infinite": ("retain_completed_for_s: .inf", "retain_completed_for_s", "number"),
    "half a retry": ("max_job_retries: 1.5", "max_job_retries", "integer"),
    "half off": ("worker_match_logging_interval_s: -0.5", "worker_match_logging_interval_s", "-1"),
    "unsatisfiable": ("unsatisfiable: waits", "unsatisfiable", "did you mean 'wait'?"),
    "a store": ("experimental_backend: {redis: {}}", "experimental_backend", "its own store"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_value_is_told_with_its_place_and_what_would_be_right(name: str):
    simple, field, told = WRONG[name]
    place = field.replace("{s}", "supported_platform_properties")
    ((where, message),) = faults(f"schedulers: [{{name: S, simple: {{{simple}}}}}]").items()
    assert where == f"schedulers[0].simple.{place}"
    assert told in message


def test_all_faults_of_entries_are_told_at_once():
    found = faults("""\
schedulers:
  - {name: A}
  - {simple: {}}
  - {name: C, simple: {}, grpc: {}}
  - {name: C, simple: {}}
  - {name: D, simple: {unsatisfiable: wait}, unsatisfiable: wait}
""")
    assert found.keys() == {
        "schedulers[0].simple",
        "schedulers[1].name",
        "schedulers[2].grpc",
        "schedulers[3].name",
        "schedulers[4].unsatisfiable",
    }


MAIN = "schedulers: [{name: MAIN, simple: {supported_platform_properties: {cpus: minimum, a: exact}}}]\n"

# name: an entry of backends, where in it something is told, what is told
ADVERTISED = {
    "unknown scheduler": ("type: batch, scheduler: MIAN", "scheduler", "did you mean 'MAIN'?"),
    "no number": ("type: ec2, properties: {cpus: 4G}", "properties.cpus", "digits only"),
    "undeclared": ("type: workers, properties: {cpu: 4}", "properties.cpu", "did you mean 'cpus'?"),
    "of a target": (
        "type: workers, targets: {big: {properties: {cpus: -1}}}",
        "targets.big.properties.cpus",
        "'-1'",
    ),
    "of this machine": ("type: local, targets: {x: {}}", "targets", "'properties'"),
    "no partition": (
        "type: ec2, instance_types: {default: c5.large}, targets: {defalt: {}}",
        "targets.defalt",
        "did you mean 'default'?",
    ),
    "unknown key of a target": (
        "type: workers, targets: {properties: {propertis: {}}}",
        "targets.properties.propertis",
        "did you mean 'properties'?",
    ),
    "below zero": (
        "type: workers, targets: {x: {max_inflight: -1}}",
        "targets.x.max_inflight",
        "-1",
    ),
}


@pytest.mark.parametrize("name", ADVERTISED)
def test_what_a_backend_advertises_is_checked(name: str):
    entry, place, told = ADVERTISED[name]
    text = f"{MAIN}backends: [{{type: local}}, {{name: b, {entry}}}]"
    found = faults(text)
    assert found.keys() == {"backends[0].name", f"backends[1].{place}"}
    assert told in found[f"backends[1].{place}"]


def test_scheduler_that_is_faulty_itself_is_not_unknown():
    text = """\
schedulers: [{name: A, simple: 1}, {name: B, simple: {}}]
backends:
  - {name: p, type: workers, scheduler: A, properties: {x: 1}}
  - {name: q, type: workers, properties: {y: 1}}
"""
    assert faults(text).keys() == {"schedulers[0].simple"}


def test_without_schedulers_any_property_may_be_advertised():
    text = "backends: [{name: p, type: workers, properties: {x: 1, y: true}}]"
    (pool,) = read(text).backends
    assert pool.properties == {"x": "1", "y": "true"}


KEPT = """\
schedulers:
  - {name: Z, simple: {supported_platform_properties: {cpus: minimum}, worker_timeout_s: 10}}
  - {name: A, simple: {}, unsatisfiable: wait}
backends:
  - {name: pool, type: workers, scheduler: Z, bundle: 10, targets: {big: {properties: {cpus: 64}}}}
  - {name: batch, type: batch, properties: {cpus: 16}}
"""


def test_a_control_plane_keeps_schedulers_and_targets():
    configuration = read(KEPT)
    content = content_of(configuration)
    assert left_out(configuration) == []
    assert [entry["name"] for entry in content["schedulers"]] == ["Z", "A"]  # the first counts
    assert content["backends"] == [
        {"name": "batch", "type": "batch", "properties": {"cpus": "16"}},
        {
            "name": "pool",
            "type": "workers",
            "scheduler": "Z",
            "bundle": 10,
            "targets": {"big": {"properties": {"cpus": "64"}}},
        },
    ]
    again = read_configuration(json.dumps(content), filename="x.json")
    assert content_of(again) == content
    assert [scheduler_of(entry) for entry in content["schedulers"]] == schedulers(KEPT)


def test_differences_of_schedulers():
    none, kept = content_of(read("")), content_of(read(KEPT))
    assert "schedulers" not in none  # as before there were any
    paths = {each.path: each.change for each in difference(none, kept)}
    assert paths["schedulers.Z"] == "added"
    changed = content_of(read(KEPT.replace("worker_timeout_s: 10", "worker_timeout_s: 20")))
    (found,) = difference(kept, changed)
    assert (found.path, found.old, found.new) == ("schedulers.Z.simple.worker_timeout_s", 10, 20)
    turned = {**kept, "schedulers": kept["schedulers"][::-1]}
    (found,) = difference(kept, turned)
    assert (found.path, found.old, found.new) == ("schedulers", "Z", "A")
