"""What becomes of refinements in functions: upon which of the stack's they stand, what runs keep."""

import subprocess
import sys

import pytest

from hut.backends.batch.options import Platform
from hut.backends.refining import backends_of, frozen, live, options_of
from hut.model.problems import InvalidInput

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


EC2 = {
    "name": "ec2",
    "type": "ec2",
    "machine": "arn:aws:states:eu-west-1:123456789012:stateMachine:hut-ec2-task",
    "document": "hut-task",
    "launch_template": "lt-0123456789abcdef0",
    "instance_profile_arn": "arn:aws:iam::123456789012:instance-profile/hut",
    "subnet_ids": ["subnet-0123abcd"],
    "security_group_ids": ["sg-0123abcd"],
    "instance_types": {"default": ["c5.xlarge"]},
    "log_group": "/hut/jobs",
    "max_instances": 20,
}
BOTH = [*STACK, EC2]


def test_a_backend_refines_the_stacks_of_its_own_kind():
    found = backends_of(
        [
            {"name": "big", "type": "ec2", "instance_types": {"default": ["m7i.48xlarge"]}},
            {"name": "gpu", "default_queue": "ec2"},
            {"name": "ec2", "type": "ec2", "max_concurrent": 3},
        ],
        BOTH,
        "lab",
    )
    assert [(name, each.kind, each.origin) for name, each in found.items()] == [
        ("batch", "batch", "stack"),
        ("ec2", "ec2", "stack"),
        ("big", "ec2", "configuration"),
        ("gpu", "batch", "configuration"),
    ]
    assert not any(each.problem for each in found.values())
    assert [each.options.cap for each in found.values()] == [100, 3, 20, 100]
    assert found["big"].options.instance_types == {"default": ("m7i.48xlarge",)}
    assert found["big"].options.partitions == ("default",)


def test_a_backend_whose_kind_the_stack_does_not_have_is_none():
    assert "big" not in backends_of([{"name": "big", "type": "ec2"}], STACK, "hut")
    with pytest.raises(InvalidInput, match="no backend of type ec2"):
        options_of("big", "ec2", {}, STACK, "hut")


def test_a_backend_keeps_its_name_when_the_stack_gets_one_of_that_name():
    found = backends_of([{"name": "ec2", "default_queue": "ec2"}], BOTH, "hut")
    assert (found["ec2"].kind, found["ec2"].origin) == ("batch", "configuration")
    retired = backends_of([{"name": "ec2", "default_queue": "ec2", "retired": True}], BOTH, "hut")
    assert (retired["ec2"].kind, retired["ec2"].origin) == ("ec2", "stack")


def test_what_a_run_keeps_of_another_kind_is_a_problem():
    with pytest.raises(InvalidInput, match="but was of type batch"):
        options_of("ec2", "ec2", {"default_image": "a"}, BOTH, "hut")


def test_runs_keep_what_their_instances_are_made_of_and_not_caps_and_prices():
    refinement = {
        "name": "ec2",
        "type": "ec2",
        "spot": "prefer",
        "max_instances": 3,
        "prices": {"c5.xlarge": 0.2},
    }
    assert frozen([refinement]) == {"ec2": {"type": "ec2", "spot": "prefer"}}
    assert live(refinement) == {"max_instances": 3, "prices": {"c5.xlarge": 0.2}}


def test_busy_functions_know_of_ec2_what_a_deployment_has_and_no_more():
    code = (
        "import sys, handlers.advance, handlers.observe, handlers.sweep, handlers.wiring\n"
        "print(sorted(m for m in sys.modules if m.startswith('hut.backends.ec2.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
