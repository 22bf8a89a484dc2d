"""A bucket of calls per second in the table: what all functions of a deployment keep to.

It is one item, changed a few times a second at most, each time under the condition that its number is
still the one that was read.
"""

from __future__ import annotations

from typing import Any

from hut.scheduling.pacing import Bucket
from hut.store.dynamodb.keys import pace_key
from hut.store.dynamodb.table import Condition, Lost, Table

__all__ = ["TableBucket"]


class TableBucket:
    """Implements `hut.scheduling.pacing.SharedBucket`.

    Parameters
    ----------
    dynamodb
        A client of boto3 or botocore.
    table
        The table's name.
    name
        Of what is called.
    """

    def __init__(self, dynamodb: Any, table: str, name: str) -> None:
        self._table = Table(dynamodb, table)
        self._key = pace_key(name)

    def load(self) -> tuple[Bucket | None, int]:
        """Return the bucket, None if there is none yet, and the number of its last change."""
        item = self._table.get(self._key)
        if item is None:
            return None, 0
        bucket = Bucket(float(item["rate"]), float(item["next"]), float(item["changed"]))
        return bucket, int(item["number"])

    def swap(self, number: int, bucket: Bucket) -> bool:
        """Put `bucket` in place if change `number` is still the last; say whether it was."""
        unchanged = Condition("#number = :was", {"was": number})
        if not number:
            unchanged = Condition("attribute_not_exists(#number)")
        item = {"pk": self._key.pk, "sk": self._key.sk, "kind": "pace", "number": number + 1}
        item |= {"rate": bucket.rate, "next": bucket.next, "changed": bucket.changed_at}
        try:
            self._table.put(item, unchanged)
        except Lost:
            return False
        return True
