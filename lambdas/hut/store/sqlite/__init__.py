"""The store on one machine: one SQLite file, several processes at once."""

from hut.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
