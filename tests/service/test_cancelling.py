"""A run is stopped at each point of its way, by a person, by its time limit, by AWS."""

from __future__ import annotations

import pytest

from hut.model.states import Reason, RunState
from hut.service.advancing import CANCELLED
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import COMPLETED, FAILED

TASKS = ({"id": "a"}, {"id": "b"}, {"id": "c", "deps": ["a", "b"]})


def cancel(plane: ControlPlane, run_id: str) -> None:
    plane.submitting.cancel(run_id, plane.clock.now)


def test_before_its_tasks_are_registered(plane: ControlPlane) -> None:
    run = plane.submit(*TASKS)
    cancel(plane, run.id)
    assert plane.run(run).cancel_requested_at == 1000.0
    assert plane.finish(run).state is RunState.CANCELLED
    assert (plane.backend.jobs, set(plane.states(run).values())) == ({}, {"failed"})
    assert plane.is_over(run)


def test_between_its_blocks(plane: ControlPlane) -> None:
    run = plane.submit(*({"id": f"t{i}"} for i in range(1030)))
    for block in (1, 0):
        plane.register({"step": "block", "run": run.id, "generation": 0, "block": block})
        if block == 1:
            cancel(plane, run.id)
            plane.deliver_stream()
    plane.executions.started[f"{run.id}-0"].registered = True
    assert plane.finish(run).state is RunState.CANCELLED
    assert plane.backend.jobs == {}


def test_between_a_block_and_its_repetition(plane: ControlPlane) -> None:
    run = plane.submit(*({"id": f"t{i}"} for i in range(1030)))
    block = {"step": "block", "run": run.id, "generation": 0, "block": 1}
    plane.register(block)
    cancel(plane, run.id)
    plane.deliver_stream()
    plane.register(block)  # each step comes at least once
    assert plane.finish(run).state is RunState.CANCELLED


@pytest.mark.parametrize("how", ["abandoned", "stopped"])
def test_when_its_execution_ends_before_the_tasks_are_registered(
    plane: ControlPlane, how: str
) -> None:
    run = plane.submit(*TASKS)
    plane.executions.started[f"{run.id}-0"].over = True
    if how == "abandoned":
        plane.register({"step": "abandon", "run": run.id, "generation": 0, "error": {}})
    else:
        cancel(plane, run.id)  # as `observe` does for an execution that was stopped
    assert plane.finish(run, sweeps=5).state in (RunState.CANCELLED, RunState.FAILED)
    assert plane.backend.jobs == {}


def test_when_its_execution_ends_before_it_is_repeated(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS)
    cancel(plane, run.id)
    plane.finish(run)
    plane.submitting.retry(run.id, everything=True)
    plane.executions.started[f"{run.id}-1"].over = True
    cancel(plane, run.id)
    assert plane.finish(run, sweeps=5).state is RunState.CANCELLED


def test_while_a_repetition_is_prepared(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS)
    plane.finish(run)
    plane.submitting.retry(run.id, everything=True)
    cancel(plane, run.id)
    plane.deliver_stream()
    assert plane.finish(run).ended_at is not None
    assert len(plane.backend.jobs) == 3
    assert plane.is_over(run)


def test_while_tasks_wait(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS)
    cancel(plane, run.id)
    assert plane.finish(run).state is RunState.CANCELLED
    assert plane.backend.jobs == {}
    assert plane.task(run, "c").reason is Reason.CANCELLED


def test_between_claim_and_handle(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS)

    def stop() -> None:
        plane.backend.after_submit = None
        cancel(plane, run.id)
        plane.deliver_stream()  # the handles are not noted yet
        assert plane.backend.terminated == []

    plane.backend.after_submit = stop
    plane.deliver_stream()
    assert [reason for _, reason in plane.backend.terminated] == [CANCELLED, CANCELLED]
    assert plane.finish(run).state is RunState.CANCELLED


def test_between_claim_and_submit(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS)

    def stop() -> None:
        plane.backend.before_submit = None
        cancel(plane, run.id)
        plane.deliver_stream()

    plane.backend.before_submit = stop
    assert plane.finish(run).state is RunState.CANCELLED
    assert plane.backend.active() == []
    assert all(job.started_at is None for job in plane.backend.jobs.values())


def test_while_a_busy_service_gives_claims_back(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS)
    plane.backend.busy = 1
    plane.backend.after_submit = lambda: cancel(plane, run.id)
    plane.deliver_stream()
    assert plane.states(run) == {"a": "failed", "b": "submitted", "c": "pending"}
    assert plane.finish(run).state is RunState.CANCELLED


