"""Signatures of requests to AWS: Signature Version 4, as its documentation describes it. Pure."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple
from urllib.parse import quote, urlsplit

__all__ = ["Credentials", "sign"]


class Credentials(NamedTuple):
    """Keys of a role or a person.

    Attributes
    ----------
    expires : float
        When they are no longer valid, in seconds since the epoch; 0 for never.
    """

    key: str
    secret: str
    token: str = ""
    expires: float = 0.0


class _Place(NamedTuple):
    service: str
    region: str


def sign(
    request: tuple[str, str, bytes],
    headers: dict[str, str],
    credentials: Credentials,
    place: tuple[str, str],
    at: str,
) -> dict[str, str]:
    """Return the headers of a request with those that authorize it.

    Parameters
    ----------
    request
        Method, URL (its path quoted, without a query) and body.
    headers
        All that are sent and are to be signed, without ``Host``.
    place
        Service and region.
    at
        The time in UTC, as ``20260101T000000Z``.
    """
    method, url, body = request
    service, region = _Place(*place)
    parts = urlsplit(url)
    body_hash = hashlib.sha256(body).hexdigest()
    whole = dict(headers)
    whole["X-Amz-Date"] = at
    if service == "s3":
        whole["X-Amz-Content-SHA256"] = body_hash
    if credentials.token:
        whole["X-Amz-Security-Token"] = credentials.token
    lower = {name.lower(): " ".join(value.split()) for name, value in whole.items()}
    lower["host"] = parts.netloc
    names = ";".join(sorted(lower))
    # S3 takes the path as it is sent; the others want it quoted once more.
    path = parts.path or "/"
    canonical = [
        method,
        path if service == "s3" else quote(path, safe="/-_.~"),
        parts.query,
        *(f"{name}:{lower[name]}" for name in sorted(lower)),
        "",
        names,
        body_hash,
    ]
    scope = f"{at[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(
        ["AWS4-HMAC-SHA256", at, scope, hashlib.sha256("\n".join(canonical).encode()).hexdigest()]
    )
    key = f"AWS4{credentials.secret}".encode()
    for part in (at[:8], region, service, "aws4_request", text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    whole["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key}/{scope}, "
        f"SignedHeaders={names}, Signature={key.hex()}"
    )
    return whole
