"""What the stacks make for tasks on instances of their own, and what takes its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hut.backends.ec2.document import LARGEST_DOCUMENT, document_content
from hut.backends.ec2.options import Ec2Options, read_options
from infra.settings import SettingsError, read_settings
from infra.task_machine import definition
from tests.infra.synthesis import Synthesis, flat, many, synthesize
from tests.infra.test_compute import backends_of

PROFILE = "arn:aws:iam::123456789012:instance-profile/tasks"
ROLE = "arn:aws:iam::123456789012:role/tasks"
NETWORK = {"subnet_ids": ["subnet-0123456789"], "security_group_ids": ["sg-0123456789"]}
QUEUES = {"main": {"arn": "arn:aws:batch:eu-west-1:123456789012:job-queue/q", "platform": "EC2"}}


@pytest.fixture(scope="module")
def replaced(code: Path) -> Synthesis:
    """Everything of the EC2 engine that may exist does."""
    given = {
        **NETWORK,
        "name": "machines",
        "launch_template": "lt-0123456789",
        "instance_profile_arn": PROFILE,
        "instance_role_arn": ROLE,
        "log_group": "/lab/tasks",
        "ami": "resolve:ssm:/lab/image",
        "spot": "prefer",
        "max_instances": 3,
    }
    return synthesize(code, {"queues": QUEUES, "default_partition": "main", "ec2": given})


def entry_of(synthesis: Synthesis) -> dict[str, Any]:
    entries = json.loads(backends_of(synthesis))
    return next(entry for entry in entries if entry["type"] == "ec2")


def options_of(synthesis: Synthesis) -> Ec2Options:
    """Return what functions read: names that only the deployment knows become some."""
    text = json.dumps(entry_of(synthesis))
    text = text.replace("<AWS::Partition>", "aws").replace("<AWS::Region>", "eu-west-1")
    text = text.replace("<AWS::AccountId>", "123456789012")
    for pattern, some in (
        (r"<[^<>]*TaskTemplate[^<>]*>", "lt-0123456789"),
        (r"<[^<>]*TaskProfile[^<>]*>", PROFILE),
        (r"<[^<>]*Subnet[^<>]*>", "subnet-0123456789"),
        (r"<[^<>]*SecurityGroup[^<>]*>", "sg-0123456789"),
    ):
        text = re.sub(pattern, some, text)
    return read_options(json.loads(text))


def statements_of(synthesis: Synthesis, action: str) -> list[dict[str, Any]]:
    """Return what the state machine's role may do with an action, statement by statement."""
    return [
        statement
        for role, statement in synthesis.statements()
        if role.startswith("HutControl/TaskRole") and action in many(statement["Action"])
    ]


def test_the_machine_is_the_one_that_is_described(default: Synthesis) -> None:
    machine = default.properties("AWS::StepFunctions::StateMachine", "Control/Task")
    assert json.loads(machine["DefinitionString"]) == definition()
    placeholders = set(re.findall(r"\$\{(\w+)\}", machine["DefinitionString"]))
    assert placeholders == set(machine["DefinitionSubstitutions"])
    assert machine["StateMachineName"] == "hut-ec2-task"
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False


def test_functions_can_read_what_the_stack_says(default: Synthesis) -> None:
    options = options_of(default)
    assert options.name == "ec2"
    assert options.machine.endswith(":stateMachine:hut-ec2-task")
    assert options.document == "hut-ec2-task"
    assert options.log_group == "/hut/jobs"
    assert set(options.partitions) == {"default", "gpu"}
    assert len(options.subnet_ids) == 1  # two, with one name in this test
    assert options.max_instances == 20
    assert not options.reuse


def test_the_document_is_the_agents(default: Synthesis) -> None:
    document = default.properties("AWS::SSM::Document")
    assert document["Content"] == document_content()
    assert document["DocumentType"] == "Command"
    assert document["UpdateMethod"] == "NewVersion"
    assert document["Name"] == entry_of(default)["document"]
    assert len(json.dumps(document["Content"])) < LARGEST_DOCUMENT - 2048


