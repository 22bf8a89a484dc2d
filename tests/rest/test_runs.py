"""Runs: lists, following, cancelling, retrying; failures and jobs."""

from __future__ import annotations

import pytest

from hut.rest import attempts
from tests.rest.api_world import CANCELLED, COMPLETED, FAILED, Api


def test_health_tells_version_and_prefix(api: Api) -> None:
    assert api.get("/health").json == {"status": "ok", "version": "1.2.3", "prefix": "hut"}


def test_runs_are_listed_newest_first_page_by_page(api: Api) -> None:
    ids = []
    for number in range(7):
        api.now += number % 2  # some at the same instant
        ids.append(api.run({"id": "a"}))
    pages = api.pages("/runs", limit="3")
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [run["id"] for page in pages for run in page] == ids[::-1]
    assert len(api.pages("/runs", limit="7")) == 1


def test_the_next_page_keeps_the_filters(api: Api) -> None:
    for _ in range(3):
        api.run({"id": "a"}, name="w&x")
    answer = api.get("/runs", limit="2", workflow="w&x", state=["pending", "running"])
    link = answer.headers["Link"]
    assert link.startswith("</v1/runs?limit=2&workflow=w%26x&state=pending&state=running&cursor=")


def test_runs_are_filtered(api: Api) -> None:
    first = api.run({"id": "a"}, name="one")
    second = api.run({"id": "a"}, name="two")
    api.post(f"/runs/{first}/cancel")

    def found(**query: str | list[str]) -> list[str]:
        return [run["id"] for run in api.get("/runs", **query).json]

    assert found(workflow="one") == [first]
    assert found(state="cancelled") == [first]
    assert found(state="pending,cancelled") == [second, first]
    assert found(state=["pending", "cancelled"]) == [second, first]
    assert found(owner="user/alice") == [second, first]
    assert found(owner="user/bob") == []
    third = api.run({"id": "a"}, tags={"project": "x=y", "night": ""})
    assert found(tag="project=x=y") == found(tag=["night=", "project=x=y"]) == [third]
    assert found(tag=["night=1", "project=x=y"]) == []
    assert found(tag="night=", state="cancelled") == []
    assert found(prefix="r0", limit="3") == [third, second, first]
    assert api.get("/runs", tag="project").json["errors"][0]["field"] == "tag"
    assert api.get("/runs", tag="a=b", prefix="r").status == 400
    assert found(prefix="r0", limit="1") == [third]
    assert found(prefix=second) == [second]
    assert found(prefix="zz") == []


def test_a_run_is_shown(api: Api) -> None:
    run = api.run({"id": "a"}, {"id": "b"}, description="what it is")
    document = api.get(f"/runs/{run}").json
    assert (document["id"], document["total"], document["description"]) == (run, 2, "what it is")
    assert api.get(f"/runs/{run}/").json == document


def test_changes_are_followed_by_cursor(api: Api) -> None:
    run = api.run({"id": "a"}, {"id": "b"})
    empty = api.get(f"/runs/{run}/changes").json
    assert (empty["changes"], empty["cursor"], empty["running"]) == ([], 0, [])

    claims = api.claim(run)
    api.start(run, claims["a"])
    seen = api.get(f"/runs/{run}/changes").json
    assert [change["task"] for change in seen["changes"]] == ["a", "b", "a"]
    assert seen["running"] == [
        {"task_id": "a", "attempt": 1, "since": "1970-01-01T00:16:40.000000Z"}
    ]
    more = api.get(f"/runs/{run}/changes", cursor=str(seen["cursor"])).json
    assert (more["changes"], more["cursor"]) == ([], seen["cursor"])

    api.end(run, claims["a"], COMPLETED)
    api.end(run, claims["b"], FAILED)
    rest = api.get(f"/runs/{run}/changes", cursor=str(seen["cursor"])).json
    assert [(c["task"], c["state"], c["exit_code"]) for c in rest["changes"]] == [
        ("a", "completed", 0),
        ("b", "failed", 1),
    ]
    assert rest["run"]["state"] == "failed"
    steps, cursor = [], 0
    while page := api.get(f"/runs/{run}/changes", cursor=str(cursor), limit="2").json:
        if not page["changes"]:
            break
        steps += page["changes"]
        cursor = page["cursor"]
    assert steps == [*seen["changes"], *rest["changes"]]


def test_cancelling_ends_at_once_what_does_not_run(api: Api) -> None:
    run = api.run({"id": "a"})
    answer = api.post(f"/runs/{run}/cancel")
    assert (answer.status, answer.json["state"]) == (200, "cancelled")
    assert api.post(f"/runs/{run}/cancel", "{}").status == 200


