"""The simulated S3 and the test bed's: the same calls, the same answers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.simulation.s3 import SimulatedS3
from tests.testbed.running import TestBed

_NUMBERS = itertools.count()


@pytest.fixture(params=["simulated", "emulated"])
def s3(request: pytest.FixtureRequest) -> Any:
    if request.param == "simulated":
        return SimulatedS3(lambda: 1_000_000_000.5)
    bed: TestBed = request.getfixturevalue("test_bed")
    return bed.client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = f"simulated-{next(_NUMBERS)}"
    s3.create_bucket(Bucket=name)
    return name


def read(s3: Any, bucket: str, key: str, **more: Any) -> bytes:
    content: bytes = s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()
    return content


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_an_object_is_read_as_it_was_written(s3: Any, bucket: str) -> None:
    written = s3.put_object(Bucket=bucket, Key="a/b ü", Body=b"content", ContentType="text/plain")
    found = s3.get_object(Bucket=bucket, Key="a/b ü")
    assert (found["ContentLength"], found["ContentType"]) == (7, "text/plain")
    assert found["ETag"] == written["ETag"]
    assert found["Body"].read() == b"content"
    assert s3.head_object(Bucket=bucket, Key="a/b ü")["ContentLength"] == 7
    s3.put_object(Bucket=bucket, Key="a/b ü", Body=b"")
    assert read(s3, bucket, "a/b ü") == b""


def test_what_is_not_there_has_the_codes_of_aws(s3: Any, bucket: str) -> None:
    assert code(s3.get_object, Bucket=bucket, Key="none") == "NoSuchKey"
    assert code(s3.head_object, Bucket=bucket, Key="none") == "404"
    assert code(s3.get_object, Bucket="no-such-bucket", Key="none") == "NoSuchBucket"
    assert code(s3.put_object, Bucket="no-such-bucket", Key="none") == "NoSuchBucket"
    assert code(s3.list_objects_v2, Bucket="no-such-bucket") == "NoSuchBucket"
    s3.delete_object(Bucket=bucket, Key="none")


def test_a_range_is_a_part(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    found = s3.get_object(Bucket=bucket, Key="k", Range="bytes=2-4")
    assert (found["ContentLength"], found["ContentRange"]) == (3, "bytes 2-4/10")
    assert found["Body"].read() == b"234"
    assert read(s3, bucket, "k", Range="bytes=7-") == b"789"
    assert read(s3, bucket, "k", Range="bytes=-3") == b"789"
    assert read(s3, bucket, "k", Range="bytes=8-100") == b"89"
    assert code(s3.get_object, Bucket=bucket, Key="k", Range="bytes=10-") == "InvalidRange"


def test_an_object_is_not_written_over_where_that_is_asked(s3: Any, bucket: str) -> None:
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    again = {"Bucket": bucket, "Key": "k", "Body": b"2"}
    assert code(s3.put_object, **again, IfNoneMatch="*") == "PreconditionFailed"
    s3.put_object(**again, IfMatch=first["ETag"])
    assert code(s3.put_object, **again, IfMatch=first["ETag"]) == "PreconditionFailed"
    assert read(s3, bucket, "k") == b"2"


def test_keys_are_listed_in_order_page_by_page(s3: Any, bucket: str) -> None:
    keys = ["a/1", "a/2", "b", "c/1", "c/2/3", "ü"]
    for key in reversed(keys):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    found, token = [], {}
    while True:
        page = s3.list_objects_v2(Bucket=bucket, MaxKeys=2, **token)
        found += [(entry["Key"], entry["Size"]) for entry in page["Contents"]]
        if not page["IsTruncated"]:
            break
        token = {"ContinuationToken": page["NextContinuationToken"]}
    assert found == [(key, len(key.encode())) for key in keys]
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["a/", "c/"]
    assert [entry["Key"] for entry in page["Contents"]] == ["b", "ü"]
    page = s3.list_objects_v2(Bucket=bucket, Prefix="c/", StartAfter="c/1")
    assert [entry["Key"] for entry in page["Contents"]] == ["c/2/3"]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket, Prefix="d")


def test_objects_are_copied_and_deleted(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a", Body=b"1", Metadata={"m": "x"})
    s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a"})
    assert s3.get_object(Bucket=bucket, Key="b")["Metadata"] == {"m": "x"}
    objects = [{"Key": "a"}, {"Key": "none"}]
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})["Deleted"]
    assert sorted(entry["Key"] for entry in deleted) == ["a", "none"]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["b"]


def test_a_bucket_with_versions_keeps_what_was(s3: Any, bucket: str) -> None:
    on = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=on)
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"]
    assert code(s3.get_object, Bucket=bucket, Key="k") == "NoSuchKey"
    assert read(s3, bucket, "k", VersionId=first) == b"1"
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert read(s3, bucket, "k") == b"2"
    absent = {"Bucket": bucket, "Key": "k", "VersionId": "00000000-0000-0000-0000-000000000000"}
    assert code(s3.get_object, **absent) == "NoSuchVersion"


def test_a_presigned_address_names_bucket_and_key(s3: Any, bucket: str) -> None:
    url = s3.generate_presigned_url(
        "put_object", Params={"Bucket": bucket, "Key": "a/b c"}, ExpiresIn=60, HttpMethod="PUT"
    )
    assert f"{bucket}/a/b%20c?" in url
