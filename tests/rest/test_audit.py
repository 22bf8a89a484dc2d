"""The audit record: noted before anything changes, with what became of it; and the list of it."""

from __future__ import annotations

from typing import Any

import pytest

from hut.model.audit import ActFilter, Outcome
from tests.rest.api_world import BOB, COMPLETED, FAILED, REQUEST_ID, Api, api_event

TASKS: list[dict[str, Any]] = [
    {"id": "a", "command": "echo secret-command", "env_vars": {"KEY": "secret-value"}},
]


def test_who_submits_is_noted_with_what_it_became(api: Api) -> None:
    run = api.post("/runs", {"tasks": TASKS, "name": "nightly"}).json["id"]
    [entry] = api.get("/audit").json
    assert entry == {
        "id": REQUEST_ID,
        "at": "1970-01-01T00:16:40.000000Z",
        "action": "submit",
        "who": "user/alice",
        "source_ip": "192.0.2.1",
        "user_agent": "",
        "run": run,
        "detail": {"workflow": "nightly", "tasks": 1, "new": 1},
        "outcome": "done",
        "ended_at": "1970-01-01T00:16:40.000000Z",
    }


def test_the_same_key_again_is_noted_as_nothing_new(api: Api) -> None:
    for new in (1, 0):
        api.post("/runs", TASKS, headers={"Idempotency-Key": "k"})
        assert api.audit.ended["submit"].detail["new"] == new


def test_who_cancels_and_who_repeats_is_noted(api: Api) -> None:
    run = api.run({"id": "a"})
    api.post(f"/runs/{run}/cancel", arn=BOB)
    api.post(f"/runs/{run}/retry", {"all": True}, arn=BOB)
    retry, cancel, _ = api.get("/audit").json
    assert [(e["action"], e["who"], e["run"]) for e in (cancel, retry)] == [
        ("cancel", "role/Dev/bob", run),
        ("retry", "role/Dev/bob", run),
    ]
    assert (cancel["outcome"], retry["outcome"]) == ("done", "done")
    assert retry["detail"] == {"all": 1, "tasks": 1}


def test_what_is_only_looked_at_is_not_noted(api: Api) -> None:
    run = api.run({"id": "a"})
    api.audit.begun.clear()
    api.post("/plan", TASKS)
    api.post("/uploads")
    api.get(f"/runs/{run}")
    api.get("/audit")
    assert api.audit.begun == []


def test_commands_variables_and_contents_are_not_in_it(api: Api) -> None:
    api.post("/runs", {"workflow": {"tasks": TASKS}, "env_vars": {"X": "secret-too"}})
    api.post("/runs", {"tasks": [{**TASKS[0], "memory": "secret-memory"}]})
    noted = repr((api.audit.begun, api.audit.ended))
    assert "secret" not in noted


def test_without_a_note_nothing_is_done(api: Api) -> None:
    run = api.run({"id": "a"})
    api.audit.broken = frozenset({"begin"})
    assert api.post("/runs", TASKS).status == 500
    assert api.post(f"/runs/{run}/cancel").status == 500
    api.audit.broken = frozenset()
    assert len(api.get("/runs").json) == 1
    assert api.get(f"/runs/{run}").json["cancel_requested_at"] is None


def test_what_was_done_stays_done_where_its_outcome_can_not_be_noted(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.audit.broken = frozenset({"end"})
    answer = api.post("/runs", TASKS)
    assert answer.status == 201
    [entry] = api.get("/audit").json
    assert (entry["outcome"], entry["ended_at"], entry["run"]) == (None, None, None)
    assert "the outcome of a change could not be noted" in caplog.text


def test_what_was_refused_is_noted_as_that(api: Api) -> None:
    assert api.post("/runs", [{"id": "a"}]).status == 422
    [entry] = api.get("/audit").json
    assert (entry["outcome"], entry["detail"]) == ("refused", {"refusal": "invalid-workflow"})


def test_a_fault_of_our_own_is_noted_as_that(api: Api) -> None:
    api.fault = ConnectionError("secret words")
    assert api.post("/runs", TASKS).status == 500
    assert api.audit.ended["submit"].outcome is Outcome.FAILED
    assert "secret" not in repr(api.audit.ended)


def test_nobody_without_an_identity_leaves_a_note(api: Api) -> None:
    run = api.run({"id": "a"})
    api.audit.begun.clear()
    assert api.post(f"/runs/{run}/cancel", arn=None).status == 403
    assert api.audit.begun == []
    assert api.get(f"/runs/{run}").json["cancel_requested_at"] is None


def test_filters_and_pages_are_handed_on(api: Api) -> None:
    api.audit.onward = "1700000000.000000#0f0e"
    answer = api.get(
        "/audit",
        since="2026-11-01",
        until="2026-11-02T00:00:00+01:00",
        who="user/alice",
        action="config.apply",
        run="r1",
        limit="7",
    )
    cursor = answer.headers["X-Next-Cursor"]
    assert api.get("/audit", cursor=cursor).status == 200
    asked, following = api.audit.asked
    assert asked == ActFilter(
        1793491200.0, 1793574000.0, "user/alice", "config.apply", "r1", None, 7
    )
    assert following.before == api.audit.onward


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("since", "yesterday"),
        ("since", "2026-13-01"),
        ("since", "2026-11-01T00:00:00"),
        ("until", "1969-01-01"),
        ("since", ""),
        ("until", ""),
        ("action", "Submit!"),
        ("run", "../x"),
        ("limit", "0"),
        ("cursor", "x"),
        ("cursor", "WyIxIl0"),
        ("nothing", "x"),
    ],
)
def test_what_can_not_be_asked_is_told(api: Api, field: str, value: str) -> None:
    answer = api.get("/audit", **{field: value})
    assert answer.status == 400
    assert answer.json["errors"][0]["field"] == field
    assert api.audit.asked == []


def test_the_clients_own_words_are_kept(api: Api) -> None:
    event = api_event("POST", "/runs", body='[{"id": "a", "command": "true"}]')
    event["requestContext"]["identity"]["userAgent"] = "hutctl/1.0"
    assert api.send(event).status == 201
    assert api.audit.begun[0].user_agent == "hutctl/1.0"


def test_runs_that_end_by_themselves_leave_no_note(api: Api) -> None:
    run = api.run({"id": "a"}, {"id": "b"})
    api.audit.begun.clear()
    api.attempt(run, "a", COMPLETED)
    api.attempt(run, "b", FAILED)
    assert api.audit.begun == []
