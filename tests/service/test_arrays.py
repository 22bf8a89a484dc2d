"""Arrays through the whole control plane: children are observed, retried and cancelled one by one."""

from __future__ import annotations

import pytest

from hut.backends.port import JobState, parent_of
from hut.model.states import Reason, TaskState
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import COMPLETED, FAILED, Died


@pytest.fixture
def plane(plane: ControlPlane) -> ControlPlane:
    plane.backend.makes_arrays = True
    return plane


def some(count: int, **fields: object) -> list[dict[str, object]]:
    return [{"id": f"t{i}", **fields} for i in range(count)]


def parents(plane: ControlPlane) -> list[str]:
    return list(plane.backend.parents)


def test_ready_tasks_of_one_shape_become_one_array(plane: ControlPlane) -> None:
    run = plane.begin(*some(300))
    plane.deliver_stream()
    assert plane.backend.submits == 1
    [parent] = parents(plane)
    tasks = plane.tasks(run)
    assert [task.handle for task in tasks] == [f"{parent}:{i}" for i in range(300)]
    assert plane.finish(run).state == "completed"


def test_ten_thousand_ready_tasks_are_handed_over_by_one_call(plane: ControlPlane) -> None:
    run = plane.begin(*some(10_000))
    plane.deliver_stream()
    assert plane.backend.submits <= 2
    assert plane.run(run).counts[TaskState.SUBMITTED] == 10_000


def test_shapes_are_submitted_apart(plane: ControlPlane) -> None:
    run = plane.begin(
        *some(4), *[{"id": f"big{i}", "cpus": 4} for i in range(3)], {"id": "c", "cpus": 2}
    )
    plane.deliver_stream()
    assert len(parents(plane)) == 2
    assert plane.backend.submits == 3
    assert plane.finish(run).state == "completed"


def test_a_retry_of_some_children_is_a_smaller_array(plane: ControlPlane) -> None:
    plane.backend.outcomes = {f"t{i}": [FAILED] for i in range(5)}
    run = plane.begin(*some(20, retries=1))
    assert plane.finish(run).state == "completed"
    sizes = [
        sum(parent_of(handle) == parent for handle in plane.backend.jobs)
        for parent in parents(plane)
    ]
    assert sizes == [20, 5]
    assert plane.task(run, "t3").attempt == 2
    assert plane.task(run, "t7").attempt == 1


def test_one_failed_child_fails_alone(plane: ControlPlane) -> None:
    plane.backend.outcomes = {"t2": [FAILED]}
    run = plane.begin(*some(5), {"id": "after", "deps": ["t2"], "cpus": 2})
    assert plane.finish(run).state == "failed"
    states = plane.states(run)
    assert states["t2"] == "failed"
    assert states["after"] == "dep_failed"
    assert list(states.values()).count("completed") == 4


def test_cancelling_ends_the_array(plane: ControlPlane) -> None:
    run = plane.begin(*some(30))
    plane.deliver()
    plane.backend.start()
    plane.deliver()
    plane.submitting.cancel(run.id, plane.clock.now)
    assert plane.finish(run).state == "cancelled"
    assert {task.reason for task in plane.tasks(run)} == {Reason.CANCELLED}


def test_a_refused_array_ends_its_attempts(plane: ControlPlane) -> None:
    plane.backend.refused = {f"t{i}": FAILED for i in range(3)}
    run = plane.begin(*some(3))
    assert plane.finish(run).state == "failed"


def test_a_busy_service_gets_the_array_later(plane: ControlPlane) -> None:
    plane.backend.busy = 1
    run = plane.begin(*some(10))
    plane.deliver_stream()
    assert plane.states(run)["t0"] == "pending"
    assert plane.finish(run).state == "completed"
    assert len(parents(plane)) == 1


def test_an_array_whose_submit_had_no_answer_is_adopted(plane: ControlPlane) -> None:
    plane.backend.unanswered = 1
    run = plane.begin(*some(10))
    plane.deliver()
    assert {task.handle for task in plane.tasks(run)} == {None}
    assert plane.states(run)["t0"] == "submitted"
    plane.clock.now += 200
    plane.sweep()
    [parent] = parents(plane)
    assert plane.task(run, "t4").handle == f"{parent}:4"
    assert plane.finish(run).state == "completed"
    assert len(parents(plane)) == 1


