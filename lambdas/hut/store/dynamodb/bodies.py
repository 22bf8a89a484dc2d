"""Texts too large for an item: kept in S3, with their key in the item. Small ones stay inside.

An object is written before the item that names it, and under a key that is never used for another
content, so a crash in between leaves an object nobody names; the bucket's lifecycle removes it.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

from hut.store.dynamodb.values import Item

__all__ = ["Bodies"]

_LARGEST_INSIDE = 100_000  # bytes; an item may have 400 KB, and each read of it is paid by size


class Bodies:
    """Compressed texts inside items or in a bucket.

    Parameters
    ----------
    client
        An S3 client.
    bucket
        The bucket's name.
    """

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def pack(self, run_id: str, text: str, *, most: int = _LARGEST_INSIDE) -> Item:
        """Return the attributes that hold a text; up to `most` bytes, compressed, stay inside."""
        data = zlib.compress(text.encode(), 6)
        if len(data) <= most:
            return {"body": data}
        key = f"bodies/{run_id}/{hashlib.sha256(data).hexdigest()}"
        self.put(key, data)
        return {"body_key": key}

    def unpack(self, item: Item) -> str:
        """Return the text that `pack` put into an item."""
        data = item["body"] if "body" in item else self.get(item["body_key"])
        return zlib.decompress(data).decode()

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self._client.put_object(Bucket=self._bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        """Return the content of an object."""
        content: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        return content
