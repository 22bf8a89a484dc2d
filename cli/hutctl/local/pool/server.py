"""The HTTP side of a pool on one machine: the routes of the REST API that workers use, on loopback.

Who asks must bring the token of the endpoint's file, which only its owner can read.
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from hut import __version__
from hut.model.problems import InvalidInput
from hut.pools.protocol import (
    LARGEST_TURN,
    answer_document,
    pool_document,
    read_join,
    read_turn,
    welcome_document,
)
from hut.views import problem_document
from hutctl.local.pool.desk import Busy, Desk

__all__ = ["PoolServer"]

_IDLE_SECONDS = 120.0
_TITLES = {
    400: "Malformed request",
    401: "Not allowed",
    404: "Not found",
    411: "Length required",
    413: "Too large",
    422: "Invalid input",
    503: "Busy",
}


class _Refused(Exception):  # noqa: N818 - says what it is
    """A request that can't be followed."""

    def __init__(
        self, status: int, detail: str, errors: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.errors = errors or []


class PoolServer:
    """Serves a desk in threads of its own, from `start` until `close`."""

    def __init__(self, desk: Desk, token: str) -> None:
        class Handler(_Handler):
            pass

        Handler.desk, Handler.token = desk, token
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection of a worker."""

    desk: Desk
    token: str
    protocol_version = "HTTP/1.1"
    server_version = f"hutctl/{__version__}"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: the terminal belongs to the run."""

    def _serve(self, method: str) -> None:
        try:
            self._check_token()
            status, document = self._answer(method)
        except _Refused as refused:
            status = refused.status
            document = {
                "type": "about:blank",
                "title": _TITLES[status],
                "status": status,
                "detail": str(refused),
                "errors": refused.errors,
            }
            self.close_connection = True  # what is left of the request was not read
        try:
            self._send(status, document)
        except OSError:  # the worker is gone, or has given up waiting
            self.close_connection = True

    def _check_token(self) -> None:
        given = self.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            raise _Refused(401, "the token is missing or wrong; it stands in the endpoint's file")

    def _answer(self, method: str) -> tuple[int, Any]:
        pool, *rest = self._path()
        if pool != self.desk.pool.name:
            raise _Refused(404, f"this engine serves pool {self.desk.pool.name!r}")
        match method, rest:
            case "GET", []:
                return 200, pool_document(self.desk.state())
            case "POST", ["workers"]:
                welcome = self.desk.join(self._read(read_join))
                return 201, welcome_document(welcome)
            case "POST", ["workers", worker, "turn"]:
                turn = self._read(read_turn)
                try:
                    return 200, answer_document(self.desk.turn(worker, turn))
                except Busy:
                    detail = "what was reported is not recorded yet; say it again"
                    raise _Refused(503, detail) from None
            case "DELETE", ["workers", worker]:
                self.desk.leave(worker)
                return 200, {}
            case _:
                raise _Refused(404, f"there is no {method} {self.path[:200]}")

    def _path(self) -> list[str]:
        parts = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
        if len(parts) < 2 or parts[0] != "pools":
            raise _Refused(404, f"there is no {self.path[:200]}")
        return parts[1:]

    def _read(self, read: Callable[[object], Any]) -> Any:
        """Return what the body says."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            raise _Refused(411, "the request must say how long its body is")
        if int(length) > LARGEST_TURN:
            raise _Refused(413, f"the body has {int(length):,} bytes, {LARGEST_TURN:,} are allowed")
        try:
            document = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise _Refused(400, f"the body is not JSON: {error}") from None
        try:
            return read(document)
        except InvalidInput as error:
            problems = [problem_document(problem) for problem in error.problems]
            raise _Refused(422, str(error), problems) from None

    def _send(self, status: int, document: Any) -> None:
        body = json.dumps(document, separators=(",", ":")).encode()
        kind = "application/json" if status < 400 else "application/problem+json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
