"""A simulated S3: called as a botocore client, with the answers and error codes of the service.

What is modelled: objects in general-purpose buckets, ranges, conditions of reads and writes, versions,
listing page by page, copies, presigned addresses (which nobody serves). Not modelled: rights, multipart
uploads, storage classes, events.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from tests.aws.watched_client import refusal

__all__ = ["SimulatedS3"]

_LARGEST_PUT = 5 * 1024**3
_LONGEST_KEY = 1024  # bytes
_MOST_DELETED = 1000
_PAGE = 1000
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEPT = ("ContentType", "ContentEncoding", "CacheControl", "ContentDisposition")
_READ = frozenset({"Bucket", "Key", "Range", "VersionId", "IfMatch", "IfNoneMatch"})
_IGNORED = frozenset({"ServerSideEncryption", "ChecksumAlgorithm", "Tagging", "ContentMD5"})


class _Version(NamedTuple):
    """An object as it was written; a deletion of a versioned bucket has no content."""

    number: str
    content: bytes | None
    written: float
    described: Mapping[str, Any]

    @property
    def tag(self) -> str:
        return f'"{hashlib.md5(self.content or b"").hexdigest()}"'


@dataclass
class _Bucket:
    keys: list[str] = field(default_factory=list)
    objects: dict[str, list[_Version]] = field(default_factory=dict)
    has_versions: bool = False

    def newest(self, key: str) -> _Version | None:
        """Return the object under a key, unless it was deleted."""
        versions = self.objects.get(key)
        return versions[-1] if versions and versions[-1].content is not None else None

    def write(self, key: str, version: _Version) -> None:
        if key not in self.objects:
            insort(self.keys, key)
        old = self.objects.get(key, []) if self.has_versions else []
        self.objects[key] = [*old, version]

    def forget(self, key: str) -> None:
        if self.objects.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]


class SimulatedS3:
    """See the module's docstring.

    Parameters
    ----------
    clock
        Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._numbers = itertools.count(1)

    def create_bucket(self, **arguments: Any) -> Any:
        """Make a bucket."""
        _allow(arguments, {"Bucket", "CreateBucketConfiguration", "ObjectOwnership"})
        name = arguments["Bucket"]
        if not _BUCKET.fullmatch(name):
            raise refusal("InvalidBucketName", "The specified bucket is not valid.")
        if name in self._buckets:
            raise refusal("BucketAlreadyOwnedByYou", "You own a bucket of this name already.")
        self._buckets[name] = _Bucket()
        return {"Location": f"/{name}"}

    def put_bucket_versioning(self, **arguments: Any) -> Any:
        """Let a bucket keep what is overwritten and deleted."""
        _allow(arguments, {"Bucket", "VersioningConfiguration"})
        status = arguments["VersioningConfiguration"]["Status"]
        self._bucket(arguments).has_versions = status == "Enabled"
        return {}

    def put_object(self, **arguments: Any) -> Any:
        """Write an object."""
        allowed = {"Bucket", "Key", "Body", "Metadata", "IfNoneMatch", "IfMatch", *_KEPT, *_IGNORED}
        _allow(arguments, allowed)
        bucket, key = self._bucket(arguments), arguments["Key"]
        if not key or len(key.encode()) > _LONGEST_KEY:
            raise refusal("KeyTooLongError", "Your key is too long")
        old = bucket.newest(key)
        self._check_write(old, arguments)
        body = arguments.get("Body", b"")
        content = body.encode() if isinstance(body, str) else body
        content = bytes(content) if isinstance(content, bytes | bytearray) else content.read()
        if len(content) > _LARGEST_PUT:
            raise refusal("EntityTooLarge", "Your proposed upload exceeds the maximum size")
        described = {name: arguments[name] for name in (*_KEPT, "Metadata") if name in arguments}
        return self._write(bucket, key, content, described)

    def get_object(self, **arguments: Any) -> Any:
        """Return an object or a part of one."""
        found = self._found(arguments, _READ)
        content = found.content or b""
        answer = self._described(found)
        if "Range" in arguments:
            first, last = self._range(arguments["Range"], len(content))
            answer["ContentRange"] = f"bytes {first}-{last}/{len(content)}"
            content = content[first : last + 1]
        answer["ContentLength"] = len(content)
        answer["Body"] = StreamingBody(io.BytesIO(content), len(content))
        return answer

    def head_object(self, **arguments: Any) -> Any:
        """Return what is known of an object."""
        try:
            return self._described(self._found(arguments, _READ - {"Range"}))
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in {"NoSuchKey", "NoSuchBucket", "NoSuchVersion"}:
                raise refusal("404", "Not Found") from None  # an answer to HEAD has no body
            raise

    def delete_object(self, **arguments: Any) -> Any:
        """Delete an object; it need not be there."""
        _allow(arguments, {"Bucket", "Key", "VersionId"})
        bucket, key = self._bucket(arguments), arguments["Key"]
        if "VersionId" in arguments:
            left = [v for v in bucket.objects.get(key, []) if v.number != arguments["VersionId"]]
            bucket.forget(key)
            for version in left:
                bucket.write(key, version)
            return {"VersionId": arguments["VersionId"]}
        if not bucket.has_versions:
            bucket.forget(key)
            return {}
        marker = _Version(self._number(bucket), None, self._clock(), {})
        bucket.write(key, marker)
        return {"DeleteMarker": True, "VersionId": marker.number}

    def delete_objects(self, **arguments: Any) -> Any:
        """Delete up to 1000 objects."""
        _allow(arguments, {"Bucket", "Delete"})
        self._bucket(arguments)
        entries = arguments["Delete"]["Objects"]
        if not 0 < len(entries) <= _MOST_DELETED:
            raise refusal("MalformedXML", "The XML you provided was not well-formed")
        for entry in entries:
            self.delete_object(Bucket=arguments["Bucket"], **entry)
        return {} if arguments["Delete"].get("Quiet") else {"Deleted": [dict(e) for e in entries]}

    def copy_object(self, **arguments: Any) -> Any:
        """Write an object as another is."""
        _allow(arguments, {"Bucket", "Key", "CopySource", "MetadataDirective", "Metadata", *_KEPT})
        source = arguments["CopySource"]
        if isinstance(source, str):
            name, _, key = source.lstrip("/").partition("/")
            source = {"Bucket": name, "Key": key}
        found = self._found(source, _READ)
        described = dict(found.described)
        if arguments.get("MetadataDirective") == "REPLACE":
            described = {n: arguments[n] for n in (*_KEPT, "Metadata") if n in arguments}
        bucket = self._bucket(arguments)
        written = self._write(bucket, arguments["Key"], found.content or b"", described)
        return {"CopyObjectResult": {"ETag": written.pop("ETag")}, **written}

    def list_objects_v2(self, **arguments: Any) -> Any:
        """Return a page of the objects of a bucket, by key."""
        allowed = {"Bucket", "Prefix", "Delimiter", "MaxKeys", "StartAfter", "ContinuationToken"}
        _allow(arguments, allowed)
        bucket = self._bucket(arguments)
        prefix, delimiter = arguments.get("Prefix", ""), arguments.get("Delimiter")
        most = min(arguments.get("MaxKeys", _PAGE), _PAGE)
        after = arguments.get("ContinuationToken", arguments.get("StartAfter", ""))
        contents, groups, last, more = [], [], "", False
        for key in bucket.keys[
            max(bisect_left(bucket.keys, prefix), bisect_right(bucket.keys, after)) :
        ]:
            if not key.startswith(prefix):
                break
            found = bucket.newest(key)
            group = _group(key, prefix, delimiter)
            if found is None or (group is not None and (group in groups[-1:] or group == after)):
                continue
            if len(contents) + len(groups) == most:
                more = True
                break
            last = group or key
            if group is not None:
                groups.append(group)
            else:
                contents.append(
                    {
                        "Key": key,
                        "Size": len(found.content or b""),
                        "ETag": found.tag,
                        "LastModified": datetime.fromtimestamp(found.written, UTC),
                    }
                )
        answer: dict[str, Any] = {
            "Name": arguments["Bucket"],
            "Prefix": prefix,
            "MaxKeys": most,
            "KeyCount": len(contents) + len(groups),
            "IsTruncated": more,
        }
        if contents:
            answer["Contents"] = contents
        if groups:
            answer["CommonPrefixes"] = [{"Prefix": group} for group in groups]
        if more:
            answer["NextContinuationToken"] = last
        return answer

    def generate_presigned_url(
        self,
        ClientMethod: str,  # noqa: N803 - botocore's name
        Params: Mapping[str, Any] | None = None,  # noqa: N803
        ExpiresIn: int = 3600,  # noqa: N803
        HttpMethod: str | None = None,  # noqa: N803
    ) -> str:
        """Return an address; asks nobody, so the bucket need not be there."""
        given = dict(Params or {})
        path = f"{given.pop('Bucket')}/{quote(given.pop('Key'))}"
        until = int(self._clock()) + ExpiresIn
        method = HttpMethod or ("PUT" if ClientMethod == "put_object" else "GET")
        query = urlencode({"method": method, "until": until, **given})
        return f"https://s3.simulated/{path}?{query}"

    # What they share

    def _bucket(self, arguments: Any) -> _Bucket:
        bucket = self._buckets.get(arguments["Bucket"])
        if bucket is None:
            raise refusal("NoSuchBucket", "The specified bucket does not exist")
        return bucket

    def _number(self, bucket: _Bucket) -> str:
        return f"v{next(self._numbers):08}" if bucket.has_versions else "null"

    def _write(self, bucket: _Bucket, key: str, content: bytes, described: Any) -> Any:
        version = _Version(self._number(bucket), content, self._clock(), described)
        bucket.write(key, version)
        more = {"VersionId": version.number} if bucket.has_versions else {}
        return {"ETag": version.tag, **more}

    @staticmethod
    def _check_write(old: _Version | None, arguments: Any) -> None:
        failed = refusal(
            "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"
        )
        if arguments.get("IfNoneMatch") == "*" and old is not None:
            raise failed
        if "IfMatch" in arguments:
            if old is None:
                raise refusal("NoSuchKey", "The specified key does not exist.")
            if arguments["IfMatch"] != old.tag:
                raise failed

    def _found(self, arguments: Any, allowed: frozenset[str]) -> _Version:
        _allow(arguments, allowed)
        bucket, key = self._bucket(arguments), arguments["Key"]
        number = arguments.get("VersionId")
        found = bucket.newest(key)
        if number is not None:
            found = next((v for v in bucket.objects.get(key, []) if v.number == number), None)
            if found is None:
                raise refusal("NoSuchVersion", "The specified version does not exist.")
            if found.content is None:
                raise refusal("MethodNotAllowed", "The specified method is not allowed.")
        if found is None:
            raise refusal("NoSuchKey", "The specified key does not exist.")
        if arguments.get("IfMatch", found.tag) != found.tag:
            raise refusal("PreconditionFailed", "A pre-condition did not hold")
        if arguments.get("IfNoneMatch") == found.tag:
            raise refusal("304", "Not Modified")
        return found

    @staticmethod
    def _described(found: _Version) -> dict[str, Any]:
        return {
            "ContentLength": len(found.content or b""),
            "ContentType": "binary/octet-stream",
            "ETag": found.tag,
            "LastModified": datetime.fromtimestamp(int(found.written), UTC),
            "Metadata": {},
            **({"VersionId": found.number} if found.number != "null" else {}),
            **found.described,
        }

    @staticmethod
    def _range(text: str, size: int) -> tuple[int, int]:
        found = _RANGE.fullmatch(text)
        if found is None or found[1] == found[2] == "":
            return 0, size - 1  # what is no range is left out of account
        first, last = found[1], found[2]
        if not first:
            start, end = max(0, size - int(last)), size - 1
        else:
            start, end = int(first), min(size - 1, int(last) if last else size - 1)
        if start > end:
            raise refusal("InvalidRange", "The requested range is not satisfiable")
        return start, end


def _group(key: str, prefix: str, delimiter: str | None) -> str | None:
    """Return the common prefix that stands for a key in a list; None if the key itself does."""
    if not delimiter:
        return None
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]


def _allow(arguments: Mapping[str, Any], names: set[str] | frozenset[str]) -> None:
    other = sorted(arguments.keys() - names)
    if other:
        raise TypeError(f"not a parameter of the simulated S3: {', '.join(other)}")
