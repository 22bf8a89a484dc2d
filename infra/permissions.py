"""What a role may do, statement by statement, and why wherever a resource is a pattern.

Actions are named one by one. A resource with a wildcard needs a reason, which also stands beside
the policy as the acknowledgment of the matching cdk-nag finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aws_cdk import Acknowledgment, Stack, Validations
from aws_cdk import aws_iam as iam

if TYPE_CHECKING:
    from constructs import IConstruct

__all__ = ["acknowledge", "allow", "service_role"]


def service_role(scope: Stack | IConstruct, name: str, service: str, description: str) -> iam.Role:
    """Return a new role without permissions that one AWS service may take."""
    return iam.Role(
        scope,  # type: ignore[arg-type]  # any construct
        name,
        assumed_by=iam.ServicePrincipal(service),
        description=description,
    )


def allow(
    role: iam.Role | iam.ManagedPolicy,
    actions: Sequence[str],
    on: Sequence[str],
    *,
    because: str | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> None:
    """Let a role, or whoever has a managed policy, do some actions.

    Parameters
    ----------
    actions
        Such as ``dynamodb:GetItem``; no wildcards.
    on
        ARNs, or ``*`` where the service knows no narrower permission.
    because
        Why a resource has a wildcard.

    Raises
    ------
    ValueError
        For an action with a wildcard, or a resource with one and no reason.
    """
    stack = Stack.of(role)
    if broad := [action for action in actions if "*" in action]:
        raise ValueError(f"name actions one by one, not {', '.join(broad)}")
    patterns = [shown for arn in on if "*" in (shown := _shown(stack.resolve(arn)))]
    if patterns and because is None:
        raise ValueError(f"say why {', '.join(patterns)} can't be narrower")
    statement = iam.PolicyStatement(
        actions=list(actions), resources=list(on), conditions=conditions
    )
    if isinstance(role, iam.ManagedPolicy):
        role.add_statements(statement)
    else:
        role.add_to_policy(statement)
    for pattern in patterns:
        acknowledge(role, f"AwsSolutions-IAM5[Resource::{pattern}]", because or "")


def acknowledge(construct: IConstruct, rule: str, reason: str) -> None:
    """Note beside a construct why a rule of cdk-nag does not hold for it."""
    Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))


def _shown(arn: object) -> str:
    """Return a resolved ARN as cdk-nag writes it: references in angle brackets."""
    match arn:
        case str():
            return arn
        case {"Ref": str(name)}:
            return f"<{name}>"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"<{name}.{attribute}>"
        case {"Fn::Join": [_, [*parts]]}:
            return "".join(_shown(part) for part in parts)
    return "<>"
