"""What becomes of refinements in functions: upon which of the stack's they stand, what runs keep."""

import subprocess
import sys

from hut.backends.batch.options import Platform
from hut.backends.refining import backends_of, frozen, options_of

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


def test_a_new_backend_is_the_stacks_with_its_own_choices():
    options = options_of(
        "gpu", "batch", {"default_queue": "ec2", "default_image": "cuda"}, STACK, "lab"
    )
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
