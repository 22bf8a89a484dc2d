"""Signed calls to S3, CloudWatch Logs and ECR: credentials, retries, errors.

Credentials come from the environment, else from the instance's role (IMDSv2). ``AWS_ENDPOINT_URL`` in the
environment stands for all services, as for AWS's own tools. ``HUT_HOST_PACE`` multiplies all pauses:
tests make them short.
"""

from __future__ import annotations

import calendar
import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from hut.backends.ec2.host.signing import Credentials, sign

__all__ = ["Aws", "CallError", "Stop", "Stopped", "pause_factor"]

_TRIES = 6
_FEW_TRIES = 3  # where another try helps only if a new role was not known everywhere yet
_LOOK = 0.2
_TIMEOUT = 20
_METADATA_TIMEOUT = 3
_EARLY = 300  # seconds before the end of credentials
_PASSING = re.compile(
    "throttl|slow ?down|too ?many|limit ?exceeded|timeout|unavailable|internal|expired|skewed",
    re.IGNORECASE,
)
_LOGS = "Logs_20140328"
_ECR = "AmazonEC2ContainerRegistry_V20150921"


class CallError(Exception):
    """A call failed; the message says which one and why.

    Attributes
    ----------
    code
        AWS's name for it; empty if there was no answer.
    is_passing
        Whether the same call may succeed later.
    """

    def __init__(self, message: str, code: str = "", *, is_passing: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_passing = is_passing


class Stopped(Exception):  # noqa: N818 - nothing is wrong, somebody asked for it
    """The agent was told to end while it waited."""


class Stop:
    """Whether the agent is to end. A plain flag: a signal may set it at any point of the code.

    Attributes
    ----------
    requested : bool
        Whether it is.
    """

    def __init__(self) -> None:
        self.requested = False

    def sleep(self, seconds: float) -> None:
        """Wait, multiplied by the factor of pauses.

        Raises
        ------
        Stopped
            Soon after the agent is told to end.
        """
        until = time.monotonic() + seconds * pause_factor()
        while not self.requested:
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _LOOK))
        raise Stopped


def pause_factor() -> float:
    """Return by what pauses are multiplied."""
    return max(float(os.environ.get("HUT_HOST_PACE", "1")), 0.001)