def test_while_jobs_run(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS)
    plane.deliver()
    plane.backend.start()
    plane.deliver_jobs()
    cancel(plane, run.id)
    plane.deliver_stream()
    assert plane.states(run) == {"a": "running", "b": "running", "c": "failed"}
    ended = plane.finish(run)
    assert (ended.state, ended.reason) == (RunState.CANCELLED, Reason.CANCELLED)
    assert plane.task(run, "a").message == "cancelled while it ran"
    assert plane.is_over(run)


def test_jobs_are_not_ended_again_for_each_one_that_ends(plane: ControlPlane) -> None:
    run = plane.begin(*({"id": f"t{i}"} for i in range(30)))
    plane.deliver()
    cancel(plane, run.id)
    plane.deliver_stream()
    for event in plane.backend.take_events():
        plane.observe(run.id, [event])
        plane.deliver_stream()
    assert plane.run(run).state is RunState.CANCELLED
    assert len(plane.backend.terminated) == 30


def test_when_all_has_completed_already(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.deliver()
    plane.backend.end(outcome=COMPLETED)
    cancel(plane, run.id)
    assert plane.finish(run).state is RunState.COMPLETED


def test_when_it_has_ended(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    ended = plane.finish(run)
    cancel(plane, run.id)
    assert plane.run(run) == ended
    assert plane.take_images() == {}


def test_while_a_retry_waits(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "retries": 3, "retry_delay": "1h"})
    plane.deliver()
    plane.backend.end(outcome=FAILED)
    plane.deliver()
    assert plane.states(run) == {"a": "pending"}
    cancel(plane, run.id)
    assert plane.finish(run).state is RunState.CANCELLED
    assert len(plane.backend.jobs) == 1


def test_a_job_that_fails_by_itself_is_not_repeated_then(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "retries": 3})
    plane.deliver()
    plane.backend.end(outcome=FAILED)
    cancel(plane, run.id)
    assert plane.finish(run).state is RunState.CANCELLED
    assert len(plane.backend.jobs) == 1


def test_a_lost_cancellation_is_found_by_the_sweep(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS)
    plane.deliver()
    cancel(plane, run.id)
    plane.lose_events()
    plane.sweep()
    assert [reason for _, reason in plane.backend.terminated] == [CANCELLED, CANCELLED]
    assert plane.finish(run).state is RunState.CANCELLED


def test_a_large_run_is_ended_in_pieces(plane: ControlPlane) -> None:
    run = plane.begin(*({"id": f"t{i}"} for i in range(1400)), max_concurrent=1)
    plane.deliver()
    cancel(plane, run.id)
    looks = iter([True, False, True, False])
    plane.has_time = lambda: next(looks, True)
    plane.deliver_stream()
    assert 0 < plane.run(run).counts["pending"] < 1399
    assert plane.wakes.runs() == [run.id]
    assert plane.finish(run).state is RunState.CANCELLED


# The time limit ---------------------------------------------------------------------------------


def test_the_time_limit_is_enforced_by_the_execution(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS, time_limit="1h")
    assert plane.executions.started[f"{run.id}-0"].time_limit == 3600.0
    plane.deliver()
    plane.clock.now += 3600
    plane.register({"step": "expire", "run": run.id, "generation": 0, "token": "later"})
    plane.executions.started[f"{run.id}-0"].token = "later"
    ended = plane.finish(run)
    assert (ended.state, ended.reason) == (RunState.FAILED, Reason.TIMEOUT)
    assert set(plane.executions.told) == {"later"}


def test_the_time_limit_is_enforced_by_the_sweep(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS, time_limit="1h")
    plane.deliver()
    plane.clock.now += 3650
    plane.sweep()
    assert plane.run(run).cancel_requested_at is None  # the execution has a minute to do it
    plane.clock.now += 20
    plane.sweep()
    ended = plane.finish(run)
    assert (ended.state, ended.reason) == (RunState.FAILED, Reason.TIMEOUT)
    assert plane.is_over(run)


def test_a_repetition_gets_its_time_anew(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, time_limit="1h")
    plane.finish(run)
    plane.clock.now += 10_000
    plane.submitting.retry(run.id, everything=True)
    plane.deliver()
    plane.sweep()
    assert plane.finish(run).state is RunState.COMPLETED
