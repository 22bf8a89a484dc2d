"""Documents of task programs in the bucket: outputs and error reports, as long as their run is kept.

They are named after position and number of the attempt, which has one end. They are written before that end
is, so whoever dies in between judges again and writes the same.
"""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from hut.lifecycle.task_program import Judged, Report
from hut.script.calling import json_text
from hut.service.ports import DocumentKind

__all__ = ["BucketDocuments"]

_URL_SECONDS = 300
_MISSING = frozenset({"NoSuchKey", "404"})


class BucketDocuments:
    """Implements `hut.service.ports.Documents`.

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

    def keep(self, run_id: str, position: int, attempt: int, judged: Judged) -> None:
        """Keep what an attempt came to; repeated, it comes to the same."""
        if judged.output is not None:
            self._put(_key(run_id, position, attempt, "output"), judged.output)
        if judged.reports:
            content = json_text(judged.reports).encode()
            self._put(_key(run_id, position, attempt, "errors"), content)

    def read(self, run_id: str, position: int, attempt: int, kind: DocumentKind) -> bytes | None:
        """Return a document of an attempt that has ended; None if it has none."""
        key = _key(run_id, position, attempt, kind)
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise
        content: bytes = answer["Body"].read()
        return content

    def reports(self, run_id: str, position: int, attempt: int) -> list[Report]:
        """Return the error reports of an attempt."""
        content = self.read(run_id, position, attempt, "errors")
        found: list[Report] = [] if content is None else json.loads(content)
        return found

    def url(self, run_id: str, position: int, attempt: int, kind: DocumentKind) -> str:
        """Return an address from which anybody can read a document for some minutes."""
        where = {"Bucket": self._bucket, "Key": _key(run_id, position, attempt, kind)}
        found: str = self._client.generate_presigned_url(
            "get_object", Params=where, ExpiresIn=_URL_SECONDS
        )
        return found

    def _put(self, key: str, content: bytes) -> None:
        self._client.put_object(
            Bucket=self._bucket, Key=key, Body=content, ContentType="application/json"
        )


def _key(run_id: str, position: int, attempt: int, kind: DocumentKind) -> str:
    return f"documents/{run_id}/{position}-{attempt}.{kind}.json"
