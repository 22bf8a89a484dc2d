"""DynamoDB: items that expire, and transactions that are told twice. The rest is the emulator's own.

AWS deletes expired items within days and marks the stream's record as its own; the emulator
looks once a minute, and ``POST /_hut/dynamodb/expire`` makes it look now.
"""

from __future__ import annotations

import functools
import marshal
import threading
import time
from collections import OrderedDict
from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import dynamodb, lambda_svc

from tests.testbed.hooks import hook
from tests.testbed.patching import on_reset, replace, require

_REAPER = "dynamodb-ttl-reaper"
_TOKENS = 10_000  # AWS keeps them for ten minutes
_by_ttl = threading.local()


def install() -> None:
    require(dynamodb, "_emit_stream_event", "_stream_records", "_ttl_settings", "_tables", "_lock")
    if _REAPER not in [thread.name for thread in threading.enumerate()]:
        raise AssertionError("the emulator changed: nothing deletes expired items")
    remove = replace(dynamodb, "_remove_item", None)

    def remove_visibly(table: Any, partition: Any, sort: Any) -> Any:
        """Remove an item; if it had expired, tell the stream so."""
        old = remove(table, partition, sort)
        is_reaper = threading.current_thread().name == _REAPER or getattr(_by_ttl, "now", False)
        if old is not None and is_reaper:
            _tell_stream(table, old)
        return old

    dynamodb._remove_item = remove_visibly
    _keep_tokens()
    _remember_expressions()


def _remember_expressions() -> None:
    """Read each expression once: the emulator does for every item, which took a sixth of its time."""
    tokenize = replace(dynamodb, "_tokenize", None)
    check = replace(dynamodb, "_condition_syntax_error", None)
    tokens_of = functools.lru_cache(4096)(lambda expression: tuple(tokenize(expression)))
    dynamodb._tokenize = lambda expression: list(tokens_of(expression))
    dynamodb._condition_syntax_error = functools.lru_cache(4096)(check)


def _keep_tokens() -> None:
    """Answer a transaction with a known token as before.

    The emulator compares requests too, but changes them while it carries them out: a number such as
    1.0 makes a repetition look like another request.
    """
    transact = replace(dynamodb, "_transact_write_items", None)
    known: OrderedDict[str, tuple[bytes, Any]] = OrderedDict()

    def transact_once(data: dict[str, Any]) -> Any:
        token = data.pop("ClientRequestToken", None)
        if token is None:
            return transact(data)
        request = marshal.dumps(data, 2)  # who asks again does so in the same words
        before = known.get(token)
        if before is not None:
            if before[0] == request:
                return before[1]
            message = "Request token already in use for another request with a different payload"
            return error_response_json("IdempotentParameterMismatchException", message, 400)
        answer = transact(data)
        if answer[0] < 300:
            known[token] = (request, answer)
            while len(known) > _TOKENS:
                known.popitem(last=False)
        return answer

    dynamodb._transact_write_items = transact_once
    on_reset.append(known.clear)


def _tell_stream(table: Any, old: Any) -> None:
    _, _, _, region, account, _ = table["TableArn"].split(":", 5)
    tokens = lambda_svc._request_account_id.set(account), lambda_svc._request_region.set(region)
    try:
        before = len(dynamodb._stream_records.get(table["TableName"]) or [])
        dynamodb._emit_stream_event(table["TableName"], "REMOVE", old, None)
        records = dynamodb._stream_records.get(table["TableName"]) or []
        if len(records) > before:
            service = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
            records[-1]["userIdentity"] = service
    finally:
        lambda_svc._request_account_id.reset(tokens[0])
        lambda_svc._request_region.reset(tokens[1])


@hook("POST", "dynamodb/expire")
def _expire(_: dict[str, Any]) -> dict[str, Any]:
    """Delete now what has expired; return how many items that were."""
    deleted = 0
    with dynamodb._lock:
        _by_ttl.now = True
        try:
            for (account, region, name), how in list(dynamodb._ttl_settings.all_items()):
                table = dynamodb._tables.get_scoped(account, region, name)
                if table and how.get("TimeToLiveStatus") == "ENABLED":
                    deleted += _expire_in(table, how["AttributeName"])
        finally:
            _by_ttl.now = False
    return {"deleted": deleted}


def _expire_in(table: Any, attribute: str) -> int:
    now = time.time()
    expired = [
        (partition, sort)
        for partition, items in table["items"].items()
        for sort, item in items.items()
        if "N" in item.get(attribute, {}) and float(item[attribute]["N"]) <= now
    ]
    for partition, sort in expired:
        dynamodb._remove_item(table, partition, sort)
    return len(expired)
