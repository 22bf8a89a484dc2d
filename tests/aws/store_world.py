"""The words of the store contract, over DynamoDB alone, with the client in sight."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from hut.control import Control
from hut.model.records import RunRecord
from hut.planning import Extension, extend_run
from hut.store.dynamodb import DynamoStore
from hut.store.dynamodb.values import load_item
from hut.store.port import Claim
from hut.submission import Setting, Submission
from tests.aws.watched_client import WatchedClient
from tests.aws_table import new_options
from tests.contract.worlds import World
from tests.testbed.running import TestBed

__all__ = ["StoreWorld", "tasks"]


def tasks(*ids: str) -> list[dict[str, Any]]:
    return [{"id": task_id} for task_id in ids]


class StoreWorld(World):
    """See the module's docstring.

    Attributes
    ----------
    client, s3 : WatchedClient
        What the store calls.
    slept : list of float
        How long the store would have waited.
    """

    store: DynamoStore

    def __init__(self, bed: TestBed, **options: Any) -> None:
        self.bed = bed
        self.options = new_options(bed, **options)
        self.client = WatchedClient(bed.client("dynamodb"))
        self.s3 = WatchedClient(bed.client("s3"))
        self.slept: list[float] = []
        super().__init__(self._open(self.client), self._another)

    def _open(self, client: Any) -> DynamoStore:
        store = DynamoStore(client, self.s3, self.options, clock=lambda: self.now)
        store._table.sleep = self.slept.append
        return store

    def _another(self) -> DynamoStore:
        return self._open(self.bed.client("dynamodb"))

    def another(self) -> tuple[DynamoStore, WatchedClient]:
        """Open the store as another process, with a client of its own."""
        client = WatchedClient(self.bed.client("dynamodb"))
        return self._open(client), client

    def reserve(self, *entries: dict[str, Any], **fields: Any) -> RunRecord:
        """Store a run without its tasks, as on AWS."""
        body = json.dumps({"tasks": [{"command": "true", **task} for task in entries], **fields})
        new, _ = Control(self.store).prepare(
            Submission(body, "w.json", "w", owner="me"),
            Setting(),
            now=self.now,
            new_id=f"run{next(self.ids)}",
        )
        run, _ = self.store.reserve_run(new)
        return run

    def register(self, run: RunRecord) -> RunRecord:
        """Write all blocks and let the run begin."""
        for block in range(self.store.standing(run.id).blocks):
            self.store.register_block(run.id, block, self.now)
        return self.store.begin_run(run.id, self.store.standing(run.id).generation, self.now)

    def extension(self, run: RunRecord, *entries: dict[str, Any]) -> Extension:
        text = json.dumps([{"command": "true", **task} for task in entries])
        return extend_run(text, filename="g.json", existing=self.store.task_ids(run.id))

    def named(self, claims: Sequence[Claim]) -> dict[str, Claim]:
        return {claim.spec.id: claim for claim in claims}

    def items(self) -> Iterator[dict[str, Any]]:
        """Yield everything the table holds."""
        yield from map(load_item, self.raw_items())

    def raw_items(self) -> Iterator[dict[str, Any]]:
        """Yield the same as DynamoDB writes it."""
        pages = self.bed.client("dynamodb").get_paginator("scan")
        for page in pages.paginate(TableName=self.options.table, ConsistentRead=True):
            yield from page["Items"]

    def item(self, pk: str, sk: str) -> dict[str, Any]:
        (found,) = (item for item in self.items() if (item["pk"], item["sk"]) == (pk, sk))
        return found
