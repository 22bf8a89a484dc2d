"""Job definitions with what belongs to them, used by the Batch backend itself on the test bed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hut.backends.batch import BatchBackend, Clients, read_options
from hut.backends.port import Job
from hut.model.states import TaskState
from hut.model.workflow import TaskSpec
from tests.batch.plain_batch import ENTRY, request_of, run_of
from tests.testbed_checks.making import Maker, wait_for

Made = Callable[..., BatchBackend]


@pytest.fixture
def backend(make: Maker) -> Made:
    """Makes backends over one queue, with log groups that are there."""
    queue = make.batch_queue()

    def made(platform: str = "EC2", **entry: Any) -> BatchBackend:
        client = make.bed.client
        options = read_options(
            {
                **ENTRY,
                "queues": {"main": queue},
                "default_queue": "main",
                "platforms": {"main": platform},
                "log_group": "/aws/batch/job",
                **entry,
            }
        )
        clients = Clients(client("batch"), client("logs"), client("s3"), "bucket")
        return BatchBackend(options, clients)

    return made


def ran(backend: BatchBackend, spec: TaskSpec) -> tuple[Job, str]:
    """Return the job of a task once it has ended, and what it printed."""
    [result] = backend.submit([request_of(spec)])
    assert result.handle is not None, result
    handle = result.handle

    def ended() -> Job | None:
        job = backend.describe([handle])[handle]
        return job if job.outcome is not None else None

    job: Job = wait_for(ended)
    return job, "" if job.log is None else backend.read_log(job.log, None, 100).text


def registered(make: Maker, name: str) -> list[Any]:
    answer = make.bed.client("batch").describe_job_definitions(jobDefinitionName=name)
    return list(answer["jobDefinitions"])


def secrets_of(make: Maker) -> dict[str, str]:
    text = '{"token": "from a key"}'
    whole = make.bed.client("secretsmanager").create_secret(
        Name=make.name("secret"), SecretString=text
    )["ARN"]
    name = f"/{make.name('parameter')}"
    make.bed.client("ssm").put_parameter(Name=name, Value="from ssm", Type="SecureString")
    parameter = make.bed.client("ssm").get_parameter(Name=name)["Parameter"]["ARN"]
    return {"WHOLE": whole, "KEY": f"{whole}:token::", "PARAMETER": parameter}


def test_secrets_reach_a_command_and_nothing_else(make: Maker, backend: Made) -> None:
    used = backend(secrets=secrets_of(make))
    job, said = ran(used, TaskSpec("t", 'echo "$WHOLE|$KEY|$PARAMETER"'))
    assert said == '{"token": "from a key"}|from a key|from ssm\n'
    shown = str(make.job(job.handle))
    assert "from ssm" not in shown
    assert "from a key" not in shown


def test_a_secret_that_is_not_there_is_told(make: Maker, backend: Made) -> None:
    missing = "arn:aws:ssm:us-east-1:000000000000:parameter/none"
    job, _ = ran(backend(secrets={"A": missing}), TaskSpec("t", "true"))
    assert job.outcome is not None
    assert job.outcome.reason == "launch_failed"
    assert "unable to pull secrets" in job.outcome.message
    assert "parameter/none" in job.outcome.message


def test_what_belongs_to_a_definition_is_what_the_service_takes(make: Maker, backend: Made) -> None:
    common = {
        "volumes": [{"efs": "fs-0123abcd", "mount": "/data", "access_point": "fsap-0123abcd"}],
        "retry_attempts": 2,
    }
    on_ec2 = backend(shared_memory="64M", ulimits={"nofile": 1024}, **common)
    job, _ = ran(on_ec2, TaskSpec("t", "exit 3"))
    shown = make.job(job.handle)
    assert shown["container"]["ulimits"] == [
        {"name": "nofile", "softLimit": 1024, "hardLimit": 1024}
    ]
    assert shown["container"]["mountPoints"][0]["containerPath"] == "/data"
    assert len(shown["attempts"]) == 2
    assert job.usage is not None
    assert len(job.usage.seconds) == 2
    arm = backend("FARGATE", cpu_architecture="ARM64", ephemeral_storage=40, **common)
    job, _ = ran(arm, TaskSpec("t", "true"))
    assert job.usage is not None
    assert (job.usage.architecture, job.usage.disk) == ("ARM64", 40)
    # One vCPU with 4 GiB for a minute, at the price of ARM64, and 20 GiB of disk.
    assert arm.cost(job) == pytest.approx((0.03238 + 4 * 0.00356 + 20 * 0.000111) / 60, abs=1e-7)


def own_definition(make: Maker, **container: Any) -> str:
    name = make.name("own")
    make.bed.client("logs").create_log_group(logGroupName=f"/{name}")
    options = {"awslogs-group": f"/{name}", "awslogs-stream-prefix": "own"}
    make.definition(
        "false",
        name=name,
        logConfiguration={"logDriver": "awslogs", "options": options},
        **container,
    )
    return name


def test_a_locked_definition_runs_its_own_image_and_is_read_where_it_logs(
    make: Maker, backend: Made
) -> None:
    name = own_definition(make, environment=[{"name": "OWN", "value": "kept"}])
    used = backend(job_definition=name)
    spec = TaskSpec("t", 'echo "$OWN $HUT_TASK_ID"', image="other:1")
    job, said = ran(used, spec)
    assert said == "kept t\n"
    assert make.job(job.handle)["container"]["image"] == "debian:stable-slim"
    outcome = used.outcome(run_of(), spec, 1, job)
    assert outcome is not None
    assert outcome.state is TaskState.COMPLETED
    assert "image 'other:1' was ignored" in outcome.message
    assert len(registered(make, name)) == 1


def test_revisions_run_the_tasks_image_with_all_else_kept(make: Maker, backend: Made) -> None:
    name = own_definition(make, environment=[{"name": "OWN", "value": "kept"}])
    revisions = {"job_definition": name, "job_definition_mode": "revisions"}
    for _ in range(2):  # another process finds what the first has made
        used = backend(**revisions)
        for image in (None, "other:1", "other:2", "other:1"):
            job, said = ran(used, TaskSpec("t", 'echo "$OWN"', image=image))
            assert said == "kept\n"
            shown = make.job(job.handle)["container"]["image"]
            assert shown == (image or "debian:stable-slim")
    found = registered(make, name)
    assert sorted(one["containerProperties"]["image"] for one in found) == [
        "debian:stable-slim",
        "other:1",
        "other:2",
    ]


@pytest.mark.parametrize("mode", ["locked", "revisions"])
def test_a_definition_that_was_deregistered_ends_the_attempt(
    make: Maker, backend: Made, mode: str
) -> None:
    name = own_definition(make)
    used = backend(job_definition=name, job_definition_mode=mode)
    ran(used, TaskSpec("t", "true"))
    make.bed.client("batch").deregister_job_definition(jobDefinition=f"{name}:1")
    [result] = used.submit([request_of(TaskSpec("t", "true"))])
    assert result.outcome is not None
    assert result.outcome.reason == "launch_failed"
    assert "does not exist or is not ACTIVE" in result.outcome.message


def test_a_log_that_goes_elsewhere_is_said_to(make: Maker, backend: Made) -> None:
    name = make.name("splunk")
    make.definition("true", name=name, logConfiguration={"logDriver": "splunk"})
    used = backend(job_definition=name)
    job, _ = ran(used, TaskSpec("t", "echo x"))
    assert job.log is None
    why = used.why_no_log()
    assert why is not None
    assert "splunk" in why


@pytest.mark.parametrize(
    ("platform", "container", "told"),
    [
        ("EC2", {"user": "x" * 25_000}, "larger than 24576"),
        ("EC2", {"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]}, "Unknown volume"),
        (
            "EC2",
            {
                "secrets": [{"name": "A", "valueFrom": "arn:aws:ssm:r:1:parameter/a"}],
                "environment": [{"name": "A", "value": "1"}],
            },
            "must be unique",
        ),
        ("EC2", {"ephemeralStorage": {"sizeInGiB": 21}}, "for Fargate only"),
        ("FARGATE", {"ulimits": [{"name": "core", "softLimit": 0, "hardLimit": 0}]}, "ulimits"),
        ("FARGATE", {"linuxParameters": {"sharedMemorySize": 64}}, "sharedMemorySize"),
        ("FARGATE", {"volumes": [{"name": "v", "host": {"sourcePath": "/v"}}]}, "host volumes"),
    ],
)
def test_the_test_bed_refuses_what_batch_refuses(
    make: Maker, platform: str, container: dict[str, Any], told: str
) -> None:
    batch = make.bed.client("batch")
    asked = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "2048"}]
    with pytest.raises(batch.exceptions.ClientException, match=told):
        batch.register_job_definition(
            jobDefinitionName=make.name("bad"),
            type="container",
            platformCapabilities=[platform],
            containerProperties={
                "image": "i",
                "executionRoleArn": "arn:aws:iam::000000000000:role/x",
                "resourceRequirements": asked,
                **container,
            },
        )
