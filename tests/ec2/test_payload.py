"""What the agent is told, and that the program in it runs as any other backend would run it."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.backends.ec2.document import document_content
from hut.backends.ec2.host.payload import read_payload
from hut.backends.ec2.launching import plan_launch
from hut.backends.ec2.payload import parts_of_script, payload_of
from hut.backends.markers import Markers, nonce_of
from hut.model.quantities import Gres
from hut.model.records import RunSettings
from hut.model.workflow import Resources, TaskSpec
from tests.ec2.plain_ec2 import options, request_of, run_of
from tests.fuzz.hostile import SHELL

LARGEST_ARGUMENT = 128 * 1024  # MAX_ARG_STRLEN of Linux, with the NUL


def document_of(spec, run=None, **changes):
    return json.loads(payload_of(options(**changes), request_of(spec, run)))


def run_program(document, tmp_path):
    """Run what a document says, as the agent does on the host itself."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        document["argv"],
        env={**environment, **document["env"]},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_what_it_says():
    run = run_of(settings=RunSettings(env_vars={"A": "of the run", "EMPTY": ""}))
    spec = TaskSpec("t", "true", image="busybox", env_vars={"HUT_TASK_ID": "forged"})
    document = document_of(spec, run)
    argv, environment = document.pop("argv"), document.pop("env")
    assert document == {
        "attempt": "hut-abcdefghij-3-1-2",
        "image": "busybox",
        "gpus": None,
        "time_limit": 3600,
        "grace": 10,
        "log": {
            "group": "/hut/jobs",
            "stream": "ec2/hut-abcdefghij-3-1-2",
            "region": "us-east-1",
        },
        "idle_seconds": None,
        "slack": 1800,
        "region": "us-east-1",
    }
    assert argv[:2] == ["/bin/sh", "-c"]
    assert len(argv) == 4
    assert environment["A"] == "of the run"
    assert environment["EMPTY"] == ""
    assert environment["HUT_TASK_ID"] == "t"
    assert environment["HUT_ATTEMPT"] == "1"
    assert environment["SCRIPTHUT_RUN_ID"] == "abcdefghij"


@pytest.mark.parametrize(
    ("spec", "default", "image"),
    [(None, None, None), (None, "b", "b"), ("a", "b", "a"), ("a", None, "a")],
)
def test_without_an_image_it_runs_on_the_host(spec, default, image):
    assert document_of(TaskSpec("t", "true", image=spec), default_image=default)["image"] == image


def test_gpus_and_reuse():
    spec = TaskSpec("t", "true", resources=Resources(gres=(Gres("gpu", 1), Gres("gpu", 2))))
    document = document_of(spec, reuse=True, idle_terminate_seconds=60)
    assert (document["gpus"], document["idle_seconds"], document["slack"]) == (3, 60, 60)


def test_the_agent_keeps_the_limit_however_short_it_is(tmp_path):
    spec = TaskSpec("t", "echo done", working_dir="/", resources=Resources(time_limit=0.5))
    document = document_of(spec)
    assert document["time_limit"] == 1
    assert "USR1" not in document["argv"][2]
    assert run_program(document, tmp_path) == (0, "done\n", "")


@pytest.mark.parametrize("text", SHELL)
def test_what_people_write_arrives_as_it_is(text, tmp_path):
    spec = TaskSpec("t", 'printf %s "$V"', env_vars={"V": text})
    assert run_program(document_of(spec), tmp_path) == (0, text, "")
    assert not (tmp_path / "pwned").exists()


def test_a_script_that_is_no_argument_goes_in_parts(tmp_path):
    text = "é😀'$x`\\" * 60_000
    spec = TaskSpec("t", f"cat <<'END' | cksum\n{text}\nEND\nexit 7")
    document = document_of(spec)
    assert len(document["argv"]) > 5
    assert all(len(word.encode()) < LARGEST_ARGUMENT for word in document["argv"])
    whole = subprocess.run(
        ["cksum"], input=f"{text}\n", capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert run_program(document, tmp_path) == (7, whole.stdout, "")
    assert list(tmp_path.iterdir()) == []  # the file with the script is gone


def test_a_place_that_can_not_be_written_to_is_told(tmp_path):
    document = document_of(TaskSpec("t", "x" * 300_000))
    document["env"]["TMPDIR"] = "/nowhere"
    code, output, _ = run_program(document, tmp_path)
    assert code == 125
    markers = Markers(nonce_of(run_of(), TaskSpec("t", ""), 1))
    for line in output.splitlines():
        markers.feed(line)
    assert markers.not_started.startswith("the script can't be written to /nowhere/hut-")


def test_what_it_generates_comes_back_through_the_log(tmp_path):
    spec = TaskSpec("t", "echo '[]' > made.json", generates_source="made.json")
    _, output, _ = run_program(document_of(spec), tmp_path)
    markers = Markers(nonce_of(run_of(), spec, 1))
    for line in output.splitlines():
        markers.feed(line)
    assert markers.content() == b"[]\n"


@given(st.text(max_size=300).filter(lambda text: "\0" not in text), st.integers(0, 99_999))
def test_parts_are_the_whole_and_none_is_too_long(text, shift):
    script = "x" * shift + text * 700
    parts = list(parts_of_script(script))
    assert "".join(parts) == script
    assert all(len(part.encode()) <= 100_000 for part in parts)


def test_the_key_is_where_the_execution_says_it_is():
    planned = plan_launch(options(), request_of(TaskSpec("t", "true")), "bucket", 0.0)
    assert planned.values["parameters"]["Payload"] == [f"s3://bucket/{planned.key}"]
    assert json.loads(planned.payload)["attempt"] == planned.name


def test_the_agent_and_its_document_take_what_they_are_given():
    resources = Resources(time_limit=0.5, gres=(Gres("gpu", 1),))
    spec = TaskSpec("t", "true", image="busybox", resources=resources)
    gpus = {"default": ["g5.xlarge"]}
    planned = plan_launch(
        options(reuse=True, instance_types=gpus), request_of(spec), "bucket-1.a", 0.0
    )
    payload = read_payload(planned.payload, planned.name)
    assert (payload.image, payload.gpus, payload.time_limit) == ("busybox", "1", 1)
    assert (payload.group, payload.stream) == ("/hut/jobs", planned.values["log"])
    wanted = document_content()["parameters"]
    given = planned.values["parameters"]
    assert set(given) <= set(wanted)
    for name, (value,) in given.items():
        assert re.search(wanted[name]["allowedPattern"], value)
