"""Who may do what. Wildcards are listed here once more, apart from the code that grants them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.infra.synthesis import Synthesis, flat, many

FUNCTIONS = ("Api", "Register", "Advance", "Observe", "Sweep", "Finish", "Check")

# Actions for which the service knows no resource, or none that exists yet.
ON_ANYTHING = {
    # Batch: Describe and List calls have no resource-level permissions.
    "batch:DescribeComputeEnvironments",
    "batch:DescribeJobDefinitions",
    "batch:DescribeJobQueues",
    "batch:DescribeJobs",
    "batch:ListJobs",
    # ECR hands out its token for a registry.
    "ecr:GetAuthorizationToken",
    # The ECS agent; Poll and its like are bound to Batch's clusters by a condition.
    "ecs:DiscoverPollEndpoint",
    "ecs:Poll",
    "ecs:StartTelemetrySession",
    "ecs:UpdateContainerInstancesState",
    # Systems Manager's agent: an instance tells that it is there, and takes its commands.
    "ec2messages:AcknowledgeMessage",
    "ec2messages:DeleteMessage",
    "ec2messages:FailMessage",
    "ec2messages:GetEndpoint",
    "ec2messages:GetMessages",
    "ec2messages:SendReply",
    "ssm:ListAssociations",
    "ssm:ListInstanceAssociations",
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:OpenControlChannel",
    # What only asks for instances and commands knows no resources.
    "ec2:DescribeInstances",
    "ssm:DescribeInstanceInformation",
    "ssm:GetCommandInvocation",
    # Step Functions sets up the delivery of its logs; as its documentation asks.
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
    # X-Ray has no resources for traces.
    "xray:GetSamplingRules",
    "xray:GetSamplingTargets",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}
# Resources named by a pattern: what comes to be at run time.
PATTERNS = {
    r"arn:<AWS::Partition>:batch:<AWS::Region>:<AWS::AccountId>:job-definition/hut-\*",
    r"arn:<AWS::Partition>:batch:<AWS::Region>:<AWS::AccountId>:job/\*",
    r"arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:hut-run:\*",
    r"arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:hut-ec2-task:\*",
    # What RunInstances makes or a configuration chooses; images and snapshots may be of others.
    r"arn:<AWS::Partition>:ec2:<AWS::Region>:<AWS::AccountId>:(instance|volume)/\*",
    r"arn:<AWS::Partition>:ec2:<AWS::Region>:<AWS::AccountId>:(subnet|security-group)/\*",
    r"arn:<AWS::Partition>:ec2:<AWS::Region>:<AWS::AccountId>:network-interface/\*",
    r"arn:<AWS::Partition>:ec2:<AWS::Region>:<AWS::AccountId>:spot-instances-request/\*",
    r"arn:<AWS::Partition>:ec2:<AWS::Region>::(image|snapshot)/\*",
    r"arn:<AWS::Partition>:ssm:<AWS::Region>::parameter/aws/service/\*",
    r"arn:<AWS::Partition>:ecs:<AWS::Region>:<AWS::AccountId>:cluster/AWSBatch-\*",
    r"arn:<AWS::Partition>:ecr:\*:\*:repository/\*",  # any image a task names
    r"<HutStorage:\w+Table\w+Arn\w+>/stream/\*",
    r"<HutStorage:\w+Bucket\w+Arn\w+>/(uploads|plans|bodies|documents|scripts)/\*",
}
WRITES = {"dynamodb:BatchWriteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}


def test_actions_are_named_one_by_one(default: Synthesis) -> None:
    for role, statement in default.statements():
        assert statement["Effect"] == "Allow", role
        assert "NotAction" not in statement
        assert "NotResource" not in statement
        for action in many(statement["Action"]):
            assert "*" not in action, role


def test_every_wildcard_is_explained(default: Synthesis) -> None:
    for role, statement in default.statements():
        for resource in map(flat, many(statement["Resource"])):
            if resource == "*":
                assert set(many(statement["Action"])) <= ON_ANYTHING, role
            elif "*" in resource:
                assert any(re.fullmatch(pattern, resource) for pattern in PATTERNS), resource


def test_no_policy_of_aws_but_one(default: Synthesis) -> None:
    managed = {
        name: [flat(arn) for arn in role["Properties"].get("ManagedPolicyArns", ())]
        for name, role in default.resources("AWS::IAM::Role").items()
    }
    [used] = [arns for arns in managed.values() if arns]
    assert len(used) == 1
    assert used[0].endswith("service-role/AmazonAPIGatewayPushToCloudWatchLogs")


def test_every_function_has_a_role_of_its_own(default: Synthesis) -> None:
    functions = default.resources("AWS::Lambda::Function").values()
    assert len({flat(function["Properties"]["Role"]) for function in functions}) == len(FUNCTIONS)
    trusted = [
        statement["Principal"]["Service"]
        for name, role in default.resources("AWS::IAM::Role").items()
        if "Control/" in name
        for statement in role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    ]
    assert sorted(trusted) == [
        *["lambda.amazonaws.com"] * len(FUNCTIONS),
        "scheduler.amazonaws.com",
        *["states.amazonaws.com"] * 2,
    ]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_writes_only_its_own_logs(default: Synthesis, name: str) -> None:
    [group] = default.allowed(f"{name}Role")["logs:PutLogEvents"]
    assert f"{name}Logs" in group


def test_only_advance_and_sweep_submit(default: Synthesis) -> None:
    submitting = {
        "batch:RegisterJobDefinition",
        "batch:SubmitJob",
        "batch:TagResource",
        "iam:PassRole",
    }
    for name in FUNCTIONS:
        held = submitting & set(default.allowed(f"{name}Role"))
        assert held == (submitting if name in {"Advance", "Sweep"} else set()), name


def test_only_who_is_asked_why_and_the_sweep_look_at_queues(default: Synthesis) -> None:
    looking = {"batch:DescribeComputeEnvironments", "batch:DescribeJobQueues"}
    more = {"Api": {"batch:GetJobQueueSnapshot"}, "Sweep": {"batch:CancelJob"}}
    for name in FUNCTIONS:
        allowed = default.allowed(f"{name}Role")
        expected = looking | more[name] if name in more else set()
        assert set(allowed) & (looking | set().union(*more.values())) == expected, name
    queues = default.allowed("ApiRole")["batch:GetJobQueueSnapshot"]
    assert len(queues) == 4
    assert all("Queue" in queue for queue in queues)


def test_indexes_are_read_by_who_makes_lists(default: Synthesis) -> None:
    indexes = {
        name: {
            resource.rpartition("/")[2]
            for resource in default.allowed(f"{name}Role").get("dynamodb:Query", ())
            if "/index/" in resource
        }
        for name in FUNCTIONS
    }
    assert indexes == {
        **{name: set() for name in FUNCTIONS},
        "Api": {"runs", "owners", "workflows"},
        "Sweep": {"active"},
    }


def test_no_function_lists_the_bucket_or_puts_what_it_only_reads(default: Synthesis) -> None:
    for name in FUNCTIONS:
        may = default.allowed(f"{name}Role")
        assert "s3:ListBucket" not in may
        puts = {resource.split("/")[1] for resource in may.get("s3:PutObject", ())}
        assert puts == {
            "Api": {"uploads", "plans", "bodies"},
            "Advance": {"bodies", "documents", "scripts"},
            "Observe": {"bodies", "documents"},
            "Sweep": {"bodies", "documents", "scripts"},
        }.get(name, set())


def test_who_reads_runs_reads_their_bodies(default: Synthesis) -> None:
    for name in FUNCTIONS[:-1]:
        readable = default.allowed(f"{name}Role")["s3:GetObject"]
        assert any(resource.endswith("/bodies/*") for resource in readable), name


def test_roles_are_passed_to_jobs_only(default: Synthesis) -> None:
    for role, statement in default.statements():
        if "iam:PassRole" in many(statement["Action"]):
            assert statement["Action"] == "iam:PassRole", role
            if "TaskRole" in role:
                continue  # see test_task_stack
            services = statement["Condition"]["StringEquals"]["iam:PassedToService"]
            assert services == ["batch.amazonaws.com", "ecs-tasks.amazonaws.com"]
            passed = sorted(flat(resource) for resource in statement["Resource"])
            assert ["ExecutionRole" in passed[0], "JobRole" in passed[1]] == [True, True]


def test_finish_only_reads(default: Synthesis) -> None:
    may = default.allowed("FinishRole")
    assert {action for action in may if action.startswith("dynamodb:")} == {"dynamodb:GetItem"}
    for name in ("Api", "Register", "Advance", "Observe", "Sweep"):
        assert set(default.allowed(f"{name}Role")) >= WRITES


def test_items_are_deleted_by_who_claims(default: Synthesis) -> None:
    deleting: dict[str, list[Any]] = {}
    for role, statement in default.statements():
        if "dynamodb:DeleteItem" in many(statement["Action"]):
            name = role.partition("/")[2].rstrip("0123456789ABCDEF")
            deleting.setdefault(name, []).append(statement.get("Condition"))
    limited = {
        "ApiRole": [["POOL#*"]],
        "ObserveRole": [["HOST#*", "IDLE#*"], ["POOL#*"]],
        "TaskRole": [["EC2JOB#*", "HOST#*", "IDLE#*"]],
    }
    assert set(deleting) == {"AdvanceRole", "SweepRole", *limited}
    assert deleting["AdvanceRole"] == deleting["SweepRole"] == [None]
    for role, prefixes in limited.items():
        assert deleting[role] == [
            {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": each}} for each in prefixes
        ]


def test_the_audit_record_is_only_added_to_and_read(default: Synthesis) -> None:
    held = {
        (role, action)
        for role, statement in default.statements()
        for action in many(statement["Action"])
        if any("AuditTable" in flat(resource) for resource in many(statement["Resource"]))
    }
    assert {action for _, action in held} == {"dynamodb:PutItem", "dynamodb:Query"}
    assert all("ApiRole" in role for role, _ in held)


def test_nobody_scans(default: Synthesis) -> None:
    assert not any(
        "dynamodb:Scan" in many(statement["Action"]) for _, statement in default.statements()
    )


def test_what_is_done_with_each_state_machine(default: Synthesis) -> None:
    """The first of each pair is done with the machine of runs, the second with that of tasks."""
    both: dict[str, tuple[set[str], set[str]]] = {
        "Api": ({"StartExecution"}, {"DescribeExecution"}),
        "Register": ({"SendTaskSuccess"}, set()),
        "Advance": ({"SendTaskSuccess"}, {"StartExecution", "StopExecution"}),
        "Observe": (set(), {"DescribeExecution", "SendTaskSuccess", "StopExecution"}),
        "Sweep": (
            {"SendTaskSuccess", "StartExecution"},
            {"DescribeExecution", "ListExecutions", "StartExecution", "StopExecution"},
        ),
        "Finish": (set(), set()),
        "Check": (set(), set()),
    }
    for name, expected in both.items():
        found: tuple[set[str], set[str]] = (set(), set())
        for action, resources in default.allowed(f"{name}Role").items():
            if action.startswith("states:"):
                for resource in resources:
                    found[":hut-ec2-task" in resource].add(action.partition(":")[2])
                    assert re.search(r":hut-(run|ec2-task)(:\*)?$", resource)
        assert found == expected, name


def test_each_queue_has_one_taker(default: Synthesis) -> None:
    takers = {
        name: default.allowed(f"{name}Role").get("sqs:ReceiveMessage", set()) for name in FUNCTIONS
    }
    taken = {name: queue for name, (queue,) in ((n, q) for n, q in takers.items() if q)}
    assert set(taken) == {"Advance", "Observe"}
    assert "WakeQueue" in taken["Advance"]
    assert "ObserveQueue" in taken["Observe"]


def test_the_machine_calls_its_two_functions(default: Synthesis) -> None:
    called = default.allowed("RunRole")["lambda:InvokeFunction"]
    assert sorted(name[1:7] for name in called) == ["Finish", "Regist"]


def test_who_prepares_and_judges_tasks_has_documents_checked_by_who_may_do_nothing(
    default: Synthesis,
) -> None:
    may = {name: default.allowed(f"{name}Role") for name in FUNCTIONS}
    asking = {name for name in FUNCTIONS if "lambda:InvokeFunction" in may[name]}
    assert asking == {"Advance", "Observe", "Sweep"}
    for name in asking:
        [function] = may[name]["lambda:InvokeFunction"]
        assert function.endswith(":function:hut-check")
    of_all = {"logs:CreateLogStream", "logs:PutLogEvents"}
    traces = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
    assert set(may["Check"]) == of_all | traces


def test_tasks_may_only_read_their_scripts(default: Synthesis) -> None:
    allowed = default.allowed("/JobRole")
    assert set(allowed) == {"s3:GetObject"}
    [scripts] = allowed["s3:GetObject"]
    assert scripts.endswith("/scripts/*")


def test_hosts_act_only_on_clusters_of_batch(default: Synthesis) -> None:
    for role, statement in default.statements():
        actions = set(many(statement["Action"]))
        if actions & {"ecs:Poll", "ecs:StartTelemetrySession"}:
            assert "HostRole" in role
            condition = statement["Condition"]["ArnLike"]["ecs:cluster"]
            assert flat(condition).endswith(":cluster/AWSBatch-*")


def test_permissions_refuse_what_is_too_broad() -> None:
    from aws_cdk import App, Stack

    from infra.permissions import allow, service_role

    role = service_role(Stack(App(), "Some"), "Role", "lambda.amazonaws.com", "A test")
    with pytest.raises(ValueError, match="one by one"):
        allow(role, ["s3:*"], ["arn:aws:s3:::some/key"])
    with pytest.raises(ValueError, match="say why"):
        allow(role, ["s3:GetObject"], ["arn:aws:s3:::some/*"])
