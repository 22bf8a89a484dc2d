"""The Lambda's own module: it hands the event on, and looks for its services only then."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

from handlers.api import handler
from hut.measuring import measure
from hut.metrics import Metric
from hut.store.port import UnusableStore
from tests.rest.api_world import Api, api_event

if TYPE_CHECKING:
    import pytest


def test_the_handler_answers_with_the_services_that_are_wired(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = SimpleNamespace(services=lambda: api.services)
    monkeypatch.setitem(sys.modules, "handlers.serving", serving)
    answer = handler(api_event("GET", "/health"), SimpleNamespace(aws_request_id="x"))
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["version"] == "1.2.3"


def test_what_a_request_measures_is_published_with_it(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ends that workers report are; else they would wait for the next submission."""

    def services() -> object:
        measure(Metric.TASKS_COMPLETED, 3)
        return api.services

    monkeypatch.setitem(sys.modules, "handlers.serving", SimpleNamespace(services=services))
    handler(api_event("GET", "/health"), SimpleNamespace(aws_request_id="x"))
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [d["TasksCompleted"] for d in documents if "_aws" in d] == [[3.0]]


def test_a_table_that_needs_a_later_hut_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def services() -> None:
        raise UnusableStore("table t needs a Hut that knows form 9 of its data: deploy the release")

    monkeypatch.setitem(sys.modules, "handlers.serving", SimpleNamespace(services=services))
    answer = handler(api_event("GET", "/runs"), SimpleNamespace(aws_request_id="x"))
    assert answer["statusCode"] == 503
    problem = json.loads(answer["body"])
    assert problem["type"].endswith("unusable")
    assert "deploy the release" in problem["detail"]


def test_every_answer_is_kept_from_caches_and_pages(api: Api) -> None:
    """Documents, texts and problems; also what no route gave, and faults of our own."""
    run = api.run({"id": "a", "command": "echo '<script>alert(1)</script>'"})
    api.fault = RuntimeError("broken")
    answers = [
        api.get("/health"),
        api.get(f"/runs/{run}/tasks/a/script"),
        api.get("/nowhere"),
        api.post("/runs", [{"id": "a", "command": "true"}]),
        api.get("/health", origin="https://elsewhere.example"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 404, 500, 400]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not any(name.lower().startswith("access-control-") for name in answer.headers)
        assert answer.headers["Content-Type"].partition(";")[0] != "text/html"
