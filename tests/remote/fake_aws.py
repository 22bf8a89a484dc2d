"""AWS as far as hutctl sees it, in this process: Hut's API, CloudFormation, STS, a bucket.

What is answered is scripted by the test; every request is kept, and its signature is checked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

STAGE = "/prod"
KEY, SECRET = "AKIDEXAMPLE", "the-secret"
REGION = "eu-west-1"


@dataclass
class Request:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What is answered."""

    status: int = 200
    content: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


DROP = "drop"
"""In place of a reply: the connection is closed without one."""

Scripted = Reply | str | Callable[[Request], Reply]


def problem(status: int, kind: str, detail: str, *errors: Mapping[str, Any]) -> Reply:
    """A problem document as the API sends it."""
    document = {
        "type": f"urn:hut:problem:{kind}",
        "title": "?",
        "status": status,
        "detail": detail,
        "errors": list(errors),
    }
    return Reply(status, document, {"Content-Type": "application/problem+json"})


def refused(kind: str, message: str, **headers: str) -> Reply:
    """A refusal as API Gateway sends it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(403, {"message": message}, {"x-amzn-ErrorType": kind, **named})


class FakeAws:
    """The server; it can be stopped and started again at the same address."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[str] = []
        self.secrets = {KEY: SECRET}
        self.stacks: dict[str, Mapping[str, str]] = {}
        self.denied: str | None = None  # what AWS's own services say to everything
        self.bucket: dict[str, bytes] = {}
        self.otherwise: Callable[[Request], Reply] | None = None
        self._script: dict[tuple[str, str], list[Scripted]] = {}
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0
        self.start()
        self.on("GET", "/health", {"status": "ok", "version": "0.1.0", "prefix": "hut"})

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return self.host + STAGE

    def start(self) -> None:
        """Listen, at the same port as before."""
        handler = type("Handler", (_Handler,), {"aws": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self) -> None:
        """Be gone."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None

    def on(self, method: str, path: str, *answers: Any) -> None:
        """Answer a route, one answer after the other; the last one counts from then on."""
        replies = [
            answer if isinstance(answer, Reply | str) or callable(answer) else Reply(200, answer)
            for answer in answers
        ]
        with self._lock:
            self._script[method, path] = replies

    def seen(self, method: str, path: str) -> list[Request]:
        """The requests that came for a route."""
        with self._lock:
            return [r for r in self.requests if (r.method, r.path) == (method, path)]

    def reply_to(self, request: Request) -> Reply | str:
        with self._lock:
            self.requests.append(request)
            script = self._script.get((request.method, request.path))
            if script is None and self.otherwise is not None:
                return self.otherwise(request)
            if script is None and request.path == "/backends":
                return Reply(200, [])
            if script is None:
                return problem(404, "unknown-route", f"no route {request.path}")
            scripted = script.pop(0) if len(script) > 1 else script[0]
        return scripted(request) if callable(scripted) else scripted

    def service(self, form: Mapping[str, list[str]]) -> Reply:
        """CloudFormation and STS."""
        action = form["Action"][0]
        if self.denied is not None:
            return _service_error("AccessDenied", self.denied, 403)
        if action == "GetCallerIdentity":
            return _xml(
                "GetCallerIdentity",
                "<Arn>arn:aws:iam::123456789012:user/ada</Arn><UserId>U</UserId>"
                "<Account>123456789012</Account>",
            )
        name = form["StackName"][0]
        if action != "DescribeStacks" or name not in self.stacks:
            return _service_error("ValidationError", f"Stack with id {name} does not exist", 400)
        outputs = "".join(
            f"<member><OutputKey>{key}</OutputKey><OutputValue>{value}</OutputValue></member>"
            for key, value in self.stacks[name].items()
        )
        return _xml(
            "DescribeStacks",
            f"<Stacks><member><StackName>{name}</StackName>"
            "<CreationTime>2026-01-01T00:00:00Z</CreationTime>"
            f"<StackStatus>CREATE_COMPLETE</StackStatus><Outputs>{outputs}</Outputs>"
            "</member></Stacks>",
        )

    def check_signature(self, request: Request, raw_path: str) -> None:
        """Compute the signature anew, from what came, and compare."""
        given = request.headers.get("authorization", "")
        try:
            assert given.startswith("AWS4-HMAC-SHA256 "), given
            parts = dict(part.split("=", 1) for part in given.split(" ", 1)[1].split(", "))
            key, date, region, service, end = parts["Credential"].split("/")
            assert (region, service, end) == (REGION, "execute-api", "aws4_request"), given
            stamp = request.headers["x-amz-date"]
            assert stamp.startswith(date), stamp
            signed = parts["SignedHeaders"].split(";")
            assert "host" in signed
            assert "x-amz-date" in signed
            assert ("x-amz-security-token" in signed) == ("x-amz-security-token" in request.headers)
            headers = {name: request.headers[name] for name in signed}
            mine = AWSRequest(request.method, self.host + raw_path, headers, request.body)
            mine.context["timestamp"] = stamp
            auth = SigV4Auth(Credentials(key, self.secrets[key]), service, region)
            text = auth.string_to_sign(mine, auth.canonical_request(mine))
            assert auth.signature(text, mine) == parts["Signature"], "the signature is wrong"
        except (AssertionError, KeyError, ValueError) as error:
            self.faults.append(f"{request.method} {raw_path}: {error!r}")


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about clients that go away: tests make them."""


class _Handler(BaseHTTPRequestHandler):
    aws: FakeAws
    protocol_version = "HTTP/1.1"
    timeout = 0.5  # an idle connection must not hold up the end

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = unquote(parts.path)
        if path == "/" and self.command == "POST":
            self._send(self.aws.service(parse_qs(body.decode())))
            return
        if path.startswith("/bucket/"):
            reply = self.aws.reply_to(Request(self.command, path, {}, headers, body))
            if isinstance(reply, Reply) and reply.status == 200:
                self.aws.bucket[path] = body
            self._send(reply)
            return
        path = path.removeprefix(STAGE)
        request = Request(self.command, path, dict(parse_qsl(parts.query)), headers, body)
        self.aws.check_signature(request, self.path)
        self._send(self.aws.reply_to(request))

    do_GET = do_POST = do_PUT = _handle  # noqa: N815 - names of the base class

    def _send(self, reply: Reply | str) -> None:
        if isinstance(reply, str):
            self.close_connection = True
            return
        content = reply.content
        if not isinstance(content, bytes):
            content = json.dumps(content).encode() if content is not None else b""
        headers = {"Content-Type": "application/json", "Date": formatdate(usegmt=True)}
        headers.update(reply.headers)
        self.send_response_only(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


def _xml(action: str, result: str) -> Reply:
    text = f"<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"
    return Reply(200, text.encode(), {"Content-Type": "text/xml"})


def _service_error(code: str, message: str, status: int) -> Reply:
    text = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
    return Reply(status, text.encode(), {"Content-Type": "text/xml"})
