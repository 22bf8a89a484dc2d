"""What a configuration may choose of a Batch backend, and what becomes of it in functions."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hut.backends.batch.options import Platform
from hut.backends.batch.refining import backends_of, frozen, options_of, refine

ARN = "arn:aws:batch:eu-west-1:123456789012:job-queue/"
STACK = [
    {
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
]


def entry(**fields):
    return {"name": "gpu", "type": "batch", **fields}


def queue(name):
    return entry(aws={"region": "eu-west-1", "job_queue": name})


@pytest.mark.parametrize("name", ["ec2", "hut-ec2", f"{ARN}lab/hut-ec2"])
def test_a_queue_is_known_by_partition_name_and_arn(name):
    refinement, problems, notes = refine(queue(name), STACK)
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
        STACK,
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
    locked = [{**STACK[0], "job_definition": "lab"}]
    wish = entry(job_definition="lab", job_definition_mode="revisions")
    [problem] = refine(wish, locked)[1]
    assert problem.field == "job_definition_mode"
    assert "hut:job_definition_mode" in problem.message
    granted = [{**locked[0], "job_definition_mode": "revisions"}]
    assert refine(wish, granted)[1] == []
    assert refine(entry(job_definition="lab", job_definition_mode="locked"), granted)[1] == []


def test_secrets_that_the_stacks_role_may_not_read_are_noted():
    arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/key"
    refinement, problems, notes = refine(entry(secrets={"KEY": arn}), STACK)
    assert (refinement["secrets"], problems) == ({"KEY": arn}, [])
    assert "hut:secrets" in notes[0]
    granted = [{**STACK[0], "secrets": {"OTHER": arn}}]
    assert refine(entry(secrets={"KEY": arn}), granted)[2] == []


def test_what_jobs_have_in_common_follows_the_stacks_rules():
    refinement, problems, _ = refine(entry(ephemeral_storage=500), STACK)
    assert [problem.field for problem in problems] == ["ephemeral_storage"]
    refinement, problems, _ = refine(entry(ephemeral_storage=50, retry_attempts=2), STACK)
    assert problems == []
    assert options_of("gpu", refinement, STACK, "hut").jobs.ephemeral_storage == 50


def test_a_new_backend_is_the_stacks_with_its_own_choices():
    options = options_of("gpu", {"default_queue": "ec2", "default_image": "cuda"}, STACK, "lab")
    assert (options.name, options.default_queue, options.default_image) == ("gpu", "ec2", "cuda")
    assert options.platforms == {"fargate": Platform.FARGATE, "ec2": Platform.EC2}
    assert (options.max_concurrent, options.prefix) == (100, "lab")


def test_backends_stand_in_order_with_their_origin():
    found = backends_of(
        [
            {"name": "gpu", "max_concurrent": 2},
            {"name": "batch", "default_image": "mine"},
            {"name": "old", "default_image": "o", "retired": True},
        ],
        STACK,
        "hut",
    )
    assert [(b.options.name, b.origin, b.refined, b.retired) for b in found.values()] == [
        ("batch", "stack", True, False),
        ("gpu", "configuration", True, False),
        ("old", "configuration", False, True),
    ]
    assert found["batch"].options.default_image == "mine"
    assert found["gpu"].options.max_concurrent == 2
    assert found["old"].options.default_image == "o"
    assert not any(each.problem for each in found.values())


def test_a_choice_that_a_later_deployment_took_away_is_a_problem_of_that_backend_alone():
    found = backends_of(
        [{"name": "gpu", "default_queue": "gone"}, {"name": "cpu", "default_queue": "ec2"}],
        STACK,
        "hut",
    )
    assert "gone" in found["gpu"].problem
    assert found["gpu"].options.default_queue == "fargate"  # enough to see to its jobs
    assert (found["batch"].problem, found["cpu"].problem) == ("", "")


def test_runs_keep_everything_but_caps_of_what_is_configured():
    assert frozen(
        [
            {"name": "gpu", "max_concurrent": 2, "default_image": "a", "default_queue": "ec2"},
            {"name": "cap", "max_concurrent": 2},
            {"name": "old", "default_image": "o", "retired": True},
        ]
    ) == {"gpu": {"default_image": "a", "default_queue": "ec2"}, "cap": {}}


def test_what_busy_functions_import_needs_no_pydantic():
    code = (
        "import sys, handlers.advance, handlers.observe, handlers.sweep, handlers.wiring\n"
        "print(sorted({'pydantic', 'yaml', 'hut.model.configuration'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
