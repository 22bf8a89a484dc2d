"""Requests to a control plane: signed, with time limits, and tried again where that can help.

What an answer means for a run is not decided here; only what stands between this machine and the
API becomes an error.
"""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from hut import __version__
from hut.model.access import Role, policy_name, role_needed
from hutctl.remote.account import Account
from hutctl.remote.faults import OutOfReach, connection_fault, refusal
from hutctl.remote.targets import Target

__all__ = ["Answer", "Api", "path_of"]

_CONNECT_SECONDS = 10
_READ_SECONDS = 40  # API Gateway gives up after 29
_TRIES = 6
_FIRST_WAIT = 0.3
_LONGEST_WAIT = 8.0
_PATIENCE = 90.0  # no new try after so many seconds


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes
    ----------
    headers : mapping
        Names in lower case.
    tries : int
        How often the request was sent; after more than one, an earlier one may have had its effect.
    seconds : float
        How long the last try took.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    tries: int
    seconds: float

    def document(self) -> Any:
        """Return the JSON in it; None if that is not what is in it."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def clock_off(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the one that answered."""
        try:
            return time.time() - parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError):
            return None


def path_of(*parts: str) -> str:
    """Return a path; each part may hold any character."""
    return "".join("/" + quote(part, safe="") for part in parts)


class Api:
    """Sends requests to one target.

    Parameters
    ----------
    tell
        Told of each request; for those who want to know more.
    """

    def __init__(self, target: Target, tell: Callable[[str], None] | None = None) -> None:
        self.target = target
        self.account = Account(target.name, target.profile, target.region)
        self._tell = tell
        self._sessions: dict[str, Any] = {}

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request and return what the API answers.

        Parameters
        ----------
        query
            Entries that are None are left out; a list is an entry that stands several times.

        Raises
        ------
        Unreachable
            If it can't be reached, fails, or refuses the credentials.
        """
        given = {name: value for name, value in (query or {}).items() if value not in (None, [])}
        url = self.target.url + path
        if given:
            url += "?" + urlencode(given, doseq=True, quote_via=quote)
        sent = {"User-Agent": f"hutctl/{__version__}", **(headers or {})}
        if body is not None:
            sent["Content-Type"] = "application/json"
        answer = self._try(lambda: self._signed(method, url, sent, body), f"{method} {path}")
        if answer.status in (401, 403) and self.account.access.renewable:
            # A person may have logged in anew since: once more, with what is there now.
            self.account.renew()
            answer = self._try(lambda: self._signed(method, url, sent, body), f"{method} {path}")
        if answer.status in (401, 403):
            raise self._refusal(answer, role_needed(method, path))
        return answer

    def get(self, url: str) -> Answer:
        """Read from an address that carries its own permission."""
        return self._try(lambda: AWSRequest("GET", url), f"GET {urlsplit(url).netloc}")

    def put(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a body to an address that carries its own permission."""

        def request() -> AWSRequest:
            return AWSRequest("PUT", url, headers=dict(headers), data=io.BytesIO(body))

        return self._try(request, f"PUT {urlsplit(url).netloc}")

    def _signed(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> AWSRequest:
        # A file is sent in blocks, each with a time limit of its own; bytes would share one.
        data = None if body is None else io.BytesIO(body)
        request = AWSRequest(method, url, headers=dict(headers), data=data)
        credentials = self.account.credentials()
        SigV4Auth(credentials, "execute-api", self.target.region).add_auth(request)
        return request

    def _try(self, make: Callable[[], AWSRequest], what: str) -> Answer:
        """Send a request until it is answered for good."""
        begun = time.monotonic()
        most = self.account.most_tries or _TRIES
        tries = 0
        sent = False
        while True:
            tries += 1
            try:
                answer = self._send(make().prepare(), tries)
            except OutOfReach as fault:
                error, least = fault, 0.0
            else:
                self._note(f"{what}: {answer.status} after {answer.seconds:.2f}s")
                if answer.status != 429 and answer.status < 500:
                    return answer
                error, least = self._failing(answer, what), _retry_after(answer)
            sent = error.sent = sent or error.sent
            over = time.monotonic() - begun
            if tries >= most or not error.passing or over + least > _PATIENCE:
                raise error
            bound = min(_FIRST_WAIT * 2**tries, _LONGEST_WAIT)
            wait = max(random.uniform(0, bound), least)  # noqa: S311 - spreads callers, no secret
            self._note(f"{what}: {error}; again in {wait:.1f}s, try {tries} of {most}")
            time.sleep(wait)

    def _send(self, request: Any, tries: int) -> Answer:
        begun = time.monotonic()
        try:
            response = self._session(_place(request.url)).send(request)
        except BotoCoreError as error:
            raise connection_fault(error, _place(request.url)) from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        seconds = time.monotonic() - begun
        return Answer(response.status_code, headers, response.content, tries, seconds)

    def _session(self, place: str) -> Any:
        """Return the connections to a place; whether a proxy stands before it is its own matter."""
        if place not in self._sessions:
            self._sessions[place] = URLLib3Session(
                verify=self.account.ca_bundle or True,
                proxies=get_environ_proxies(place),
                timeout=(_CONNECT_SECONDS, _READ_SECONDS),
            )
        return self._sessions[place]

    def _failing(self, answer: Answer, what: str) -> OutOfReach:
        name = self.target.name
        if answer.status == 429:
            return OutOfReach(f"target {name!r} takes no more requests now (429); try again later")
        request_id = answer.headers.get("x-amzn-requestid")
        noted = f", request {request_id}" if request_id else ""
        return OutOfReach(
            f"target {name!r} fails at {what} (status {answer.status}{noted})", sent=True
        )

    def _refusal(self, answer: Answer, role: Role | None) -> Exception:
        kind = answer.headers.get("x-amzn-errortype", "").partition(":")[0]
        document = answer.document()
        message = ""
        if isinstance(document, dict):
            message = str(document.get("detail") or document.get("message") or "")
            message = message or str(document.get("Message") or "")
        return refusal(
            kind,
            message,
            self.account.access,
            region=self.target.region,
            clock_off=answer.clock_off,
            policy=None if role is None else policy_name(self.target.prefix or "hut", role),
        )

    def _note(self, message: str) -> None:
        if self._tell is not None:
            self._tell(message)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0
