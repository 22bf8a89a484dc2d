"""Uploaded workflow files: a presigned PUT into the bucket, read back by their owner only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from hut.model.documents import MalformedDocument
from hut.model.limits import LARGEST_DOCUMENT
from hut.rest.services import TooLarge, UnknownUpload, UploadTicket

__all__ = ["BucketUploads"]

_SECONDS = 3600
_ID = re.compile(r"[a-z0-9]{8,64}", re.ASCII)


class BucketUploads:
    """Implements `hut.rest.services.Uploads`.

    Parameters
    ----------
    client
        An S3 client.
    bucket
        Its lifecycle removes what lies under ``uploads/`` after a day.
    new_id
        Makes an id that nobody guesses.
    """

    def __init__(
        self, client: Any, bucket: str, *, clock: Callable[[], float], new_id: Callable[[], str]
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._clock = clock
        self._new_id = new_id

    def ticket(self, owner: str) -> UploadTicket:
        """Return leave to upload a file that only `owner` can submit."""
        upload_id = self._new_id()
        url = self._client.generate_presigned_url(
            "put_object",
            Params={"Bucket": self._bucket, "Key": _key(owner, upload_id)},
            ExpiresIn=_SECONDS,
            HttpMethod="PUT",
        )
        return UploadTicket(upload_id, url, {}, self._clock() + _SECONDS)

    def read(self, owner: str, upload_id: str, /) -> str:
        """Return the text of an upload.

        Raises
        ------
        UnknownUpload
            If `owner` has uploaded nothing under this id.
        TooLarge
            If it is larger than can be planned.
        MalformedDocument
            If it is not UTF-8 text.
        """
        if not _ID.fullmatch(upload_id):
            raise UnknownUpload(upload_id)
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=_key(owner, upload_id))
        except ClientError as error:
            # Who may not list a bucket is told that an object which is not there is forbidden.
            if error.response["Error"]["Code"] in ("NoSuchKey", "404", "AccessDenied"):
                raise UnknownUpload(upload_id) from None
            raise
        if found["ContentLength"] > LARGEST_DOCUMENT:
            raise TooLarge(f"an upload may have at most {LARGEST_DOCUMENT >> 20} MiB")
        try:
            text: str = found["Body"].read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedDocument(f"the upload is not UTF-8 text ({error})", None) from None
        return text


def _key(owner: str, upload_id: str) -> str:
    return f"uploads/{hashlib.sha256(owner.encode()).hexdigest()[:32]}/{upload_id}"
