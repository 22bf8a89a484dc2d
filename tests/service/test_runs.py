"""Runs from their submission to their end, by events alone."""

from __future__ import annotations

from typing import Any

import pytest

from hut.lifecycle.attempt import lost
from hut.model.records import Outcome
from hut.model.states import Reason, RunState, TaskState
from hut.service.dispatching import _JOBS_AT_ONCE
from tests.service.control_plane import ControlPlane, Told
from tests.service.fake_ports import COMPLETED, FAILED

HOST = Outcome(TaskState.FAILED, Reason.HOST_TERMINATED, None, "Host EC2 terminated")
REFUSED = Outcome(TaskState.FAILED, Reason.UNSATISFIABLE, None, "no machine is that large")

DIAMOND = (
    {"id": "a"},
    {"id": "b", "deps": ["a"]},
    {"id": "c", "deps": ["a"]},
    {"id": "d", "deps": ["b", "c"]},
)


def test_a_run_goes_its_way_step_by_step(plane: ControlPlane) -> None:
    run = plane.submit({"id": "a"}, {"id": "b", "deps": ["a"]})
    assert (run.state, plane.states(run)) == (
        RunState.PENDING,
        {"a": "pending", "b": "pending"},
    )
    assert list(plane.executions.started) == ["run1-0"]

    assert plane.step_executions()
    assert plane.run(run).state is RunState.RUNNING
    assert plane.states(run) == {"a": "pending", "b": "pending"}

    assert plane.deliver_stream()
    (job,) = plane.backend.jobs.values()
    assert (job.name, plane.task(run, "a").handle) == ("hut-run1-0-1-1", job.handle)
    assert plane.states(run) == {"a": "submitted", "b": "pending"}

    plane.backend.start()
    plane.deliver_jobs()
    assert plane.task(run, "a").log == f"log-{job.handle}"
    assert plane.states(run) == {"a": "running", "b": "pending"}

    plane.clock.now += 7
    plane.backend.end()
    plane.deliver_jobs()
    assert plane.states(run) == {"a": "completed", "b": "pending"}
    plane.deliver_stream()
    assert plane.states(run) == {"a": "completed", "b": "submitted"}
    assert plane.executions.told == []

    ended = plane.finish(run)
    assert (ended.state, plane.sweeps) == (RunState.COMPLETED, 0)
    assert plane.is_over(run)
    assert plane.busy() == 0


@pytest.mark.parametrize(
    ("broken", "states"),
    [
        ("a", ["failed", "dep_failed", "dep_failed", "dep_failed"]),
        ("b", ["completed", "failed", "completed", "dep_failed"]),
        ("d", ["completed", "completed", "completed", "failed"]),
    ],
)
def test_a_failure_ends_what_is_behind_it_and_the_run(
    plane: ControlPlane, broken: str, states: list[str]
) -> None:
    run = plane.begin(*DIAMOND)
    plane.backend.outcomes[broken] = [FAILED]
    ended = plane.finish(run)
    assert ended.state is RunState.FAILED
    assert list(plane.states(run).values()) == states
    assert plane.is_over(run)


def test_an_attempt_that_can_not_be_submitted_has_failed(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]}, {"id": "c"})
    plane.backend.refused["a"] = REFUSED
    assert plane.finish(run).state is RunState.FAILED
    assert plane.states(run) == {"a": "failed", "b": "dep_failed", "c": "completed"}
    assert plane.task(run, "a").reason is Reason.UNSATISFIABLE


def test_two_runs_do_not_touch_each_other(plane: ControlPlane) -> None:
    one, two = plane.begin(*DIAMOND), plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.deliver()
    plane.backend.end(plane.backend.active(two.id)[0], outcome=FAILED)
    assert plane.finish(two).state is RunState.FAILED
    assert plane.finish(one).state is RunState.COMPLETED


