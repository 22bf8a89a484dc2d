"""Every route with all that its description allows, and with what it does not: no answer surprises.

schemathesis makes the requests from the OpenAPI document; the handlers answer, over SQLite.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.rest.api_world import COMPLETED, FAILED, Api, api_event
from tests.rest.described import CHECKS, Gateway, read_document
from tests.sized import sized


def _lived_in() -> tuple[Api, list[str]]:
    """Return an API with runs that have ended, failed and go on."""
    api = Api(Path(tempfile.mkdtemp(prefix="hut-described-")))
    failed = api.run({"id": "a", "retries": 1}, {"id": "b", "deps": ["a"]})
    done = api.run({"id": "a"}, name="done", tags={"k": "v"})
    waiting = api.run({"id": "a"}, {"id": "b"})
    api.backend.logs |= {"a/1": ["one\n", "two\n"], "a/2": ["\x1b[31mthree\n"]}
    api.attempt(failed, "a", FAILED)
    api.attempt(failed, "a", FAILED)
    api.attempt(done, "a", COMPLETED)
    api.start(waiting, api.claim(waiting, 1)["a"])
    api.apply(environments=[{"name": "py", "variables": {"A": "b"}}])
    return api, [failed, done, waiting]


API, RUNS = _lived_in()
SCHEMA = read_document({"run": RUNS, "task": ["a", "b"], "name": ["batch", "other", "py"]})
SCHEMA.app = Gateway(API)


@SCHEMA.parametrize()
@sized(20)
def test_every_answer_is_described(case: Any) -> None:
    case.call_and_validate(checks=CHECKS)


TEXTS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", " ", "k", "k" * 256, "ключ", "a\nb", "a,b", "*", '"1"', "W/1", "\0", "9" * 50]
    ),
)
HEADERS = st.sampled_from(
    ["Idempotency-Key", "idempotency-key", "If-Match", "Content-Type", "Accept", "Accept-Encoding"]
)


@sized(80)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
    path=st.sampled_from(["/runs", "/plan", "/config", "/environments/py", "/uploads", "/nothing"]),
    headers=st.lists(st.tuples(HEADERS, TEXTS), max_size=4),
    body=st.one_of(
        st.none(),
        st.just('[{"id": "a", "command": "true"}]'),
        st.sampled_from(["{}", "[", "null", '{"tasks": []}', "{}" * 3, "[" * 3000, "\ufeff[]"]),
        st.text(max_size=20),
    ),
    odd=st.dictionaries(
        st.sampled_from(
            ["headers", "multiValueHeaders", "queryStringParameters", "requestContext", "body"]
        ),
        st.none(),
        max_size=2,
    ),
)
def test_headers_of_all_kinds_are_answered(
    method: str,
    path: str,
    headers: list[tuple[str, str]],
    body: str | None,
    odd: dict[str, Any],
) -> None:
    """Repeated, empty, foreign: API Gateway hands all of it on, and leaves out what is not there."""
    event = api_event(method, path, body=body)
    event["headers"] = dict(headers)
    event["multiValueHeaders"] = {}
    for name, value in headers:
        event["multiValueHeaders"].setdefault(name, []).append(value)
    assert API.send(event | odd).status < 500
