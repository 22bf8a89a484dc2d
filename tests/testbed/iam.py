"""IAM, where it is enforced (``AUTH=true``): policies of people and of functions, and signatures.

The emulator does both, but it does not know all resources: of jobs of Batch, of tokens, of streams of
logs, of instances and their tags. Which action is checked against which, and what tags and roles need beside it, is taken from AWS's
service authorization reference. It is reached over plain HTTP, where AWS would be reached over TLS:
policies that refuse what comes without TLS are told that everything came with it.
"""

from __future__ import annotations

import contextvars
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import ec2

from tests.testbed import stepfunctions
from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset, replace

Check = tuple[str, str, dict[str, Any]]

_LAST = re.compile(r"[^/:]*$")

_checks: contextvars.ContextVar[list[Check] | None] = contextvars.ContextVar(
    "testbed_checks", default=None
)


_switch = {"enforced": True}
_used: set[tuple[str, str, str]] = set()
"""What roles did so far: their name, the action, the kind of what it was done to."""


@hook("POST", "iam")
def _turn(asked: dict[str, Any]) -> dict[str, Any]:
    """Enforce IAM from now on, or don't: it costs each request some milliseconds."""
    _switch["enforced"] = bool(asked["enforced"]) and app.AUTH
    return dict(_switch)


@hook("GET", "iam/used")
def _tell_used(_: dict[str, Any]) -> dict[str, Any]:
    """Tell which actions each role has needed, enforced or not."""
    return {"used": sorted(_used)}


def install() -> None:
    _switch["enforced"] = app.AUTH
    on_reset.append(_used.clear)
    check = replace(iam_evaluator, "check_credentials", None)
    pin = replace(app, "pin_request_origin", None)
    resource_of = replace(iam_actions, "extract_resource_arn", None)
    enforce = replace(iam_evaluator, "enforce", None)

    def pin_as_over_tls(source_ip: str, secure_transport: bool) -> Any:
        return pin(source_ip, secure_transport=True)

    def resource_as_aws(service: str, method: str, path: str, *rest: Any) -> Any:
        headers, body, _, region, account = rest
        if service == "batch":
            asked = json.loads(body or b"{}")
            found = list(_of_batch(path, asked, f"arn:aws:batch:{region}:{account}"))
            _checks.set(found)
            return found[0][1] if found else "*"
        if service == "ec2":
            found = list(_of_ec2(body, f"arn:aws:ec2:{region}:{account}"))
            _checks.set(found)
            return found[0][1] if found else "*"
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action.startswith("SendTask"):
            return stepfunctions.machine_of(json.loads(body)["taskToken"]) or "*"
        resource = resource_of(service, method, path, *rest)
        if action in ("GetLogEvents", "PutLogEvents"):
            return f"{resource}:log-stream:{json.loads(body)['logStreamName']}"
        return resource

    def check_if_enforced(key: str, service: str | None = None) -> Any:
        return check(key, service) if _switch["enforced"] else None

    def enforce_as_aws(key: str, action: str, service: str, region: str, **options: Any) -> Any:
        given = [(action, options.get("resource_arn", "*"), {})]
        checks = (_checks.get() if service in ("batch", "ec2") else None) or given
        if app.AUTH:
            _note(key, checks)
        if not _switch["enforced"]:
            return None
        if checks is given:
            return enforce(key, action, service, region, **options)
        for each, arn, context in checks:
            given = {**(options.get("service_context") or {}), **context}
            denied = enforce(key, each, service, region, resource_arn=arn, service_context=given)
            if denied:
                return denied
        return None

    app.pin_request_origin = pin_as_over_tls
    iam_actions.extract_resource_arn = resource_as_aws
    iam_evaluator.enforce = enforce_as_aws
    iam_evaluator.check_credentials = check_if_enforced


def _note(key: str, checks: list[Check]) -> None:
    """Remember what the role that a key belongs to does; people and root are not of interest."""
    if not key.startswith("ASIA"):
        return
    who = iam_evaluator.resolve_caller_identity(key) or {}
    role = str(who.get("userArn")).partition(":assumed-role/")[2].partition("/")[0]
    _used.update((role, action, _LAST.sub("", arn)) for action, arn, _ in checks)


def _of_batch(path: str, body: dict[str, Any], batch: str) -> Iterator[Check]:
    """Yield what a request to Batch needs, but for those that are checked against no resource."""
    match path.rpartition("/")[2]:
        case "registerjobdefinition":
            definition = f"{batch}:job-definition/{body['jobDefinitionName']}"
            yield "batch:RegisterJobDefinition", definition, {}
            if body.get("tags"):
                yield "batch:TagResource", definition, {}
            for name in ("jobRoleArn", "executionRoleArn"):
                if role := body.get("containerProperties", {}).get(name):
                    passed = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
                    yield "iam:PassRole", role, passed
        case "submitjob":
            yield "batch:SubmitJob", _arn(batch, "job-definition", body["jobDefinition"]), {}
            yield "batch:SubmitJob", _arn(batch, "job-queue", body["jobQueue"]), {}
            if body.get("tags"):
                yield "batch:TagResource", f"{batch}:job/new", {}
        case "terminatejob":
            yield "batch:TerminateJob", f"{batch}:job/{body['jobId']}", {}
        case "getjobqueuesnapshot":
            yield "batch:GetJobQueueSnapshot", _arn(batch, "job-queue", body["jobQueue"]), {}
        case "canceljob":
            yield "batch:CancelJob", f"{batch}:job/{body['jobId']}", {}


def _of_ec2(body: bytes, ec2_arn: str) -> Iterator[Check]:
    """Yield what a request that changes instances needs; Describe... is checked against no resource."""
    asked = parse_qs(body.decode(errors="replace"))
    action = asked.get("Action", [""])[0]
    if action in ("TerminateInstances", "StopInstances", "StartInstances", "RebootInstances"):
        for name, [instance, *_] in asked.items():
            if name.startswith("InstanceId."):
                tags = {tag["Key"]: tag["Value"] for tag in ec2._tags.get(instance, [])}
                context = {
                    f"{service}:ResourceTag/{key}": value
                    for key, value in tags.items()
                    for service in ("aws", "ec2")
                }
                yield f"ec2:{action}", f"{ec2_arn}:instance/{instance}", context


def _arn(batch: str, kind: str, name: str) -> str:
    return name if name.startswith("arn:") else f"{batch}:{kind}/{name}"
