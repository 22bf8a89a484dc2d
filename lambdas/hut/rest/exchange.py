"""One request and what belongs to it: who asks, under which key, with which body.

Reads API Gateway's REST proxy events. What a body means is read in `hut.rest.bodies`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hut.model.documents import decode_text
from hut.model.problems import Problem, did_you_mean
from hut.model.records import RunRecord, TaskRecord
from hut.planning.fields import TASK_ID
from hut.rest.refusals import Refusal, malformed
from hut.rest.services import Services
from hut.store.port import UnknownRun

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.router import APIGatewayRouter

__all__ = ["MOST_BODY", "RUN_ID", "Exchange", "exchange_of"]

MOST_BODY = 10 * 1024 * 1024
"""Bytes of a request's body at most; API Gateway takes no more."""

RUN_ID = re.compile(r"[a-z0-9]{1,64}", re.ASCII)

_SESSION = "assumed-role/"
_MADE_UP_SESSION = re.compile(r"(assumed-role/.+)/botocore-session-[0-9]+")
_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_SUGGEST_UP_TO = 1000
"""Tasks of a run among which the nearest id is looked for."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, with what answering it may need.

    Attributes
    ----------
    event : mapping
        As API Gateway sent it.
    notes : dict of str to str
        What the log should say of the request: ids, never contents.
    """

    services: Services
    event: Mapping[str, Any]
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        """The caller's IAM identity: ``user/alice``, ``role/Dev/alice@example.org``, ``root``.

        It comes from API Gateway, which checked the signature; nothing that a request says changes
        it. A caller of another account has its number in front. The name of a role's session is a
        part of it, unless it is one that botocore makes up anew for each process: it says nothing
        about who calls, and a caller who comes back must find what belongs to them.

        Raises
        ------
        Refusal
            With status 403 if the request carries no identity.
        """
        context = self.event.get("requestContext") or {}
        arn = str((context.get("identity") or {}).get("userArn") or "").split(":", 5)
        if len(arn) < 6 or not arn[5]:
            detail = "the request carries no IAM identity; sign it with AWS Signature Version 4"
            raise Refusal(403, "no-identity", detail)
        *_, account, owner = arn
        owner = _MADE_UP_SESSION.sub(r"\1", owner)
        if owner.startswith(_SESSION):
            owner = f"role/{owner.removeprefix(_SESSION)}"
        here = str(context.get("accountId") or account)
        return owner if account == here else f"{account}/{owner}"

    @property
    def origin(self) -> dict[str, str]:
        """From where the request came: the address as API Gateway saw it, and the client's words."""
        identity = (self.event.get("requestContext") or {}).get("identity") or {}
        return {
            "source_ip": str(identity.get("sourceIp") or ""),
            "user_agent": str(identity.get("userAgent") or ""),
        }

    @property
    def idempotency_key(self) -> str | None:
        """The key under which the store keeps the request: the owner's own."""
        key = self.header("idempotency-key")
        if key is None:
            return None
        if not 1 <= len(key) <= 255 or not key.isprintable():
            message = "must be 1 to 255 printable characters"
            raise malformed([Problem(message, field="Idempotency-Key")])
        return self.own_key(key)

    def own_key(self, key: str) -> str:
        """Return the key under which the store keeps a request of the caller."""
        return f"{self.owner}\n{key}"

    def body(self) -> str:
        """Return the text of the body; empty if there is none.

        Raises
        ------
        Refusal
            If it is too large or no base64 where it should be.
        MalformedDocument
            If it is not UTF-8.
        """
        body = self.event.get("body") or ""
        if not self.event.get("isBase64Encoded"):
            _check_size(len(body) if body.isascii() else len(body.encode(errors="replace")))
            return str(body)
        try:
            content = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise malformed([Problem("the body is not valid base64")]) from None
        _check_size(len(content))
        return decode_text(content)

    def url(self, *parts: str, **query: str) -> str:
        """Return the path of a resource as the caller reaches it, with the API's stage."""
        context_path = str((self.event.get("requestContext") or {}).get("path") or "")
        path = str(self.event.get("path") or "")
        stage = context_path.removesuffix(path) if context_path.endswith(path) else ""
        url = "/".join((stage, *(quote(part, safe="") for part in parts)))
        return f"{url}?{urlencode(query)}" if query else url

    def next_page(self, cursor: str | None) -> dict[str, str]:
        """Return the headers that lead to the next page of this list, if there is one."""
        if cursor is None:
            return {}
        query = self.event.get("multiValueQueryStringParameters") or {}
        pairs = [(k, v) for k, values in query.items() if k != "cursor" for v in values]
        parts = str(self.event.get("path") or "").strip("/").split("/")
        address = f"{self.url(*parts)}?{urlencode([*pairs, ('cursor', cursor)])}"
        return {"X-Next-Cursor": cursor, "Link": f'<{address}>; rel="next"'}

    def run(self, run_id: str) -> RunRecord:
        """Return a run.

        Raises
        ------
        UnknownRun
            If there is none; what can't be an id is not looked for.
        """
        if not RUN_ID.fullmatch(run_id):
            raise UnknownRun(f"there is no run {run_id[:100]!r}")
        return self.services.store.get_run(run_id)

    def task(self, run_id: str, task_id: str) -> tuple[RunRecord, TaskRecord]:
        """Return a task with its run.

        Raises
        ------
        UnknownRun
        Refusal
            With status 404 and the nearest id if the run has no such task.
        """
        run = self.run(run_id)
        store = self.services.store
        task = store.get_task(run_id, task_id) if TASK_ID.fullmatch(task_id) else None
        if task is None:
            known = store.task_ids(run_id) if run.total <= _SUGGEST_UP_TO else ()
            hint = did_you_mean(task_id[:200], known, list_up_to=5)
            detail = f"run {run_id} has no task {task_id[:200]!r}"
            raise Refusal(404, "unknown-task", f"{detail}; {hint}" if hint else detail)
        return run, task

    @property
    def request_id(self) -> str | None:
        """What API Gateway calls the request."""
        return request_id_of(self.event)

    def header(self, name: str) -> str | None:
        """Return a header by its name in lower case, or None."""
        headers = self.event.get("headers") or {}
        found = [value for key, value in headers.items() if key.lower() == name]
        return None if not found else str(found[-1] or "")


def exchange_of(router: APIGatewayRouter) -> Exchange:
    """Return the exchange that is going on."""
    exchange: Exchange = router.context["exchange"]
    return exchange


def request_id_of(event: Mapping[str, Any]) -> str | None:
    """Return what API Gateway calls a request, if that can stand in a URN."""
    found = str((event.get("requestContext") or {}).get("requestId") or "")
    return found if _REQUEST_ID.fullmatch(found) else None


def _check_size(size: int) -> None:
    if size > MOST_BODY:
        raise Refusal(
            413,
            "too-large",
            f"the body has {size:,} bytes, {MOST_BODY:,} are allowed; "
            "upload the file (POST /uploads) and submit the upload",
        )
