"""What a configuration may choose of a Batch backend, and what of it is refused."""

from __future__ import annotations

import pytest

from hut.backends.batch.refining import read_options, refine

ARN = "arn:aws:batch:eu-west-1:123456789012:job-queue/"
BASE = {
    "name": "batch",
    "type": "batch",
    "queues": {"fargate": f"{ARN}hut-fargate", "ec2": f"{ARN}lab/hut-ec2"},
    "default_queue": "fargate",
    "platforms": {"fargate": "FARGATE", "ec2": "EC2"},
    "default_image": "debian:stable-slim",
    "log_group": "/hut/jobs",
    "job_role_arn": "arn:job",
    "execution_role_arn": "arn:exec",
    "max_concurrent": 100,
}


def entry(**fields):
    return {"name": "gpu", "type": "batch", **fields}


def queue(name):
    return entry(aws={"region": "eu-west-1", "job_queue": name})


@pytest.mark.parametrize("name", ["ec2", "hut-ec2", f"{ARN}lab/hut-ec2"])
def test_a_queue_is_known_by_partition_name_and_arn(name):
    refinement, problems, notes = refine(queue(name), BASE)
    assert refinement == {"name": "gpu", "default_queue": "ec2"}
    assert problems == []
    assert notes == []


def test_what_is_not_granted_is_a_problem_that_says_what_to_do():
    _, problems, _ = refine(
        entry(
            aws={"region": "eu-north-1", "job_queue": "mine"},
            job_role_arn="arn:other",
            execution_role_arn="arn:exec",
        ),
        BASE,
    )
    assert [problem.field for problem in problems] == [
        "aws.job_queue",
        "aws.region",
        "job_role_arn",
    ]
    assert "hut:queues" in problems[0].message
    assert "ec2, fargate" in problems[0].message
    assert "eu-west-1" in problems[1].message
    assert "hut:job_role_arn" in problems[2].message


def test_revisions_need_a_deployment_that_may_register_them():
    locked = {**BASE, "job_definition": "lab"}
    wish = entry(job_definition="lab", job_definition_mode="revisions")
    [problem] = refine(wish, locked)[1]
    assert problem.field == "job_definition_mode"
    assert "hut:job_definition_mode" in problem.message
    granted = {**locked, "job_definition_mode": "revisions"}
    assert refine(wish, granted)[1] == []
    assert refine(entry(job_definition="lab", job_definition_mode="locked"), granted)[1] == []


def test_secrets_that_the_stacks_role_may_not_read_are_noted():
    arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/key"
    refinement, problems, notes = refine(entry(secrets={"KEY": arn}), BASE)
    assert (refinement["secrets"], problems) == ({"KEY": arn}, [])
    assert "hut:secrets" in notes[0]
    granted = {**BASE, "secrets": {"OTHER": arn}}
    assert refine(entry(secrets={"KEY": arn}), granted)[2] == []


def test_what_jobs_have_in_common_follows_the_stacks_rules():
    refinement, problems, _ = refine(entry(ephemeral_storage=500), BASE)
    assert [problem.field for problem in problems] == ["ephemeral_storage"]
    refinement, problems, _ = refine(entry(ephemeral_storage=50, retry_attempts=2), BASE)
    assert problems == []
    assert read_options({**BASE, **refinement}).jobs.ephemeral_storage == 50
