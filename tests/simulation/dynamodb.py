"""A simulated DynamoDB: called as a botocore client, with the answers, errors and limits of the service.

What is modelled is what "API_Operations_Amazon_DynamoDB" and "ServiceQuotas" of AWS's developer guide
say of items, transactions, batches, queries, indexes that lag and items that expire. Calls do not
overlap: whoever wants conflicts, throttling or lost answers puts them around the client. Not modelled:
what is paid (`tests.aws.metered` tells that), local indexes, PartiQL, the parameters expressions replaced.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.aws.watched_client import refusal
from tests.simulation.attribute_values import Item, checked, checked_item, invalid, wrong
from tests.simulation.evaluation import changed, condition_of, pick, projected, written_by
from tests.simulation.expressions import Parsed, parse, parts_of
from tests.simulation.key_conditions import bounds_of
from tests.simulation.tables import Index, Place, Record, Schema, Table

__all__ = ["Backup", "Change", "SimulatedDynamoDB"]

_LARGEST_ITEM = 400 * 1024
_LARGEST_PAGE = 1024 * 1024
_LARGEST_TRANSACTION = 4 * 1024 * 1024
_LARGEST_BATCH = 16 * 1024 * 1024
_MOST_IN_TRANSACTION = 100
_MOST_PUTS = 25
_MOST_GETS = 100
_TOKEN_SECONDS = 600.0
_TOO_OLD_TO_EXPIRE = 5 * 365 * 86400
_TOO_LARGE = "Item size has exceeded the maximum allowed size"
_TOO_LARGE_UPDATE = "Item size to update has exceeded the maximum allowed size"
_TAKE_AWAY = frozenset({"REMOVE", "DELETE"})
_EXPRESSIONS = (
    "KeyConditionExpression",
    "FilterExpression",
    "ConditionExpression",
    "UpdateExpression",
    "ProjectionExpression",
)
_PLACEHOLDERS = frozenset({"ExpressionAttributeNames", "ExpressionAttributeValues"})
_REPORTS = frozenset({"ReturnConsumedCapacity", "ReturnItemCollectionMetrics"})
_WRITE = _PLACEHOLDERS | {"TableName", "ConditionExpression", "ReturnValuesOnConditionCheckFailure"}
_SINGLE = _WRITE | _REPORTS | {"ReturnValues"}
_READ = _PLACEHOLDERS | _REPORTS | {"TableName", "ConsistentRead", "ProjectionExpression"}
_PAGED = _READ | {"IndexName", "Limit", "ExclusiveStartKey", "FilterExpression", "Select"}


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


class _Given(NamedTuple):
    """The expressions of a call, with their placeholders."""

    names: Mapping[str, str]
    values: Mapping[str, Any]
    expressions: Mapping[str, Parsed]

    def holds(self, item: Item | None, kind: str = "ConditionExpression") -> bool:
        parsed = self.expressions.get(kind)
        return parsed is None or condition_of(parsed)(item or {}, self.names, self.values)


class _Planned(NamedTuple):
    """A write that was checked, as far as that goes without the item it meets."""

    table: Table
    place: Place
    given: _Given
    put: Record | None = None
    key: Item | None = None
    paths: Sequence[Any] = ()
    checks_only: bool = False
    shows_old: bool = False


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
        self._tokens: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._lock = threading.RLock()  # tests call it from several threads too
        self.committed: list[Callable[[Sequence[Change]], None]] = []
        self.index_lag: Callable[[Change], float] = lambda _: 0.0
        self.unprocessed: Callable[[str, int], int] = lambda *_: 0

    # Tables

    def create_table(self, **arguments: Any) -> Any:
        """Make a table; it can be used at once."""
        allowed = {"TableName", "KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes"}
        settings = {"BillingMode", "StreamSpecification", "SSESpecification", "Tags"}
        _allow(arguments, allowed | settings)
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
        _allow(arguments, _READ | {"Key"})
        given = _given(arguments)
        table = self._table(arguments["TableName"])
        record = table.get(table.schema.place_of_key(arguments["Key"]))
        return {} if record is None else {"Item": self._shown(record.item, given)}

    def batch_get_item(self, **arguments: Any) -> Any:
        """Return up to 100 items, as far as 16 MB go."""
        _allow(arguments, {"RequestItems", "ReturnConsumedCapacity"})
        asked = []
        for name, request in arguments["RequestItems"].items():
            _allow(request, {"Keys", "ConsistentRead", "ProjectionExpression", *_PLACEHOLDERS})
            table, given = self._table(name), _given(request)
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
                found[name].append(self._shown(record.item, given))
        return {"Responses": found, "UnprocessedKeys": left}

    def query(self, **arguments: Any) -> Any:
        """Return a page of one partition, or of one of an index."""
        _allow(arguments, _PAGED | {"KeyConditionExpression", "ScanIndexForward"})
        given = _given(arguments)
        table = self._table(arguments["TableName"])
        index = self._index(table, arguments)
        schema = table.schema if index is None else index.schema
        parsed = given.expressions.get("KeyConditionExpression")
        if parsed is None:
            raise invalid(
                "Either the KeyConditions or KeyConditionExpression parameter must be set"
            )
        partition, bounds = bounds_of(parsed, schema, given.names, given.values)
        self._refuse_keys_in_filter(schema, given)
        start = self._start(table, index, arguments)
        if start is not None and schema.place_of(start).partition != partition:  # type: ignore[union-attr]
            message = "The provided starting key is outside query boundaries based on provided"
            raise invalid(f"{message} conditions")
        forward = arguments.get("ScanIndexForward", True)
        with self._lock:
            records = table.sought(index, partition, bounds, start, forward)
            return self._page(table, index, records, arguments, given)

    def scan(self, **arguments: Any) -> Any:
        """Return a page of a table, in the order of keys, which callers may not rely on."""
        _allow(arguments, _PAGED)
        given = _given(arguments)
        table = self._table(arguments["TableName"])
        if "IndexName" in arguments:
            raise NotImplementedError("scans of an index")
        start = self._start(table, None, arguments)
        behind = table.schema.place_of(start) if start is not None else None
        with self._lock:
            found = (r for place, r in table.records() if behind is None or place > behind)
            return self._page(table, None, found, arguments, given)

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

    @staticmethod
    def _start(table: Table, index: Index | None, arguments: Any) -> Item | None:
        start = arguments.get("ExclusiveStartKey")
        if start is None:
            return None
        schemas = [table.schema, *([index.schema] if index is not None else [])]
        kinds = {name: schema.kinds[name] for schema in schemas for name in schema.names}
        if start.keys() != kinds.keys() or any(kinds[name] not in start[name] for name in kinds):
            raise invalid("The provided starting key is invalid")
        return checked_item(start)[0]

    @staticmethod
    def _refuse_keys_in_filter(schema: Schema, given: _Given) -> None:
        parsed = given.expressions.get("FilterExpression")
        for name in parsed.attributes(given.names) if parsed is not None else ():
            if name in schema.names:
                raise invalid(
                    "Filter Expression can only contain non-primary key attributes: "
                    f"Primary key attribute: {name}"
                )

    def _page(
        self,
        table: Table,
        index: Index | None,
        records: Iterable[Record],
        arguments: Any,
        given: _Given,
    ) -> Any:
        limit = arguments.get("Limit")
        if limit is not None and limit < 1:
            raise invalid("1 validation error detected: 'limit' must be at least 1")
        found, size, scanned, more = [], 0, 0, None
        for record in records:
            scanned += 1
            size += record.size
            if given.holds(record.item, "FilterExpression"):
                found.append(record.item)
            if scanned == limit or size > _LARGEST_PAGE:
                more = record.item
                break
        answer: dict[str, Any] = {"Count": len(found), "ScannedCount": scanned}
        if arguments.get("Select") != "COUNT":
            answer["Items"] = [self._shown(item, given) for item in found]
        if more is not None:
            names = dict.fromkeys(table.schema.names + (index.schema.names if index else ()))
            answer["LastEvaluatedKey"] = self._own({name: more[name] for name in names})
        return answer

    def _shown(self, item: Item, given: _Given) -> Item:
        parsed = given.expressions.get("ProjectionExpression")
        if parsed is not None:
            item = projected(item, [parts_of(path, given.names) for path in parsed.tree])
        return self._own(item)

    def _own(self, item: Any) -> Any:
        return copy.deepcopy(item) if self._copies else item

    # Writing

    def put_item(self, **arguments: Any) -> Any:
        """Store an item in place of the one that was there."""
        _allow(arguments, _SINGLE | {"Item"})
        return self._write(self._planned_put(arguments), arguments, {"NONE", "ALL_OLD"})

    def delete_item(self, **arguments: Any) -> Any:
        """Delete an item; it need not be there."""
        _allow(arguments, _SINGLE | {"Key"})
        return self._write(self._planned(arguments), arguments, {"NONE", "ALL_OLD"})

    def update_item(self, **arguments: Any) -> Any:
        """Change an item, or make it."""
        _allow(arguments, _SINGLE | {"Key", "UpdateExpression"})
        returned = {"NONE", "ALL_OLD", "UPDATED_OLD", "ALL_NEW", "UPDATED_NEW"}
        arguments = {"UpdateExpression": None, **arguments}
        return self._write(self._planned(arguments), arguments, returned)

    def _planned_put(self, arguments: Any) -> _Planned:
        table, given = self._table(arguments["TableName"]), _given(arguments)
        item, size = checked_item(self._own(arguments["Item"]))
        place = table.schema.place_of_new(item)
        for index in table.indexes.values():
            index.check(item)
        if size > _LARGEST_ITEM:
            raise invalid(_TOO_LARGE)
        return _Planned(table, place, given, put=Record(item, size), shows_old=_shows(arguments))

    def _planned(self, arguments: Any, *, checks_only: bool = False) -> _Planned:
        table, given = self._table(arguments["TableName"]), _given(arguments)
        place = table.schema.place_of_key(arguments["Key"])
        key, paths = None, ()
        if "UpdateExpression" in arguments:
            key = checked_item(self._own(arguments["Key"]))[0]
            parsed = given.expressions.get("UpdateExpression")
            if parsed is not None:
                paths = written_by(parsed, given.names, table.schema.names)
        shows_old = _shows(arguments)
        return _Planned(table, place, given, None, key, paths, checks_only, shows_old)

    @staticmethod
    def _outcome(write: _Planned, old: Record | None) -> Record | None:
        """Return what a write makes of an item."""
        if write.checks_only:
            return old
        if write.put is not None or write.key is None:
            return write.put
        parsed, given = write.given.expressions.get("UpdateExpression"), write.given
        before = write.key if old is None else old.item
        if parsed is None:
            return old or Record(*checked_item(before))
        item = changed(parsed, before, given.names, given.values, write.paths)
        if old is None and all(step.section in _TAKE_AWAY for step in parsed.tree):
            return None  # nothing was there to be taken away
        item, size = checked_item(item)
        for index in write.table.indexes.values():
            index.check(item)
        if size > _LARGEST_ITEM:
            raise invalid(_TOO_LARGE_UPDATE)
        return Record(item, size)

    def _write(self, write: _Planned, arguments: Any, returned: set[str]) -> Any:
        wanted = arguments.get("ReturnValues", "NONE")
        if wanted not in returned:
            raise invalid("Return values set to invalid value")
        with self._lock:
            old = write.table.get(write.place)
            if not write.given.holds(old.item if old is not None else None):
                more = {"Item": self._own(old.item)} if write.shows_old and old is not None else {}
                message = "The conditional request failed"
                raise refusal("ConditionalCheckFailedException", message, **more)
            new = self._outcome(write, old)
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
        _allow(arguments, {"RequestItems", *_REPORTS})
        asked: list[tuple[str, Any, _Planned]] = []
        for name, requests in arguments["RequestItems"].items():
            for request in requests:
                ((kind, body),) = request.items()
                body = {"TableName": name, **body}
                is_put = kind == "PutRequest"
                asked.append(
                    (name, request, self._planned_put(body) if is_put else self._planned(body))
                )
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
        _allow(arguments, {"TransactItems", "ClientRequestToken", *_REPORTS})
        entries, token = arguments["TransactItems"], arguments.get("ClientRequestToken")
        if not 0 < len(entries) <= _MOST_IN_TRANSACTION:
            raise invalid(
                "1 validation error detected: Value at 'transactItems' failed to satisfy "
                "constraint: Member must have length less than or equal to "
                f"{_MOST_IN_TRANSACTION}, and at least 1"
            )
        if token is not None and not 1 <= len(token) <= 36:
            raise invalid("'clientRequestToken' must have 1 to 36 characters")
        writes = [self._transacted(entry) for entry in entries]
        if len({(write.table.name, write.place) for write in writes}) < len(writes):
            raise invalid("Transaction request cannot include multiple operations on one item")
        with self._lock:
            if token is not None and self._is_known(token, entries):
                return {}
            self._transact(writes)
            if token is not None:
                self._tokens[token] = (self._clock(), self._own(entries))
        return {}

    def _transacted(self, entry: Any) -> _Planned:
        ((kind, body),) = entry.items()
        if kind == "Put":
            _allow(body, _WRITE | {"Item"})
            return self._planned_put(body)
        _allow(body, _WRITE | {"Key"} | ({"UpdateExpression"} if kind == "Update" else set()))
        required = {"Update": "UpdateExpression", "ConditionCheck": "ConditionExpression"}.get(kind)
        if required is not None and required not in body:
            name = required[0].lower() + required[1:]
            raise invalid(f"1 validation error detected: '{name}' must not be null")
        return self._planned(body, checks_only=kind == "ConditionCheck")

    def _is_known(self, token: str, entries: Any) -> bool:
        now = self._clock()
        while self._tokens:
            first = next(iter(self._tokens))
            if now - self._tokens[first][0] <= _TOKEN_SECONDS:
                break
            del self._tokens[first]
        known = self._tokens.get(token)
        if known is not None and known[1] != entries:
            message = "Request token already in use for another request with a different payload"
            raise refusal("IdempotentParameterMismatchException", message)
        return known is not None

    def _transact(self, writes: Sequence[_Planned]) -> None:
        outcomes, reasons, size = [], [], 0
        for write in writes:
            old = write.table.get(write.place)
            reason: dict[str, Any] = {"Code": "None"}
            new = None
            if not write.given.holds(old.item if old is not None else None):
                message = "The conditional request failed"
                reason = {"Code": "ConditionalCheckFailed", "Message": message}
                if write.shows_old and old is not None:
                    reason["Item"] = self._own(old.item)
            else:
                try:
                    new = self._outcome(write, old)
                except Exception as error:  # noqa: BLE001 - told below, with the others'
                    reason = _reason(error)
            size += max((record.size for record in (old, new) if record is not None), default=0)
            reasons.append(reason)
            if not write.checks_only:
                outcomes.append((write.table, write.place, new))
        codes = [reason["Code"] for reason in reasons]
        if set(codes) != {"None"}:
            message = (
                "Transaction cancelled, please refer cancellation reasons for specific reasons"
            )
            message = f"{message} [{', '.join(codes)}]"
            raise refusal("TransactionCanceledException", message, CancellationReasons=reasons)
        if size > _LARGEST_TRANSACTION:
            raise invalid("Transaction request size exceeds the limit of 4 MB")
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


def _allow(arguments: Mapping[str, Any], names: set[str] | frozenset[str]) -> None:
    """Refuse what botocore would refuse, and what is not modelled."""
    other = sorted(arguments.keys() - names)
    if other:
        raise TypeError(f"not a parameter of the simulated DynamoDB: {', '.join(other)}")


def _schema(entries: Iterable[Mapping[str, str]], kinds: Mapping[str, str]) -> Schema:
    by_role = {entry["KeyType"]: entry["AttributeName"] for entry in entries}
    if not kinds.keys() >= set(by_role.values()):
        raise wrong("Some index key attributes are not defined in AttributeDefinitions")
    partition, sort = by_role["HASH"], by_role.get("RANGE")
    return Schema(partition, sort, {name: kinds[name] for name in by_role.values()})


def _shows(arguments: Any) -> bool:
    return bool(arguments.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD")


def _given(arguments: Mapping[str, Any]) -> _Given:
    """Read the expressions of a call and refuse what does not fit together."""
    names = arguments.get("ExpressionAttributeNames", {})
    values = arguments.get("ExpressionAttributeValues", {})
    expressions = {
        kind: parse(kind, arguments[kind])
        for kind in _EXPRESSIONS
        if arguments.get(kind) is not None
    }
    if not expressions and (names or values):
        kind = "Names" if names else "Values"
        message = f"ExpressionAttribute{kind} can only be specified when using expressions"
        raise invalid(message)
    values = {name: checked(value) for name, value in values.items()}
    used_names: set[str] = set()
    used_values: set[str] = set()
    for parsed in expressions.values():
        parsed.check(names, values)
        used_names.update(parsed.names)
        used_values.update(parsed.values)
    for what, given, used in (("Names", names, used_names), ("Values", values, used_values)):
        if len(given) > len(used):
            unused = ", ".join(sorted(given.keys() - used))
            raise invalid(
                f"Value provided in ExpressionAttribute{what} unused in expressions: "
                f"keys: {{{unused}}}"
            )
    return _Given(names, values, expressions)


def _reason(error: Exception) -> dict[str, Any]:
    found = getattr(error, "response", {}).get("Error", {})
    if found.get("Code") != "ValidationException":
        raise error
    return {"Code": "ValidationError", "Message": found["Message"]}
