"""Applied configurations in DynamoDB: a partition of their own, three items to a version.

=========  ==================  =====================
item       partition           sort key
=========  ==================  =====================
pointer    ``CONFIG``          ``CURRENT``
version    ``CONFIG``          ``V#number``
content    ``CONFIG#CONTENT``  number
=========  ==================  =====================

A version is added in one transaction. Its condition is on the pointer: the number there is the one
before. Nothing is ever changed but the pointer, and nothing expires: runs name the version they were
submitted with. The pointer repeats what functions need at every turn, so that is one small read; the
content, read only for submissions and by people, stands apart from the list of versions.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from hut.store.configurations import Current, Version, VersionConflict
from hut.store.dynamodb.table import Cancelled, Condition, Key, Pages, Table, Write, pauses
from hut.store.dynamodb.values import Item

__all__ = ["DynamoConfigurations"]

_POINTER = Key("CONFIG", "CURRENT")
_LAST = 10**9 - 1  # nine digits keep numbers in order as texts


class DynamoConfigurations:
    """Implements `hut.store.configurations.ConfigurationStore`.

    Parameters
    ----------
    table
        The table of runs.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def current(self) -> Current:
        """Return what counts now."""
        item = self._table.get(_POINTER)
        if item is None:
            return Current()
        backends = [*json.loads(item["backends"]), *json.loads(item.get("others", "[]"))]
        return Current(_version_of(item), tuple(backends))

    def content(self, number: int) -> str | None:
        """Return the content of a version."""
        item = self._table.get(_content_key(number))
        return None if item is None else zlib.decompress(item["body"]).decode()

    def versions(self, *, before: int | None = None, limit: int = 100) -> list[Version]:
        """Return versions, newest first."""
        if before is not None and before <= 1:
            return []  # DynamoDB refuses bounds that hold nothing
        last = _version_key(_LAST if before is None else min(before - 1, _LAST))
        pages = Pages(last.pk, first=_version_key(0).sk, last=last.sk, forward=False, limit=limit)
        return [_version_of(item) for item in islice(self._table.query(pages), limit)]

    def version(self, number: int) -> Version | None:
        """Return one version."""
        item = self._table.get(_version_key(number))
        return None if item is None else _version_of(item)

    def add(self, version: Version, content: str, backends: Sequence[Mapping[str, Any]]) -> None:
        """Add a version and make it the current one."""
        fields = {
            "kind": "configuration",
            "number": version.number,
            "at": version.at,
            "by": version.by,
            "message": version.message,
            "digest": version.digest,
        }
        # Whoever changes version n adds n + 1; only the first of them finds n in the pointer.
        before = version.number - 1
        follows = Condition("#number = :before", {"before": before})
        if not before:
            follows = Condition("attribute_not_exists(#pk)")
        body = zlib.compress(content.encode(), 6)
        # A release that knows Batch alone takes whatever is in `backends` for a Batch backend.
        of_batch = [each for each in backends if each.get("type", "batch") == "batch"]
        others = [each for each in backends if each not in of_batch]
        pointer = {"backends": json.dumps(of_batch), "others": json.dumps(others)}
        writes = [
            Write(put=_at(_POINTER, **fields, **pointer), condition=follows),
            Write(put=_at(_version_key(version.number), **fields)),
            Write(put=_at(_content_key(version.number), kind="content", body=body)),
        ]
        waits = pauses()
        while True:
            try:
                return self._table.transact(writes)
            except Cancelled as error:
                if error.reasons[0] == "ConditionalCheckFailed":
                    raise VersionConflict(before, self.current().version) from None
                pause = next(waits, None)  # another transaction was in the way
                if pause is None:
                    raise
                self._table.sleep(pause)


def _at(key: Key, **fields: Any) -> Item:
    return {"pk": key.pk, "sk": key.sk, **fields}


def _version_key(number: int) -> Key:
    return Key("CONFIG", f"V#{number:09}")


def _content_key(number: int) -> Key:
    return Key("CONFIG#CONTENT", f"{number:09}")


def _version_of(item: Item) -> Version:
    return Version(
        item["number"], float(item["at"]), item["by"], item.get("message", ""), item["digest"]
    )
