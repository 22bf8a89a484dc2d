"""Callers of other accounts, and of other regions, at a REST API of API Gateway.

The emulator takes a request for the caller's account's and finds no API of another there. AWS finds
it, and lets such a caller in only if a policy of the caller's *and* the API's own policy allow it; of
the API's own account one of both is enough. A signature for another region or service is refused
before any policy is asked. Both are from API Gateway's documentation: "How API Gateway resource policies
affect authorization workflow", and the messages of its 403 answers.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
from collections.abc import Iterator
from typing import Any

from ministack import app
from ministack.core import iam_evaluator
from ministack.core.iam_evaluator import EvalContext, EvalResult, evaluate_resource_policy
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import apigateway_v1

from tests.testbed.patching import replace, require

_SCOPE = re.compile(r"Credential=[^/,]+/\d{8}/([^/,]*)/([^/,]*)/aws4_request")

_caller: contextvars.ContextVar[str | None] = contextvars.ContextVar("testbed_caller", default=None)
"""The account of who calls an API of another one."""


def install() -> None:
    require(apigateway_v1, "_rest_apis", "rest_api_policy_for_arn")
    handle = replace(app, "_handle_execute_api_request", None)
    enforce = replace(iam_evaluator, "enforce", None)
    identify = replace(apigateway_v1, "_iam_caller_identity", None)

    async def handle_anybodys(
        host: str, path: str, method: str, headers: Any, *rest: Any, **options: Any
    ) -> Any:
        parsed = app._parse_execute_api_url(host, path)
        owner = _owner_of(parsed[0]) if parsed else None
        if owner is None:
            return await handle(host, path, method, headers, *rest, **options)
        if app.AUTH and (wrong := _wrong_scope(headers, owner[1])):
            return _refused(wrong)
        token = _caller.set(get_account_id())
        try:
            with request_scope(*owner):
                return await handle(host, path, method, headers, *rest, **options)
        finally:
            _caller.reset(token)

    def enforce_in_both(key: str, action: str, service: str, region: str, **options: Any) -> Any:
        with _as_caller() as account:
            denied = enforce(key, action, service, region, **options)
        arn = options.get("resource_arn", "*")
        if denied or account in (None, arn.split(":")[4] if arn.startswith("arn:") else account):
            return denied
        # Also root of another account, whom the emulator lets do everything everywhere.
        return _refusal_of_the_api(key, action, region, arn, account)

    def identify_caller(headers: Any, query: Any) -> Any:
        with _as_caller():
            return identify(headers, query)

    app._handle_execute_api_request = handle_anybodys
    iam_evaluator.enforce = enforce_in_both
    apigateway_v1._iam_caller_identity = identify_caller


@contextlib.contextmanager
def _as_caller() -> Iterator[str | None]:
    account = _caller.get()
    with contextlib.ExitStack() as stack:
        if account is not None:
            stack.enter_context(request_scope(account, get_region()))
        yield account


def _owner_of(api: str) -> tuple[str, str] | None:
    """Return the account and the region of a REST API."""
    owners = [key[:2] for key, _ in apigateway_v1._rest_apis.all_items() if key[2] == api]
    return owners[0] if owners else None


def _wrong_scope(headers: Any, region: str) -> str | None:
    found = _SCOPE.search(headers.get("authorization", ""))
    if found is None:
        return None
    if found[1] != region:
        return f"Credential should be scoped to a valid region, not '{found[1]}'. "
    if found[2] != "execute-api":
        return "Credential should be scoped to correct service: 'execute-api'. "
    return None


def _refused(message: str) -> Any:
    headers = {
        "Content-Type": "application/json",
        "x-amzn-ErrorType": "InvalidSignatureException",
    }
    return 403, headers, json.dumps({"message": message}).encode()


def _refusal_of_the_api(key: str, action: str, region: str, arn: str, account: str) -> Any:
    with request_scope(account, region):
        principal = iam_evaluator.resolve_principal(key, account)
    found = apigateway_v1.rest_api_policy_for_arn(arn)
    context = EvalContext(principal.arn, principal.type, account, action, arn, region)
    result: EvalResult = evaluate_resource_policy(found[0] if found else None, context)
    if result.decision == "Allow":
        return None
    result.principal_arn, result.resource_policy_arn = principal.arn, arn
    return result
