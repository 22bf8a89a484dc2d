"""What a control plane keeps of a hut.yaml, and how two versions differ."""

from __future__ import annotations

import json

import pytest

from hut.model.applied import (
    EMPTY_CONTENT,
    content_of,
    difference,
    digest_of,
    is_entry_name,
    left_out,
    looks_secret,
    secrets_in,
    text_of,
)
from hut.model.configuration import Settings
from hut.model.configuration_reading import read_configuration

WHOLE = """\
backends:
  - {name: here, type: local, max_concurrent: 2}
  - {name: hpc, type: slurm, ssh: {host: h, user: u}}
  - {name: torque, type: pbs, ssh: {host: h, user: u}}
  - {name: ecs, type: ecs, aws: {region: r}}
  - {name: one, type: ec2, aws: {region: r}, ami: al2023, reuse: true}
  - {name: gpu, type: batch, default_image: null, max_concurrent: 3}
environments:
  - {name: py, variables: {A: 1.10, B: true}, extra_init: module load py}
  - {name: empty}
sources: [{name: code, type: path, path: p}]
workflows: [{name: w, backend: hpc, command: c}]
settings: {data_dir: d, poll_interval: 1, server_host: h, server_port: 1, sources_cache_dir: s,
           default_backend: gpu}
pricing: {partitions: {a: b}}
"""


def content(text):
    return content_of(read_configuration(text, filename="hut.yaml"))


def test_what_is_kept_is_what_was_written_in_order():
    assert content(WHOLE) == {
        "backends": [
            {"name": "gpu", "type": "batch", "max_concurrent": 3},
            {"name": "one", "type": "ec2", "aws": {"region": "r"}, "ami": "al2023", "reuse": True},
        ],
        "environments": [
            {"name": "empty"},
            {
                "name": "py",
                "variables": {"A": "1.10", "B": "true"},
                "extra_init": "module load py",
            },
        ],
        "settings": {"default_backend": "gpu"},
    }
    assert content("") == EMPTY_CONTENT


def test_what_is_kept_can_be_read_again_and_stays_the_same():
    first = content(WHOLE)
    again = content_of(read_configuration(json.dumps(first), filename="x.json"))
    assert again == first
    assert digest_of(again) == digest_of(first)


def test_the_order_of_entries_and_fields_does_not_count():
    one = content("environments: [{name: a, variables: {X: 1, Y: 2}}, {name: b}]")
    other = content("environments: [{name: b}, {variables: {Y: 2, X: 1}, name: a}]")
    assert text_of(one) == text_of(other)
    assert difference(one, other) == []


def test_everything_that_is_left_out_is_told_once():
    notes = left_out(read_configuration(WHOLE, filename="hut.yaml"))
    for told in ("'here'", "'hpc'", "'torque'", "'ecs'", "section sources", "workflows", "pricing"):
        assert sum(told in note for note in notes) == 1, told
    assert sum(note.startswith("settings.") for note in notes) == 5
    assert left_out(read_configuration("environments: [{name: a}]", filename="hut.yaml")) == []


def test_each_setting_means_something_somewhere():
    assert Settings.UNUSED_LOCALLY.keys() | Settings.UNUSED_REMOTELY.keys() == set(
        Settings.model_fields
    )


@pytest.mark.parametrize(
    "name",
    ["PASSWORD", "DB_PASSWORD", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "SECRET_KEY", "API_KEY",
     "apikey", "MY_API_KEY_2", "PGPASSWORD", "SSH_PRIVATE_KEY", "DB_PWD", "CREDENTIALS"],
)  # fmt: skip
def test_names_that_promise_a_secret(name):
    assert looks_secret(name)


@pytest.mark.parametrize(
    "name", ["PWD", "OLDPWD", "TOKENIZERS_PARALLELISM", "KEY", "PATH", "SECRETARY", "PRIMARY_KEY"]
)
def test_names_that_do_not(name):
    assert not looks_secret(name)


def test_a_secret_is_told_with_its_place_but_never_shown():
    (note,) = secrets_in(
        content("environments: [{name: e, variables: {TOKEN: s3cret, EMPTY_TOKEN: '', A: b}}]")
    )
    assert "environments.e.variables.TOKEN" in note
    assert "s3cret" not in note


def test_differences_name_what_changed():
    old = content(
        "environments: [{name: a, variables: {X: 1, Y: 2}}, {name: b}]\n"
        "backends: [{name: gpu, type: batch, max_concurrent: 1}]\n"
    )
    new = content(
        "environments: [{name: a, variables: {X: 1, Y: 3, Z: 4}, extra_init: i}, {name: c}]\n"
        "backends: [{name: gpu, type: batch, aws: {region: r, job_queue: q}, default_image: i}]\n"
        "settings: {default_backend: gpu}\n"
    )
    found = [(each.change, each.path, each.old, each.new) for each in difference(old, new)]
    assert found == [
        ("added", "backends.gpu.aws", None, {"region": "r", "job_queue": "q"}),
        ("added", "backends.gpu.default_image", None, "i"),
        ("removed", "backends.gpu.max_concurrent", 1, None),
        ("added", "environments.a.extra_init", None, "i"),
        ("changed", "environments.a.variables.Y", "2", "3"),
        ("added", "environments.a.variables.Z", None, "4"),
        ("removed", "environments.b", {"name": "b"}, None),
        ("added", "environments.c", None, {"name": "c"}),
        ("added", "settings.default_backend", None, "gpu"),
    ]
    back = [(each.path, each.new, each.old) for each in difference(new, old)]
    assert back == [(path, before, after) for _, path, before, after in found]


@pytest.mark.parametrize("name", ["a", "julia-1.10", "A_b.c", "0", "x" * 100])
def test_names_a_control_plane_can_use(name):
    assert is_entry_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a b", "a/b", "a#b", "é", "x" * 101, "a\n"])
def test_names_it_can_not(name):
    assert not is_entry_name(name)
