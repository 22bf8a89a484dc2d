"""From an attempt to SubmitJob: what goes where, and what if it is too large."""

import json

import pytest

from hut.backends.batch.jobs import LARGEST_OVERRIDES, environment_of, plan_job, script_key
from hut.backends.batch.resources import Unsatisfiable
from hut.backends.launcher import StoredScript
from hut.backends.markers import nonce_of
from hut.model.quantities import parse_gres
from hut.model.records import RunSettings
from hut.model.workflow import Resources, TaskSpec
from tests.batch.plain_batch import QUEUES, options, request_of, run_of

STORED = StoredScript("https://bucket.s3.amazonaws.com/key?" + "x" * 1500)


def planned(spec, run=None, stored=None, **changes):
    return plan_job(options(**changes), request_of(spec, run), stored)


def environment(job):
    entries = job.parameters["containerOverrides"].get("environment", [])
    return {entry["name"]: entry["value"] for entry in entries}


def command(job):
    return job.parameters["containerOverrides"]["command"]


def overrides_length(job):
    return len(json.dumps(job.parameters["containerOverrides"]))


def test_a_plain_task_becomes_a_job():
    job = planned(TaskSpec("a.b", "echo 'hi'", resources=Resources(2, 5000, (), 90.5)))
    assert job.image == "debian:stable-slim"
    assert job.upload is None
    overrides = job.parameters.pop("containerOverrides")
    assert job.parameters == {
        "jobName": "hut-abcdefghij-3-1-2",
        "jobQueue": QUEUES["fargate"],
        "timeout": {"attemptDurationSeconds": 91},
        "tags": {
            "hut:run": "abcdefghij",
            "hut:workflow": "w",
            "hut:task": "a.b",
            "hut:owner": "me",
        },
        "propagateTags": True,
        "parameters": {"hutStarts": "told"},
    }
    assert overrides["resourceRequirements"] == [
        {"type": "VCPU", "value": "2"},
        {"type": "MEMORY", "value": "5120"},
    ]
    shell, flag, launcher, script = overrides["command"]
    assert (shell, flag) == ("/bin/sh", "-c")
    assert nonce_of(run_of(), TaskSpec("a.b", ""), 1) in launcher
    assert script == (
        "#!/bin/sh\n"
        "# run abcdefghij, task a.b, attempt 1\n"
        "(set -o pipefail) 2>/dev/null && set -o pipefail\n"
        'cd -- "$HOME" || exit 125\n'
        "echo 'hi'\n"
    )


def test_image_partition_and_gpus_are_the_tasks():
    spec = TaskSpec("t", "true", partition="ec2", image="me/own:1")
    job = planned(spec._replace(resources=Resources(gres=parse_gres("gpu:2"))))
    assert (job.image, *job.placement[:2]) == ("me/own:1", QUEUES["ec2"], "EC2")
    requirements = job.parameters["containerOverrides"]["resourceRequirements"]
    assert {"type": "GPU", "value": "2"} in requirements


def test_later_variables_win_and_automatic_ones_come_last():
    settings = RunSettings(
        env_vars={"A": "run", "B": "run", "C": "run", "HUT_RUN_ID": "mine"},
        environments={"e": {"variables": {"B": "environment", "C": "environment"}}},
        environment="e",
    )
    spec = TaskSpec("t", "true", env_vars={"C": "task", "SCRIPTHUT_GIT_SHA": "mine"})
    assert environment(planned(spec, run_of(settings=settings))) == {
        "A": "run",
        "B": "environment",
        "C": "task",
        "HUT_RUN_ID": "abcdefghij",
        "HUT_WORKFLOW": "w",
        "HUT_TASK_ID": "t",
        "HUT_ATTEMPT": "1",
        "HUT_CREATED_AT": "2023-11-14T22:13:20.250000Z",
        "SCRIPTHUT_WORKFLOW": "w",
        "SCRIPTHUT_RUN_ID": "abcdefghij",
        "SCRIPTHUT_CREATED_AT": "2023-11-14T22:13:20.250000Z",
    }


def test_no_value_stands_in_the_command():
    job = planned(TaskSpec("t", "true", env_vars={"SECRET": "hidden"}))
    assert "hidden" not in json.dumps(command(job))


def test_variables_without_a_value_are_left_to_the_launcher():
    job = planned(TaskSpec("t", "true", env_vars={"EMPTY": "", "FULL": "x"}))
    assert "EMPTY" not in environment(job)
    assert "export HOME EMPTY=\n" in command(job)[2]


def test_names_that_batch_keeps_for_itself_are_refused():
    with pytest.raises(Unsatisfiable, match="variable AWS_BATCH_X: AWS Batch keeps names"):
        planned(TaskSpec("t", "true", env_vars={"AWS_BATCH_X": "1"}))


def test_batch_is_told_of_short_limits_only_as_a_backstop():
    job = planned(TaskSpec("t", "true", resources=Resources(time_limit=5)))
    assert job.parameters["timeout"] == {"attemptDurationSeconds": 120}
    assert "sleep 5 " in command(job)[2]
    job = planned(TaskSpec("t", "true", resources=Resources(time_limit=60)))
    assert job.parameters["timeout"] == {"attemptDurationSeconds": 60}
    assert "sleep" not in command(job)[2]


def test_a_large_script_has_to_be_stored():
    spec = TaskSpec("t", "true # " + "x" * 8000, env_vars={"A": "1"})
    assert planned(spec) is None
    job = planned(spec, stored=STORED)
    assert job.upload.endswith(f"{spec.command}\n".encode())
    assert b"export" not in job.upload
    assert environment(job)["A"] == "1"
    assert STORED.url in command(job)[2]
    assert overrides_length(job) <= LARGEST_OVERRIDES


def test_variables_that_are_too_large_go_with_the_script():
    spec = TaskSpec("t", "true", env_vars={"A": "x" * 8000, "E": ""})
    assert planned(spec) is None
    job = planned(spec, stored=STORED)
    script = job.upload.decode()
    assert f"export A={'x' * 8000}\n" in script
    assert "export E=''\n" in script
    assert "HUT_TASK_ID=t" in script
    assert environment(job) == {}
    assert overrides_length(job) <= LARGEST_OVERRIDES


@pytest.mark.parametrize("letter", ["x", "\\", "é", "😀", '"'])
def test_the_limit_counts_characters_as_they_travel(letter):
    """What is handed over directly is below the limit, and only what is above it is stored."""
    least, most = 0, 8000
    while least + 1 < most:
        middle = (least + most) // 2
        job = planned(TaskSpec("t", letter * middle))
        if job is None:
            most = middle
        else:
            assert overrides_length(job) <= LARGEST_OVERRIDES
            least = middle
    assert overrides_length(planned(TaskSpec("t", letter * least))) > LARGEST_OVERRIDES - 20


def test_everything_is_far_below_the_limit_of_a_job():
    spec = TaskSpec("t" * 200, "x" * 2000, env_vars={"A": "y" * 500})
    job = planned(spec, run_of(workflow="w" * 1000, owner="o" * 1000))
    assert len(json.dumps(job.parameters)) < 10_000


def test_scripts_are_stored_by_attempt():
    assert script_key(request_of(TaskSpec("t", "true"), attempt=4)) == "scripts/abcdefghij/3-4-2.sh"


def test_the_attempt_is_told():
    assert environment_of(run_of(), TaskSpec("t", "true"), 7)["HUT_ATTEMPT"] == "7"