# Retries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "fields"),
    [
        (FAILED, {"retries": 1}),
        (FAILED, {"retries": 1, "retry_delay": "40s"}),
        (HOST, {}),
        (lost("gone"), {}),
    ],
    ids=["at once", "after a delay", "host", "lost"],
)
def test_a_failed_attempt_is_repeated_without_a_sweep(
    plane: ControlPlane, outcome: Outcome, fields: dict[str, Any]
) -> None:
    run = plane.begin({"id": "a", **fields})
    plane.backend.outcomes["a"] = [outcome, COMPLETED]
    assert plane.finish(run).state is RunState.COMPLETED
    assert plane.task(run, "a").attempt == 2


def test_a_refused_attempt_is_repeated_without_a_sweep(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "retries": 1})
    plane.backend.refused["a"] = REFUSED._replace(reason=Reason.LAUNCH_FAILED)

    def tick() -> None:  # a submission takes time
        plane.clock.now += 1

    plane.backend.after_submit = tick
    assert plane.finish(run).state is RunState.FAILED
    assert plane.task(run, "a").attempt == 2


def test_a_sweep_repeats_what_nobody_was_told_of(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "retries": 1}, {"id": "b", "deps": ["a"]})
    plane.deliver()
    plane.backend.end(outcome=FAILED)
    plane.deliver_jobs()
    plane.lose_events()
    assert plane.states(run) == {"a": "pending", "b": "pending"}
    plane.sweep()
    assert plane.states(run) == {"a": "submitted", "b": "pending"}
    plane.backend.outcomes["a"] = [HOST]
    assert plane.finish(run).state is RunState.COMPLETED
    assert [len(plane.backend.ran(task_id)) for task_id in "ab"] == [3, 1]


def test_a_delayed_retry_starts_when_it_is_due(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "retries": 1, "retry_delay": "40s"}, {"id": "b"})
    plane.deliver()
    plane.backend.end(plane.job("a"), outcome=FAILED)
    plane.deliver_jobs()
    plane.backend.end(plane.job("b"))
    plane.deliver()  # the end of b makes the run be looked at
    assert plane.wakes.waiting == [(1040.0, run.id, ())]
    plane.clock.now = 1039.0
    plane.advancing.advance(run.id)
    assert plane.states(run)["a"] == "pending"
    plane.clock.now = 1040.0
    plane.deliver()
    assert (plane.states(run)["a"], plane.task(run, "a").attempt) == ("submitted", 2)
    assert plane.finish(run).state is RunState.COMPLETED


def test_a_long_delay_is_slept_through_in_pieces(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "retries": 1, "retry_delay": "1h"})
    plane.deliver()
    plane.backend.end(outcome=FAILED)
    plane.deliver()
    wakes = 0
    while plane.states(run)["a"] == "pending":
        ((due, _, _),) = plane.wakes.waiting
        assert due - plane.clock.now <= 900
        plane.clock.now = due
        plane.deliver()
        wakes += 1
    assert (plane.clock.now, wakes) == (4600.0, 4)


def test_messages_for_a_delayed_retry_do_not_multiply(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "retries": 1, "retry_delay": "5h"}, {"id": "b"})
    plane.deliver()
    plane.backend.end(plane.job("a"), outcome=FAILED)
    plane.deliver()
    for _ in range(20):  # as with every batch of ends in a large run
        plane.advance(run.id, Told())
        plane.sweep()
    assert len(plane.wakes.waiting) == 1


# Large and oddly shaped runs --------------------------------------------------------------------


def test_thousands_of_tasks_and_one_that_waits_for_all(plane: ControlPlane) -> None:
    members = [{"id": f"m{i}"} for i in range(3000)]
    run = plane.begin(*members, {"id": "sum", "deps": ["m*"]})
    plane.deliver()
    assert plane.run(run).counts[TaskState.SUBMITTED] == 3000
    plane.backend.end()
    plane.deliver_jobs()
    plane.deliver_stream()
    assert plane.states(run)["sum"] == "submitted"
    assert plane.finish(run).state is RunState.COMPLETED
    assert len(plane.backend.jobs) == 3001


