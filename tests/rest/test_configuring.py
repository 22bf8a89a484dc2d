"""The configuration over the API: applied as a whole or by entries, looked at, used by runs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.rest.api_world import BOB, Api, api_event

ANY = {"If-Match": "*"}
PY = {"name": "py", "variables": {"PYTHONUTF8": "1"}}
QUEUE = "arn:aws:batch:eu-west-1:123456789012:job-queue/hut-ec2"


def gpu(**fields: Any) -> dict[str, Any]:
    return {"name": "gpu", "type": "batch", **fields}


def submitted(api: Api, **task: Any) -> Any:
    return api.store.get_run(api.run({"id": "t", **task})).settings


# Versions -----------------------------------------------------------------------------------------


def test_without_a_configuration_the_stack_counts(api: Api) -> None:
    answer = api.get("/config")
    assert answer.headers["ETag"] == '"0"'
    assert answer.json["version"] == 0
    assert answer.json["applied_by"] is None
    assert api.get("/config/history").json == []
    assert api.get("/environments").json == []
    assert [(each["name"], each["origin"]) for each in api.get("/backends").json] == [
        ("batch", "stack"),
        ("other", "stack"),
    ]
    assert api.get("/runs/" + api.run({"id": "t"})).json["config_version"] is None


def test_what_is_applied_is_the_next_version(api: Api) -> None:
    first = api.put(
        "/config",
        {"message": "begin", "environments": [PY], "settings": {"default_backend": "gpu"},
         "backends": [gpu(max_concurrent=2)]},
        headers={"If-Match": '"0"'},
    )  # fmt: skip
    assert first.status == 201
    assert first.headers["ETag"] == '"1"'
    assert (first.json["version"], first.json["changed"]) == (1, True)
    assert [each["path"] for each in first.json["differences"]] == [
        "backends.gpu",
        "environments.py",
        "settings.default_backend",
    ]
    api.now += 5
    second = api.put("/config", {"environments": []}, headers={"If-Match": '"1"'}, arn=BOB)
    assert second.status == 201
    assert {each["change"] for each in second.json["differences"]} == {"removed"}

    now = api.get("/config")
    assert now.headers["ETag"] == '"2"'
    assert (now.json["applied_by"], now.json["message"]) == ("role/Dev/bob", "")
    assert now.json["environments"] == []
    history = api.get("/config/history").json
    assert [(each["version"], each["message"]) for each in history] == [(2, ""), (1, "begin")]
    then = api.get("/config/versions/1").json
    assert then["environments"] == [PY]
    assert then["backends"] == [gpu(max_concurrent=2)]
    assert then["settings"] == {"default_backend": "gpu"}
    assert then["applied_by"] == "user/alice"
    assert then["applied_at"] < now.json["applied_at"]


def test_the_same_again_is_no_new_version(api: Api) -> None:
    body = {"environments": [{"name": "b"}, PY]}
    api.apply(**body)
    other_way = {"environments": [PY, {"name": "b"}], "message": "again"}
    for match in ('"1"', "*", '"0"'):  # "0": as the first request, whose answer was lost
        again = api.put("/config", other_way, headers={"If-Match": match})
        assert (again.status, again.json["version"], again.json["changed"]) == (200, 1, False)
    assert len(api.get("/config/history").json) == 1


def test_who_comes_second_is_told_who_was_first(api: Api) -> None:
    api.apply(environments=[PY], arn=BOB)
    late = api.put("/config", {"environments": []}, headers={"If-Match": '"0"'})
    assert (late.status, late.kind) == (409, "config-conflict")
    assert "role/Dev/bob" in late.json["detail"]
    assert "version 1" in late.json["detail"]
    assert api.get("/config").json["environments"] == [PY]


def test_who_comes_second_by_a_hair_is_told_too(api: Api) -> None:
    api.configurations.before_add = lambda: api.apply(environments=[PY], arn=BOB) and None
    late = api.put("/config", {"environments": [{"name": "b"}]}, headers={"If-Match": '"0"'})
    assert (late.status, late.kind) == (409, "config-conflict")
    assert "role/Dev/bob" in late.json["detail"]
    api.configurations.before_add = lambda: api.apply(environments=[], arn=BOB) and None
    last = api.put("/config", {"environments": [{"name": "b"}]}, headers=ANY)
    assert (last.status, last.json["version"]) == (201, 3)  # it said: whatever there is
    assert [each["name"] for each in api.get("/environments").json] == ["b"]


def test_a_rehearsal_stores_nothing(api: Api) -> None:
    answer = api.send(
        api_event("PUT", "/config", body=json.dumps({"environments": [PY]}),
                  query={"dry_run": "true"}, headers={"If-Match": '"0"'})
    )  # fmt: skip
    assert (answer.status, answer.json["version"], answer.json["changed"]) == (200, 1, True)
    assert api.get("/config").json["version"] == 0
    faulty = api.send(
        api_event("PUT", "/config", body='{"environments": [{"nam": 1}]}',
                  query={"dry_run": "true"}, headers=ANY)
    )  # fmt: skip
    assert faulty.status == 422


def test_history_has_pages(api: Api) -> None:
    for number in range(5):
        api.apply(environments=[{"name": f"e{number}"}])
    pages = api.pages("/config/history", limit="2")
    assert [[each["version"] for each in page] for page in pages] == [[5, 4], [3, 2], [1]]


def test_changes_are_on_record_and_rehearsals_are_not(api: Api) -> None:
    def last() -> tuple[str, str, str, dict[str, Any]]:
        act = api.get("/audit").json[0]
        return act["action"], act["who"], act["outcome"], act["detail"]

    api.apply(environments=[PY])
    applied = ("config.apply", "user/alice", "done", {"version": 1, "new": 1})
    assert last() == applied
    api.send(api_event("PUT", "/config", body="{}", query={"dry_run": "true"}, headers=ANY))
    assert last() == applied
    api.put("/environments/py", {"variables": {"A": "hidden"}}, arn=BOB)
    put = {"entry": "environments/py", "version": 2, "new": 1}
    assert last() == ("config.put", "role/Dev/bob", "done", put)
    api.put("/environments/py", {"wrong": "hidden"})
    action, _, outcome, detail = last()
    assert (action, outcome, detail["refusal"]) == (
        "config.put",
        "refused",
        "invalid-configuration",
    )
    api.delete("/environments/nope")
    assert last()[3] == {"entry": "environments/nope", "refusal": "unknown-entry"}
    assert "hidden" not in api.get("/audit").body


# What is kept and what is not ---------------------------------------------------------------------


def test_what_a_control_plane_does_not_use_is_told_and_not_kept(api: Api) -> None:
    notes = api.apply(
        backends=[
            {"name": "here", "type": "local"},
            {"name": "hpc", "type": "slurm", "ssh": {"host": "login", "user": "me"}},
            {"name": "one", "type": "ec2", "aws": {"region": "r"}, "ami": "al2023"},
            gpu(log_group="/mine"),
        ],
        sources=[{"name": "code", "type": "path", "path": "p"}],
        settings={"server_port": 1, "poll_interval": 9},
        environments=[{"name": "e", "variables": {"DB_PASSWORD": "x", "OLDPWD": "/", "TOKENS": 1}}],
    ).json["notes"]
    text = "\n".join(notes)
    for told in (
        "'here' (local)", "'hpc' (slurm)", "section sources", "settings.server_port",
        "settings.poll_interval", "'one' (ec2) is kept", "log_group", "environments.e.variables.DB_PASSWORD looks like a secret",
    ):  # fmt: skip
        assert told in text, told
    assert "OLDPWD" not in text
    assert "TOKENS" not in text
    kept = api.get("/config").json
    assert [each["name"] for each in kept["backends"]] == ["gpu", "one"]
    assert kept["settings"] == {}
    one = api.get("/backends/one").json
    assert (one["can_run"], one["type"]) == (False, "ec2")
    refused = api.post("/runs", {"tasks": [{"id": "t", "command": "x", "backend": "one"}]})
    assert refused.status == 422
    assert "no backend of type ec2 to make it from" in refused.body


@pytest.mark.parametrize(
    ("sections", "field", "told"),
    [
        ({"backends": [gpu(aws={"region": "eu-west-1", "job_queue": "q"}, default_image="i")]},
         "backends.gpu.aws.job_queue", "hut:queues"),
        ({"backends": [gpu(aws={"region": "us-east-1", "job_queue": "ec2"}, default_image="i")]},
         "backends.gpu.aws.region", "eu-west-1"),
        ({"backends": [gpu(job_role_arn="arn:aws:iam::123456789012:role/mine")]},
         "backends.gpu.job_role_arn", "hut:job_role_arn"),
        ({"backends": [gpu(execution_role_arn="arn:aws:iam::123456789012:role/mine")]},
         "backends.gpu.execution_role_arn", "hut:execution_role_arn"),
        ({"backends": [gpu(job_definition="d:1")]}, "backends.gpu.job_definition",
         "hut:job_definition"),
        ({"backends": [gpu(cpu_architecture="arm")]}, "backends[0].cpu_architecture", "arm"),
        ({"backends": [gpu(ephemeral_storage=500)]}, "backends[0].ephemeral_storage", "200"),
        ({"backends": [{**gpu(), "name": "a b"}]}, "backends.a b.name", "letters"),
        ({"environments": [{"name": "a#b"}]}, "environments.a#b.name", "letters"),
        ({"settings": {"default_backend": "gpus"}, "backends": [gpu()]},
         "settings.default_backend", "did you mean 'gpu'"),
        ({"backends": [{"name": "batch", "type": "ec2", "aws": {"region": "r"}, "ami": "al2023"}]}, "backends.batch.type", "own backend"),
        ({"environments": [{"name": "e", "extra_init": "x" * 262_144}]}, None, "262,144"),
        ({"backends": [{**gpu(), "name": f"b{n}"} for n in range(51)]}, "backends", "50"),
        ({"environments": [{"name": "e", "variable": {}}]}, "environments[0].variable", "'variables'"),
        ({"environments": [{"name": "e"}, {"name": "e"}]}, "environments[1].name", "twice"),
    ],
)  # fmt: skip
def test_what_can_not_be_followed_is_422(
    api: Api, sections: Any, field: str | None, told: str
) -> None:
    answer = api.put("/config", sections, headers=ANY)
    assert (answer.status, answer.kind) == (422, "invalid-configuration")
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert told in answer.json["errors"][0]["message"]
    assert api.get("/config").json["version"] == 0


def test_all_problems_are_told_at_once(api: Api) -> None:
    answer = api.put(
        "/config",
        {
            "backends": [gpu(aws={"region": "r", "job_queue": "q"}, default_image="i")],
            "environments": [{"name": "a b"}],
            "settings": {"default_backend": "x"},
        },
        headers=ANY,
    )
    assert len(answer.json["errors"]) == 4
    lines = '{"environments": [\n{"name": "e"},\n{"name": "f", "extra": 1}]}'
    (error,) = api.put("/config", lines, headers=ANY).json["errors"]
    assert error["line"] == 3


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (None, "no body"),
        ("[]", "object"),
        ("{", "line 1"),
        ('{"environments": [], "environments": []}', "twice"),
        ('{"enviroments": []}', "did you mean 'environments'"),
        ('{"message": 7}', "message"),
        ('{"message": "a\\nb"}', "one line"),
        ('{"message": "' + "x" * 501 + '"}', "500"),
    ],
)
def test_what_is_no_configuration_is_400(api: Api, body: str | None, told: str) -> None:
    answer = api.put("/config", body, headers=ANY)
    assert (answer.status, answer.kind) == (400, "malformed-request")
    assert told in answer.body


def test_a_change_says_which_version_it_changes(api: Api) -> None:
    assert api.put("/config", {}).status == 428
    for wrong in ("", "one", '"-1"', '"1", "2"', "9" * 12):
        answer = api.put("/config", {}, headers={"If-Match": wrong})
        assert answer.status == 400, wrong
    assert api.put("/config", {}, headers={"if-match": 'W/"0"'}).status == 200
    big = json.dumps({"message": " " * 11_000_000})
    assert api.put("/config", big, headers=ANY).status == 413


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/config/versions/1", 404),
        ("/config/versions/0", 400),
        ("/config/versions/x", 400),
        ("/config/history?cursor=x", 400),
        ("/config/version", 404),
        ("/backends/none", 404),
        ("/environments/none", 404),
        ("/environments/a%20b", 404),
    ],
)
def test_what_is_not_there(api: Api, path: str, status: int) -> None:
    path, _, query = path.partition("?")
    answer = api.send(api_event("GET", path, query=dict([query.split("=")]) if query else None))
    assert answer.status == status
    assert api.send(api_event("POST", "/config")).status == 405
    assert api.send(api_event("PUT", "/config", body="{}", headers=ANY, arn=None)).status == 403


# Entries ------------------------------------------------------------------------------------------


def test_environments_one_by_one(api: Api) -> None:
    made = api.put("/environments/py", {"variables": {"A": 1}, "extra_init": "module load py"})
    assert (made.status, made.json["version"]) == (201, 1)
    found = {"name": "py", "variables": {"A": "1"}, "extra_init": "module load py"}
    assert api.get("/environments").json == [found]
    assert api.get("/environments/py").json == found
    changed = api.put("/environments/py", {"variables": {"A": 2}}, headers={"If-Match": '"1"'})
    assert [each["path"] for each in changed.json["differences"]] == [
        "environments.py.extra_init",
        "environments.py.variables.A",
    ]
    assert api.put("/environments/py", {"variables": {"A": 2}}).status == 200
    late = api.put("/environments/py", {}, headers={"If-Match": '"1"'})
    assert (late.status, late.kind) == (409, "config-conflict")
    near = api.get("/environments/pi")
    assert (near.status, near.kind) == (404, "unknown-environment")
    gone = api.delete("/environments/py")
    assert (gone.status, gone.json["version"]) == (201, 3)
    assert api.get("/environments").json == []
    again = api.delete("/environments/py")
    assert (again.status, again.kind) == (404, "unknown-entry")
    messages = [each["message"] for each in api.get("/config/history").json]
    assert messages == ["delete environments/py", "put environments/py", "put environments/py"]


def test_changes_of_different_entries_do_not_lose_each_other(api: Api) -> None:
    api.configurations.before_add = lambda: api.put("/environments/b", {}, arn=BOB) and None
    answer = api.put("/environments/a", {})
    assert (answer.status, answer.json["version"]) == (201, 2)
    assert [each["name"] for each in api.get("/environments").json] == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (None, 400, None),
        ("[]", 400, None),
        ({"name": "py"}, 400, "name"),
        ({"variables": {"a-b": 1}}, 422, "variables.a-b"),
        ({"variables": {"HUT_RUN_ID": 1}}, 422, "variables.HUT_RUN_ID"),
        ({"extra": 1}, 422, "extra"),
    ],
)
def test_a_faulty_environment(api: Api, body: Any, status: int, field: str | None) -> None:
    answer = api.put("/environments/py", body)
    assert answer.status == status
    assert [error["field"] for error in answer.json["errors"]] == [field]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "type"),
        ({"type": "slurm", "ssh": {"host": "h", "user": "u"}}, "type"),
        ({"type": "batch", "max_concurrent": 0}, "max_concurrent"),
        ({"type": "batch", "default_image": "i", "aws": {"region": "eu-west-1", "job_queue": "q"}},
         "aws.job_queue"),
    ],
)  # fmt: skip
def test_a_faulty_backend(api: Api, body: Any, field: str) -> None:
    answer = api.put("/backends/gpu", body)
    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert api.put("/backends/a b", {"type": "batch"}).status == 404


def test_a_backend_is_added_changed_and_taken_away(api: Api) -> None:
    api.active["gpu"] = 3
    made = api.put(
        "/backends/gpu",
        {
            "type": "batch",
            "default_image": "cuda",
            "aws": {"region": "eu-west-1", "job_queue": QUEUE},
        },
    )
    assert made.status == 201
    found = api.get("/backends/gpu").json
    assert (found["origin"], found["can_run"], found["active"]) == ("configuration", True, None)
    assert (found["default_queue"], found["default_image"]) == ("ec2", "cuda")
    assert found["max_concurrent"] is None
    assert found["queues"] == ["ec2", "fargate"]
    assert submitted(api, backend="gpu").backends == {
        "gpu": {"default_image": "cuda", "default_queue": "ec2"}
    }
    assert api.delete("/backends/gpu").status == 201
    assert api.get("/backends/gpu").status == 404
    refused = api.post("/runs", {"tasks": [{"id": "t", "command": "x", "backend": "gpu"}]})
    assert refused.status == 422
    # Functions still know it, for the tasks of runs that were submitted before.
    (kept,) = api.configurations.current().backends
    assert (kept["name"], kept["retired"], kept["default_image"]) == ("gpu", True, "cuda")
    api.put("/backends/gpu", {"type": "batch"})
    assert api.configurations.current().backends == ({"name": "gpu"},)


def test_the_stacks_own_backend_is_refined_and_stays(api: Api) -> None:
    api.active["batch"] = 4
    assert api.put("/backends/batch", {"type": "batch", "max_concurrent": 7}).status == 201
    found = api.get("/backends/batch").json
    assert (found["origin"], found["refined"], found["max_concurrent"]) == ("stack", True, 7)
    assert found["active"] == 4
    assert found["configured"] == {"name": "batch", "type": "batch", "max_concurrent": 7}
    assert api.delete("/backends/batch").status == 201
    found = api.get("/backends/batch").json
    assert (found["refined"], found["max_concurrent"], found["configured"]) == (False, None, None)
    refused = api.delete("/backends/batch")
    assert (refused.status, refused.kind) == (409, "needed")
    assert "deployment's own" in refused.json["detail"]
    assert api.delete("/backends/nope").status == 404


def test_the_default_can_be_chosen_and_is_needed_then(api: Api) -> None:
    api.apply(backends=[gpu()], settings={"default_backend": "gpu"})
    first = api.get("/backends").json[0]
    assert (first["name"], first["default"]) == ("gpu", True)
    assert submitted(api).backend == "gpu"
    assert submitted(api, backend="batch").backend == "gpu"
    refused = api.delete("/backends/gpu")
    assert (refused.status, refused.kind) == (409, "needed")
    assert "default_backend" in refused.json["detail"]
    api.apply(backends=[gpu()])
    assert submitted(api).backend == "batch"


# Runs ---------------------------------------------------------------------------------------------


def test_runs_keep_the_version_they_were_submitted_with(api: Api) -> None:
    api.apply(environments=[PY], backends=[gpu(default_image="a", max_concurrent=1)])
    run = api.run({"id": "t", "environment": "py"})
    api.apply(environments=[{"name": "py", "variables": {"X": "2"}}])
    kept = api.store.get_run(run).settings
    assert kept.config_version == 1
    assert kept.environments["py"]["variables"] == {"PYTHONUTF8": "1"}
    assert kept.backends == {"gpu": {"default_image": "a"}}  # a cap is no matter of the run
    assert api.get(f"/runs/{run}").json["config_version"] == 1
    later = api.store.get_run(api.run({"id": "t", "environment": "py"})).settings
    assert (later.config_version, later.environments["py"]["variables"]) == (2, {"X": "2"})
    assert api.post("/plan", [{"id": "t", "command": "x"}]).json["config_version"] == 2


def test_an_environment_that_comes_along_goes_first_and_says_so(api: Api) -> None:
    api.apply(environments=[PY, {"name": "same", "variables": {"A": "1"}}])
    body = {
        "workflow": [{"id": "t", "command": "x", "environment": "py"}],
        "environments": {"py": {"variables": {"MINE": "1"}}, "same": {"variables": {"A": "1"}}},
    }
    (warning,) = api.post("/plan", body).json["warnings"]
    assert warning["field"] == "environments.py"
    assert "version 1" in warning["message"]
    answer = api.post("/runs", body).json
    assert len(answer["warnings"]) == 1
    kept = api.store.get_run(answer["id"]).settings.environments
    assert kept["py"]["variables"] == {"MINE": "1"}
    assert kept["same"]["variables"] == {"A": "1"}


def test_a_key_finds_its_run_though_the_configuration_changed(api: Api) -> None:
    body = [{"id": "t", "command": "x"}]
    first = api.post("/runs", body, headers={"Idempotency-Key": "k"})
    api.apply(environments=[PY])
    again = api.post("/runs", body, headers={"Idempotency-Key": "k"})
    assert (again.status, again.json["id"]) == (200, first.json["id"])
    assert again.json["config_version"] is None


def test_an_unknown_environment_names_the_applied_ones(api: Api) -> None:
    api.apply(environments=[PY])
    answer = api.post("/runs", [{"id": "t", "command": "x", "environment": "pyy"}])
    assert answer.status == 422
    assert "did you mean 'py'" in answer.body


# Whatever is sent ---------------------------------------------------------------------------------

WORDS = (
    "name type batch ec2 slurm aws region job_queue max_concurrent variables extra_init "
    "default_backend default_image ami subnet_id py gpu local"
)
words = st.sampled_from(WORDS.split())
scalars = st.one_of(st.none(), st.booleans(), st.integers(-2, 9), st.text(max_size=5), words)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)
sections = st.dictionaries(
    st.sampled_from(["backends", "environments", "settings", "message", "pricing", "x"]),
    st.one_of(values, st.lists(st.dictionaries(words, values, max_size=4), max_size=3)),
)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=sections, entry=st.dictionaries(words, values, max_size=4), name=st.text(max_size=4))
def test_anything_like_a_configuration_is_answered(
    api: Api, body: dict[str, Any], entry: dict[str, Any], name: str
) -> None:
    answer = api.put("/config", body, headers=ANY)
    assert answer.status in (200, 201, 400, 422), answer.body
    for path in ("/backends/gpu", "/environments/py", f"/environments/{name}"):
        assert api.put(path, entry).status in (200, 201, 400, 404, 405, 422)
    for path in ("/config", "/backends", "/environments", "/config/history"):
        assert api.get(path).status == 200
    assert api.post("/plan", [{"id": "t", "command": "x"}]).status == 200
