"""The ways a worker's words go: to an engine on this machine, or to a control plane."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from hut.model.problems import InvalidInput, Problem
from hut.pools.port import Answer, Turn, WorkerSpec
from hut.pools.protocol import (
    Welcome,
    join_document,
    read_answer,
    read_welcome,
    turn_document,
)
from hutctl.local.pool.places import Endpoint

if TYPE_CHECKING:
    from hutctl.remote.http import Api

__all__ = ["Away", "Link", "LocalLink", "RemoteLink"]

_SECONDS = 45.0


class Away(Exception):  # noqa: N818 - says what it is
    """The other side can't be reached, or can't answer now: say it again later."""


class Link(Protocol):
    """One way to a pool; not for two threads at once.

    Attributes
    ----------
    group_s : float
        For how long reports are gathered while there is other work.
    poll_s : float
        How often to ask although nothing rang.
    """

    group_s: float
    poll_s: float

    def join(self, spec: WorkerSpec) -> Welcome:
        """Join the pool.

        Raises
        ------
        InvalidInput
            If the pool does not take such a worker.
        Away
        """

    def turn(self, worker: str, turn: Turn) -> Answer:
        """Take a turn.

        Raises
        ------
        Away
        """

    def leave(self, worker: str) -> None:
        """Sign off.

        Raises
        ------
        Away
        """

    def pause(self, seconds: float) -> None:
        """Wait where `turn` does not."""

    def close(self) -> None:
        """Let the connection go."""


class LocalLink:
    """To an engine on this machine; one connection that stays."""

    group_s = 0.1
    poll_s = 1.0

    def __init__(self, pool: str, endpoint: Endpoint) -> None:
        self._base = f"/pools/{pool}/workers"
        self._token = endpoint.token
        self._connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=_SECONDS)

    def join(self, spec: WorkerSpec) -> Welcome:
        """Join the pool."""
        return read_welcome(self._call("POST", self._base, join_document(spec)))

    def turn(self, worker: str, turn: Turn) -> Answer:
        """Take a turn."""
        return read_answer(self._call("POST", f"{self._base}/{worker}/turn", turn_document(turn)))

    def leave(self, worker: str) -> None:
        """Sign off."""
        self._call("DELETE", f"{self._base}/{worker}", None)

    def pause(self, seconds: float) -> None:
        """Do nothing: the engine holds the answer back while there is no news."""

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def _call(self, method: str, path: str, document: Any) -> Any:
        body = None if document is None else json.dumps(document, separators=(",", ":")).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._connection.close()
            raise Away(str(error)) from error
        if response.status == 422:
            raise _problems_of(answer)
        if response.status >= 400:
            raise Away(str(answer.get("detail", response.status)))
        return answer


class RemoteLink:
    """To a control plane: signed requests."""

    group_s = 1.0
    poll_s = 20.0

    def __init__(self, pool: str, api: Api) -> None:
        self._pool = pool
        self._api = api

    def join(self, spec: WorkerSpec) -> Welcome:
        """Join the pool."""
        return read_welcome(self._call("POST", (), join_document(spec), is_join=True))

    def turn(self, worker: str, turn: Turn) -> Answer:
        """Take a turn."""
        return read_answer(self._call("POST", (worker, "turn"), turn_document(turn)))

    def leave(self, worker: str) -> None:
        """Sign off."""
        self._call("DELETE", (worker,), None)

    def pause(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def close(self) -> None:
        """Do nothing: connections go by themselves."""

    def _call(
        self, method: str, parts: tuple[str, ...], document: Any, *, is_join: bool = False
    ) -> Any:
        from hutctl.client import Unreachable
        from hutctl.remote.http import path_of

        path = path_of("pools", self._pool, "workers", *parts)
        body = None if document is None else json.dumps(document, separators=(",", ":")).encode()
        try:
            answer = self._api.call(method, path, body=body)
        except Unreachable as error:
            if is_join:
                raise
            raise Away(str(error)) from error
        found = answer.document()
        if answer.status >= 400:
            detail = found.get("detail", "") if isinstance(found, dict) else ""
            if is_join and answer.status in (400, 404, 422):
                raise _problems_of(found if isinstance(found, dict) else {"detail": detail})
            raise Away(detail or f"the control plane answers {answer.status}")
        return found


def _problems_of(answer: dict[str, Any]) -> InvalidInput:
    errors = answer.get("errors") or [{"message": str(answer.get("detail", "it was refused"))}]
    problems = [Problem(str(e.get("message", "")), field=e.get("field")) for e in errors]
    return InvalidInput(problems, source="the pool does not take this worker")
