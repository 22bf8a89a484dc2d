"""What schemathesis makes of the OpenAPI document, sent to the deployment by people of all kinds.

The same with many more examples, in one process: ``tests/rest/test_described.py``. Here it is API
Gateway's part, IAM's, and the real table behind the functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
import requests
import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st
from requests.auth import AuthBase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from hut.model.access import ROUTES, includes
from hut.rest.paging import encode_cursor
from tests.e2e.conftest import calm
from tests.e2e.deployment import Deployment
from tests.e2e.remote_hut import RemoteHut
from tests.e2e.test_access import OF_THE_ACCOUNT, Person, enforced, people
from tests.rest.described import read_document
from tests.sized import FACTOR, sized
from tests.testbed.running import REGION

__all__ = ["enforced", "people"]

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
OPERATIONS = [(method, path) for method, path in ROUTES if path != "/openapi.json"]


class Signed(AuthBase):
    """Signs a request as it is about to be sent."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        sent = AWSRequest(request.method, request.url, data=request.body or b"")
        SigV4Auth(self._credentials, "execute-api", REGION).add_auth(sent)
        request.headers.update(dict(sent.headers))
        return request


@pytest.fixture(scope="module")
def runs(deployment: Deployment, targets: Any, tmp_path_factory: Any) -> list[str]:
    """Runs there are: one whose task failed, one that was refused by nobody and completed."""
    folder = tmp_path_factory.mktemp("runs")
    hut = RemoteHut(folder, {"XDG_CONFIG_HOME": str(targets)}, deployment=deployment)
    failed = hut.run([{"id": "a", "command": "echo out; exit 1"}], exit_code=1)
    return [failed["id"], hut.run([{"id": "a", "command": "echo out"}])["id"]]


@pytest.fixture(scope="module")
def document(deployment: Deployment, targets: Any, runs: list[str], tmp_path_factory: Any) -> Any:
    """The description; what administrators configured meanwhile is undone at the end."""
    folder = tmp_path_factory.mktemp("document")
    hut = RemoteHut(folder, {"XDG_CONFIG_HOME": str(targets)}, deployment=deployment)
    before = hut.get("/config").document
    yield read_document({"run": runs, "task": ["a"], "name": ["batch"]})
    content = {name: before[name] for name in ("backends", "environments", "settings")}
    assert hut.call("PUT", "/config", content, headers={"If-Match": "*"}).status in (200, 201)
    calm(hut)


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as it:
        yield it


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_every_answer_to_anybody_is_described(
    deployment: Deployment,
    document: Any,
    people: Mapping[str, Person],
    session: requests.Session,
    method: str,
    path: str,
) -> None:
    operation = document[path][method]
    modes = schemathesis.GenerationMode
    cases = st.one_of(
        operation.as_strategy(generation_mode=modes.POSITIVE),
        operation.as_strategy(generation_mode=modes.NEGATIVE),
    )

    @sized(4, shrinks=FACTOR > 1)
    @given(case=cases, name=st.sampled_from([*people, "anonymous", "admin"]))
    def ask(case: Any, name: str) -> None:
        auth = None if name == "anonymous" else Signed(people[name].credentials)
        role = OF_THE_ACCOUNT[name] if auth is not None else None
        may = role is not None and includes(role, ROUTES[method, path])
        answer = case.call(base_url=deployment.url, session=session, auth=auth)
        if is_denied(answer):
            assert not may, answer.text
            return
        case.validate_response(answer, checks=CHECKS)

    ask()


def is_denied(answer: Any) -> bool:
    """Say whether the test bed's IAM refused a request: in its own words, API Gateway's differ."""
    if answer.status_code != 403 or "__type" not in answer.text:
        return False
    assert "is not authorized to perform: execute-api:Invoke" in answer.text
    return True


