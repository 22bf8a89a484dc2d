"""CloudFormation: the types of Hut's stack can be made, changed and deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.testbed_checks.making import Maker

ROLE = "arn:aws:iam::000000000000:role/any"


def ref(name: str) -> dict[str, Any]:
    return {"Ref": name}


def arn(name: str) -> dict[str, Any]:
    return {"Fn::GetAtt": [name, "Arn"]}


def template(vcpus: str) -> dict[str, Any]:
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
            }
        ],
    }
    allow_all = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
    resources: dict[str, Any] = {
        "Vpc": {"AWS::EC2::VPC": {"CidrBlock": "10.0.0.0/16"}},
        "Subnet": {"AWS::EC2::Subnet": {"VpcId": ref("Vpc"), "CidrBlock": "10.0.0.0/24"}},
        "Gateway": {"AWS::EC2::InternetGateway": {}},
        "Attachment": {
            "AWS::EC2::VPCGatewayAttachment": {
                "VpcId": ref("Vpc"),
                "InternetGatewayId": ref("Gateway"),
            }
        },
        "Routes": {"AWS::EC2::RouteTable": {"VpcId": ref("Vpc")}},
        "Route": {
            "AWS::EC2::Route": {
                "RouteTableId": ref("Routes"),
                "DestinationCidrBlock": "0.0.0.0/0",
                "GatewayId": ref("Gateway"),
            }
        },
        "Association": {
            "AWS::EC2::SubnetRouteTableAssociation": {
                "RouteTableId": ref("Routes"),
                "SubnetId": ref("Subnet"),
            }
        },
        "Address": {"AWS::EC2::EIP": {"Domain": "vpc"}},
        "Nat": {
            "AWS::EC2::NatGateway": {
                "SubnetId": ref("Subnet"),
                "AllocationId": {"Fn::GetAtt": ["Address", "AllocationId"]},
            }
        },
        "Group": {"AWS::EC2::SecurityGroup": {"GroupDescription": "x", "VpcId": ref("Vpc")}},
        "Rule": {
            "AWS::EC2::SecurityGroupIngress": {
                "GroupId": {"Fn::GetAtt": ["Group", "GroupId"]},
                "IpProtocol": "tcp",
                "FromPort": 443,
                "ToPort": 443,
                "CidrIp": "10.0.0.0/8",
            }
        },
        "Template": {
            "AWS::EC2::LaunchTemplate": {"LaunchTemplateData": {"InstanceType": "m7i.large"}}
        },
        "Role": {"AWS::IAM::Role": {"AssumeRolePolicyDocument": trust}},
        "Policy": {
            "AWS::IAM::Policy": {
                "PolicyName": "all",
                "PolicyDocument": allow_all,
                "Roles": [ref("Role")],
            }
        },
        "Profile": {"AWS::IAM::InstanceProfile": {"Roles": [ref("Role")]}},
        "Environment": {
            "AWS::Batch::ComputeEnvironment": {
                "Type": "MANAGED",
                "ReplaceComputeEnvironment": False,
                "ComputeResources": {
                    "Type": "FARGATE",
                    "MaxvCpus": 16,
                    "Subnets": [ref("Subnet")],
                    "SecurityGroupIds": [{"Fn::GetAtt": ["Group", "GroupId"]}],
                },
            }
        },
        "Jobs": {
            "AWS::Batch::JobQueue": {
                "Priority": 1,
                "ComputeEnvironmentOrder": [
                    {
                        "Order": 1,
                        "ComputeEnvironment": {
                            "Fn::GetAtt": ["Environment", "ComputeEnvironmentArn"]
                        },
                    }
                ],
            }
        },
        "LogGroup": {"AWS::Logs::LogGroup": {"RetentionInDays": 30}},
        "Definition": {
            "AWS::Batch::JobDefinition": {
                "Type": "container",
                "PlatformCapabilities": ["FARGATE"],
                "Parameters": {"Name": "world"},
                "ContainerProperties": {
                    "Image": "debian:stable-slim",
                    "Command": ["echo", "hello", "Ref::Name"],
                    "ExecutionRoleArn": arn("Role"),
                    "ResourceRequirements": [
                        {"Type": "VCPU", "Value": vcpus},
                        {"Type": "MEMORY", "Value": "2048"},
                    ],
                    "LogConfiguration": {
                        "LogDriver": "awslogs",
                        "Options": {"awslogs-group": ref("LogGroup")},
                    },
                },
            }
        },
        "Function": {
            "AWS::Lambda::Function": {
                "Runtime": "python3.12",
                "Handler": "index.handler",
                "Role": arn("Role"),
                "Code": {"ZipFile": "def handler(event, context): return 1"},
                "ReservedConcurrentExecutions": 1,
            }
        },
        "Queue": {"AWS::SQS::Queue": {"VisibilityTimeout": 60}},
        "QueuePolicy": {
            "AWS::SQS::QueuePolicy": {"Queues": [ref("Queue")], "PolicyDocument": allow_all}
        },
        "Mapping": {
            "AWS::Lambda::EventSourceMapping": {
                "FunctionName": ref("Function"),
                "EventSourceArn": arn("Queue"),
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
            }
        },
        "Events": {
            "AWS::Events::Rule": {
                "EventPattern": {"source": ["aws.batch"]},
                "Targets": [{"Id": "1", "Arn": arn("Queue")}],
            }
        },
        "Schedule": {
            "AWS::Scheduler::Schedule": {
                "ScheduleExpression": "rate(5 minutes)",
                "FlexibleTimeWindow": {"Mode": "OFF"},
                "Target": {"Arn": arn("Function"), "RoleArn": arn("Role")},
            }
        },
        "Alarm": {
            "AWS::CloudWatch::Alarm": {
                "Namespace": "AWS/Lambda",
                "MetricName": "Errors",
                "Statistic": "Sum",
                "Period": 60,
                "EvaluationPeriods": 1,
                "Threshold": 1,
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            }
        },
        "MathAlarm": {
            "AWS::CloudWatch::Alarm": {
                "Metrics": [{"Id": "e1", "Expression": "1 + 1"}],
                "EvaluationPeriods": 1,
                "Threshold": 1,
                "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            }
        },
        "Composite": {
            "AWS::CloudWatch::CompositeAlarm": {
                "AlarmRule": {"Fn::Sub": 'ALARM("${Alarm}") OR ALARM("${MathAlarm}")'}
            }
        },
        "Dashboard": {"AWS::CloudWatch::Dashboard": {"DashboardBody": '{"widgets": []}'}},
        "Api": {"AWS::ApiGateway::RestApi": {"Name": "hut"}},
        "Account": {"AWS::ApiGateway::Account": {"CloudWatchRoleArn": arn("Role")}},
        "Any": {
            "AWS::ApiGateway::Method": {
                "RestApiId": ref("Api"),
                "ResourceId": {"Fn::GetAtt": ["Api", "RootResourceId"]},
                "HttpMethod": "ANY",
                "AuthorizationType": "AWS_IAM",
                "Integration": {
                    "Type": "AWS_PROXY",
                    "IntegrationHttpMethod": "POST",
                    "Uri": {
                        "Fn::Sub": "arn:aws:apigateway:${AWS::Region}:lambda:path/2015-03-31/"
                        "functions/${Function.Arn}/invocations"
                    },
                },
            }
        },
        "Deployment": {"AWS::ApiGateway::Deployment": {"RestApiId": ref("Api")}},
        "Stage": {
            "AWS::ApiGateway::Stage": {
                "RestApiId": ref("Api"),
                "DeploymentId": ref("Deployment"),
                "StageName": "v1",
                "TracingEnabled": True,
            }
        },
        "Permission": {
            "AWS::Lambda::Permission": {
                "FunctionName": ref("Function"),
                "Action": "lambda:InvokeFunction",
                "Principal": "apigateway.amazonaws.com",
            }
        },
    }
    written = {}
    for name, kinds in resources.items():
        [(kind, properties)] = kinds.items()
        written[name] = {"Type": kind, "Properties": properties}
    written["Deployment"]["DependsOn"] = ["Any"]
    outputs = {name: {"Value": ref(name)} for name in ("Jobs", "Definition", "LogGroup")}
    return {"Resources": written, "Outputs": outputs}


def test_a_queue_of_a_stack_may_have_a_scheduling_policy(make: Maker) -> None:
    def body(decay: int) -> str:
        policy = {"FairsharePolicy": {"ShareDecaySeconds": decay}}
        queue = {
            "Priority": 1,
            "ComputeEnvironmentOrder": [],
            "SchedulingPolicyArn": {"Fn::GetAtt": ["Fair", "Arn"]},
        }
        resources = {
            "Fair": {"Type": "AWS::Batch::SchedulingPolicy", "Properties": policy},
            "Jobs": {"Type": "AWS::Batch::JobQueue", "Properties": queue},
        }
        return json.dumps({"Resources": resources, "Outputs": {"Queue": {"Value": ref("Jobs")}}})

    stacks, batch, name = make.bed.client("cloudformation"), make.bed.client("batch"), "fair"
    stacks.create_stack(StackName=name, TemplateBody=body(600))
    stacks.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    [outputs] = stacks.describe_stacks(StackName=name)["Stacks"]
    queue = outputs["Outputs"][0]["OutputValue"]
    [found] = batch.describe_job_queues(jobQueues=[queue])["jobQueues"]
    policy = found["schedulingPolicyArn"]
    stacks.update_stack(StackName=name, TemplateBody=body(900))
    stacks.get_waiter("stack_update_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    [changed] = batch.describe_scheduling_policies(arns=[policy])["schedulingPolicies"]
    assert changed["fairsharePolicy"] == {"shareDecaySeconds": 900}
    stacks.delete_stack(StackName=name)
    stacks.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    assert not batch.describe_scheduling_policies(arns=[policy])["schedulingPolicies"]


def test_a_stack_is_made_changed_and_deleted(make: Maker) -> None:
    cloudformation, batch = make.bed.client("cloudformation"), make.bed.client("batch")
    stack = make.name("stack")
    wanted = {"StackName": stack, "Capabilities": ["CAPABILITY_NAMED_IAM"]}
    cloudformation.create_stack(TemplateBody=json.dumps(template("1")), **wanted)
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=stack, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
    )

    def outputs() -> dict[str, str]:
        [found] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}

    made = outputs()
    job = make.ended(make.submit(made["Jobs"], made["Definition"]))
    assert make.log(job, made["LogGroup"]) == ["hello world"]

    cloudformation.update_stack(TemplateBody=json.dumps(template("0.25")), **wanted)
    cloudformation.get_waiter("stack_update_complete").wait(
        StackName=stack, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
    )
    changed = outputs()
    assert changed["Jobs"] == made["Jobs"]
    assert changed["Definition"] == made["Definition"][:-1] + "2"
    assert make.ended(make.submit(made["Jobs"], changed["Definition"]))["status"] == "SUCCEEDED"

    cloudformation.delete_stack(StackName=stack)
    cloudformation.get_waiter("stack_delete_complete").wait(
        StackName=stack, WaiterConfig={"Delay": 0, "MaxAttempts": 500}
    )
    assert batch.describe_job_queues(jobQueues=[made["Jobs"]])["jobQueues"] == []
    every = batch.describe_compute_environments()["computeEnvironments"]
    assert not [each for each in every if each["computeEnvironmentName"].startswith(stack)]
    [left] = batch.describe_job_definitions(jobDefinitions=[changed["Definition"]])[
        "jobDefinitions"
    ]
    assert left["status"] == "INACTIVE"


def test_instances_of_a_stack_s_launch_template(make: Maker) -> None:
    def body(word: str) -> str:
        step = {"action": "aws:runShellScript", "name": "run"}
        content = {
            "schemaVersion": "2.2",
            "mainSteps": [{**step, "inputs": {"runCommand": [f"echo {word}"]}}],
        }
        group = {"GroupDescription": "none come in", "SecurityGroupIngress": []}
        data = {
            "InstanceType": "c5.large",
            "SecurityGroupIds": [{"Fn::GetAtt": ["Group", "GroupId"]}],
            "IamInstanceProfile": {"Arn": arn("Profile")},
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
        }
        document = {"DocumentType": "Command", "UpdateMethod": "NewVersion", "Content": content}
        resources = {
            "Group": ("AWS::EC2::SecurityGroup", group),
            "Profile": ("AWS::IAM::InstanceProfile", {"Roles": []}),
            "Template": ("AWS::EC2::LaunchTemplate", {"LaunchTemplateData": data}),
            "Document": ("AWS::SSM::Document", document),
        }
        written = {
            name: {"Type": kind, "Properties": properties}
            for name, (kind, properties) in resources.items()
        }
        outputs = {name: {"Value": ref(name)} for name in ("Template", "Document", "Group")}
        return json.dumps({"Resources": written, "Outputs": outputs})

    stacks, ec2, ssm = (make.bed.client(each) for each in ("cloudformation", "ec2", "ssm"))
    name = {"StackName": make.name("instances")}
    quick = {"WaiterConfig": {"Delay": 0, "MaxAttempts": 500}}
    stacks.create_stack(**name, TemplateBody=body("one"))
    stacks.get_waiter("stack_create_complete").wait(**name, **quick)
    [found] = stacks.describe_stacks(**name)["Stacks"]
    made = {each["OutputKey"]: each["OutputValue"] for each in found["Outputs"]}
    started = ec2.run_instances(
        ImageId="ami-01234567",
        LaunchTemplate={"LaunchTemplateId": made["Template"], "Version": "$Latest"},
        MinCount=1,
        MaxCount=1,
    )["Instances"][0]
    assert started["InstanceType"] == "c5.large"
    assert [each["GroupId"] for each in started["SecurityGroups"]] == [made["Group"]]
    assert "instance-profile/" in started["IamInstanceProfile"]["Arn"]
    ec2.terminate_instances(InstanceIds=[started["InstanceId"]])
    stacks.update_stack(**name, TemplateBody=body("two"))
    stacks.get_waiter("stack_update_complete").wait(**name, **quick)
    described = ssm.get_document(Name=made["Document"])
    assert "echo two" in described["Content"]
    assert described["DocumentVersion"] == "2"
    stacks.delete_stack(**name)
    stacks.get_waiter("stack_delete_complete").wait(**name, **quick)
    with pytest.raises(ClientError):
        ssm.get_document(Name=made["Document"])
    assert not ec2.describe_launch_templates(LaunchTemplateIds=[made["Template"]])[
        "LaunchTemplates"
    ]
