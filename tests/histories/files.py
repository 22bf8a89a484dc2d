"""How histories are written: one value a line, so that a difference can be read.

A version's folder holds a file for each story, and what the stores kept of all runs in all phases:
``sqlite.sql`` as SQL text, ``table.json`` and ``bucket.json`` as the items and objects there were.
"""

from __future__ import annotations

import base64
import json
import sqlite3
from pathlib import Path
from typing import Any

from hut import __version__
from hut.store.dynamodb import DynamoStore, StoreOptions
from hut.store.sqlite import SqliteStore
from tests.aws_table import Clients, new_options
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.s3 import SimulatedS3

__all__ = [
    "FOLDER",
    "VERSIONS",
    "Aws",
    "dump_sqlite",
    "load_sqlite",
    "recorded_stories",
    "write_story",
]

FOLDER = Path(__file__).parent
VERSIONS = ("0.1.0",)
"""Those whose histories must be there and must be understood, oldest first."""


class Aws:
    """A table and a bucket, simulated.

    Parameters
    ----------
    folder
        Where both were recorded; None for empty ones.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.now = 1000.0
        self._table = SimulatedDynamoDB(self._clock, copies=True)
        self._bucket = SimulatedS3(self._clock)
        services = Clients({"dynamodb": self._table, "s3": self._bucket})
        self._options: StoreOptions = new_options(services, follow="stream")
        if folder is not None:
            for item in json.loads((folder / "table.json").read_text()):
                self._table.put_item(TableName=self._options.table, Item=_from_json(item))
            for key, content in json.loads((folder / "bucket.json").read_text()).items():
                body = base64.b64decode(content)
                self._bucket.put_object(Bucket=self._options.bucket, Key=key, Body=body)

    def _clock(self) -> float:
        return self.now

    def open(self) -> DynamoStore:
        return DynamoStore(self._table, self._bucket, self._options, clock=self._clock)

    def write(self, folder: Path) -> None:
        """Write down what both hold."""
        items = self._table.scan(TableName=self._options.table)["Items"]
        lines = sorted(json.dumps(_to_json(item), sort_keys=True) for item in items)
        (folder / "table.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
        bucket = self._options.bucket
        listed = self._bucket.list_objects_v2(Bucket=bucket).get("Contents", [])
        objects = {
            entry["Key"]: base64.b64encode(
                self._bucket.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            ).decode()
            for entry in listed
        }
        (folder / "bucket.json").write_text(json.dumps(objects, indent=0, sort_keys=True) + "\n")


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_to_json(inner) for inner in value]
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"base64"}:
        return base64.b64decode(value["base64"])
    return {key: _from_json(inner) for key, inner in value.items()}


def dump_sqlite(path: Path, folder: Path) -> None:
    """Write a file of SQLite as text; ``user_version`` is no part of a dump."""
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    lines = [*connection.iterdump(), f"PRAGMA user_version = {version};"]
    connection.close()
    (folder / "sqlite.sql").write_text("\n".join(lines) + "\n")


def load_sqlite(folder: Path, path: Path) -> SqliteStore:
    """Make the file that was written down, and open it as any version would."""
    connection = sqlite3.connect(path)
    connection.executescript((folder / "sqlite.sql").read_text())
    connection.close()
    return SqliteStore(path)


def recorded_stories(version: str) -> dict[str, dict[str, Any]]:
    """Return what was recorded of a version, by the stories' names."""
    return {
        path.stem.replace("-", " "): json.loads(path.read_text())
        for path in sorted((FOLDER / version / "stories").glob("*.json"))
    }


def write_story(folder: Path, name: str, recorded: dict[str, Any]) -> None:
    """Write a story down: each step, change and task on a line of its own."""
    parts = []
    for key, value in {"hut": __version__, **recorded}.items():
        if isinstance(value, list):
            lines = ",\n".join(f"    {json.dumps(entry)}" for entry in value)
            parts.append(f"  {json.dumps(key)}: [\n{lines}\n  ]")
        else:
            parts.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    folder.mkdir(parents=True, exist_ok=True)
    text = "{\n" + ",\n".join(parts) + "\n}\n"
    (folder / f"{name.replace(' ', '-')}.json").write_text(text)
