"""Uploads: what is not there, and how S3 tells the function that, which may not list the bucket."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from hut.aws.uploads import BucketUploads
from hut.rest.services import UnknownUpload
from tests.aws.watched_client import refusal


class Bucket:
    """An S3 client whose only call is refused."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.asked: list[str] = []

    def get_object(self, **arguments: Any) -> Any:
        self.asked.append(arguments["Key"])
        raise self.error


def uploads(client: Any) -> BucketUploads:
    return BucketUploads(client, "bucket", clock=lambda: 0.0, new_id=lambda: "x" * 26)


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchKey"])
def test_what_was_not_uploaded_is_unknown(code: str) -> None:
    client = Bucket(refusal(code))
    with pytest.raises(UnknownUpload):
        uploads(client).read("user/alice", "a" * 26)
    with pytest.raises(UnknownUpload):
        uploads(client).read("user/bob", "a" * 26)
    assert len(set(client.asked)) == 2, "an upload is its owner's"


def test_another_failure_is_not_the_callers() -> None:
    with pytest.raises(ClientError, match="InternalError"):
        uploads(Bucket(refusal("InternalError"))).read("user/alice", "a" * 26)


@pytest.mark.parametrize("name", ["", "../plans/x", "a/b", "A" * 26, "a" * 65, "a" * 26 + "\n"])
def test_no_name_leads_elsewhere_in_the_bucket(name: str) -> None:
    client = Bucket(refusal("NoSuchKey"))
    with pytest.raises(UnknownUpload):
        uploads(client).read("user/alice", name)
    assert not client.asked
