"""Whatever is sent, the answer is one of the document's, and never a fault of our own."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rest.api_world import FAILED, Api, api_event

SETTINGS = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

FIELDS = (
    "tasks workflow upload name filename env_vars tags backend environments variables id command "
    "deps max_concurrent all defaults a"
)
PATHS = (
    "/runs /jobs /health /runs/{run} /runs/{run}/changes /runs/{run}/tasks /runs/{run}/failures "
    "/runs/{run}/tasks/a /runs/{run}/tasks/a/script /runs/{run}/tasks/a/why "
    "/runs/{run}/tasks/a/logs/output /runs/{run}/tasks/a/logs/error"
)
words = st.sampled_from(FIELDS.split())
paths = st.sampled_from(PATHS.split())
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), words
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(words, st.text(max_size=8)), inner, max_size=5),
    ),
    max_leaves=20,
)
texts = st.one_of(values.map(json.dumps), st.text(max_size=60), st.binary(max_size=40))
tasks = st.lists(
    st.fixed_dictionaries(
        {"id": st.text("ab.-_ é", max_size=3), "command": st.text(max_size=9)},
        optional={
            "deps": st.lists(st.text("ab*?[]", max_size=4), max_size=3),
            "env_vars": st.dictionaries(st.text(max_size=3), scalars, max_size=2),
            "tags": st.dictionaries(st.text(max_size=3), scalars, max_size=2),
            "time_limit": scalars,
            "memory": scalars,
            "retries": scalars,
            "image": scalars,
        },
    ),
    max_size=4,
)
names = st.sampled_from(
    ["limit", "cursor", "state", "workflow", "owner", "prefix", "match", "attempt", "final"]
)
queries = st.dictionaries(
    st.one_of(names, st.text(max_size=5)),
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.integers().map(str),
            st.sampled_from(["1", "failed", "running", "true", "a*", "[", "WzEuMCwgInIxIl0"]),
        ),
        min_size=1,
        max_size=2,
    ),
    max_size=3,
)


def sent(api: Api, path: str, body: str | bytes, headers: dict[str, str] | None = None) -> int:
    event = api_event("POST", path, headers=headers)
    if isinstance(body, bytes):
        event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    else:
        event["body"] = body
    return api.send(event).status


@SETTINGS
@given(body=texts, path=st.sampled_from(["/runs", "/plan", "/uploads"]), key=st.text(max_size=5))
def test_any_body_is_answered(api: Api, body: str | bytes, path: str, key: str) -> None:
    assert sent(api, path, body, {"Idempotency-Key": key}) < 500


@SETTINGS
@given(
    workflow=st.one_of(tasks, st.fixed_dictionaries({"tasks": tasks, "name": scalars}), values),
    more=st.dictionaries(words, values, max_size=3),
    bare=st.booleans(),
)
def test_anything_like_a_workflow_is_answered(
    api: Api, workflow: Any, more: dict[str, Any], bare: bool
) -> None:
    body = workflow if bare else {**more, "workflow": workflow}
    status = sent(api, "/runs", json.dumps(body))
    assert status in (200, 201, 400, 404, 422)
    planned = sent(api, "/plan", json.dumps(body))
    assert planned == (200 if status == 201 else status)


turns = st.fixed_dictionaries(
    {},
    optional={
        "want": scalars,
        "holding": values,
        "stopping": values,
        "starts": st.lists(st.dictionaries(st.sampled_from(["lease", "epoch", "at"]), scalars)),
        "reports": st.lists(
            st.fixed_dictionaries(
                {"lease": st.text(max_size=4), "epoch": scalars, "ended_at": scalars},
                optional={
                    "how": st.sampled_from(["exit", "signal", "returned"]),
                    "exit_code": scalars,
                },
            ),
            max_size=3,
        ),
    },
)


@SETTINGS
@given(body=st.one_of(turns, values))
def test_anything_a_worker_says_is_answered(api: Api, body: Any) -> None:
    for path in ("/pools/gpu/workers", "/pools/gpu/workers/w/turn", "/pools/a/workers/w/turn"):
        assert sent(api, path, json.dumps(body)) in (200, 201, 400, 404)


@SETTINGS
@given(path=paths, query=queries)
def test_any_query_is_answered(api: Api, path: str, query: dict[str, list[str]]) -> None:
    runs = api.store.find_runs("r")
    if runs:
        run = runs[0].id
    else:
        run = api.run({"id": "a", "retries": 1}, {"id": "b"})
        api.backend.logs["a/1"] = ["line\n"]
        api.attempt(run, "a", FAILED)
    answer = api.send(api_event("GET", path.format(run=run), query=query))
    assert answer.status in (200, 400, 404)


@SETTINGS
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH"]),
    parts=st.lists(
        st.one_of(st.sampled_from(["runs", "tasks", "plan", "logs", "why"]), st.text(max_size=9)),
        max_size=5,
    ),
)
def test_any_path_is_answered(api: Api, method: str, parts: list[str]) -> None:
    answer = api.send(api_event(method, "/" + "/".join(parts)))
    assert answer.status < 500
