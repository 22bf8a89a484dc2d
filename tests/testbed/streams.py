"""DynamoDB streams to Lambda functions: event source mappings as AWS documents them.

A stream has several shards (`Settings.shards`), an item's changes are always in the same one,
and of each shard one batch at a time is being worked on ("How Lambda processes records from
stream and queue-based event sources"). Failed batches are tried again from the first record
that failed, halved if wanted, and given up after as many retries or seconds as were allowed.
Ours: the parallelization factor is ignored, the batching window unless the settings say
otherwise (see sqs.py); retries wait 0.1 to 1 s.
"""

from __future__ import annotations

import functools
import json
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ministack.core.concurrency import esm_wake, spawn_background
from ministack.services import dynamodb, eventbridge, lambda_svc

from tests.testbed.patching import on_reset, replace, require, settings

_LOOK_AHEAD = 1000  # records in which those of one shard are searched
_LONGEST_WAIT = 1.0


@dataclass
class Reader:
    """Where a mapping stands in a shard."""

    position: int
    busy: bool = False
    not_before: float = 0.0
    failures: int = 0  # of the batch that begins at the position
    size: int | None = None  # of batches while a failed one is being halved
    halved_until: int = 0
    open_since: float | None = None  # when the first record of a batch was seen


@dataclass(frozen=True)
class Batch:
    """Records that were taken, and the position after them."""

    records: list[dict[str, Any]]
    positions: list[int]
    taken: int
    end: int


_readers: dict[tuple[str, int], Reader] = {}


def install() -> None:
    require(
        lambda_svc,
        "_iter_all_esms",
        "_get_func_record_for_qualifier",
        "_apply_filter_criteria",
        "_send_ddb_stream_failure_record",
        "_dynamodb_stream_positions",
        "_request_account_id",
        "_request_region",
    )
    require(dynamodb, "stream_records_since", "stream_start_position", "stream_end_position")
    require(eventbridge, "_compile_pattern", "_matches_detail")
    replace(lambda_svc, "_poll_dynamodb_streams", _poll)
    replace(lambda_svc, "_match_esm_filter", _matches)
    on_reset.append(_readers.clear)


def _matches(record: dict[str, Any], pattern: dict[str, Any]) -> bool:
    """Apply a filter pattern with all operators that EventBridge's patterns have."""
    return any(eventbridge._matches_detail(record, each) for each in _compiled(json.dumps(pattern)))


@functools.lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    return eventbridge._compile_pattern(json.loads(pattern))


def _poll() -> bool:
    """Start on every batch that is there; say whether there was one."""
    found, seen = False, set()
    for account, region, mapping in lambda_svc._iter_all_esms():
        arn = mapping.get("EventSourceArn", "")
        if ":dynamodb:" not in arn or "/stream/" not in arn:
            continue
        seen.add(mapping["UUID"])
        tokens = (
            lambda_svc._request_account_id.set(account),
            lambda_svc._request_region.set(region),
        )
        try:
            for shard in range(settings.shards):
                found = _begin(mapping, shard) or found
        finally:
            lambda_svc._request_account_id.reset(tokens[0])
            lambda_svc._request_region.reset(tokens[1])
    for key in [key for key in _readers if key[0] not in seen]:
        del _readers[key]
    return found


def _begin(mapping: dict[str, Any], shard: int) -> bool:
    """Take the next batch of a shard and work on it in the background."""
    table_name = mapping["EventSourceArn"].split(":table/")[1].split("/stream/")[0]
    table = dynamodb._tables.get(table_name)
    function, _ = lambda_svc._get_func_record_for_qualifier(
        mapping["FunctionName"], mapping.get("Qualifier")
    )
    is_current = table and table.get("LatestStreamArn") == mapping["EventSourceArn"]
    if not mapping.get("Enabled", True) or function is None or not is_current:
        return False
    reader = _reader(mapping, shard, table_name)
    if reader.busy or reader.not_before > time.monotonic():
        return False
    reader.position = max(reader.position, dynamodb.stream_start_position(table_name))
    size = min(int(mapping.get("BatchSize") or 100), reader.size or _LOOK_AHEAD)
    batch = _take(table, table_name, reader, shard, size)
    kept = lambda_svc._apply_filter_criteria(batch.records, mapping)
    if not kept:
        moved = batch.end > reader.position
        reader.position = batch.end
        return moved and bool(batch.taken)
    if settings.windows and len(batch.records) < size and _waits(mapping, reader):
        return False
    reader.open_since = None
    reader.busy = True
    spawn_background(
        _work_on, mapping, function, reader, batch, kept, thread_name=f"testbed-stream-{shard}"
    )
    return True


def _waits(mapping: dict[str, Any], reader: Reader) -> bool:
    """Say whether the window of a batch that is not full is still open."""
    now = time.monotonic()
    window = float(mapping.get("MaximumBatchingWindowInSeconds") or 0)
    if reader.open_since is None:
        reader.open_since = now
        spawn_background(_wake_after, window, thread_name="testbed-stream-window")
    return now - reader.open_since < window