class Aws:
    """Calls with the instance's credentials.

    Parameters
    ----------
    region
        Of the deployment; if it is empty, that of the instance.
    stop
        Ends pauses.
    """

    def __init__(self, region: str, stop: Stop) -> None:
        self._stop = stop
        self._credentials: Credentials | None = None
        self._lock = threading.Lock()
        self._endpoint = os.environ.get("AWS_ENDPOINT_URL", "").rstrip("/")
        self._metadata = os.environ.get(
            "AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254"
        ).rstrip("/")
        # A proxy is for the internet, never for the instance's own service.
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.region = region or self._own_region()

    def get_object(self, bucket: str, key: str) -> bytes:
        """Return what S3 holds under a key."""
        path = quote(key, safe="/-_.~")
        if self._endpoint or "." in bucket:
            host = self._host("s3", self.region)
            url = f"{host}/{bucket}/{path}"
        else:
            url = self._host(f"{bucket}.s3", self.region) + f"/{path}"
        return self._call(f"GetObject of s3://{bucket}/{key}", ("GET", url, b""), {}, "s3")

    def logs(self, action: str, body: dict[str, Any], *, region: str, tries: int) -> Any:
        """Call CloudWatch Logs."""
        return self._json("logs", "logs", f"{_LOGS}.{action}", body, region=region, tries=tries)

    def registry_password(self, region: str) -> str:
        """Return a password for the ECR registries of the account, in a region."""
        answer = self._json(
            "ecr", "api.ecr", f"{_ECR}.GetAuthorizationToken", {}, region=region, tries=_TRIES
        )
        try:
            return str(answer["authorizationData"][0]["authorizationToken"])
        except (KeyError, IndexError, TypeError):
            raise CallError("ECR answered GetAuthorizationToken without a token") from None

    # One call -----------------------------------------------------------------------------------

    def _json(
        self, service: str, host: str, target: str, body: dict[str, Any], *, region: str, tries: int
    ) -> Any:
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
        request = ("POST", self._host(host, region) + "/", json.dumps(body).encode())
        name = target.partition(".")[2]
        answer = self._call(name, request, headers, service, region=region, tries=tries)
        try:
            return json.loads(answer or b"{}")
        except ValueError:
            raise CallError(f"{name}: the answer is no JSON", is_passing=True) from None

    def _host(self, name: str, region: str) -> str:
        if self._endpoint:
            return self._endpoint
        return f"https://{name}.{region}.amazonaws.com" + (".cn" if region[:3] == "cn-" else "")

    def _call(
        self,
        name: str,
        request: tuple[str, str, bytes],
        headers: dict[str, str],
        service: str,
        *,
        region: str = "",
        tries: int = _TRIES,
    ) -> bytes:
        method, url, body = request
        place = (service, region or self.region)

        def once() -> bytes:
            credentials = self._current()
            at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            signed = sign(request, headers, credentials, place, at)
            sent = urllib.request.Request(  # noqa: S310 - https, or the endpoint of the environment
                url, data=body if method == "POST" else None, headers=signed, method=method
            )
            with urllib.request.urlopen(sent, timeout=_TIMEOUT) as answer:  # noqa: S310
                return bytes(answer.read())

        return self._retry(name, once, tries)

    def _retry(self, name: str, once: Callable[[], bytes], tries: int) -> bytes:
        for number in range(1, tries + 1):
            try:
                return once()
            except CallError as error:
                failed = error
            except urllib.error.HTTPError as error:
                failed = _error_of(name, error)
                if "xpired" in failed.code or "InvalidToken" in failed.code:
                    self._forget()
            except (OSError, http.client.HTTPException) as error:
                why = getattr(error, "reason", error)
                failed = CallError(f"{name}: no answer ({why})", is_passing=True)
            is_denied = "denied" in failed.code.lower() or failed.code in ("403", "Forbidden")
            if number == tries or not (
                failed.is_passing or (is_denied and number < min(tries, _FEW_TRIES))
            ):
                raise failed
            self._stop.sleep(min(0.5 * 2**number, 15))
        raise AssertionError("tries is at least one")

    # Credentials --------------------------------------------------------------------------------

    def _current(self) -> Credentials:
        with self._lock:
            known = self._credentials
            if known is None or (known.expires and known.expires - _EARLY < time.time()):
                try:
                    known = _from_environment() or self._of_role()
                except CallError:
                    # IMDS goes on for a while with those it has; so do we, while they are valid.
                    if known is None or known.expires < time.time():
                        raise
                self._credentials = known
            return known

    def _forget(self) -> None:
        with self._lock:
            self._credentials = None

    def _of_role(self) -> Credentials:
        path = "/latest/meta-data/iam/security-credentials/"
        try:
            role = self._ask_instance(path).split("\n")[0].strip()
            found = json.loads(self._ask_instance(f"{path}{role}"))
            expires = calendar.timegm(time.strptime(found["Expiration"], "%Y-%m-%dT%H:%M:%SZ"))
            return Credentials(
                found["AccessKeyId"], found["SecretAccessKey"], found["Token"], expires
            )
        except urllib.error.HTTPError as error:
            error.close()
            why = "it has no instance profile" if error.code == 404 else str(error)
            message = f"the instance gives no credentials: {why}"
            raise CallError(message, is_passing=True) from None
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            message = f"the instance gives no credentials: {error}"
            raise CallError(message, is_passing=True) from None

    def _own_region(self) -> str:
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SSM_REGION_NAME"):
            if os.environ.get(name):
                return os.environ[name]
        try:
            return self._ask_instance("/latest/meta-data/placement/region").strip()
        except (OSError, http.client.HTTPException) as error:
            raise CallError(f"the region of the instance is not known: {error}") from None

    def _ask_instance(self, path: str) -> str:
        """Ask IMDSv2, with a token of its own: calls are rare."""
        ask = urllib.request.Request  # at a fixed address, or the environment's
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}
        begin = ask(f"{self._metadata}/latest/api/token", b"", headers, method="PUT")
        with self._direct.open(begin, timeout=_METADATA_TIMEOUT) as answer:
            token = answer.read().decode()
        question = ask(f"{self._metadata}{path}", headers={"X-aws-ec2-metadata-token": token})
        with self._direct.open(question, timeout=_METADATA_TIMEOUT) as answer:
            return str(answer.read().decode())


def _from_environment() -> Credentials | None:
    key, secret = (
        os.environ.get(f"AWS_{name}", "") for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
    )
    if not (key and secret):
        return None
    return Credentials(key, secret, os.environ.get("AWS_SESSION_TOKEN", ""))


def _error_of(name: str, error: urllib.error.HTTPError) -> CallError:
    """Return what an answer with an error says: JSON of most services, XML of S3."""
    try:
        with error:
            text = error.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        text = ""
    code, message = str(error.code), ""
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
            code = str(found.get("__type", code)).rpartition("#")[2]
            message = str(found.get("message") or found.get("Message") or "")
        except (ValueError, AttributeError):
            pass
    else:
        tags = dict(re.findall(r"<(Code|Message)>([^<]*)</", text))
        code, message = tags.get("Code", code), tags.get("Message", "")
    is_passing = error.code >= 500 or error.code == 429 or bool(_PASSING.search(code))
    return CallError(f"{name}: {code} {message}".strip(), code, is_passing=is_passing)
