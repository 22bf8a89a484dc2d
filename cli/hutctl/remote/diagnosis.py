"""What `hutctl doctor` looks at for a target in AWS."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from hut import __version__
from hut.store.port import StoreError
from hutctl.client import Document, Unreachable
from hutctl.remote.answers import document_of, documents_of
from hutctl.remote.http import Answer, Api

__all__ = ["diagnose", "look_at_backends"]

Check = tuple[str, bool, str]

_SKEW_NOTED = 30.0
_SKEW_REFUSED = 300.0  # AWS takes no signature that is older
_NAMES = {"env": "environment variables", "iam-role": "the role of this instance"}


def diagnose(api: Api) -> list[Check]:
    """Return what was looked at, whether it is well, and what was found."""
    target = api.target
    checks: list[Check] = [("target", True, f"{target.name}: {target.url}, {target.region}")]
    try:
        api.account.credentials()
    except Unreachable as error:
        return [*checks, ("identity", False, str(error))]
    checks.append(_identity(api))
    try:
        first = api.call("GET", "/health")
        again = api.call("GET", "/health")
        health = document_of(again)
    except (Unreachable, StoreError) as error:
        return [*checks, ("api", False, str(error))]
    took = f"{first.seconds:.2f}s, then {again.seconds:.2f}s"
    well = health.get("status") == "ok"
    return [
        *checks,
        ("api", well, f"answers after {took}" if well else f"says it is not well: {health}"),
        _version(str(health.get("version"))),
        _clock(again),
        *look_at_backends(api),
    ]


def look_at_backends(api: Api) -> list[Check]:
    """Look at backends: whether tasks can run there, and whether what they launch with is there."""
    try:
        found = documents_of(api.call("GET", "/backends"))
    except (Unreachable, StoreError) as error:
        return [("backends", False, str(error))]
    checks = [
        ("backend", False, f"{each['name']}: {each['problem']}")
        for each in found
        if not each["can_run"]
    ]
    for each in found:
        if each.get("ec2"):
            gaps, unasked = _launching(api, each["ec2"])
            said = "; ".join(gaps) or "its state machine, subnets and security groups are there"
            if unasked and not gaps:
                said = f"not looked at: {'; '.join(unasked)}"
            checks.append(("backend", not gaps, f"{each['name']}: {said}"))
    return checks


def _launching(api: Api, ec2: Document) -> tuple[list[str], list[str]]:
    """Return what is missing of what instances are launched with, and what could not be asked."""
    looks: list[tuple[str, str, str, dict[str, Any]]] = [
        ("state machine", "stepfunctions", "describe_state_machine",
         {"stateMachineArn": ec2["state_machine"]}),
        ("subnets", "ec2", "describe_subnets", {"SubnetIds": ec2["subnet_ids"]}),
        ("security groups", "ec2", "describe_security_groups",
         {"GroupIds": ec2["security_group_ids"]}),
    ]  # fmt: skip
    gaps: list[str] = []
    unasked: list[str] = []
    for what, service, operation, asked in looks:
        try:
            answer = getattr(api.account.client(service), operation)(**asked)
        except ClientError as error:
            told = error.response.get("Error", {})
            code = str(told.get("Code"))
            is_gone = code == "StateMachineDoesNotExist" or code.endswith(".NotFound")
            (gaps if is_gone else unasked).append(f"{what}: {told.get('Message') or code}")
        except (Unreachable, BotoCoreError) as error:
            unasked.append(f"{what}: {' '.join(str(error).split())}")
        else:
            if answer.get("status", "ACTIVE") != "ACTIVE":
                gaps.append(f"{what}: it is {answer['status']}")
    return gaps, unasked


def _identity(api: Api) -> Check:
    method = api.account.access.method or "unknown"
    source = _NAMES.get(method, method)
    if api.target.profile is not None:
        source = f"profile {api.target.profile!r}, {source}"
    try:
        who = api.account.client("sts").get_caller_identity()
    except (Unreachable, BotoCoreError, ClientError) as error:
        return ("identity", False, f"{source}: {' '.join(str(error).split())}")
    return ("identity", True, f"{who['Arn']} (from {source})")


def _version(there: str) -> Check:
    if there == __version__:
        return ("version", True, f"{there}, here and there")
    same_kind = there.split(".")[:2] == __version__.split(".")[:2]
    found = f"hutctl is {__version__}, the control plane is {there}"
    return ("version", same_kind, found if same_kind else f"{found}; deploy or install anew")


def _clock(answer: Answer) -> Check:
    off = answer.clock_off
    if off is None:
        return ("clock", True, "the API does not tell its time")
    if abs(off) < _SKEW_NOTED:
        return ("clock", True, "agrees with AWS")
    side = "ahead of" if off > 0 else "behind"
    return ("clock", abs(off) < _SKEW_REFUSED, f"{abs(off):,.0f}s {side} AWS; set the clock")
