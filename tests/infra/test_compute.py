from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hut.backends.batch.options import BatchOptions, Platform, read_options
from tests.infra.conftest import QUEUE_ARN
from tests.infra.synthesis import Synthesis, flat, synthesize

PARTITIONS = ("ec2", "ec2-spot", "fargate", "fargate-spot")


def environments(synthesis: Synthesis) -> dict[str, Any]:
    return {
        name.partition("/")[2]: resource["Properties"]
        for name, resource in synthesis.resources("AWS::Batch::ComputeEnvironment").items()
    }


def backends_of(synthesis: Synthesis) -> str:
    function = synthesis.properties("AWS::Lambda::Function", "AdvanceFunction")
    return flat(function["Environment"]["Variables"]["HUT_BACKENDS"])


def batch_of(backends: str) -> BatchOptions:
    """Return the options of the Batch backend among those of a deployment."""
    return next(read_options(each) for each in json.loads(backends) if each["type"] == "batch")


def test_a_queue_per_partition(default: Synthesis) -> None:
    queues = default.resources("AWS::Batch::JobQueue").values()
    names = {queue["Properties"]["JobQueueName"] for queue in queues}
    assert names == {f"hut-{partition}" for partition in PARTITIONS}


def test_queues_have_no_policy_unless_it_is_asked_for(default: Synthesis) -> None:
    assert not default.resources("AWS::Batch::SchedulingPolicy")
    backend = batch_of(backends_of(default))
    assert backend.scheduling_policies == frozenset()


def test_with_fair_share_other_queues_are_made_which_have_a_policy(code: Path) -> None:
    fair = synthesize(code, {"fair_share": True, "share_by": "workflow"})
    (policy,) = fair.resources("AWS::Batch::SchedulingPolicy").values()
    assert policy["Properties"]["FairsharePolicy"] == {"ShareDecaySeconds": 3600}
    queues = fair.resources("AWS::Batch::JobQueue")
    assert {name.partition("/")[2] for name in queues} == {
        "Ec2FairQueue",
        "Ec2SpotFairQueue",
        "FargateFairQueue",
        "FargateSpotFairQueue",
    }
    for queue in queues.values():
        assert queue["Properties"]["JobQueueName"].endswith("-fair")
        assert "FairShare" in json.dumps(queue["Properties"]["SchedulingPolicyArn"])
    backend = batch_of(backends_of(fair))
    assert backend.scheduling_policies == set(PARTITIONS)
    assert backend.share_by == "workflow"


def test_what_each_environment_is(default: Synthesis) -> None:
    found = {
        name: (entry["ComputeResources"]["Type"], entry["ComputeResources"]["MaxvCpus"])
        for name, entry in environments(default).items()
    }
    assert found == {
        "Ec2Environment": ("EC2", 256),
        "Ec2SpotEnvironment": ("SPOT", 256),
        "FargateEnvironment": ("FARGATE", 256),
        "FargateSpotEnvironment": ("FARGATE_SPOT", 256),
    }


def test_nothing_costs_while_idle(default: Synthesis) -> None:
    for entry in environments(default).values():
        assert entry["ComputeResources"].get("MinvCpus", 0) == 0
    kinds = {
        resource["Type"]
        for template in default.templates.values()
        for resource in template["Resources"].values()
    }
    assert "AWS::EC2::NatGateway" not in kinds
    assert "AWS::EC2::EIP" not in kinds
    endpoints = default.resources("AWS::EC2::VPCEndpoint").values()
    assert {entry["Properties"]["VpcEndpointType"] for entry in endpoints} == {"Gateway"}
    assert len(endpoints) == 2


def test_the_network_has_two_zones_and_lets_nobody_in(default: Synthesis) -> None:
    subnets = default.resources("AWS::EC2::Subnet").values()
    zones = {json.dumps(subnet["Properties"]["AvailabilityZone"]) for subnet in subnets}
    assert len(zones) == len(subnets) == 2
    assert all(subnet["Properties"]["MapPublicIpOnLaunch"] for subnet in subnets)
    assert "SecurityGroupIngress" not in default.properties("AWS::EC2::SecurityGroup")
    assert not default.resources("AWS::EC2::SecurityGroupIngress")


def test_hosts_need_sessions_for_metadata_and_encrypt(default: Synthesis) -> None:
    data = default.properties("AWS::EC2::LaunchTemplate", "HostTemplate")["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert all(device["Ebs"]["Encrypted"] for device in data["BlockDeviceMappings"])
    for name in ("Ec2Environment", "Ec2SpotEnvironment"):
        resources = environments(default)[name]["ComputeResources"]
        assert resources["LaunchTemplate"]["LaunchTemplateId"] == {"Ref": "HostTemplate"}


def test_environments_are_updated_in_place(default: Synthesis) -> None:
    found = environments(default).values()
    assert {entry["ReplaceComputeEnvironment"] for entry in found} == {False}


def test_the_backend_reads_what_the_stack_writes(default: Synthesis) -> None:
    backend = batch_of(backends_of(default))
    assert tuple(backend.queues) == PARTITIONS
    assert backend.default_queue == "fargate"
    assert backend.platforms["ec2-spot"] is Platform.EC2
    assert backend.platforms["fargate"] is Platform.FARGATE
    assert backend.log_group == "/hut/jobs"
    assert "JobRole" in str(backend.job_role_arn)
    assert "ExecutionRole" in str(backend.execution_role_arn)


def test_existing_queues_and_roles_replace_all_compute(borrowed: Synthesis) -> None:
    assert list(borrowed.template("Compute")["Resources"]) == ["NothingToMake"]
    backend = batch_of(backends_of(borrowed))
    assert backend.queues == {"main": QUEUE_ARN}
    assert backend.job_role_arn == "arn:aws:iam::123456789012:role/job"
    assert borrowed.allowed("AdvanceRole")["iam:PassRole"] == {
        "arn:aws:iam::123456789012:role/job",
        "arn:aws:iam::123456789012:role/pull",
    }
    assert QUEUE_ARN in borrowed.allowed("AdvanceRole")["batch:SubmitJob"]


def test_an_existing_network(code: Any) -> None:
    subnets = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
    synthesis = synthesize(
        code,
        {
            "vpc_id": "vpc-0123456789abcdef0",
            "subnet_ids": subnets,
            "security_group_ids": ["sg-0123456789abcdef0"],
            "instance_profile_arn": "arn:aws:iam::123456789012:instance-profile/hosts",
            "instance_types": ["m7i.large"],
            "max_vcpus": 16,
            "max_concurrent": 20,
            "ec2": False,
        },
    )
    assert not synthesis.resources("AWS::EC2::VPC")
    assert not synthesis.resources("AWS::EC2::SecurityGroup")
    assert not synthesis.resources("AWS::IAM::InstanceProfile")
    for entry in environments(synthesis).values():
        assert entry["ComputeResources"]["Subnets"] == subnets
        assert entry["ComputeResources"]["SecurityGroupIds"] == ["sg-0123456789abcdef0"]
        assert entry["ComputeResources"]["MaxvCpus"] == 16
    assert environments(synthesis)["Ec2Environment"]["ComputeResources"]["InstanceTypes"] == [
        "m7i.large"
    ]
    backend = batch_of(backends_of(synthesis))
    assert backend.max_concurrent == 20