def test_a_chain_is_walked_one_by_one(plane: ControlPlane) -> None:
    chain = [{"id": f"t{i}", "deps": [f"t{i - 1}"] if i else []} for i in range(150)]
    plane.starts_are_told = False
    run = plane.begin(*chain)
    assert plane.finish(run).state is RunState.COMPLETED
    assert [job.spec.id for job in plane.backend.jobs.values()] == [t["id"] for t in chain]


def test_a_failure_runs_through_a_chain(plane: ControlPlane) -> None:
    run = plane.begin(*({"id": f"t{i}", "deps": [f"t{i - 1}"] if i else []} for i in range(300)))
    plane.backend.outcomes["t0"] = [FAILED]
    ended = plane.finish(run)
    assert ended.counts[TaskState.DEP_FAILED] == 299
    assert plane.task(run, "t299").cause == 0


def test_a_failure_before_many_ends_all_of_them(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, *({"id": f"b{i}", "deps": ["a"]} for i in range(1000)))
    plane.backend.outcomes["a"] = [FAILED]
    assert plane.finish(run).counts[TaskState.DEP_FAILED] == 1000


# A service that has no time ---------------------------------------------------------------------


def test_claims_are_given_back_when_the_service_is_busy(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b"})
    plane.backend.busy = 1
    plane.deliver()
    assert sorted(plane.states(run).values()) == ["pending", "submitted"]
    assert plane.wakes.runs() == [run.id]
    assert plane.task(run, "a").attempt == 0
    plane.check(run)
    plane.clock.now += 15
    plane.deliver()
    assert set(plane.states(run).values()) == {"submitted"}
    assert plane.finish(run).state is RunState.COMPLETED
    assert [len(plane.backend.ran(task_id)) for task_id in "ab"] == [1, 1]


def test_a_busy_service_is_not_asked_again_at_once(plane: ControlPlane) -> None:
    run = plane.begin(*({"id": f"t{i}"} for i in range(100)))
    plane.backend.busy = 10_000
    looks = iter(range(5))
    plane.has_time = lambda: next(looks, None) is not None
    plane.deliver_stream()
    assert plane.backend.submits == 1
    assert plane.wakes.runs() == [run.id]


def test_claims_that_are_given_back_for_want_of_a_turn_come_again_at_theirs(
    plane: ControlPlane,
) -> None:
    run = plane.begin({"id": "a"}, {"id": "b"})
    plane.backend.busy, plane.backend.again_at = 2, 1003.0
    plane.deliver()
    assert set(plane.states(run).values()) == {"pending"}
    assert plane.wakes.waiting == [(1003.0, run.id, ())]
    assert not plane.notes.warnings()
    assert plane.finish(run).state is RunState.COMPLETED
    assert plane.sweeps == 0


def test_nothing_is_claimed_while_others_have_too_much_for_the_service(
    plane: ControlPlane,
) -> None:
    plane.backend.full_until = 1008.0
    run = plane.begin({"id": "a"}, {"id": "b"})
    plane.deliver()
    assert (plane.backend.submits, plane.task(run, "a").epoch) == (0, 0)
    assert plane.wakes.waiting == [(1008.0, run.id, ())]
    assert plane.finish(run).state is RunState.COMPLETED
    assert (plane.clock.now, plane.sweeps) == (1008.0, 0)


def test_what_there_is_no_time_for_is_left_to_a_message(plane: ControlPlane) -> None:
    run = plane.begin(*({"id": f"t{i}"} for i in range(200)))
    plane.has_time = lambda: False
    plane.deliver_stream()
    assert plane.run(run).counts[TaskState.SUBMITTED] == _JOBS_AT_ONCE
    assert plane.wakes.waiting == [(1000.0, run.id, ())]
    plane.deliver()
    assert plane.run(run).counts[TaskState.SUBMITTED] == 200
