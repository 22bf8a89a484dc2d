"""A simulated DynamoDB: called as a botocore client, with the answers, errors and limits of the service.

What is modelled is what "API_Operations_Amazon_DynamoDB" and "ServiceQuotas" of AWS's developer guide
say of items, transactions, batches, queries, indexes that lag and items that expire. Calls do not
overlap: whoever wants conflicts, throttling or lost answers puts them around the client. Not modelled:
what is paid (`tests.aws.metered` tells that), local indexes, PartiQL, the parameters expressions replaced.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from tests.aws.watched_client import refusal
from tests.simulation.attribute_values import Item, checked_item, invalid, wrong
from tests.simulation.evaluation import pick, projected
from tests.simulation.key_conditions import bounds_of
from tests.simulation.reading import page_of, refuse_keys_in_filter, starting_key
from tests.simulation.requests import (
    PAGED,
    PLACEHOLDERS,
    READ,
    REPORTS,
    SINGLE,
    WRITE,
    allow,
    given_in,
)
from tests.simulation.tables import Index, Place, Record, Schema, Table
from tests.simulation.writes import Planned, Tokens, outcome, planned_change, planned_put, shows_old

__all__ = ["Backup", "Change", "SimulatedDynamoDB"]

_LARGEST_TRANSACTION = 4 * 1024 * 1024
_LARGEST_BATCH = 16 * 1024 * 1024
_MOST_IN_TRANSACTION = 100
_MOST_PUTS = 25
_MOST_GETS = 100
_TOO_OLD_TO_EXPIRE = 5 * 365 * 86400
_TRANSACTED = {
    "Put": WRITE | {"Item"},
    "Delete": WRITE | {"Key"},
    "ConditionCheck": WRITE | {"Key"},
    "Update": WRITE | {"Key", "UpdateExpression"},
}
_REQUIRED = {"Update": "UpdateExpression", "ConditionCheck": "ConditionExpression"}
_FAILED = "The conditional request failed"


class Change(NamedTuple):
    """What became of one item.

    Attributes
    ----------
    key, old, new : dict
        In wire form; an image is None where there is no item. They are the store's own: not to be
        changed.
    by_ttl : bool
        Whether the service deleted it because it had expired.
    """

    table: str
    key: Item
    old: Item | None
    new: Item | None
    by_ttl: bool = False


class Backup(NamedTuple):
    """The items of a table at a time."""

    table: str
    items: tuple[tuple[Place, Record], ...]


class SimulatedDynamoDB:
    """See the module's docstring.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    copies
        Whether nothing that is stored is shared with callers. Without it callers must change neither
        what they gave nor what they got.

    Attributes
    ----------
    committed : list of callable
        Called after each call that changed something, with all that it changed.
    index_lag : callable
        Says how many seconds later indexes see a change.
    unprocessed : callable
        Says of how many of `n` keys or items of a batch the service does not get to; is given the
        operation's name and `n`.
    """

    def __init__(self, clock: Callable[[], float], *, copies: bool = False) -> None:
        self._clock = clock
        self._copies = copies
        self._tables: dict[str, Table] = {}
        self._tokens = Tokens()
        self._lock = threading.RLock()  # tests call it from several threads too
        self.committed: list[Callable[[Sequence[Change]], None]] = []
        self.index_lag: Callable[[Change], float] = lambda _: 0.0
        self.unprocessed: Callable[[str, int], int] = lambda *_: 0

    # Tables

    def create_table(self, **arguments: Any) -> Any:
        """Make a table; it can be used at once."""
        allowed = {"TableName", "KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes"}
        settings = {"BillingMode", "StreamSpecification", "SSESpecification", "Tags"}
        allow(arguments, allowed | settings)
        name = arguments["TableName"]
        if name in self._tables:
            raise refusal("ResourceInUseException", f"Table already exists: {name}")
        kinds = {
            entry["AttributeName"]: entry["AttributeType"]
            for entry in arguments["AttributeDefinitions"]
        }
        schema = _schema(arguments["KeySchema"], kinds)
        table = Table(name, schema)
        used = set(schema.names)
        for entry in arguments.get("GlobalSecondaryIndexes", ()):
            keys = _schema(entry["KeySchema"], kinds)
            projection = entry["Projection"]
            projects = frozenset(projection.get("NonKeyAttributes", ()))
            projects = None if projection["ProjectionType"] == "ALL" else projects
            index = Index(entry["IndexName"], keys, projects, schema)
            table.indexes[index.name] = index
            used |= set(keys.names)
        if used != set(kinds):
            raise wrong(
                "Some AttributeDefinitions are not used. AttributeDefinitions: "
                f"{sorted(kinds)}, keys used: {sorted(used)}"
            )
        self._tables[name] = table
        return {"TableDescription": {"TableName": name, "TableStatus": "ACTIVE"}}

    def copy(self, name: str) -> Backup:
        """Return what a table holds now."""
        with self._lock:
            return Backup(name, tuple(self._table(name).records()))

    def restore(self, backup: Backup, name: str | None = None) -> None:
        """Make a table of a backup: a new one, or another in place of one; no stream tells of it."""
        with self._lock:
            like = self._table(backup.table)
            table = Table(name or backup.table, like.schema)
            for index in like.indexes.values():
                table.indexes[index.name] = Index(
                    index.name, index.schema, index.projects, index.table
                )
            for place, record in backup.items:
                table.put(place, record)
                for index in table.indexes.values():
                    index.tell(place, record.item, self._clock(), 0.0)
            self._tables[table.name] = table

    def expire(self, attribute: str = "ttl") -> int:
        """Delete all items whose time is over, as the service does now and then; return how many."""
        now = self._clock()
        with self._lock:
            expired = [
                (table, place, record)
                for table in self._tables.values()
                for place, record in table.records()
                if "N" in record.item.get(attribute, ())
                and now - _TOO_OLD_TO_EXPIRE <= float(record.item[attribute]["N"]) <= now
            ]
            self._commit([(table, place, None) for table, place, _ in expired], by_ttl=True)
        return len(expired)

    def _table(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            message = f"Requested resource not found: Table: {name} not found"
            raise refusal("ResourceNotFoundException", message)
        return table

    # Reading

    def get_item(self, **arguments: Any) -> Any:
        """Return an item."""
        allow(arguments, READ | {"Key"})
        given = given_in(arguments)
        table = self._table(arguments["TableName"])
        record = table.get(table.schema.place_of_key(arguments["Key"]))
        return {} if record is None else {"Item": self._own(given.shown(record.item))}

    def batch_get_item(self, **arguments: Any) -> Any:
        """Return up to 100 items, as far as 16 MB go."""
        allow(arguments, {"RequestItems", "ReturnConsumedCapacity"})
        asked = []
        for name, request in arguments["RequestItems"].items():
            allow(request, {"Keys", "ConsistentRead", "ProjectionExpression", *PLACEHOLDERS})
            table, given = self._table(name), given_in(request)
            places = [table.schema.place_of_key(key) for key in request["Keys"]]
            if len(set(places)) < len(places):
                raise invalid("Provided list of item keys contains duplicates")
            asked += [
                (name, table, given, key, place)
                for key, place in zip(request["Keys"], places, strict=True)
            ]
        if not asked:
            raise invalid("1 validation error detected: 'requestItems' must have at least one key")
        if len(asked) > _MOST_GETS:
            raise invalid("Too many items requested for the BatchGetItem call")
        done = self._done("batch_get_item", len(asked))
        found: dict[str, list[Item]] = {name: [] for name in arguments["RequestItems"]}
        left: dict[str, Any] = {}
        size = 0
        for number, (name, table, given, key, place) in enumerate(asked):
            record = table.get(place)
            size += record.size if record is not None else 0
            if number >= done or size > _LARGEST_BATCH:
                rest = {**arguments["RequestItems"][name], "Keys": []}
                left.setdefault(name, rest)["Keys"].append(key)
            elif record is not None:
                found[name].append(self._own(given.shown(record.item)))
        return {"Responses": found, "UnprocessedKeys": left}

    def query(self, **arguments: Any) -> Any:
        """Return a page of one partition, or of one of an index."""
        allow(arguments, PAGED | {"KeyConditionExpression", "ScanIndexForward"})
        given = given_in(arguments)
        table = self._table(arguments["TableName"])
        index = self._index(table, arguments)
        schema = table.schema if index is None else index.schema
        parsed = given.expressions.get("KeyConditionExpression")
        if parsed is None:
            raise invalid(
                "Either the KeyConditions or KeyConditionExpression parameter must be set"
            )
        partition, bounds = bounds_of(parsed, schema, given.names, given.values)
        refuse_keys_in_filter(schema, given)
        start = starting_key(table, index, arguments)
        if start is not None and schema.place_of(start).partition != partition:  # type: ignore[union-attr]
            message = "The provided starting key is outside query boundaries based on provided"
            raise invalid(f"{message} conditions")
        forward = arguments.get("ScanIndexForward", True)
        with self._lock:
            records = table.sought(index, partition, bounds, start, forward)
            return self._own(page_of(table, index, records, arguments, given))

    def scan(self, **arguments: Any) -> Any:
        """Return a page of a table, in the order of keys, which callers may not rely on."""
        allow(arguments, PAGED)
        given = given_in(arguments)
        table = self._table(arguments["TableName"])
        if "IndexName" in arguments:
            raise NotImplementedError("scans of an index")
        start = starting_key(table, None, arguments)
        behind = table.schema.place_of(start) if start is not None else None
        with self._lock:
            found = (r for place, r in table.records() if behind is None or place > behind)
            return self._own(page_of(table, None, found, arguments, given))

    def _index(self, table: Table, arguments: Any) -> Index | None:
        if "IndexName" not in arguments:
            return None
        index = table.indexes.get(arguments["IndexName"])
        if index is None:
            message = f"The table does not have the specified index: {arguments['IndexName']}"
            raise invalid(message)
        if arguments.get("ConsistentRead"):
            raise invalid("Consistent reads are not supported on global secondary indexes")
        with self._lock:
            index.catch_up(self._clock())
        return index

    def _own(self, item: Any) -> Any:
        return copy.deepcopy(item) if self._copies else item

    # Writing

    def put_item(self, **arguments: Any) -> Any:
        """Store an item in place of the one that was there."""
        allow(arguments, SINGLE | {"Item"})
        return self._write("Put", arguments, {"NONE", "ALL_OLD"})

    def delete_item(self, **arguments: Any) -> Any:
        """Delete an item; it need not be there."""
        allow(arguments, SINGLE | {"Key"})
        return self._write("Delete", arguments, {"NONE", "ALL_OLD"})

    def update_item(self, **arguments: Any) -> Any:
        """Change an item, or make it."""
        allow(arguments, SINGLE | {"Key", "UpdateExpression"})
        returned = {"NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"}
        return self._write("Update", arguments, returned)

    def _planner(self, kind: str, body: Any) -> Callable[[], Planned]:
        """Check what a write says, and return what checks whether that fits the table."""
        table, given, shows = self._table(body["TableName"]), given_in(body), shows_old(body)
        if kind == "Put":
            record = Record(*checked_item(self._own(body["Item"])))
            return lambda: planned_put(table, given, record, shows=shows)
        key = self._own(body["Key"])
        return lambda: planned_change(table, given, key, kind=kind, shows=shows)

    def _write(self, kind: str, arguments: Any, returned: set[str]) -> Any:
        wanted = arguments.get("ReturnValues", "NONE")
        if wanted not in returned:
            raise invalid("Return values set to invalid value")
        write = self._planner(kind, arguments)()
        with self._lock:
            old = write.table.get(write.place)
            if not write.given.holds(old.item if old is not None else None):
                more = {"Item": self._own(old.item)} if write.shows_old and old is not None else {}
                raise refusal("ConditionalCheckFailedException", _FAILED, **more)
            new = outcome(write, old)
            self._commit([(write.table, write.place, new)])
        shown = new if wanted in {"ALL_NEW", "UPDATED_NEW"} else old
        if wanted == "NONE" or shown is None:
            return {}
        item = shown.item
        if wanted.startswith("UPDATED"):
            item = projected(item, [path for path in write.paths if pick(item, path) is not None])
        return {"Attributes": self._own(item)} if item else {}

    def batch_write_item(self, **arguments: Any) -> Any:
        """Put and delete up to 25 items, each by itself."""
        allow(arguments, {"RequestItems", *REPORTS})
        asked: list[tuple[str, Any, Planned]] = []
        for name, requests in arguments["RequestItems"].items():
            for request in requests:
                ((kind, body),) = request.items()
                kind = kind.removesuffix("Request")
                planner = self._planner(kind, {"TableName": name, **body})
                asked.append((name, request, planner()))
        if not 0 < len(asked) <= _MOST_PUTS:
            raise invalid(
                f"1 validation error detected: 'requestItems' must have 1 to {_MOST_PUTS} entries"
            )
        places = {(name, write.place) for name, _, write in asked}
        if len(places) < len(asked):
            raise invalid("Provided list of item keys contains duplicates")
        if sum(write.put.size for _, _, write in asked if write.put) > _LARGEST_BATCH:
            raise invalid("Batch size exceeds the maximum of 16 MB")
        done = self._done("batch_write_item", len(asked))
        with self._lock:
            self._commit([(write.table, write.place, write.put) for _, _, write in asked[:done]])
        left: dict[str, list[Any]] = {}
        for name, request, _ in asked[done:]:
            left.setdefault(name, []).append(request)
        return {"UnprocessedItems": left}

    def _done(self, operation: str, count: int) -> int:
        """Return how many entries of a batch the service gets to."""
        left = self.unprocessed(operation, count)
        if left >= count:
            message = "The level of configured provisioned throughput for the table was exceeded"
            raise refusal("ProvisionedThroughputExceededException", message)
        return count - left

    # Transactions

    def transact_write_items(self, **arguments: Any) -> Any:
        """Do up to 100 writes, all or none."""
        allow(arguments, {"TransactItems", "ClientRequestToken", *REPORTS})
        entries, token = arguments["TransactItems"], arguments.get("ClientRequestToken")
        if not 0 < len(entries) <= _MOST_IN_TRANSACTION:
            raise invalid(
                "1 validation error detected: Value at 'transactItems' failed to satisfy "
                "constraint: Member must have length less than or equal to "
                f"{_MOST_IN_TRANSACTION}, and at least 1"
            )
        if token is not None and not 1 <= len(token) <= 36:
            raise invalid("'clientRequestToken' must have 1 to 36 characters")
        writes = self._transacted(entries)
        if len({(write.table.name, write.place) for write in writes}) < len(writes):
            raise invalid("Transaction request cannot include multiple operations on one item")
        if sum(write.size for write in writes) > _LARGEST_TRANSACTION:
            raise invalid("Transaction payload size cannot exceed 4 MB")
        with self._lock:
            if token is not None and self._tokens.knows(token, entries, self._clock()):
                return {}
            self._transact(writes)
            if token is not None:
                self._tokens.keep(token, self._own(entries), self._clock())
        return {}

    def _transacted(self, entries: Any) -> list[Planned]:
        """Return the writes of a transaction; of those that don't fit a table, the first is told."""
        planners = []
        for entry in entries:
            ((kind, body),) = entry.items()
            allow(body, _TRANSACTED[kind])
            required = _REQUIRED.get(kind)
            if required is not None and required not in body:
                raise invalid(f"1 validation error detected: '{required}' must not be null")
            planners.append(self._planner(kind, body))
        writes: list[Planned] = []
        for planner in planners:
            try:
                writes.append(planner())
            except ClientError as error:
                reasons: list[Any] = [{"Code": "None"} for _ in planners]
                reasons[len(writes)] = _reason(error)
                raise _cancelled(reasons) from None
        return writes

    def _transact(self, writes: Sequence[Planned]) -> None:
        outcomes, reasons = [], []
        for write in writes:
            old = write.table.get(write.place)
            reason: dict[str, Any] = {"Code": "None"}
            if write.given.holds(old.item if old is not None else None):
                try:
                    outcomes.append((write.table, write.place, outcome(write, old)))
                except ClientError as error:
                    reason = _reason(error)
            else:
                reason = {"Code": "ConditionalCheckFailed", "Message": _FAILED}
                if write.shows_old and old is not None:
                    reason["Item"] = self._own(old.item)
            reasons.append(reason)
        if any(reason["Code"] != "None" for reason in reasons):
            raise _cancelled(reasons)
        self._commit(outcomes)

    def _commit(
        self, outcomes: Sequence[tuple[Table, Place, Record | None]], *, by_ttl: bool = False
    ) -> None:
        """Store what was found out, and tell everybody of what is different now."""
        changes, now = [], self._clock()
        for table, place, new in outcomes:
            old = table.get(place)
            before = old.item if old is not None else None
            after = new.item if new is not None else None
            if before is after or before == after:
                continue
            table.put(place, new)
            key = table.schema.key_of(after or before or {})
            change = Change(table.name, key, before, after, by_ttl)
            changes.append(change)
            for index in table.indexes.values():
                index.tell(place, after, now, self.index_lag(change))
        if changes:
            for tell in self.committed:
                tell(changes)


def _schema(entries: Iterable[Mapping[str, str]], kinds: Mapping[str, str]) -> Schema:
    by_role = {entry["KeyType"]: entry["AttributeName"] for entry in entries}
    if not kinds.keys() >= set(by_role.values()):
        raise wrong("Some index key attributes are not defined in AttributeDefinitions")
    partition, sort = by_role["HASH"], by_role.get("RANGE")
    return Schema(partition, sort, {name: kinds[name] for name in by_role.values()})


def _reason(error: ClientError) -> dict[str, Any]:
    """Return an error as it stands among the reasons of a cancelled transaction."""
    return {"Code": "ValidationError", "Message": error.response["Error"]["Message"]}


def _cancelled(reasons: Sequence[Mapping[str, Any]]) -> ClientError:
    message = "Transaction cancelled, please refer cancellation reasons for specific reasons"
    message = f"{message} [{', '.join(reason['Code'] for reason in reasons)}]"
    return refusal("TransactionCanceledException", message, CancellationReasons=reasons)
