"""What is told twice, late, in another order, of another attempt, or never."""

from __future__ import annotations

import pytest

from hut.backends.port import JobState
from hut.model.states import Reason, RunState
from hut.service.advancing import CANCELLED
from hut.service.observing import DUPLICATE
from hut.store.port import AttemptKey
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import COMPLETED, FAILED


def test_events_that_come_twice_count_once(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.deliver()
    plane.backend.run_all()
    events = plane.backend.take_events()
    for _ in range(2):
        plane.observe(run.id, events + events)
    before = plane.run(run)
    told = plane.take_images()[run.id]
    for _ in range(3):
        plane.advance(run.id, told)
    assert plane.run(run).counts == {**before.counts, "pending": 0, "submitted": 1}
    plane.check(run)
    plane.finish(run)
    assert [len(plane.backend.ran(task_id)) for task_id in "ab"] == [1, 1]
    changes, _ = plane.store.changes(run.id, 0)
    assert [str(change.state) for change in changes if change.task_id == "a"] == [
        "submitted",
        "running",
        "completed",
    ]


def test_an_end_may_come_before_its_start(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    plane.backend.run_all()
    start, end = plane.backend.take_events()
    assert plane.observe(run.id, [end]).ended == [0]
    assert plane.observe(run.id, [start]).ended == []
    task = plane.task(run, "a")
    assert (task.state, task.started_at) == ("completed", 1000.0)
    plane.check(run)


def test_events_may_come_before_the_handle_is_noted(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})

    def run_at_once() -> None:
        plane.backend.after_submit = None
        plane.backend.run_all()
        plane.observe(run.id, plane.backend.take_events())

    plane.backend.after_submit = run_at_once
    assert plane.finish(run).state is RunState.COMPLETED
    assert plane.backend.terminated == []


def test_the_first_end_that_is_told_counts(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    job = plane.job("a")
    plane.backend.end(job, outcome=COMPLETED)
    plane.backend.end(job, outcome=FAILED)
    first, second = plane.backend.take_events()
    plane.observe(run.id, [first])
    plane.observe(run.id, [second])
    assert plane.finish(run).state is RunState.COMPLETED


def test_an_earlier_attempt_changes_nothing_and_its_job_is_ended(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "retries": 1})
    plane.deliver()
    old = plane.job("a")
    plane.backend.end(old, outcome=FAILED)
    plane.deliver()
    plane.advancing.advance(run.id)
    new = plane.job("a")
    assert new is not old
    old.state, old.outcome = JobState.RUNNING, None  # as if it ran on
    plane.observe(run.id, [(old.parsed, old.seen())])
    assert plane.backend.terminated == [(old.handle, DUPLICATE)]
    plane.deliver()
    assert (plane.states(run)["a"], plane.task(run, "a").handle) == ("submitted", new.handle)
    plane.check(run)


@pytest.mark.parametrize("everything", [False, True])
def test_events_of_an_earlier_generation_change_nothing(
    plane: ControlPlane, everything: bool
) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.deliver()
    old = plane.job("a")
    plane.backend.end(old, outcome=FAILED)
    events = plane.backend.take_events()
    plane.observe(run.id, events)
    told = plane.take_images()[run.id]
    plane.advance(run.id, told)
    ended = plane.take_images()[run.id]
    plane.submitting.retry(run.id, everything=everything)
    for late in (told, ended):
        plane.advance(run.id, late)
    plane.observe(run.id, events)
    assert plane.run(run).state is RunState.PENDING
    plane.step_executions()
    for late in (told, ended):
        plane.advance(run.id, late)
    plane.observe(run.id, events)
    assert plane.states(run) == {"a": "submitted", "b": "pending"}
    assert plane.finish(run).state is RunState.COMPLETED
    assert [len(plane.backend.ran(task_id)) for task_id in "ab"] == [2, 1]


def test_a_late_signal_of_the_end_does_not_end_the_repetition(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.backend.outcomes["a"] = [FAILED]
    plane.finish(run)
    plane.submitting.retry(run.id)
    for _ in range(2):
        plane.advancing.advance(run.id)
    assert plane.executions.told.count(f"token-{run.id}-0") == len(plane.executions.told)
    plane.finish(run)
    assert plane.is_over(run)


def test_events_of_unknown_runs_and_tasks_are_left_alone(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    job = plane.job("a")
    plane.backend.start(job)
    ((name, seen),) = plane.backend.take_events()
    assert plane.observe("nosuchrun", [(name, seen)]).ended == []
    stranger = name._replace(key=AttemptKey(7, 1, 1))
    assert plane.observe(run.id, [(stranger, seen)]).ended == []
    assert plane.states(run) == {"a": "submitted"}
    assert plane.backend.terminated == []
    assert "jobs of an unknown run" in plane.notes.warnings()


# A second job for the same attempt --------------------------------------------------------------


@pytest.mark.parametrize("state", [JobState.WAITING, JobState.RUNNING])
def test_a_second_job_for_an_attempt_is_ended(plane: ControlPlane, state: JobState) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    second = plane.backend.again(plane.job("a"))
    second.state = state
    plane.observe(run.id, [(second.parsed, second.seen())])
    assert plane.backend.terminated == [(second.handle, DUPLICATE)]
    plane.deliver()  # its end is not the attempt's
    assert plane.states(run) == {"a": "submitted"}
    plane.backend.end(plane.backend.jobs["batch-0"])
    assert plane.finish(run).state is RunState.COMPLETED


def test_of_two_jobs_that_start_together_one_is_ended(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.backend.lost = 1  # the answer of the first submission is lost: the claim is given back
    plane.deliver()
    first = plane.job("a")
    assert plane.states(run) == {"a": "pending"}
    plane.clock.now += 15

    def start_both() -> None:
        second = plane.backend.jobs["batch-1"]
        plane.backend.start(first, second)
        plane.observe(run.id, plane.backend.take_events())

    plane.backend.after_submit = start_both  # before the handle of the second one is noted
    plane.deliver_wakes()
    assert len({first.name, plane.job("a").name}) == 1
    plane.deliver()
    assert [job.handle for job in plane.backend.active()] == [plane.task(run, "a").handle]


def test_of_two_jobs_of_which_one_has_ended_one_counts(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.backend.lost = 1
    plane.deliver()
    first = plane.job("a")
    plane.clock.now += 15

    def tell_both() -> None:
        second = plane.backend.jobs["batch-1"]
        plane.backend.start(second)
        plane.backend.end(first)
        plane.observe(run.id, plane.backend.take_events())

    plane.backend.after_submit = tell_both
    plane.deliver_wakes()
    plane.deliver()
    assert [job.handle for job in plane.backend.active()] == [plane.task(run, "a").handle]
    plane.backend.end()
    plane.deliver()
    assert plane.states(run) == {"a": "completed"}


def test_the_end_of_a_duplicate_is_not_the_end_of_the_attempt(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    job = plane.job("a")
    second = plane.backend.again(job)
    plane.backend.end(second, outcome=FAILED)
    task = plane.task(run, "a")
    # Read before the handle was noted, recorded after it.
    end = plane.observing._end(plane.run(run), task, second.seen())
    assert end.handle != task.handle
    assert plane.store.record_ended(run.id, [end]) == [False]


# Events that never come -------------------------------------------------------------------------


def test_without_any_event_a_sweep_brings_a_run_to_its_end(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]}, {"id": "c", "deps": ["a", "b"]})
    sweeps = 0
    while plane.run(run).ended_at is None:
        plane.lose_events()
        plane.clock.now += 200
        plane.sweep()
        plane.lose_events()
        plane.backend.run_all()
        sweeps += 1
        assert sweeps < 10
    assert plane.check(run).state is RunState.COMPLETED
    assert [len(plane.backend.ran(task_id)) for task_id in "abc"] == [1, 1, 1]
    assert plane.is_over(run)


def test_a_lost_follow_up_is_found_while_nothing_runs(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]})
    plane.deliver()
    plane.backend.run_all()
    plane.deliver_jobs()
    plane.lose_events()
    assert plane.states(run) == {"a": "completed", "b": "pending"}
    plane.sweep()
    assert plane.states(run) == {"a": "completed", "b": "submitted"}


def test_a_lost_follow_up_is_found_while_something_runs(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "deps": ["a"]}, {"id": "long"})
    plane.deliver()
    plane.backend.end(plane.job("a"))
    plane.deliver_jobs()
    plane.lose_events()
    for _ in range(5):
        plane.clock.now += 200
        plane.sweep()
    assert plane.states(run)["b"] == "submitted"


def test_a_job_that_is_forgotten_is_lost_and_its_task_runs_again(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    job = plane.job("a")
    plane.backend.hidden.add(job.handle)
    plane.clock.now += 1000
    assert plane.sweep().lost == 1
    plane.sweep()
    task = plane.task(run, "a")
    assert (task.state, task.attempt, task.losses) == ("submitted", 2, 1)
    assert plane.store.list_attempts(run.id, [0])[0][0].outcome.reason is Reason.LOST
    plane.backend.start(job)  # it was there all the time
    plane.deliver()
    assert plane.backend.terminated == [(job.handle, DUPLICATE)]
    assert plane.finish(run).state is RunState.COMPLETED


def test_a_job_that_was_just_submitted_is_not_lost(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    job = plane.job("a")
    plane.backend.hidden.add(job.handle)  # DescribeJobs follows a moment later
    plane.clock.now += 1
    assert plane.sweep().lost == 0
    assert plane.task(run, "a").handle == job.handle


def test_cancelled_jobs_are_told_why(plane: ControlPlane) -> None:
    assert CANCELLED == "hut: cancelled"  # the backend knows by it why a job ended
    assert DUPLICATE.startswith("hut: ")
