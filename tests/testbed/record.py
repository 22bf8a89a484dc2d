"""Every request of an AWS service: what it is called, how often it came, what DynamoDB bills.

Requests between parts of the emulator (a stream that is read, an event that is delivered) are
not requests here; on AWS they are free or billed by what they start.
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections import Counter, defaultdict
from typing import Any
from urllib.parse import parse_qs

import botocore.session
from ministack import app
from ministack.core.router import detect_service, extract_access_key_id

from tests.testbed.faults import find_fault
from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset, replace

_lock = threading.Lock()
_all: defaultdict[str, Counter[str]] = defaultdict(Counter)
_of_lambdas: defaultdict[str, Counter[str]] = defaultdict(Counter)
_units: Counter[str] = Counter()
_others: defaultdict[str, Counter[str]] = defaultdict(Counter)

keys_of_functions: set[str] = set()
"""The access keys that functions were given."""

_WRITES = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")
_READS = ("GetItem", "Query", "Scan", "BatchGetItem", "TransactGetItems")


def install() -> None:
    dispatch = replace(app, "_dispatch_service_request", None)
    execute = replace(app, "_handle_execute_api_request", None)

    async def dispatch_counted(
        method: str, path: str, headers: Any, body: bytes, query: Any, request_id: str
    ) -> Any:
        service, operation = _name(method, path, headers, body, query)
        _count(service, operation, headers, query)
        fault = find_fault(service, operation)
        if fault is not None and not fault.after:
            early = await fault.answer(service)
            if early is not None:
                return early
        billed = service == "dynamodb" and operation in (*_WRITES, *_READS)
        asked = body
        if billed:
            asked = _ask_for_units(body)
        answer = await dispatch(method, path, headers, asked, query, request_id)
        if billed and answer[0] == 200:
            answer = _note_units(operation, answer, keep=asked is body)
        if fault is not None and fault.after:
            return await fault.answer(service) or answer
        return answer

    async def execute_counted(
        host: str, path: str, method: str, headers: Any, *a: Any, **k: Any
    ) -> Any:
        if app._parse_execute_api_url(host, path) is not None:
            _count("execute-api", method, headers, {})
        return await execute(host, path, method, headers, *a, **k)

    app._dispatch_service_request = dispatch_counted
    app._handle_execute_api_request = execute_counted
    on_reset.append(_forget)


def count(kind: str, name: str, number: float = 1) -> None:
    """Count something that is not a request: an invocation, a state's transition."""
    with _lock:
        _others[kind][name] += number


def most(kind: str, name: str, value: float) -> None:
    """Keep the largest value there was."""
    with _lock:
        _others[kind][name] = max(_others[kind][name], value)


@hook("GET", "requests")
def _report(_: dict[str, Any]) -> dict[str, Any]:
    """Return counts of requests (all, and those of Lambda functions), of units and more."""
    with _lock:
        return {
            "requests": {service: dict(each) for service, each in _all.items()},
            "of_lambdas": {service: dict(each) for service, each in _of_lambdas.items()},
            "dynamodb_units": dict(_units),
            **{kind: dict(each) for kind, each in _others.items()},
        }


@hook("POST", "requests/reset")
def _reset(_: dict[str, Any]) -> dict[str, Any]:
    _forget()
    return {}


def _forget() -> None:
    with _lock:
        for each in (_all, _of_lambdas, _units, _others):
            each.clear()


def _count(service: str, operation: str, headers: Any, query: Any) -> None:
    with _lock:
        _all[service][operation] += 1
        if extract_access_key_id(headers, query) in keys_of_functions:
            _of_lambdas[service][operation] += 1


def _name(method: str, path: str, headers: Any, body: bytes, query: Any) -> tuple[str, str]:
    """Return service and operation as botocore calls them."""
    routing = app._routing_params(method, path, headers, body, query)
    service = detect_service(method, path, headers, routing)
    target = headers.get("x-amz-target", "")
    if target:
        return service, target.rpartition(".")[2]
    if service == "s3":
        return service, _s3_operation(method, path, query)
    if "form" in headers.get("content-type", ""):
        return service, parse_qs(body.decode(errors="replace")).get("Action", [""])[0]
    for wanted, pattern, operation in _operations(service):
        if wanted == method and pattern.fullmatch(path):
            return service, operation
    return service, method


@functools.cache
def _operations(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    """Return method, path and name of a service's operations, the longest paths first."""
    try:
        model = botocore.session.get_session().get_service_model(service)
    except botocore.exceptions.UnknownServiceError:
        return []
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        uri = http["requestUri"].partition("?")[0]
        parts = re.split(r"(\{[^}]*\})", uri)
        text = "".join(
            (".+" if part.endswith("+}") else "[^/]+") if part.startswith("{") else re.escape(part)
            for part in parts
        )
        found.append((http["method"], re.compile(text + "/?"), name))
    return sorted(found, key=lambda each: -len(each[1].pattern))


def _s3_operation(method: str, path: str, query: Any) -> str:
    depth = min(len([part for part in path.split("/") if part]), 2)
    match method, depth:
        case "POST", _ if "delete" in query:
            return "DeleteObjects"
        case "POST", 2:
            return "CreateMultipartUpload" if "uploads" in query else "CompleteMultipartUpload"
        case "PUT", 2:
            return "UploadPart" if "partNumber" in query else "PutObject"
        case "GET", 1 if "list-type" in query:
            return "ListObjectsV2"
    names = {
        ("GET", 0): "ListBuckets",
        ("PUT", 1): "CreateBucket",
        ("HEAD", 1): "HeadBucket",
        ("DELETE", 1): "DeleteBucket",
        ("GET", 2): "GetObject",
        ("HEAD", 2): "HeadObject",
        ("DELETE", 2): "DeleteObject",
    }
    return names.get((method, depth), f"{method} {'/' * depth}")


def _ask_for_units(body: bytes) -> bytes:
    """Make a request ask for the units it consumes; return it as it is if it does already."""
    text = body.rstrip()
    if b"ReturnConsumedCapacity" not in text and text.startswith(b"{") and text.endswith(b"}"):
        comma = b", " if len(text) > 2 else b""
        return text[:-1] + comma + b'"ReturnConsumedCapacity": "TOTAL"}'  # there are large ones
    try:
        document = json.loads(body)
    except ValueError:
        return body
    if document.get("ReturnConsumedCapacity", "NONE") != "NONE":
        return body
    return json.dumps({**document, "ReturnConsumedCapacity": "TOTAL"}).encode()


def _note_units(operation: str, answer: Any, *, keep: bool) -> Any:
    status, headers, body = answer
    document = json.loads(body)
    used = document.get("ConsumedCapacity") or []
    units = sum(each["CapacityUnits"] for each in (used if isinstance(used, list) else [used]))
    with _lock:
        _units["write" if operation in _WRITES else "read"] += units
    if keep:
        return answer
    document.pop("ConsumedCapacity", None)
    headers = {k: v for k, v in headers.items() if k.lower() not in ("x-amz-crc32",)}
    return status, headers, json.dumps(document).encode()
