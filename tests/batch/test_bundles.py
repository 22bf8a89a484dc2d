"""Bundles on Batch: which tasks share a job, what SubmitJob is told, and that what it is told runs."""

from __future__ import annotations

import os
import subprocess

import pytest

from hut.backends.batch.bundling import group_bundles, plan_bundle, program_key
from hut.backends.batch.jobs import LARGEST_OVERRIDES, length_of
from hut.backends.bundle_markers import BundleMarkers
from hut.backends.launcher import StoredScript
from hut.backends.port import BundleRequest, array_name
from hut.model.records import RunSettings
from hut.model.workflow import Resources, TaskSpec
from tests.backends.test_bundle_script import requests_of
from tests.batch.plain_batch import options, run_of

NONCE = "00ff00ff00ff00ff"
NAME = array_name("hut", "abcdefghij", "bundle0123456789ab")


def bundle_of(*specs, slots=1):
    return BundleRequest(NAME, requests_of(*specs), NONCE, slots)


def many(count, command="work {}"):
    return [TaskSpec(f"t{i}", command.format(i)) for i in range(count)]


def grouped(*specs, size=10, fetches=True, slots=None):
    run = run_of(settings=RunSettings(bundle_slots=slots))
    return group_bundles(options(), requests_of(*specs, run=run), size, lambda _: fetches)


def test_tasks_of_one_shape_share_jobs():
    specs = [*many(12), TaskSpec("big", "x", resources=Resources(cpus=4)), TaskSpec("b2", "x")]
    assert [shape.places for shape in grouped(*specs)] == [list(range(10)), [10, 11, 13]]
    long = TaskSpec("long", "a" * 5000)  # of however different length
    assert [shape.places for shape in grouped(*many(2), long)] == [[0, 1, 2]]


def test_slots_are_as_many_as_are_wanted_and_can_be_had():
    assert grouped(*many(4))[0].slots == 1
    assert grouped(*many(4), slots=3)[0].slots == 3
    assert grouped(*many(2), slots=3)[0].slots == 2


def test_a_bundle_ends_in_time_even_if_its_tasks_use_up_their_limits():
    week = [TaskSpec(f"t{i}", "x", resources=Resources(time_limit=6 * 86400)) for i in range(5)]
    assert [len(shape.places) for shape in grouped(*week)] == [2, 2]
    job = plan_bundle(options(), bundle_of(*week[:2]))
    assert job is not None
    assert 12 * 86400 < job.parameters["timeout"]["attemptDurationSeconds"] < 14 * 86400


def test_what_is_submitted_is_one_job_that_batch_does_not_try_again():
    job = plan_bundle(options(), bundle_of(*many(3), slots=2))
    assert job is not None
    assert job.parameters["jobName"] == NAME
    assert "arrayProperties" not in job.parameters
    assert job.parameters["retryStrategy"] == {"attempts": 1}
    overrides = dict(job.parameters["containerOverrides"])
    asked = {each["type"]: each["value"] for each in overrides["resourceRequirements"]}
    assert asked["VCPU"] == "2"
    assert length_of(overrides, ()) <= LARGEST_OVERRIDES


def test_a_large_program_is_stored_and_images_that_fetch_nothing_get_small_ones():
    texts = [" ".join(f"{i}-{j}" for j in range(60)) for i in range(40)]
    specs = [TaskSpec(f"t{i}", f"echo {text}") for i, text in enumerate(texts)]
    bundle = bundle_of(*specs)
    assert plan_bundle(options(), bundle) is None
    job = plan_bundle(options(), bundle, StoredScript("https://s3/x"))
    assert job is not None
    assert job.upload is not None
    assert job.upload.startswith(f"#hut {NONCE}\n".encode())
    assert program_key(bundle) == "scripts/abcdefghij/bundle0123456789ab.sh"
    parts = [shape.places for shape in grouped(*specs, size=40, fetches=False)]
    assert len(parts) > 1
    assert sorted(place for part in parts for place in part) == list(range(40))
    for part in parts:
        assert plan_bundle(options(), bundle_of(*(specs[place] for place in part))) is not None


@pytest.mark.parametrize("stored", [False, True])
def test_the_job_runs_its_tasks(tmp_path, stored):
    bundle = bundle_of(*[TaskSpec(f"t{i}", f"exit {i}") for i in range(3)])
    where = tmp_path / "program"
    job = plan_bundle(options(), bundle, StoredScript(f"file://{where}") if stored else None)
    assert job is not None
    if stored:
        where.write_bytes(job.upload)
    overrides = job.parameters["containerOverrides"]
    variables = {each["name"]: each["value"] for each in overrides["environment"]}
    done = subprocess.run(
        overrides["command"],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "AWS_BATCH_JOB_ID": "job-7",
            **variables,
        },
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    markers = BundleMarkers(NONCE)
    for line in done.stdout.decode().split("\n"):
        markers.feed(line)
    assert done.returncode == 0, done.stdout
    assert {place: end.code for place, end in markers.ends.items()} == {0: 0, 1: 1, 2: 2}
    assert b" job-7 " in done.stdout
