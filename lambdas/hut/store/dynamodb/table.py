"""Calls to one DynamoDB table: paging, what was left unprocessed, throttling, lost conditions.

Nothing here knows what a run is. Throttled calls are repeated with full jitter (AWS Builders'
Library, "Timeouts, retries and backoff with jitter"), beside what botocore repeats by itself.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from hut.store.dynamodb.values import Item, load_item, store, store_item

__all__ = ["Cancelled", "Condition", "Key", "Lost", "Pages", "Table", "Write", "pauses"]

_MOST_TRIES = 8
_GET = 100  # keys per BatchGetItem
_PUT = 25  # items per BatchWriteItem
_THROTTLED = frozenset(
    {
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ThrottlingException",
        "TransactionInProgressException",
    }
)
_PASSING = frozenset(
    {
        "None",
        "ConditionalCheckFailed",
        "ProvisionedThroughputExceeded",
        "ThrottlingError",
        "TransactionConflict",
    }
)


class Key(NamedTuple):
    """The primary key of an item."""

    pk: str
    sk: str


class Lost(Exception):  # noqa: N818 - says what happened
    """The condition of a write did not hold."""


class Cancelled(Exception):  # noqa: N818
    """A transaction was not done.

    Attributes
    ----------
    reasons : list of str
        For each write ``None`` or why it stopped the transaction.
    """

    def __init__(self, reasons: list[str]) -> None:
        super().__init__(", ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition expression with its values; names stand as ``#name``."""

    text: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, text_name: str = "ConditionExpression") -> dict[str, Any]:
        """Return the arguments of a call that this condition protects."""
        return _expression(self.text, self.values, text_name)


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a transaction: a whole item, a change to one, or a deletion.

    Attributes
    ----------
    put : Item or None
        The whole item.
    key : Key or None
        For a change or a deletion (neither `put` nor `change`).
    change : str
        Update expression.
    """

    put: Item | None = None
    key: Key | None = None
    change: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    condition: Condition | None = None

    def entry(self, table: str) -> dict[str, Any]:
        """Return the entry of TransactItems."""
        values = {**self.values, **(self.condition.values if self.condition else {})}
        text = f"{self.change} {self.condition.text if self.condition else ''}"
        body: dict[str, Any] = {"TableName": table, **_names_and_values(text, values)}
        if self.condition is not None:
            body["ConditionExpression"] = self.condition.text
        if self.put is not None:
            return {"Put": {**body, "Item": store_item(self.put)}}
        body["Key"] = _key(self.key)
        if self.change:
            return {"Update": {**body, "UpdateExpression": self.change}}
        return {"Delete": body}


@dataclass(frozen=True, slots=True)
class Pages:
    """A query of one partition.

    Attributes
    ----------
    begins : str
        What sort keys begin with.
    first, last : str or None
        Bounds of the sort key, both included; they exclude `begins`.
    index : tuple of str, or None
        Name of the index, its partition key's and its sort key's attribute.
    limit : int or None
        Items per call; for callers that will stop early.
    one_of : tuple of str and values, or None
        Only items whose attribute has one of these values are sent; all are read and paid.
    """

    pk: str
    begins: str = ""
    first: str | None = None
    last: str | None = None
    forward: bool = True
    limit: int | None = None
    index: tuple[str, str, str] | None = None
    one_of: tuple[str, Sequence[str]] | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of Query."""
        index, pk, sk = self.index or ("", "pk", "sk")
        text, values = f"#{pk} = :pk", {"pk": self.pk}
        if self.begins:
            text, values = (
                f"{text} AND begins_with(#{sk}, :begins)",
                {
                    **values,
                    "begins": self.begins,
                },
            )
        elif self.first is not None and self.last is not None:
            text += f" AND #{sk} BETWEEN :first AND :last"
            values |= {"first": self.first, "last": self.last}
        elif self.first is not None:
            text, values = f"{text} AND #{sk} >= :first", {**values, "first": self.first}
        elif self.last is not None:
            text, values = f"{text} AND #{sk} <= :last", {**values, "last": self.last}
        wanted = ""
        if self.one_of is not None:
            name, allowed = self.one_of
            marks = [f":one{number}" for number in range(len(allowed))]
            wanted = f" #{name} IN ( {', '.join(marks)} )"
            values |= dict(zip([mark[1:] for mark in marks], allowed, strict=True))
        arguments = _names_and_values(text + wanted, values)
        arguments["KeyConditionExpression"] = text
        if wanted:
            arguments["FilterExpression"] = wanted.strip()
        arguments["ScanIndexForward"] = self.forward
        if index:
            arguments["IndexName"] = index
        else:
            arguments["ConsistentRead"] = True
        if self.limit is not None:
            arguments["Limit"] = self.limit
        return arguments