def test_instances_need_sessions_for_metadata_and_end_when_shut_down(default: Synthesis) -> None:
    data = default.properties("AWS::EC2::LaunchTemplate", "TaskTemplate")["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 2
    assert data["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert "BlockDeviceMappings" not in data  # each request has it, for its image


def test_an_instance_may_take_commands_pull_images_and_write_logs(default: Synthesis) -> None:
    allowed = default.allowed("/TaskHostRole")
    assert {action.partition(":")[0] for action in allowed} == {
        *("ec2messages", "ecr", "logs", "s3", "ssm", "ssmmessages")
    }
    assert "ssmmessages:OpenDataChannel" not in allowed  # nobody logs in
    [scripts] = allowed["s3:GetObject"]
    assert scripts.endswith("/scripts/*")
    [group] = allowed["logs:PutLogEvents"]
    assert "JobLogs" in group


def test_only_what_is_tagged_is_launched_commanded_and_ended(default: Synthesis) -> None:
    launching = statements_of(default, "ec2:RunInstances")
    tagged = {"StringEquals": {"aws:RequestTag/hut": "hut"}}
    for statement in launching:
        makes = [flat(each) for each in many(statement["Resource"])]
        made = [each for each in makes if each.endswith((":instance/*", ":volume/*"))]
        assert bool(made) == (statement.get("Condition") == tagged)
        assert not made or made == makes
    [tags] = statements_of(default, "ec2:CreateTags")
    assert tags["Condition"] == {"StringEquals": {"ec2:CreateAction": "RunInstances"}}
    assert tags["Action"] == "ec2:CreateTags"
    [ends] = statements_of(default, "ec2:TerminateInstances")
    assert ends["Condition"] == {"StringEquals": {"aws:ResourceTag/hut": "hut"}}
    document, instances = statements_of(default, "ssm:SendCommand")
    assert flat(document["Resource"]).endswith(":document/hut-ec2-task")
    assert instances["Condition"] == {"StringEquals": {"ssm:resourceTag/hut": "hut"}}


def test_functions_end_only_what_is_tagged(default: Synthesis) -> None:
    ending = {
        role.partition("/")[2].rstrip("0123456789ABCDEF"): statement["Condition"]
        for role, statement in default.statements()
        if "ec2:TerminateInstances" in many(statement["Action"])
    }
    assert set(ending) == {"AdvanceRole", "ObserveRole", "SweepRole", "TaskRole"}
    assert {json.dumps(each) for each in ending.values()} == {
        json.dumps({"StringEquals": {"aws:ResourceTag/hut": "hut"}})
    }


def test_one_role_is_passed_and_to_instances_only(default: Synthesis) -> None:
    [passed] = statements_of(default, "iam:PassRole")
    assert "TaskHostRole" in flat(passed["Resource"])
    assert passed["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    [linked] = statements_of(default, "iam:CreateServiceLinkedRole")
    assert flat(linked["Resource"]).endswith("/AWSServiceRoleForEC2Spot")


def test_what_exists_takes_the_place_of_what_is_made(replaced: Synthesis) -> None:
    options = options_of(replaced)
    assert (options.name, options.max_instances, options.spot) == ("machines", 3, "prefer")
    assert options.instance_profile_arn == PROFILE
    assert options.launch_template == "lt-0123456789"
    assert options.log_group == "/lab/tasks"
    for kind in ("EC2::LaunchTemplate", "IAM::InstanceProfile", "EC2::SecurityGroup", "EC2::VPC"):
        assert not replaced.resources(f"AWS::{kind}"), kind
    [passed] = statements_of(replaced, "iam:PassRole")
    assert passed["Resource"] == ROLE
    parameters = [
        flat(each) for each in statements_of(replaced, "ssm:GetParameters")[0]["Resource"]
    ]
    assert any(each.endswith(":parameter/lab/image") for each in parameters)
    for name in ("ApiRole", "ObserveRole", "SweepRole"):
        read = replaced.allowed(name)["logs:GetLogEvents"]
        assert any("log-group:/lab/tasks:*" in each for each in read)


@pytest.mark.parametrize(
    "hut", [{"ec2": False}, {"queues": QUEUES, "default_partition": "main"}], ids=["off", "queues"]
)
def test_without_it_nothing_of_it_is_there(code: Path, hut: dict[str, object]) -> None:
    synthesis = synthesize(code, hut)
    assert not synthesis.resources("AWS::SSM::Document")
    assert len(synthesis.resources("AWS::StepFunctions::StateMachine")) == 1
    kinds = [each["type"] for each in json.loads(backends_of(synthesis))]
    assert kinds == ["batch", "workers"]
    for _, statement in synthesis.statements():
        actions = many(statement["Action"])
        assert not [each for each in actions if each.startswith(("ec2:", "ssm:"))]
        assert not any("ec2-task" in flat(each) for each in many(statement["Resource"]))
    rules = synthesis.resources("AWS::Events::Rule")
    assert not [name for name in rules if "/Task" in name]


def test_what_is_told_of_tasks(default: Synthesis) -> None:
    found = {
        name.partition("/")[2].rstrip("0123456789ABCDEF"): rule["Properties"]
        for name, rule in default.resources("AWS::Events::Rule").items()
        if "/Task" in name
    }
    assert set(found) == {"TaskEnds", "TaskCommands", "TaskHosts", "TaskSpotWarnings"}
    for rule in found.values():
        assert rule["EventPattern"]["account"] == [{"Ref": "AWS::AccountId"}]
        [target] = rule["Targets"]
        assert "ObserveQueue" in flat(target["Arn"])
    patterns = {name: rule["EventPattern"] for name, rule in found.items()}
    ends = patterns["TaskEnds"]["detail"]
    assert ends["status"] == ["SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT"]
    assert ends["stateMachineArn"][0]["Ref"].startswith("Task")
    assert patterns["TaskCommands"]["detail"]["document-name"] == ["hut-ec2-task"]
    assert patterns["TaskHosts"]["detail"] == {"state": ["shutting-down", "stopping"]}
    assert "detail" not in patterns["TaskSpotWarnings"]


def test_variables_of_a_function_fit(default: Synthesis) -> None:
    """Lambda takes 4 KB; names that only the deployment knows are ARNs of some length."""
    for function in default.resources("AWS::Lambda::Function").values():
        variables = function["Properties"].get("Environment", {}).get("Variables", {})
        values = {name: re.sub(r"<[^<>]*>", "x" * 60, flat(v)) for name, v in variables.items()}
        assert sum(len(name) + len(value) for name, value in values.items()) < 3500


# Settings -----------------------------------------------------------------------------------------


def problems(hut: dict[str, object]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_settings({"hut": hut})
    return list(caught.value.problems)


def test_all_that_is_wrong_is_told_at_once() -> None:
    told = problems(
        {
            "prefix": "X",
            "ec2": {
                "spott": "prefer",
                "spot": "sometimes",
                "instance_types": {"default": ["large"]},
                "max_instances": 0,
                "instance_profile_arn": PROFILE,
                "machine": "mine",
                "name": "batch",
            },
        }
    )
    text = "\n".join(told)
    assert len(told) == 8
    for part in (
        "hut:prefix: ",
        "hut:ec2.spott is not known; did you mean 'spot'",
        "hut:ec2.spot: 'sometimes' is none of",
        "hut:ec2.instance_types.default: 'large' is no instance type",
        "hut:ec2.max_instances: 0 is no whole number",
        "hut:ec2.instance_role_arn go together",
        "hut:ec2.machine is not known",
        "hut:ec2.name: ",
    ):
        assert part in text, part


@pytest.mark.parametrize("value", [3, "yes", "[]", ["a"]])
def test_it_is_an_object_or_false(value: object) -> None:
    [told] = problems({"ec2": value})
    assert told.startswith("hut:ec2: must be a")
    assert told.endswith("or false, for no EC2 backend")


@pytest.mark.parametrize("value", [False, "false"])
def test_it_can_be_left_out(value: object) -> None:
    assert not read_settings({"hut:ec2": value}).makes_ec2


def test_it_may_come_as_text() -> None:
    settings = read_settings({"hut:ec2": '{"reuse": true}'})
    assert settings.ec2 == {"reuse": True}
    assert settings.makes_ec2


def test_names_that_are_awss_own_are_not_begun() -> None:
    [told] = problems({"prefix": "awslab"})
    assert "no name that begins with aws or amazon or amzn" in told
    assert read_settings({"hut": {"prefix": "awslab", "ec2": False}}).prefix == "awslab"


@pytest.mark.parametrize("named", [{}, {"subnet_ids": NETWORK["subnet_ids"]}])
def test_beside_existing_queues_it_needs_a_network(named: dict[str, object]) -> None:
    [told] = problems(
        {"queues": QUEUES, "default_partition": "main", "ec2": {"reuse": True, **named}}
    )
    assert "needs subnet_ids and security_group_ids" in told


def test_subnets_and_groups_belong_together() -> None:
    for key, value in NETWORK.items():
        [told] = problems({"ec2": {key: value}})
        assert "go together" in told
    vpc = {"vpc_id": "vpc-0123456789", "subnet_ids": ["subnet-0123456789"]}
    assert read_settings({"hut": {**vpc, "ec2": {"subnet_ids": ["subnet-01234567"]}}}).makes_ec2
