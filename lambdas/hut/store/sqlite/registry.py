"""The task registry in the SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from hut.model.task_definition import read_definition
from hut.store.registry import DefinitionExists, Registered, in_order

__all__ = ["SqliteRegistry"]

_SELECT = "SELECT body, by, at FROM definitions"


class SqliteRegistry:
    """Implements `hut.store.registry.TaskRegistry`.

    Parameters
    ----------
    connection
        The store's.
    batch
        Opens its transaction: what is read in it still holds when something is written.
    """

    def __init__(
        self, connection: sqlite3.Connection, batch: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._connection = connection
        self._batch = batch

    def put(self, entry: Registered, *, replace: bool = False) -> bool:
        """Register a definition; say whether that changed anything."""
        definition = entry.definition
        with self._batch():
            known = self.get(definition.name, definition.version)
            if known is not None and known.definition.says() == definition.says():
                return False
            if known is not None and not replace:
                raise DefinitionExists(definition, known.by)
            self._connection.execute(
                "INSERT OR REPLACE INTO definitions (name, version, body, by, at) "
                "VALUES (?, ?, ?, ?, ?)",
                (
                    definition.name,
                    definition.version,
                    json.dumps(definition.document, ensure_ascii=False),
                    entry.by,
                    entry.at,
                ),
            )
        return True

    def remove(self, name: str, version: str) -> bool:
        """Remove a definition; say whether it was there."""
        with self._batch():
            done = self._connection.execute(
                "DELETE FROM definitions WHERE name = ? AND version = ?", (name, version)
            )
        return done.rowcount > 0

    def get(self, name: str, version: str) -> Registered | None:
        """Return a definition."""
        found = self._read(" WHERE name = ? AND version = ?", name, version)
        return found[0] if found else None

    def versions(self, name: str) -> list[Registered]:
        """Return the definitions of a name, the highest version first."""
        return self._read(" WHERE name = ?", name)

    def all(self) -> list[Registered]:
        """Return everything that is registered."""
        return self._read("")

    def _read(self, condition: str, *values: Any) -> list[Registered]:
        found = []
        for body, by, at in self._connection.execute(f"{_SELECT}{condition}", values):
            # One that a later Hut wrote may say what this one can't read: it is not there for it.
            definition = read_definition(json.loads(body), [])
            if definition is not None:
                found.append(Registered(definition, by, at))
        return in_order(found)
