"""Writes of the simulated DynamoDB: what one asks for, what it makes of an item, tokens of transactions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.aws.watched_client import refusal
from tests.simulation.attribute_values import Item, checked_item, invalid, size_of
from tests.simulation.evaluation import changed, written_by
from tests.simulation.requests import Given
from tests.simulation.tables import Place, Record, Table

__all__ = ["Planned", "Tokens", "outcome", "planned_change", "planned_put", "shows_old"]

_LARGEST = 400 * 1024
_TOO_LARGE = "Item size has exceeded the maximum allowed size"
_TOO_LARGE_UPDATE = "Item size to update has exceeded the maximum allowed size"
_TOKEN_SECONDS = 600.0
_TAKE_AWAY = frozenset({"REMOVE", "DELETE"})


class Planned(NamedTuple):
    """A write that was checked as far as that goes without the item it meets.

    Attributes
    ----------
    put : Record or None
        The whole item.
    key : Item or None
        For an update; a deletion and a check have neither.
    paths : sequence
        What an update writes.
    size : int
        Bytes of it in a request.
    """

    table: Table
    place: Place
    given: Given
    put: Record | None = None
    key: Item | None = None
    paths: Sequence[Any] = ()
    checks_only: bool = False
    shows_old: bool = False
    size: int = 0


def shows_old(arguments: Any) -> bool:
    """Say whether a failed condition shows the item."""
    wanted = arguments.get("ReturnValuesOnConditionCheckFailure", "NONE")
    if wanted not in {"NONE", "ALL_OLD"}:
        raise invalid(
            "1 validation error detected: Value at 'returnValuesOnConditionCheckFailure' must be "
            "ALL_OLD or NONE"
        )
    return bool(wanted == "ALL_OLD")


def planned_put(table: Table, given: Given, record: Record, *, shows: bool = False) -> Planned:
    """Return a write of a whole item.

    Raises
    ------
    ClientError
        If the item does not fit the table.
    """
    place = table.schema.place_of_new(record.item)
    for index in table.indexes.values():
        index.check(record.item)
    if record.size > _LARGEST:
        raise invalid(_TOO_LARGE)
    return Planned(table, place, given, put=record, shows_old=shows, size=record.size)


def planned_change(
    table: Table, given: Given, key: Any, *, kind: str, shows: bool = False
) -> Planned:
    """Return an ``Update``, a ``Delete`` or a ``ConditionCheck``.

    Raises
    ------
    ClientError
        If the key or the change does not fit the table.
    """
    place = table.schema.place_of_key(key)
    key, size = checked_item(key)
    size += sum(map(size_of, given.values.values()))
    if kind != "Update":
        check = kind == "ConditionCheck"
        return Planned(table, place, given, None, None, (), check, shows, size)
    parsed = given.expressions.get("UpdateExpression")
    paths = () if parsed is None else written_by(parsed, given.names, table.schema.names)
    return Planned(table, place, given, None, key, paths, False, shows, size)


def outcome(write: Planned, old: Record | None) -> Record | None:
    """Return what a write makes of an item.

    Raises
    ------
    ClientError
        If an update does not fit the item.
    """
    if write.checks_only:
        return old
    if write.put is not None or write.key is None:
        return write.put
    parsed, given = write.given.expressions.get("UpdateExpression"), write.given
    if parsed is None:
        return old or Record(*checked_item(write.key))
    if old is None and all(step.section in _TAKE_AWAY for step in parsed.tree):
        return None  # nothing was there to be taken away
    before = write.key if old is None else old.item
    item = changed(parsed, before, given.names, given.values, write.paths)
    item, size = checked_item(item)
    for index in write.table.indexes.values():
        index.check(item)
    if size > _LARGEST:
        raise invalid(_TOO_LARGE_UPDATE)
    return Record(item, size)


class Tokens:
    """The tokens of transactions that were done in the last ten minutes."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, Any]] = OrderedDict()

    def knows(self, token: str, entries: Any, now: float) -> bool:
        """Say whether a transaction was done already.

        Raises
        ------
        ClientError
            If another one was, under the same token.
        """
        while self._known:
            first = next(iter(self._known))
            if now - self._known[first][0] <= _TOKEN_SECONDS:
                break
            del self._known[first]
        known = self._known.get(token)
        if known is not None and known[1] != entries:
            message = "Request token already in use for another request with a different payload"
            raise refusal("IdempotentParameterMismatchException", message)
        return known is not None

    def keep(self, token: str, entries: Any, now: float) -> None:
        """Note that a transaction was done."""
        self._known[token] = (now, entries)