def _reader(mapping: dict[str, Any], shard: int, table_name: str) -> Reader:
    key = (mapping["UUID"], shard)
    if key not in _readers:
        first = lambda_svc._dynamodb_stream_positions.get(mapping["UUID"])
        if first is None:
            first = (
                dynamodb.stream_start_position(table_name)
                if mapping.get("StartingPosition") == "TRIM_HORIZON"
                else dynamodb.stream_end_position(table_name)
            )
        _readers[key] = Reader(first)
    return _readers[key]


def _take(table: Any, table_name: str, reader: Reader, shard: int, size: int) -> Batch:
    """Take the next records of a shard, at most so many."""
    hash_key = next(key["AttributeName"] for key in table["KeySchema"] if key["KeyType"] == "HASH")
    records, positions = [], []
    position = reader.position
    for record in dynamodb.stream_records_since(table_name, position, _LOOK_AHEAD):
        if len(records) == size:
            break
        position += 1
        value = json.dumps(record["dynamodb"]["Keys"][hash_key], sort_keys=True)
        if zlib.crc32(value.encode()) % settings.shards == shard:
            records.append(record)
            positions.append(position - 1)
    return Batch(records, positions, len(records), position)


def _work_on(
    mapping: dict[str, Any],
    function: Any,
    reader: Reader,
    batch: Batch,
    records: list[dict[str, Any]],
) -> None:
    try:
        result = lambda_svc._execute_function(function, {"Records": records})
        failed = _first_failed(mapping, records, result)
        if failed is None:
            mapping["LastProcessingResult"] = "OK"
            _move(reader, batch.end)
        else:
            mapping["LastProcessingResult"] = "PROBLEM: Function call failed"
            _fail(mapping, function, reader, batch, (records, failed, result))
    finally:
        reader.busy = False
        esm_wake.set()


def _first_failed(
    mapping: dict[str, Any], records: list[dict[str, Any]], result: dict[str, Any]
) -> int | None:
    """Return the index of the first record that failed; None if all are done."""
    if result.get("error"):
        return 0
    if "ReportBatchItemFailures" not in (mapping.get("FunctionResponseTypes") or []):
        return None
    answer = result.get("body")
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if not failures:
        return None
    order = [record["dynamodb"]["SequenceNumber"] for record in records]
    named = [each.get("itemIdentifier") for each in failures if isinstance(each, dict)]
    if len(named) != len(failures) or not all(each in order for each in named):
        return 0  # an answer that makes no sense fails the whole batch
    return min(order.index(each) for each in named)


def _move(reader: Reader, position: int) -> None:
    reader.position = position
    reader.failures = 0
    reader.not_before = 0.0
    if position >= reader.halved_until:
        reader.size = None


def _fail(
    mapping: dict[str, Any],
    function: Any,
    reader: Reader,
    batch: Batch,
    outcome: tuple[list[dict[str, Any]], int, dict[str, Any]],
) -> None:
    """Go back to the first record that failed; halve the rest, try it again, or give it up."""
    records, failed, result = outcome
    start = batch.positions[next(_indices(batch.records, records[failed]))]
    rest = [position for position in batch.positions if position >= start]
    if failed > 0:
        _move(reader, start)
    if mapping.get("BisectBatchOnFunctionError") and len(rest) > 1:
        reader.size = (len(rest) + 1) // 2  # does not count as a retry
        reader.halved_until = max(reader.halved_until, batch.end)
        return
    reader.failures += 0 if result.get("throttle") else 1
    given_up = _why_given_up(mapping, reader, records[failed])
    if given_up:
        lambda_svc._send_ddb_stream_failure_record(
            mapping, function, records[failed:], mapping["EventSourceArn"], result, given_up
        )
        _move(reader, batch.end)
    else:
        wait = min(0.1 * 2 ** max(0, reader.failures - 1), _LONGEST_WAIT)
        reader.not_before = time.monotonic() + wait
        spawn_background(_wake_after, wait, thread_name="testbed-stream-retry")


def _indices(records: list[dict[str, Any]], wanted: dict[str, Any]) -> Iterator[int]:
    number = wanted["dynamodb"]["SequenceNumber"]
    for index, record in enumerate(records):
        if record["dynamodb"]["SequenceNumber"] == number:
            yield index


def _why_given_up(mapping: dict[str, Any], reader: Reader, oldest: dict[str, Any]) -> str | None:
    retries = mapping.get("MaximumRetryAttempts")
    if retries is not None and 0 <= int(retries) < reader.failures:
        return "RetryAttemptsExhausted"
    age = int(mapping.get("MaximumRecordAgeInSeconds") or -1)
    created = float(oldest["dynamodb"]["ApproximateCreationDateTime"])
    if 0 < age < time.time() - created:
        return "MaxRecordAgeExceeded"
    return None


def _wake_after(seconds: float) -> None:
    time.sleep(seconds + 0.01)
    esm_wake.set()
