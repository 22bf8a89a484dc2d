"""IAM, where it is enforced (``AUTH=true``): policies of people and of functions, and signatures.

The emulator does both, but it does not know all resources: of jobs of Batch, of tokens, of streams of
logs. Which action is checked against which, and what tags and roles need beside it, is taken from AWS's
service authorization reference. It is reached over plain HTTP, where AWS would be reached over TLS:
policies that refuse what comes without TLS are told that everything came with it.
"""

from __future__ import annotations

import contextvars
import json
from collections.abc import Iterator
from typing import Any

from ministack import app
from ministack.core import iam_actions, iam_evaluator

from tests.testbed import stepfunctions
from tests.testbed.hooks import hook
from tests.testbed.patching import replace

Check = tuple[str, str, dict[str, Any]]

_checks: contextvars.ContextVar[list[Check] | None] = contextvars.ContextVar(
    "testbed_checks", default=None
)


_switch = {"enforced": True}


@hook("POST", "iam")
def _turn(asked: dict[str, Any]) -> dict[str, Any]:
    """Enforce IAM from now on, or don't: it costs each request some milliseconds."""
    _switch["enforced"] = bool(asked["enforced"]) and app.AUTH
    return dict(_switch)


def install() -> None:
    _switch["enforced"] = app.AUTH
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
        if not _switch["enforced"]:
            return None
        if service != "batch":
            return enforce(key, action, service, region, **options)
        checks = _checks.get() or [(action, "*", {})]
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


def _arn(batch: str, kind: str, name: str) -> str:
    return name if name.startswith("arn:") else f"{batch}:{kind}/{name}"
