"""Documents have the keys of the contract, whatever the record, and are plain JSON."""

import json
import re

import pytest

from hut import views
from hut.explanation import Explanation
from hut.model.problems import Problem
from hut.model.quantities import Gres
from hut.model.records import Attempt, Change, Outcome, Refusal, RunSettings
from hut.model.states import Reason, RunState, TaskState
from hut.model.workflow import Resources, RetryPolicy, TaskSpec
from hut.planning import plan_text
from tests.unit.plain_records import plain_run, plain_task

RUN_KEYS = {
    "id", "workflow", "state", "reason", "owner", "created_at", "started_at", "ended_at", "total",
    "counts", "cost", "cost_lost", "losses",
}  # fmt: skip
TASK_KEYS = {
    "id", "name", "state", "reason", "message", "exit_code", "attempt", "attempts", "deps",
    "backend", "job_id", "created_at", "submitted_at", "started_at", "ended_at",
}  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def make_run(**changes):
    counts = dict.fromkeys(TaskState, 0) | {TaskState.COMPLETED: 3}
    return plain_run(**{"started_at": 1.5, "total": 3, "counts": counts, **changes})


def make_task(state=TaskState.PENDING, spec=None, **changes):
    return plain_task(state, spec or TaskSpec("t", "true", "the t", ("a.*", "b")), **changes)


def make_attempt(number, state=TaskState.FAILED, **changes):
    outcome = Outcome(state, Reason.EXIT, 0 if state is TaskState.COMPLETED else 3, "exit code 3")
    fields = {
        "number": number,
        "outcome": outcome,
        "submitted_at": 10.0,
        "started_at": 11.0,
        "ended_at": 12.0,
        "backend": "local",
        "handle": "77",
    }
    return Attempt(**{**fields, **changes})


def as_json(document):
    """Return a document as its reader gets it; it must not hold anything that is not JSON."""
    text = json.dumps(document, allow_nan=False)
    read = json.loads(text)
    assert read == document
    return read


# Runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", RunState)
def test_a_run_has_the_keys_of_the_contract(state):
    document = as_json(views.run_document(make_run(state=state, reason=Reason.TASK_FAILED)))
    assert document.keys() >= RUN_KEYS
    assert (document["state"], document["reason"]) == (state.value, "task_failed")


def test_every_state_is_counted_by_its_plain_name():
    counts = {state: index for index, state in enumerate(TaskState)}
    document = as_json(views.run_document(make_run(counts=counts, total=15)))
    assert document["counts"] == {
        "pending": 0,
        "submitted": 1,
        "running": 2,
        "completed": 3,
        "failed": 4,
        "dep_failed": 5,
    }
    assert document["total"] == 15


def test_times_are_rfc_3339_in_utc():
    run = make_run(
        created_at=0.0, started_at=1_700_000_000.25, ended_at=None, cancel_requested_at=86399.0
    )
    document = views.run_document(run)
    assert document["created_at"] == "1970-01-01T00:00:00.000000Z"
    assert document["started_at"] == "2023-11-14T22:13:20.250000Z"
    assert document["ended_at"] is None
    assert document["cancel_requested_at"] == "1970-01-01T23:59:59.000000Z"


def test_what_takes_no_jobs_is_told():
    refusal = Refusal("batch", "ec2", "Job queue is not ENABLED", 0.0, 60.0)
    assert as_json(views.run_document(make_run()))["refusals"] == []
    assert as_json(views.run_document(make_run(refusals=(refusal,))))["refusals"] == [
        {
            "backend": "batch",
            "partition": "ec2",
            "message": "Job queue is not ENABLED",
            "since": "1970-01-01T00:00:00.000000Z",
            "at": "1970-01-01T00:01:00.000000Z",
        }
    ]


def test_what_a_run_was_given_is_told():
    settings = RunSettings(max_concurrent=4, tags={"k": "v"}, description="what", backend="local")
    document = as_json(views.run_document(make_run(settings=settings)))
    assert (document["max_concurrent"], document["tags"]) == (4, {"k": "v"})
    assert (document["description"], document["backend"], document["cost"]) == (
        "what",
        "local",
        None,
    )


# Tasks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", TaskState)
def test_a_task_has_the_keys_of_the_contract(state):
    task = make_task(state, attempt=1, submitted_at=1.0, started_at=2.0, handle="77")
    document = as_json(views.task_document(task, []))
    assert document.keys() >= TASK_KEYS
    assert (document["id"], document["name"], document["state"]) == ("t", "the t", state.value)
    assert document["deps"] == ["a.*", "b"]
    assert document["job_id"] == (None if state is TaskState.PENDING else "77")


