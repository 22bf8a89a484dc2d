"""The managed policies of one deployment: what readers, submitters and administrators may do.

They are for people to attach, to users, roles or permission sets; no resource of the stacks has one.
Which route needs which role is said in `hut.model.access`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from aws_cdk import Stack
from aws_cdk import aws_iam as iam

from hut.model.access import Role, patterns_of, policy_name
from infra.permissions import allow

if TYPE_CHECKING:
    from aws_cdk import aws_apigateway as apigateway

__all__ = ["add_policies"]

_MAY: Mapping[Role, str] = MappingProxyType(
    {
        Role.WORKER: "Join pools of Hut as a worker, run tasks and report them",
        Role.READER: "Look at runs, logs and configuration of Hut, and plan workflows",
        Role.SUBMITTER: "What readers may, and submit, cancel and repeat runs of Hut",
        Role.ADMIN: "Everything the API of Hut can do, with its audit record",
    }
)


def add_policies(
    stack: Stack, api: apigateway.RestApi, stage: str, prefix: str
) -> dict[Role, iam.ManagedPolicy]:
    """Add a policy for each role to the stack of the API.

    Names of IAM have no region: two deployments in one account need two prefixes.

    Parameters
    ----------
    stage
        The stage they are for; they say nothing of others.
    """
    made = {}
    for role in Role:
        name = policy_name(prefix, role)
        policy = iam.ManagedPolicy(
            stack,
            f"{role.name.capitalize()}Access",
            managed_policy_name=name,
            description=_MAY[role],
        )
        routes = [pattern.partition("/") for pattern in patterns_of(role)]
        allow(
            policy,
            ["execute-api:Invoke"],
            [api.arn_for_execute_api(method, f"/{path}", stage) for method, _, path in routes],
            because="ids of runs and tasks stand in paths; each pattern names its method and route",
        )
        allow(
            policy,
            ["cloudformation:DescribeStacks"],
            [
                stack.format_arn(
                    service="cloudformation", resource="stack", resource_name=_of(stack)
                )
            ],
            because="CloudFormation makes the last part of a stack's ARN; hutctl asks by name",
        )
        made[role] = policy
    return made


def _of(stack: Stack) -> str:
    return f"{stack.stack_name}/*"
