"""Tasks that generate tasks: their output is read from a log that may come late or be unusable."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hut.model.problems import InvalidInput, Problem
from hut.model.states import Reason, RunState
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import FAILED, Died


def document(*tasks: dict[str, Any]) -> str:
    return json.dumps([{"command": "true", **task} for task in tasks])


def begin(plane: ControlPlane, *ids: str, content: str | None = None) -> Any:
    run = plane.begin(*({"id": i, "generates_source": f"{i}.json"} for i in ids))
    plane.deliver()
    for task_id in ids:
        plane.backend.generated[task_id] = content or document({"id": f"{task_id}.1"})
    return run


def test_what_a_task_generates_runs(plane: ControlPlane) -> None:
    tasks = document({"id": "n.1"}, {"id": "n.2", "deps": ["gen"]}, {"id": "s", "deps": ["n.*"]})
    run = begin(plane, "gen", content=tasks)
    ended = plane.finish(run)
    assert (ended.state, ended.total, plane.sweeps) == (RunState.COMPLETED, 4, 0)
    assert [job.spec.id for job in plane.backend.jobs.values()] == ["gen", "n.1", "n.2", "s"]


def test_nothing_may_be_generated(plane: ControlPlane) -> None:
    run = begin(plane, "gen", content="[]")
    assert plane.finish(run).total == 1


def test_an_end_waits_until_the_log_is_complete(plane: ControlPlane) -> None:
    run = begin(plane, "gen")
    plane.backend.generated["gen"] = None
    plane.backend.run_all()
    events = plane.backend.take_events()
    plane.clock.now += 299
    observed = plane.observe(run.id, events)
    assert (observed.later, observed.ended) == ({plane.job("gen").handle}, [])
    assert plane.states(run) == {"gen": "running"}
    plane.backend.generated["gen"] = document({"id": "n"})
    observed = plane.observe(run.id, events)
    assert (observed.later, observed.ended) == (set(), [0])
    assert plane.finish(run).total == 2


def test_a_log_that_stays_incomplete_fails_the_attempt(plane: ControlPlane) -> None:
    run = begin(plane, "gen")
    plane.backend.generated["gen"] = None
    plane.backend.run_all()
    plane.clock.now += 300
    assert plane.finish(run).state is RunState.FAILED
    task = plane.task(run, "gen")
    assert (task.reason, task.exit_code) == (Reason.INVALID_OUTPUT, 0)
    assert task.message == "generates_source gen.json: can't be read: the log does not hold it"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1"),
        (document({"id": "gen"}), "gen"),
        (document({"id": "n", "deps": ["nobody"]}), "'nobody'"),
        (document({"id": "n", "deps": ["n"]}), "itself"),
        (InvalidInput([Problem("can't be read: No such file")]), "No such file"),
        (document(*({"id": f"n{i}", "cpus": -1} for i in range(9))), "and 4 more"),
    ],
    ids=["syntax", "taken", "unknown", "circle", "no file", "many"],
)
def test_what_can_not_be_used_fails_the_attempt(
    plane: ControlPlane, content: Any, message: str
) -> None:
    run = begin(plane, "gen", content=content)
    assert plane.finish(run).state is RunState.FAILED
    task = plane.task(run, "gen")
    assert task.reason is Reason.INVALID_OUTPUT
    assert message in task.message
    assert plane.run(run).total == 1


def test_a_large_list_must_be_json(plane: ControlPlane) -> None:
    """The functions have no libyaml: a larger list would take them longer than they may run."""
    run = plane.begin({"id": "gen", "generates_source": "gen.YML"})
    plane.deliver()
    plane.backend.generated["gen"] = "[]" + " " * (1 << 20)
    assert plane.finish(run).state is RunState.FAILED
    task = plane.task(run, "gen")
    assert task.reason is Reason.INVALID_OUTPUT
    assert "more than 1 MiB of YAML; write it as JSON" in task.message


def test_a_generator_that_failed_generates_nothing(plane: ControlPlane) -> None:
    run = begin(plane, "gen")
    plane.backend.outcomes["gen"] = [FAILED]
    assert plane.finish(run).total == 1


def test_generators_of_one_batch_join_one_after_the_other(plane: ControlPlane) -> None:
    run = begin(plane, "a", "b", "c")
    plane.backend.generated["c"] = document({"id": "sum", "deps": ["a.1", "b.1"]})
    plane.backend.run_all()
    observed = plane.observe(run.id, plane.backend.take_events())
    assert (sorted(observed.ended), observed.later) == ([0, 1, 2], set())
    ended = plane.finish(run)
    assert (ended.state, ended.total) == (RunState.COMPLETED, 6)
    assert [task.spec.id for task in plane.tasks(run)][3:] == ["a.1", "b.1", "sum"]


def test_of_two_that_generate_the_same_task_the_second_one_fails(plane: ControlPlane) -> None:
    run = begin(plane, "a", "b", content=document({"id": "same"}))
    ended = plane.finish(run)
    assert (ended.state, ended.total) == (RunState.FAILED, 3)
    assert sorted(plane.states(run).values()) == ["completed", "completed", "failed"]


def test_one_that_must_wait_does_not_hold_up_the_others(plane: ControlPlane) -> None:
    run = begin(plane, "a", "b")
    plane.backend.generated["a"] = None
    plane.backend.run_all()
    observed = plane.observe(run.id, plane.backend.take_events())
    assert (observed.ended, len(observed.later)) == ([1], 1)


@pytest.mark.parametrize("broken", ["its output", "its end"])
def test_a_log_that_can_not_be_read_holds_up_its_own_task_only(
    plane: ControlPlane, broken: str
) -> None:
    run = begin(plane, "a", "b")
    if broken == "its output":
        plane.backend.generated["a"] = ConnectionError("no way")
    else:
        plane.backend.unreadable.add("a")
    plane.backend.run_all()
    observed = plane.observe(run.id, plane.backend.take_events())
    assert (observed.ended, len(observed.later)) == ([1], 1)


def test_a_log_that_can_not_be_read_does_not_keep_a_sweep_from_the_run(
    plane: ControlPlane,
) -> None:
    run = plane.begin({"id": "a"}, {"id": "b"}, {"id": "c", "deps": ["b"]})
    plane.deliver()
    plane.backend.unreadable.add("a")
    plane.backend.run_all()
    plane.lose_events()
    plane.sweep()
    assert plane.states(run)["c"] == "submitted"


def test_ends_that_need_no_log_do_not_wait_for_those_that_do(plane: ControlPlane) -> None:
    run = plane.begin({"id": "gen", "generates_source": "g.json"}, {"id": "x"})
    plane.deliver()
    plane.backend.generated["gen"] = Died()  # the time runs out over a long log
    plane.backend.run_all()
    events = plane.backend.take_events()
    with pytest.raises(Died):
        plane.observe(run.id, events)
    assert plane.states(run)["x"] == "completed"


def test_what_was_generated_in_a_stopped_run_ends_with_it(plane: ControlPlane) -> None:
    run = begin(plane, "gen")
    plane.backend.run_all()
    plane.submitting.cancel(run.id, plane.clock.now)
    ended = plane.finish(run)
    assert (ended.state, ended.total) == (RunState.CANCELLED, 2)
    assert plane.states(run) == {"gen": "completed", "gen.1": "failed"}


def test_a_sweep_takes_in_what_no_event_told_of(plane: ControlPlane) -> None:
    run = begin(plane, "gen")
    plane.backend.run_all()
    plane.lose_events()
    assert plane.sweep().ends_found == 1
    assert plane.finish(run).total == 2


def test_repeating_everything_generates_anew(plane: ControlPlane) -> None:
    run = begin(plane, "gen")
    plane.finish(run)
    plane.backend.generated["gen"] = document({"id": "other"}, {"id": "gen.1"})
    assert plane.submitting.retry(run.id, everything=True)[0] == 1
    ended = plane.finish(run)
    assert (ended.state, ended.total) == (RunState.COMPLETED, 3)
    assert plane.task(run, "gen.1").attempt == 2


def test_a_generator_that_generated_is_kept_by_a_repetition_of_the_rest(
    plane: ControlPlane,
) -> None:
    run = begin(plane, "gen")
    plane.backend.outcomes["gen.1"] = [FAILED]
    assert plane.finish(run).state is RunState.FAILED
    assert plane.submitting.retry(run.id)[0] == 1
    assert plane.finish(run).state is RunState.COMPLETED
    assert [len(plane.backend.ran(i)) for i in ("gen", "gen.1")] == [1, 2]