class Table:
    """One table.

    Parameters
    ----------
    client
        A DynamoDB client of boto3 or botocore.
    name
        The table's name.
    sleep
        How to wait; tests pass their own.
    """

    def __init__(
        self, client: Any, name: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self.name = name
        self.sleep = sleep

    def get(self, key: Key) -> Item | None:
        """Return an item as it is now."""
        answer = self._call(
            "get_item", TableName=self.name, Key=_key(key), ConsistentRead=True
        ).get("Item")
        return None if answer is None else load_item(answer)

    def get_many(self, keys: Collection[Key]) -> dict[Key, Item]:
        """Return those of the items that exist, as they are now."""
        found: dict[Key, Item] = {}
        rest = list(dict.fromkeys(keys))
        for start in range(0, len(rest), _GET):
            asked: Any = {
                "Keys": [_key(key) for key in rest[start : start + _GET]],
                "ConsistentRead": True,
            }
            waits = pauses()
            while asked:
                answer = self._call("batch_get_item", RequestItems={self.name: asked})
                for attributes in answer.get("Responses", {}).get(self.name, []):
                    item = load_item(attributes)
                    found[Key(item["pk"], item["sk"])] = item
                asked = answer.get("UnprocessedKeys", {}).get(self.name)
                if asked:
                    self._wait(waits, "BatchGetItem")
        return found

    def query(self, pages: Pages) -> Iterator[Item]:
        """Yield the items of a partition, page by page."""
        return self._pages("query", pages.arguments())

    def scan(self) -> Iterator[Item]:
        """Yield all there is, as it is when it is read. Nothing that serves a run asks for this."""
        return self._pages("scan", {"ConsistentRead": True})

    def _pages(self, operation: str, arguments: Mapping[str, Any]) -> Iterator[Item]:
        more: dict[str, Any] = {}
        while True:
            answer = self._call(operation, TableName=self.name, **arguments, **more)
            for attributes in answer.get("Items", []):
                yield load_item(attributes)
            last = answer.get("LastEvaluatedKey")
            if not last:
                return
            more = {"ExclusiveStartKey": last}

    def put(self, item: Item, condition: Condition | None = None) -> None:
        """Write an item.

        Raises
        ------
        Lost
            If the condition does not hold.
        """
        arguments = condition.arguments() if condition else {}
        self._call("put_item", TableName=self.name, Item=store_item(item), **arguments)

    def update(self, write: Write) -> Item:
        """Change an item and return all of it.

        Raises
        ------
        Lost
            If the condition does not hold.
        """
        entry = write.entry(self.name)["Update"]
        answer = self._call("update_item", ReturnValues="ALL_NEW", **entry)
        return load_item(answer.get("Attributes", {}))

    def put_all(self, items: Sequence[Item]) -> None:
        """Write items without conditions, each at least once."""
        self._write_all([{"PutRequest": {"Item": store_item(item)}} for item in items])

    def delete_all(self, keys: Sequence[Key]) -> None:
        """Delete items."""
        self._write_all([{"DeleteRequest": {"Key": _key(key)}} for key in keys])

    def _write_all(self, requests: list[dict[str, Any]]) -> None:
        for start in range(0, len(requests), _PUT):
            chunk = requests[start : start + _PUT]
            waits = pauses()
            while chunk:
                answer = self._call("batch_write_item", RequestItems={self.name: chunk})
                chunk = answer.get("UnprocessedItems", {}).get(self.name, [])
                if chunk:
                    self._wait(waits, "BatchWriteItem")

    def transact(self, writes: Sequence[Write]) -> None:
        """Do all writes or none.

        The client's request token makes a repeated call after a lost answer harmless.

        Raises
        ------
        Cancelled
            If a condition does not hold, or another transaction was in the way.
        """
        entries = [write.entry(self.name) for write in writes]
        token = uuid.uuid4().hex
        self._call("transact_write_items", TransactItems=entries, ClientRequestToken=token)

    def _call(self, operation: str, **arguments: Any) -> Any:
        waits = pauses()
        while True:
            try:
                return getattr(self._client, operation)(**arguments)
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code == "ConditionalCheckFailedException":
                    raise Lost(operation) from None
                if code == "TransactionCanceledException":
                    found = error.response.get("CancellationReasons", [])
                    reasons = [str(reason.get("Code", "None")) for reason in found]
                    if set(reasons) - _PASSING:
                        raise
                    raise Cancelled(reasons) from None
                if code not in _THROTTLED and code != "TransactionConflictException":
                    raise
                pause = next(waits, None)
                if pause is None:
                    raise
                self.sleep(pause)

    def _wait(self, waits: Iterator[float], what: str) -> None:
        pause = next(waits, None)
        if pause is None:
            raise TimeoutError(f"{what} left items unprocessed {_MOST_TRIES} times")
        self.sleep(pause)


def pauses(tries: int = _MOST_TRIES, *, base: float = 0.05, most: float = 5.0) -> Iterator[float]:
    """Yield the seconds to wait before each repetition: full jitter under a growing bound."""
    for attempt in range(tries):
        yield random.uniform(0, min(most, base * 2**attempt))  # noqa: S311 - no secret


def _key(key: Key | None) -> dict[str, Any]:
    assert key is not None  # noqa: S101 - writes have an item or a key
    return {"pk": store(key.pk), "sk": store(key.sk)}


def _expression(text: str, values: Mapping[str, Any], text_name: str) -> dict[str, Any]:
    return {text_name: text, **_names_and_values(text, values)}


def _names_and_values(text: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the placeholders that occur in an expression."""
    arguments: dict[str, Any] = {}
    names = {word.strip("(),") for word in text.replace("(", " ").split()}
    placeholders = {name.rstrip(",)"): name.rstrip(",)")[1:] for name in names if name[:1] == "#"}
    if placeholders:
        arguments["ExpressionAttributeNames"] = placeholders
    if values:
        arguments["ExpressionAttributeValues"] = {f":{k}": store(v) for k, v in values.items()}
    return arguments