ODD = ["%00", "%0A", "%1B", "%2F", "%2e%2e", "..", ".", "~", "%25", "%FF", "%C3", "a%20b", "x" * 300,
       "%F0%9F%98%80", "*", "-", "+", ";", "'", "%22", "RUN%23x", "a" * 64]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_odd_names_in_paths_are_answered(hut: RemoteHut, runs: list[str], method: str) -> None:
    paths = ["/runs/{}", "/runs/{}/cancel", f"/runs/{runs[0]}/tasks/{{}}", "/environments/{}"]
    for odd in ODD:
        for path in paths:
            answer = hut.call(method, path.format(odd))
            assert answer.status < 500, (method, path, odd, answer.text)
            if odd != "%2F":  # slashes at the end of a path mean nothing
                assert answer.status >= 400, (method, path, odd, answer.text)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/runs/{run}/tasks/a/logs/output", {"cursor": encode_cursor(1, "f/999")}),
        ("/runs/{run}/tasks/a/logs/output", {"cursor": encode_cursor(1, "another")}),
        ("/runs/{run}/tasks/a/logs/output", {"attempt": "1" + "0" * 40}),
        ("/runs/{run}/tasks/a/logs/output", {"attempt": "-1"}),
        ("/runs/{run}/tasks", {"cursor": str(2**53)}),
        ("/runs/{run}/changes", {"cursor": str(2**53)}),
        ("/runs/{run}/failures", {"cursor": str(2**53)}),
        ("/runs", {"cursor": encode_cursor(1e300, "a")}),
        ("/runs", {"cursor": encode_cursor(-1.0, "a" * 64)}),
        ("/jobs", {"cursor": encode_cursor(2.0**53, "a" * 64, 2**53)}),
        ("/jobs", {"cursor": encode_cursor(0.0, "{run}", 7)}),
        ("/runs", {"tag": "k=" + "v" * 300}),
        ("/runs", {"workflow": "\U0001f6d6" * 1024}),
        ("/runs", {"owner": "x" * 1024}),
        ("/runs", {"owner": "", "workflow": ""}),
        ("/audit", {"until": "9999-12-31", "since": "0001-01-01"}),
        ("/audit", {"until": "9999-12-31"}),
        ("/audit", {"cursor": encode_cursor("9999999999.999999#x")}),
        ("/config/history", {"cursor": str(2**53)}),
        ("/config/history", {"cursor": "0"}),
        ("/config/versions/1000000000", {}),
    ],
)
def test_damaged_and_foreign_places_in_lists_are_answered(
    hut: RemoteHut, runs: list[str], path: str, query: dict[str, str]
) -> None:
    text = "&".join(f"{name}={quote(value)}" for name, value in query.items())
    answer = hut.call("GET", f"{path.format(run=runs[0])}?{text}")
    assert answer.status in (200, 400, 404), answer.text
    assert re.fullmatch(r"application/(problem\+)?json", answer.headers["Content-Type"])


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"\xff\xfe[\x00]\x00", {}),
        (b'[{"id": "\xff"}]', {}),
        (b"", {"Content-Type": "application/json"}),
        (b"a=b&c=d", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"--x\r\n\r\n--x--", {"Content-Type": "multipart/form-data; boundary=x"}),
        (b"\x1f\x8b\x08\x00", {"Content-Encoding": "gzip"}),
        (b"[" * 100_000, {}),
        (b'[{"id": "a", "command": "' + b"x" * 2_000_000 + b'"}]', {}),
        (b"[]", {"Idempotency-Key": "k" * 256}),
        (b"[]", {"Idempotency-Key": ""}),
        (b"[]", {"If-Match": "x" * 1000, "Accept": "text/html", "Accept-Encoding": "br, *;q=0"}),
    ],
    ids=lambda part: ascii(part)[:30],
)
def test_bodies_that_are_no_workflow_are_refused(
    hut: RemoteHut, body: bytes, headers: dict[str, str]
) -> None:
    answer = hut.call("POST", "/runs", body, headers=headers)
    assert answer.status in (400, 422), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.document["errors"]


def test_a_body_that_is_too_large_is_refused_by_somebody(hut: RemoteHut) -> None:
    for size in (7 * 1024 * 1024, 11 * 1024 * 1024):
        answer = hut.call("POST", "/plan", b" " * size)
        assert answer.status == 413
        assert answer.headers["Content-Type"].partition(";")[0] in (
            "application/json",
            "application/problem+json",
        )


def test_a_thousand_unknown_names_cost_no_minutes(hut: RemoteHut) -> None:
    """Counted in hints by a unit test; here: the answer comes before API Gateway gives up."""
    tasks = [{"id": f"t{n}", "command": "true", "deps": [f"u{n}"]} for n in range(20_000)]
    answer = hut.call("POST", "/plan", tasks)
    assert answer.status == 422
    assert "1,002 problems" in answer.document["detail"]
