"""The task registry in DynamoDB: a partition of its own, an item for each definition.

The sort key is ``name@version``; neither of them holds an ``@``. Nothing expires.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from typing import Any

from hut.model.task_definition import TaskDefinition, read_definition
from hut.store.dynamodb.table import Cancelled, Condition, Key, Lost, Pages, Table, Write, pauses
from hut.store.dynamodb.values import Item
from hut.store.port import StoreError
from hut.store.registry import DefinitionExists, Registered, in_order

__all__ = ["DynamoRegistry"]

_PARTITION = "TASKS"
_LARGEST = 350_000  # bytes; an item may have 400 KB


class DynamoRegistry:
    """Implements `hut.store.registry.TaskRegistry`.

    Parameters
    ----------
    table
        The table of runs.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, entry: Registered, *, replace: bool = False) -> bool:
        """Register a definition; say whether that changed anything."""
        definition = entry.definition
        known = self.get(definition.name, definition.version)
        if known is not None and known.definition.says() == definition.says():
            return False
        body = zlib.compress(json.dumps(definition.document, ensure_ascii=False).encode(), 6)
        if len(body) > _LARGEST:
            raise StoreError(f"the definition of {definition.label} is too large to be kept")
        key = _key(definition.name, definition.version)
        item: Item = {"pk": key.pk, "sk": key.sk, "kind": "definition", "body": body}
        item |= {"by": entry.by, "at": entry.at, "digest": _digest(definition)}
        # Whoever else registers one meanwhile is found by this condition, not by the look above.
        condition = None if replace else Condition("attribute_not_exists(#pk)")
        try:
            self._table.put(item, condition)
        except Lost:
            known = self.get(definition.name, definition.version)
            if known is not None and known.definition.says() == definition.says():
                return False
            raise DefinitionExists(definition, "" if known is None else known.by) from None
        return True

    def remove(self, name: str, version: str) -> bool:
        """Remove a definition; say whether it was there."""
        there = Condition("attribute_exists(#pk)")
        waits = pauses()
        while True:
            try:
                self._table.transact([Write(key=_key(name, version), condition=there)])
            except Cancelled as error:
                if error.reasons[0] == "ConditionalCheckFailed":
                    return False
                pause = next(waits, None)  # another transaction was in the way
                if pause is None:
                    raise
                self._table.sleep(pause)
            else:
                return True

    def get(self, name: str, version: str) -> Registered | None:
        """Return a definition."""
        item = self._table.get(_key(name, version))
        return None if item is None else _registered(item)

    def versions(self, name: str) -> list[Registered]:
        """Return the definitions of a name, the highest version first."""
        return self._read(f"{name}@")

    def all(self) -> list[Registered]:
        """Return everything that is registered."""
        return self._read("")

    def _read(self, begins: str) -> list[Registered]:
        items = self._table.query(Pages(_PARTITION, begins=begins))
        found = (_registered(item) for item in items)
        return in_order(each for each in found if each is not None)


def _key(name: str, version: str) -> Key:
    return Key(_PARTITION, f"{name}@{version}")


def _digest(definition: TaskDefinition) -> str:
    return hashlib.sha256(definition.says().encode()).hexdigest()


def _registered(item: Item) -> Registered | None:
    document: Any = json.loads(zlib.decompress(item["body"]))
    # One that a later Hut wrote may say what this one can't read: it is not there for it.
    definition = read_definition(document, [])
    return None if definition is None else Registered(definition, item["by"], float(item["at"]))
