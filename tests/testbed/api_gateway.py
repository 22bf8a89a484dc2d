"""API Gateway (REST): who calls, how header names are written, how large a request may be.

Signatures are not verified: an access key is a name. ``test`` is the account's root, any other
key the IAM user of that name, so that a test can be several people. Header names come to the
emulator in lower case and are given to functions As-Clients-Write-Them, as AWS does.
"""

from __future__ import annotations

import json
from typing import Any

from ministack.core.router import extract_access_key_id
from ministack.services import apigateway_v1

from tests.testbed.address import ACCOUNT
from tests.testbed.patching import replace

_LARGEST_REQUEST = 10 * 1024 * 1024
_LARGEST_EVENT = 6 * 1024 * 1024


def install() -> None:
    identify = replace(apigateway_v1, "_iam_caller_identity", None)
    build_event = replace(apigateway_v1, "_build_lambda_event_v1", None)
    handle = replace(apigateway_v1, "handle_execute", None)
    call = replace(apigateway_v1, "_call_lambda_raw", None)
    shape = replace(apigateway_v1, "_lambda_proxy_response", None)

    def identify_anybody(headers: Any, query: Any) -> Any:
        return identify(headers, query) or _user(extract_access_key_id(headers, query))

    def build_event_as_aws(*arguments: Any, **options: Any) -> Any:
        event = build_event(*arguments, **options)
        for name in ("headers", "multiValueHeaders"):
            event[name] = {key.title(): value for key, value in event[name].items()}
        return event

    async def handle_limited(api: str, stage: str, method: str, path: str, *rest: Any) -> Any:
        headers, body = rest[0], rest[1]
        if len(body or b"") > _LARGEST_REQUEST:
            return _error(413, "Request Too Long")
        return await handle(api, stage, method, path, headers, *rest[1:])

    async def call_limited(reference: Any, event: Any, **options: Any) -> Any:
        if len(json.dumps(event)) > _LARGEST_EVENT:
            too_long = {"statusCode": 413, "body": json.dumps({"message": "Request Too Long"})}
            return {"body": too_long}, None
        return await call(reference, event, **options)

    def shape_as_aws(result: Any) -> Any:
        """A function that fails or answers nonsense is a bad gateway, which says nothing more."""
        if result.get("throttle"):
            return _failed(500)
        if result.get("error") or not _is_answer(result.get("body")):
            return _failed(502)
        return shape(result)

    apigateway_v1._iam_caller_identity = identify_anybody
    apigateway_v1._build_lambda_event_v1 = build_event_as_aws
    apigateway_v1.handle_execute = handle_limited
    apigateway_v1._call_lambda_raw = call_limited
    apigateway_v1._lambda_proxy_response = shape_as_aws


def _user(key: str | None) -> dict[str, Any] | None:
    if not key:
        return None
    return {
        "accessKey": key,
        "accountId": ACCOUNT,
        "caller": f"AIDA{key.upper()}",
        "user": f"AIDA{key.upper()}",
        "userArn": f"arn:aws:iam::{ACCOUNT}:user/{key}",
        "principalOrgId": None,
    }


def _is_answer(body: Any) -> bool:
    """Say whether it is what a proxy integration takes: a status, and a body that is text."""
    if not isinstance(body, dict) or not isinstance(body.get("body", ""), str | None):
        return False
    return str(body.get("statusCode", "")).isdecimal()


def _failed(status: int) -> Any:
    message = json.dumps({"message": "Internal server error"})
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": message}, None


def _error(status: int, message: str) -> Any:
    body = json.dumps({"message": message}).encode()
    return status, {"Content-Type": "application/json"}, body