def test_cancelling_says_that_tasks_still_end(api: Api) -> None:
    run = api.run({"id": "a"})
    claim = api.claim(run)["a"]
    api.start(run, claim)
    answer = api.post(f"/runs/{run}/cancel")
    assert (answer.status, answer.json["state"]) == (202, "running")
    assert answer.json["cancel_requested_at"] is not None
    api.end(run, claim, CANCELLED)
    assert api.get(f"/runs/{run}").json["state"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "repeated"), [(None, 1), ({}, 1), ({"all": False}, 1), ({"all": True}, 2)]
)
def test_retrying_repeats_what_did_not_complete_or_everything(
    api: Api, body: object, repeated: int
) -> None:
    run = api.run({"id": "a"}, {"id": "b"})
    api.attempt(run, "a", COMPLETED)
    api.attempt(run, "b", FAILED)
    answer = api.post(f"/runs/{run}/retry", body)
    assert (answer.status, answer.json["repeated"]) == (202, repeated)
    assert answer.json["run"]["counts"]["pending"] == repeated


def test_a_run_that_goes_on_is_not_retried(api: Api) -> None:
    run = api.run({"id": "a"})
    answer = api.post(f"/runs/{run}/retry")
    assert (answer.status, answer.kind) == (409, "run-not-ended")
    assert run in answer.json["detail"]


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_nothing_is_done_to_a_run_that_does_not_exist(api: Api, action: str) -> None:
    assert api.post(f"/runs/nosuchrun/{action}").kind == "unknown-run"


def test_failures_come_with_their_commands(api: Api) -> None:
    run = api.run(
        {"id": "a", "command": "try a", "retries": 1, "tags": {"k": "v"}},
        {"id": "b", "command": "try b", "retries": 1},
        {"id": "c"},
        {"id": "d"},
    )
    api.attempt(run, "b", FAILED)
    api.attempt(run, "a", FAILED)
    api.attempt(run, "a", FAILED)
    api.attempt(run, "b", COMPLETED)
    api.attempt(run, "c", CANCELLED)
    failures = api.get(f"/runs/{run}/failures").json
    assert [(f["task"], f["attempt"], f["final"]) for f in failures] == [
        ("b", 1, False),
        ("a", 1, False),
        ("a", 2, True),
    ]
    assert failures[2]["command"] == "try a"
    assert (failures[2]["tags"], failures[2]["exit_code"]) == ({"k": "v"}, 1)
    final = api.get(f"/runs/{run}/failures", final="true").json
    assert final == [failures[2]]


def test_failures_are_paged_by_task(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "_TASKS_AT_ONCE", 3)
    monkeypatch.setattr(attempts, "_MOST_TASKS", 6)
    run = api.run(*({"id": f"t{n}"} for n in range(20)))
    for number in (0, 2, 4, 13, 19):
        api.attempt(run, f"t{number}", FAILED)
    expected = ["t0", "t2", "t4", "t13", "t19"]
    for query in ({"limit": "2"}, {"limit": "1"}, {}, {"limit": "2", "final": "true"}):
        pages = api.pages(f"/runs/{run}/failures", **query)
        assert [entry["task"] for page in pages for entry in page] == expected
        assert len(pages) > 1 or "final" in query


def test_failures_of_large_commands_fit(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "MOST_BYTES", 50_000)
    run = api.run(
        *({"id": f"t{n}", "command": "x" * size} for n, size in enumerate([99, 60_000, 20_000, 9]))
    )
    for number in range(4):
        api.attempt(run, f"t{number}", FAILED)
    pages = api.pages(f"/runs/{run}/failures")
    assert [[entry["task"] for entry in page] for page in pages] == [["t0"], ["t1", "t2", "t3"]]
    assert pages[1][0]["command"].endswith("(50,000 more characters)")


def test_jobs_are_the_active_attempts_of_all_runs(api: Api) -> None:
    runs = []
    for _ in range(3):
        api.now += 1
        runs.append(api.run({"id": "a"}, {"id": "b"}, {"id": "c", "deps": ["b"]}))
    for run in runs:
        claims = api.claim(run)
        api.start(run, claims["a"])
    api.run({"id": "idle"})
    jobs = api.get("/jobs").json
    expected = [(run, task) for run in runs[::-1] for task in ("a", "b")]
    assert [(job["run"], job["task"]) for job in jobs] == expected
    assert (jobs[0]["job_id"], jobs[0]["state"], jobs[0]["attempt"]) == ("job-a-1", "running", 1)
    assert (jobs[1]["state"], jobs[1]["started_at"]) == ("submitted", None)
    for limit in ("1", "2", "3", "5"):
        pages = api.pages("/jobs", limit=limit)
        assert [(job["run"], job["task"]) for page in pages for job in page] == expected
    assert {job["task"] for job in api.get("/jobs", state="running").json} == {"a"}
    assert {job["task"] for job in api.get("/jobs", state="submitted").json} == {"b"}


def test_jobs_are_found_behind_many_runs_without_any(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "_MOST_RUNS", 2)
    busy = api.run({"id": "a"})
    api.claim(busy)
    for _ in range(5):
        api.now += 1
        api.run({"id": "idle"})
    pages = api.pages("/jobs")
    assert [job["run"] for page in pages for job in page] == [busy]
    assert len(pages) == 4
