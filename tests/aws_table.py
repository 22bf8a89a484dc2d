"""The table and the bucket as the storage stack makes them, for tests that need no stack."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from hut.store.dynamodb import DynamoStore, StoreOptions
from tests.testbed.running import TestBed

_NUMBERS = itertools.count()
_INDEXES = {
    "runs": "list",
    "owners": "owner_list",
    "workflows": "workflow_list",
    "active": "active",
}


class Clients:
    """Simulated services in place of a test bed's clients.

    Parameters
    ----------
    services
        By their names.
    """

    def __init__(self, services: Mapping[str, Any]) -> None:
        self.client = services.__getitem__


def new_options(bed: TestBed | Clients, *, name: str | None = None, **options: Any) -> StoreOptions:
    """Make a table and a bucket of their own, under a name that was not used before."""
    name = name or f"table-{next(_NUMBERS)}"
    keys = {"pk", "sk", "listed", *_INDEXES.values()}
    bed.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in sorted(keys)],
        KeySchema=_schema("pk", "sk"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": _schema(partition, "listed"),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, partition in _INDEXES.items()
        ],
    )
    bed.client("s3").create_bucket(Bucket=name)
    return StoreOptions(table=name, bucket=name, **options)


def open_store(bed: TestBed | Clients, options: StoreOptions) -> DynamoStore:
    """Open a store as a process of its own would."""
    return DynamoStore(bed.client("dynamodb"), bed.client("s3"), options)


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]
