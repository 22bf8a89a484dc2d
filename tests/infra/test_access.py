"""The policies people attach: what each lets through, on this API's stage and nowhere else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hut.model.access import ROUTES, Role, patterns_of
from hut.model.access import allowed as let_through
from tests.access.routes import ROLES, expectations
from tests.infra.synthesis import Synthesis, flat, many, synthesize

_LONGEST = 6144  # characters IAM takes in a managed policy, without spaces
_API = "arn:<AWS::Partition>:execute-api:<AWS::Region>:<AWS::AccountId>:"


def policies(app: Synthesis) -> dict[str, dict[str, Any]]:
    found = [each["Properties"] for each in app.resources("AWS::IAM::ManagedPolicy").values()]
    return {each["ManagedPolicyName"]: each for each in found}


def allowed(policy: dict[str, Any]) -> dict[str, list[str]]:
    statements = policy["PolicyDocument"]["Statement"]
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    return {
        action: [flat(resource) for resource in many(statement["Resource"])]
        for statement in statements
        for action in many(statement["Action"])
    }


def test_a_worker_may_hear_its_bells_and_write_its_logs_beside_the_api(default: Synthesis) -> None:
    may = allowed(policies(default)["HutWorker"])
    beside = may.keys() - {"execute-api:Invoke", "cloudformation:DescribeStacks"}
    assert beside == {
        "sqs:DeleteMessage",
        "sqs:ReceiveMessage",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
    }
    assert "WorkersBell" in may["sqs:ReceiveMessage"][0]
    [streams] = may["logs:PutLogEvents"]
    assert streams.endswith(":log-stream:pools/*")


@pytest.mark.parametrize("role", Role)
def test_a_policy_says_what_its_role_may_invoke(default: Synthesis, role: Role) -> None:
    policy = policies(default)[f"Hut{role.name.capitalize()}"]
    may = allowed(policy)
    if role is not Role.WORKER:
        assert may.keys() == {"execute-api:Invoke", "cloudformation:DescribeStacks"}
    ends = set()
    for resource in may["execute-api:Invoke"]:
        assert resource.startswith(_API)
        api, stage, end = resource.removeprefix(_API).split("/", 2)
        assert api.startswith("<Rest")
        assert stage == "v1"
        ends.add(end)
    assert ends == set(patterns_of(role))
    [stack] = may["cloudformation:DescribeStacks"]
    assert stack.endswith(":stack/HutApi/*")


@pytest.mark.parametrize("caller", ROLES)
def test_policies_let_through_what_the_reviewed_table_says(default: Synthesis, caller: str) -> None:
    invoked = allowed(policies(default)[f"Hut{caller.capitalize()}"])["execute-api:Invoke"]
    patterns = [resource.removeprefix(_API).split("/", 2)[2] for resource in invoked]
    for each in expectations():
        path = re.sub(r"\{[^}]*\}", "x1", each.route)
        assert let_through(patterns, each.method, path) is each.may(caller), each


def test_the_apis_own_policy_refuses_other_accounts_and_allows_nobody(default: Synthesis) -> None:
    policy = default.properties("AWS::ApiGateway::RestApi")["Policy"]
    anybody = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "execute-api:Invoke"}
    everything = {"Resource": "execute-api:/*"}
    here = {"Ref": "AWS::AccountId"}
    conditions = (
        {"StringNotEquals": {"aws:PrincipalAccount": here}},
        {"Bool": {"aws:SecureTransport": "false"}},
    )
    assert policy["Statement"] == [
        {**anybody, **everything, "Condition": condition} for condition in conditions
    ]


def test_a_change_of_the_apis_own_policy_is_deployed(code: Path, default: Synthesis) -> None:
    """API Gateway takes over a policy with the next deployment of the stage, not before."""
    [(before, deployed)] = default.resources("AWS::ApiGateway::Deployment").items()
    other = synthesize(code)
    api = other.app.node.find_child("HutApi").node.find_child("Rest").node.default_child
    api.policy = None
    [(after, _)] = other.resources("AWS::ApiGateway::Deployment").items()
    assert deployed["Type"] == "AWS::ApiGateway::Deployment"
    assert before != after


def test_nobody_has_them_until_somebody_attaches_them(default: Synthesis) -> None:
    for policy in policies(default).values():
        assert not policy.keys() & {"Users", "Groups", "Roles"}


def test_they_are_named_after_the_deployment(code: Path) -> None:
    lab = synthesize(code, {"prefix": "lab"})
    assert policies(lab).keys() == {"LabWorker", "LabReader", "LabSubmitter", "LabAdmin"}
    stacks = {allowed(each)["cloudformation:DescribeStacks"][0] for each in policies(lab).values()}
    assert len(stacks) == 1
    assert stacks.pop().endswith(":stack/LabApi/*")


def test_they_are_outputs(default: Synthesis) -> None:
    outputs = default.template("Api")["Outputs"]
    for role in Role:
        name = outputs[f"{role.name.capitalize()}Policy"]["Value"]["Ref"]
        made = default.template("Api")["Resources"][name]
        assert made["Properties"]["ManagedPolicyName"] == f"Hut{role.name.capitalize()}"


def test_iam_takes_them_with_room_for_more_routes(default: Synthesis) -> None:
    longest = {"<AWS::Partition>": "aws-us-gov", "<AWS::Region>": "ap-southeast-1"}
    for name, policy in policies(default).items():
        text = json.dumps(allowed(policy), separators=(",", ":"))
        for mark, value in longest.items():
            text = text.replace(mark, value)
        assert len(text) < _LONGEST * 0.75, name
    assert len(ROUTES) > 15