def test_ended_attempts_are_listed_in_order():
    attempts = [make_attempt(1), make_attempt(2, TaskState.COMPLETED)]
    task = make_task(TaskState.COMPLETED, attempt=2)
    listed = as_json(views.task_document(task, attempts))["attempts"]
    assert [(a["attempt"], a["state"], a["exit_code"]) for a in listed] == [
        (1, "failed", 3),
        (2, "completed", 0),
    ]
    assert listed[0]["ended_at"] == "1970-01-01T00:00:12.000000Z"
    assert (listed[0]["job_id"], listed[0]["reason"]) == ("77", "exit")


@pytest.mark.parametrize("state", [TaskState.SUBMITTED, TaskState.RUNNING])
def test_the_attempt_that_goes_on_is_listed_last(state):
    task = make_task(state, attempt=2, submitted_at=20.0, handle="78")
    document = as_json(views.task_document(task, [make_attempt(1)]))
    first, second = document["attempts"]
    assert first.keys() == second.keys()
    assert (second["attempt"], second["state"], second["job_id"]) == (2, state.value, "78")
    assert (second["submitted_at"], second["ended_at"]) == ("1970-01-01T00:00:20.000000Z", None)


@pytest.mark.parametrize("state", [TaskState.PENDING, TaskState.FAILED, TaskState.DEP_FAILED])
def test_no_attempt_goes_on_of_a_task_that_does_not(state):
    document = views.task_document(make_task(state, attempt=1), [make_attempt(1)])
    assert [attempt["attempt"] for attempt in document["attempts"]] == [1]
    assert document["attempts"][0]["ended_at"] is not None


def test_a_task_tells_what_was_asked_of_it_in_the_words_of_the_file():
    spec = TaskSpec(
        "t",
        "run",
        resources=Resources(2, 512, (Gres("gpu", 2, "a100"), Gres("fpga", 1)), 90.0),
        retry=RetryPolicy(3, 5.0, 1.5, frozenset({75, "timeout", 9})),
        env_vars={"A": "1"},
        properties={"os": "linux"},
        tags={"k": "v"},
        group="g",
        priority=4,
        working_dir="sub",
        output_file="o",
        error_file="e",
        generates_source="g.json",
        image="i",
        partition="p",
        environment="e",
        max_queue_time=600.0,
        dedupe=True,
    )
    document = as_json(views.task_document(make_task(spec=spec), []))
    expected = {
        "command": "run", "cpus": 2, "memory": "512M", "time_limit": "90s", "retries": 3,
        "max_queue_time": "0:10:00", "dedupe": True,
        "retry_delay": 5.0, "retry_backoff": 1.5, "retry_on": [75, 9, "timeout"],
        "env_vars": {"A": "1"}, "properties": {"os": "linux"}, "tags": {"k": "v"}, "group": "g",
        "priority": 4, "working_dir": "sub", "output_file": "o", "error_file": "e",
        "generates_source": "g.json", "image": "i", "partition": "p", "environment": "e",
        "gres": ",".join(str(gres) for gres in spec.resources.gres),
    }  # fmt: skip
    assert {name: document[name] for name in expected} == expected


def test_what_nobody_asked_for_is_left_out():
    document = views.task_document(make_task(spec=TaskSpec("t", "true")), [])
    for name in (
        "gres",
        "max_queue_time",
        "retry_on",
        "env_vars",
        "working_dir",
        "tags",
        "image",
        "dedupe",
    ):
        assert name not in document


# Plans --------------------------------------------------------------------------------------------


def planned(*tasks, **fields):
    entries = [{"command": "true", **task} for task in tasks]
    return plan_text(json.dumps({"tasks": entries, **fields}), filename="w.json")


FAN = (
    {"id": "a.1"},
    {"id": "a.2"},
    {"id": "b", "deps": ["a.*", "a.1"]},
    {"id": "c", "deps": ["b"]},
)


def test_a_plan_has_the_keys_of_the_contract():
    document = as_json(views.plan_document(planned(*FAN), RunSettings(max_concurrent=2), name="w"))
    assert document.keys() >= {"total", "levels", "tasks"}
    assert (document["workflow"], document["total"], document["levels"]) == ("w", 4, 3)
    assert [(task["id"], task["level"]) for task in document["tasks"]] == [
        ("a.1", 0),
        ("a.2", 0),
        ("b", 1),
        ("c", 2),
    ]
    assert document["max_concurrent"] == 2
    assert document["warnings"] == []