def test_ten_thousand_claims_whose_dispatcher_died_are_given_back_by_one_sweep(
    plane: ControlPlane,
) -> None:
    run = plane.begin(*some(10_000))

    def die() -> None:
        plane.backend.before_submit = None
        raise Died

    plane.backend.before_submit = die
    plane.deliver_stream()
    assert plane.run(run).counts[TaskState.SUBMITTED] == 10_000
    plane.clock.now += 200
    swept = plane.sweep()
    assert (swept.claims_returned, swept.failed) == (10_000, 0)
    [parent] = parents(plane)  # and are submitted anew
    assert plane.task(run, "t9999").handle == f"{parent}:9999"


def test_claims_that_there_is_no_time_to_look_for_are_kept(plane: ControlPlane) -> None:
    """The array exists: whoever gave its claims back for lack of time would run them twice."""
    plane.backend.unanswered = 1
    run = plane.begin(*some(10))
    plane.deliver()
    plane.clock.now += 200
    looks = iter(range(1))
    plane.has_time = lambda: next(looks, None) is not None
    assert plane.sweep().claims_returned == 0
    assert "no time to look for all claims" in plane.notes.warnings()
    assert {task.handle for task in plane.tasks(run)} == {None}
    plane.has_time = lambda: True
    plane.sweep()
    assert plane.finish(run).state == "completed"
    assert len(parents(plane)) == 1


def test_children_tell_whose_attempts_they_are_before_their_handles_are_noted(
    plane: ControlPlane,
) -> None:
    plane.backend.unanswered = 1
    run = plane.begin(*some(10))
    plane.deliver()
    plane.backend.run_all()
    plane.deliver()
    assert plane.run(run).state == "completed"


def test_claims_of_an_array_that_was_never_submitted_are_given_back(plane: ControlPlane) -> None:
    run = plane.begin(*some(10))
    plane.backend.before_submit = plane.fate.kill
    [(run_id, told)] = plane.take_images().items()
    plane.dies(lambda: plane.advance(run_id, told))
    plane.backend.before_submit = None
    assert plane.run(run).counts[TaskState.SUBMITTED] == 10
    plane.clock.now += 200
    plane.sweep()
    assert plane.finish(run).state == "completed"
    assert len(parents(plane)) == 1


def test_a_child_of_an_array_nobody_knows_changes_nothing(plane: ControlPlane) -> None:
    run = plane.begin(*some(2))
    plane.deliver()
    [job, _] = plane.backend.active()
    stranger = plane.backend.jobs[job.handle]
    stranger.name = f"hut-{run.id}-a00000000"
    plane.backend.end(stranger)
    plane.deliver()
    assert plane.states(run) == {"t0": "submitted", "t1": "submitted"}


def test_with_all_events_lost_the_sweep_ends_the_run(plane: ControlPlane) -> None:
    run = plane.begin(*some(40), {"id": "after", "deps": ["*"], "cpus": 2})
    for _ in range(12):
        plane.clock.now += 200
        plane.sweep()
        plane.lose_events()
        plane.backend.run_all()
        plane.lose_events()
        plane.step_executions()
        if plane.run(run).ended_at is not None:
            break
    assert plane.run(run).state == "completed"


def test_a_sweep_that_finds_nothing_new_describes_no_child(plane: ControlPlane) -> None:
    run = plane.begin(*some(50))
    plane.deliver()
    asked: list[str] = []
    describe = plane.backend.describe
    plane.backend.describe = lambda handles: asked.extend(handles) or describe(handles)  # type: ignore[method-assign]
    plane.sweep()
    assert asked == []
    plane.backend.start()
    plane.lose_events()
    plane.sweep()
    assert plane.run(run).counts[TaskState.RUNNING] == 50
    assert plane.finish(run).state == "completed"


def test_starts_of_a_large_run_are_found_by_the_sweep(plane: ControlPlane) -> None:
    run = plane.begin(*some(250))
    plane.deliver()
    plane.backend.start()
    plane.deliver()
    assert plane.run(run).counts[TaskState.RUNNING] == 0
    plane.sweep()
    assert plane.run(run).counts[TaskState.RUNNING] == 250
    assert plane.finish(run).state == "completed"


def test_an_end_that_was_lost_in_a_large_array_is_found_in_its_turn(plane: ControlPlane) -> None:
    run = plane.begin(*some(250))
    plane.deliver()
    plane.backend.start()
    first = plane.backend.active()[0]
    plane.backend.end(first, outcome=COMPLETED)
    plane.lose_events()
    for _ in range(4):
        plane.clock.now += 180
        plane.sweep()
    assert plane.run(run).counts[TaskState.COMPLETED] == 1
    assert first.state is JobState.ENDED
    assert plane.finish(run).state == "completed"