def test_a_plan_lists_expanded_dependencies():
    document = views.plan_document(planned(*FAN), RunSettings(), name="w")
    assert document["deps_expanded"] is True
    assert [task["deps"] for task in document["tasks"]] == [[], [], ["a.1", "a.2"], ["b"]]


@pytest.mark.parametrize(("bound", "expanded"), [(4, True), (3, False)])
def test_beyond_the_bound_dependencies_stay_as_written(monkeypatch, bound, expanded):
    plan = planned(*FAN)
    assert plan.graph.count_dependencies() == 4  # an upper bound: a.1 is counted twice
    monkeypatch.setattr(views, "_MOST_EXPANDED", bound)
    document = as_json(views.plan_document(plan, RunSettings(), name="w"))
    assert document["deps_expanded"] is expanded
    deps = document["tasks"][2]["deps"]
    assert deps == (["a.1", "a.2"] if expanded else ["a.*", "a.1"])


def test_two_large_groups_do_not_multiply_in_the_document():
    tasks = [{"id": f"a.{i}"} for i in range(1100)]
    tasks += [{"id": f"b.{i}", "deps": ["a.*"]} for i in range(1100)]
    document = views.plan_document(planned(*tasks), RunSettings(), name="w")
    assert document["deps_expanded"] is False
    assert {tuple(task["deps"]) for task in document["tasks"][1100:]} == {("a.*",)}


def test_scripts_stand_in_a_plan_only_if_they_are_wanted():
    plan = planned({"id": "a", "command": "echo 1"})
    (without,) = views.plan_document(plan, RunSettings(), name="w")["tasks"]
    assert "script" not in without
    document = views.plan_document(
        plan, RunSettings(), name="w", script=lambda task: f"# {task.id}: {task.command}"
    )
    assert document["tasks"][0]["script"] == "# a: echo 1"


def test_a_plan_tells_each_tasks_backend_and_what_is_odd():
    plan = planned({"id": "a", "env_vars": {"HUT_RUN_ID": "x"}}, {"id": "b", "backend": "other"})
    document = as_json(views.plan_document(plan, RunSettings(backend="here"), name="w"))
    assert [task["backend"] for task in document["tasks"]] == ["here", "other"]
    (warning,) = document["warnings"]
    assert (warning["task"], warning["field"]) == ("a", "env_vars.HUT_RUN_ID")


# The rest -----------------------------------------------------------------------------------------


def test_a_problem_says_where_it_is():
    problem = Problem("is odd", task="t", field="cpus", line=4)
    assert as_json(views.problem_document(problem)) == {
        "task": "t",
        "field": "cpus",
        "line": 4,
        "message": "is odd",
    }


def test_a_change_says_when_what_became_what():
    change = Change(1.0, 3, "t", 2, TaskState.FAILED, Reason.EXIT, 7)
    document = as_json(views.change_document(change))
    assert document == {
        "at": "1970-01-01T00:00:01.000000Z",
        "task": "t",
        "attempt": 2,
        "state": "failed",
        "reason": "exit",
        "exit_code": 7,
    }


def test_an_answer_to_why_names_what_it_is_about():
    explanation = Explanation("t waits.", ("And more.",), ("a", "b"), "a")
    document = as_json(views.explanation_document(make_task(), explanation))
    assert document == {
        "task": "t",
        "state": "pending",
        "reason": None,
        "why": "t waits.",
        "details": ["And more."],
        "waiting_for": ["a", "b"],
        "cause": "a",
    }


def test_every_time_of_every_document_has_one_form():
    task = make_task(
        TaskState.RUNNING, attempt=1, submitted_at=1.0, started_at=2.000001, ended_at=3e9
    )
    documents = [
        views.run_document(make_run(ended_at=5.0)),
        views.task_document(task, [make_attempt(1)]),
    ]
    times = [
        value
        for document in (*documents, *documents[1]["attempts"])
        for name, value in document.items()
        if name.endswith("_at") and value is not None
    ]
    assert len(times) == 12
    assert [time for time in times if not TIME.fullmatch(time)] == []


def test_a_run_tells_its_money_and_an_attempt_its_own():
    document = views.run_document(make_run(cost=1.25, cost_lost=0.25, losses=2))
    assert (document["cost"], document["cost_lost"], document["losses"]) == (1.25, 0.25, 2)
    plain = views.run_document(make_run())
    assert (plain["cost"], plain["cost_lost"], plain["losses"]) == (None, None, 0)
    task = make_task(TaskState.RUNNING, attempt=2)
    listed = views.task_document(task, [make_attempt(1, cost=0.5)])["attempts"]
    assert [attempt["cost"] for attempt in listed] == [0.5, None]
