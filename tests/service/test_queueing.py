"""Waits that end: jobs that wait too long, backends that take none, queues that can't work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hut.backends.port import JobState
from hut.model.records import Refusal
from hut.model.states import Reason, RunState
from hut.model.waiting import Pool, Queue
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import HEALTHY

MISFIT = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - more than the environment has"


def sweep_later(plane: ControlPlane, seconds: float):
    plane.clock.now += seconds
    swept = plane.sweep()
    plane.deliver()
    return swept


# Jobs that wait too long --------------------------------------------------------------------------


def test_a_job_that_waits_too_long_is_cancelled_and_its_task_fails(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "max_queue_time": "10m"}, {"id": "b"})
    plane.deliver()
    plane.job("a").said = MISFIT
    assert sweep_later(plane, 599).queue_timeouts == 0
    swept = sweep_later(plane, 1)
    assert (swept.queue_timeouts, swept.stuck, swept.lost) == (1, 0, 0)
    a = plane.task(run, "a")
    assert (a.state, a.reason, a.exit_code) == ("failed", Reason.QUEUE_TIMEOUT, None)
    assert a.message == (
        "waited 10m in queue queue for a machine; max_queue_time is 10m "
        f"(it said: {MISFIT})"
    )  # fmt: skip
    assert plane.task(run, "b").state == "submitted"
    assert plane.backend.terminated == []
    assert plane.finish(run).state is RunState.FAILED


def test_it_is_the_tasks_own_failure_and_each_attempt_waits_anew(plane: ControlPlane) -> None:
    run = plane.begin(
        {"id": "a", "max_queue_time": "10m", "retries": 1, "retry_on": ["queue_timeout"]}
    )
    plane.deliver()
    assert sweep_later(plane, 600).queue_timeouts == 1
    a = plane.task(run, "a")
    assert (a.state, a.attempt, a.retries_used, a.losses) == ("submitted", 2, 1, 0)
    assert sweep_later(plane, 599).queue_timeouts == 0
    assert sweep_later(plane, 1).queue_timeouts == 1
    assert plane.task(run, "a").reason is Reason.QUEUE_TIMEOUT
    assert plane.is_over(run)


def test_a_job_that_starts_before_it_is_cancelled_goes_on(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "max_queue_time": "1m"})
    plane.deliver()
    plane.backend.before_cancel = plane.backend.start
    sweep_later(plane, 300)
    assert [handle for handle, _ in plane.backend.cancelled] == [plane.job("a").handle]
    assert plane.task(run, "a").state == "running"
    plane.backend.before_cancel = None
    assert sweep_later(plane, 300).queue_timeouts == 0
    assert plane.finish(run).state is RunState.COMPLETED


def test_a_job_that_batch_tries_again_waits_since_its_last_try(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "max_queue_time": "10m"})
    plane.deliver()
    plane.backend.start()
    plane.deliver()
    job = plane.job("a")
    plane.clock.now += 7200
    job.state, job.ended_at = JobState.WAITING, plane.clock.now
    assert sweep_later(plane, 599).queue_timeouts == 0
    assert sweep_later(plane, 1).queue_timeouts == 1
    assert plane.task(run, "a").message.startswith("waited 10m in queue")


def test_a_job_that_runs_is_never_too_long_in_its_queue(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "max_queue_time": "1m"})
    plane.deliver()
    plane.backend.start()
    plane.lose_events()
    assert sweep_later(plane, 3600).queue_timeouts == 0
    assert plane.task(run, "a").state == "running"
    assert plane.backend.cancelled == []


def test_the_end_of_a_cancelled_job_may_be_lost_and_told_by_the_next_sweep(
    plane: ControlPlane,
) -> None:
    run = plane.begin({"id": "a", "max_queue_time": "1m"})
    plane.deliver()
    plane.clock.now += 60
    plane.sweep()
    plane.lose_events()
    assert plane.task(run, "a").state == "submitted"
    assert sweep_later(plane, 120).ends_found == 1
    assert plane.task(run, "a").reason is Reason.QUEUE_TIMEOUT


def test_children_of_arrays_that_wait_too_long_are_cancelled_one_by_one(
    plane: ControlPlane,
) -> None:
    plane.backend.makes_arrays = True
    times = ("10m", "10m", "1h", None)
    run = plane.begin(*({"id": f"t{n}", "max_queue_time": t} for n, t in enumerate(times)))
    plane.deliver()
    assert len(plane.backend.parents) == 1
    plane.backend.start(plane.job("t1"))
    plane.deliver()
    assert sweep_later(plane, 599).queue_timeouts == 0
    assert sweep_later(plane, 1).queue_timeouts == 1
    assert [handle for handle, _ in plane.backend.cancelled] == [plane.job("t0").handle]
    assert plane.task(run, "t0").reason is Reason.QUEUE_TIMEOUT
    assert plane.states(run) == {
        "t0": "failed",
        "t1": "running",
        "t2": "submitted",
        "t3": "submitted",
    }


def test_one_child_stands_for_an_array_that_is_stuck(plane: ControlPlane) -> None:
    plane.backend.makes_arrays = True
    plane.begin(*({"id": f"t{n}"} for n in range(5)))
    plane.deliver()
    plane.backend.known_queues = [replace(HEALTHY, pools=())]
    assert sweep_later(plane, 899).stuck == 0
    assert sweep_later(plane, 1).stuck == 1
    assert sweep_later(plane, 100).stuck == 1


def test_a_service_that_does_not_cancel_keeps_no_run_from_being_swept(plane: ControlPlane) -> None:
    def refuse() -> None:
        raise PermissionError("not authorized to perform batch:CancelJob")

    run = plane.begin({"id": "a", "max_queue_time": "1m"}, {"id": "b"})
    plane.deliver()
    plane.backend.before_cancel = refuse
    plane.backend.end(plane.job("b"))
    plane.lose_events()
    swept = sweep_later(plane, 300)
    assert (swept.failed, swept.ends_found, swept.queue_timeouts) == (0, 1, 0)
    assert plane.states(run) == {"a": "submitted", "b": "completed"}
    assert "jobs could not be cancelled" in plane.notes.warnings()


def test_what_a_sweep_has_no_time_to_cancel_the_next_one_does(plane: ControlPlane) -> None:
    run = plane.begin(*({"id": f"t{i}"} for i in range(200)), defaults={"max_queue_time": "1m"})
    plane.deliver()
    plane.clock.now += 60
    looks = iter(range(2))
    plane.has_time = lambda: next(looks, None) is not None
    assert plane.sweep().queue_timeouts == 80
    plane.has_time = lambda: True
    assert sweep_later(plane, 1).queue_timeouts == 120
    plane.deliver()
    assert plane.run(run).state is RunState.FAILED


# Backends that take no job ------------------------------------------------------------------------


def refuse_for(plane: ControlPlane, seconds: float) -> None:
    """Let a backend refuse all jobs for a while; wake messages come as they are due."""
    plane.backend.busy = 10**6
    end = plane.clock.now + seconds
    while plane.clock.now < end:
        plane.deliver()
        due = min((at for at, _, _ in plane.wakes.waiting), default=end)
        plane.clock.now = min(max(due, plane.clock.now + 1), end)
    plane.deliver()


def test_a_refusal_is_kept_until_a_job_is_taken(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b", "partition": "ec2"})
    begun = plane.clock.now
    refuse_for(plane, 60)
    assert plane.states(run) == {"a": "pending", "b": "pending"}
    [one, other] = sorted(plane.run(run).refusals, key=lambda each: str(each.partition))
    now = plane.clock.now
    assert one == Refusal("batch", None, "too many requests", begun, now, now + 15)
    assert (other.partition, other.since) == ("ec2", begun)
    plane.backend.busy = 0
    plane.clock.now += 15
    plane.deliver()
    assert plane.run(run).refusals == ()
    assert plane.task(run, "a").wanted_at == begun
    assert plane.finish(run).state is RunState.COMPLETED


def test_tries_become_rarer_and_not_more(plane: ControlPlane) -> None:
    plane.begin(*({"id": f"t{n}"} for n in range(100)))
    plane.backend.busy = 10**6
    tries: list[float] = []
    plane.backend.before_submit = lambda: tries.append(plane.clock.now)
    plane.deliver()
    begun, swept = plane.clock.now, plane.clock.now
    while plane.clock.now < begun + 2400:
        assert 1 <= len(plane.wakes.waiting) <= 2  # the second one leaves none behind
        due = min(at for at, _, _ in plane.wakes.waiting)
        plane.clock.now = min(due, swept + 120)
        if plane.clock.now == swept + 120:
            swept = plane.clock.now
            plane.sweep()
        plane.deliver()
    assert tries[1] - tries[0] == 15
    assert len([at for at in tries if at > begun + 1200]) <= 2 * 1200 / 120  # half are the sweep's
    assert plane.backend.busy == 10**6 - 80 * len(tries)


def test_refusals_cost_no_request_of_their_own(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"})
    plane.backend.busy = 10**6
    before = len(plane.fate.effects)
    plane.deliver()
    tried = plane.fate.effects[before:]
    assert plane.run(run).refusals
    assert len([each for each in tried if "transact" in each]) == 2  # the claim, and its return


def test_a_task_whose_job_is_refused_too_long_fails(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "max_queue_time": "2m"}, {"id": "b"})
    refuse_for(plane, 119)
    assert plane.states(run) == {"a": "pending", "b": "pending"}
    refuse_for(plane, 30)
    a = plane.task(run, "a")
    assert (a.state, a.reason, a.attempt) == ("failed", Reason.QUEUE_TIMEOUT, 1)
    assert a.message.startswith("waited 2m")
    assert a.message.endswith(
        "for its job to be taken; max_queue_time is 2m (said last: too many requests)"
    )
    assert plane.task(run, "b").state == "pending"
    plane.backend.busy = 0
    assert plane.finish(run).state is RunState.FAILED


def test_being_refused_and_waiting_in_the_queue_count_together(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "max_queue_time": "10m"})
    refuse_for(plane, 300)
    plane.backend.busy = 0
    plane.clock.now += 30
    plane.deliver()
    assert plane.task(run, "a").state == "submitted"
    assert sweep_later(plane, 300).queue_timeouts == 1
    assert plane.task(run, "a").message.startswith("waited 10m 30s in queue")


def test_waiting_for_room_does_not_count(plane: ControlPlane) -> None:
    run = plane.begin(
        {"id": "first", "priority": 1},
        {"id": "then", "max_queue_time": "1m"},
        max_concurrent=1,
    )
    plane.deliver()
    sweep_later(plane, 3600)
    assert plane.states(run) == {"first": "submitted", "then": "pending"}
    plane.backend.run_all()
    plane.deliver()
    assert sweep_later(plane, 59).queue_timeouts == 0
    assert sweep_later(plane, 1).queue_timeouts == 1


def test_a_repeated_run_waits_and_is_refused_anew(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a", "max_queue_time": "2m"})
    refuse_for(plane, 150)
    plane.deliver()
    assert plane.run(run).state is RunState.FAILED
    plane.submitting.retry(run.id, everything=False)
    assert plane.run(run).refusals == ()
    plane.step_executions()
    refuse_for(plane, 60)
    a = plane.task(run, "a")
    assert (a.state, a.wanted_at) == ("pending", plane.run(run).refusals[0].since)
    plane.backend.busy = 0
    assert plane.finish(run).state is RunState.COMPLETED


# Jobs that will never start -----------------------------------------------------------------------

DISABLED = replace(HEALTHY.pools[0], state="DISABLED")
INVALID = replace(HEALTHY.pools[0], status="INVALID", said="CLIENT_ERROR - no such role")


@pytest.mark.parametrize(
    ("said", "queue", "stuck"),
    [
        ("", HEALTHY, 0),
        ("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - none left", HEALTHY, 0),
        (MISFIT, HEALTHY, 1),
        ("ACTION_REQUIRED - CE(s) associated with the job queue are invalid.", HEALTHY, 1),
        ("", replace(HEALTHY, state="DISABLED"), 0),  # it goes on with the jobs it has
        ("", replace(HEALTHY, status="INVALID"), 1),
        ("", replace(HEALTHY, pools=(DISABLED,)), 1),
        ("", replace(HEALTHY, pools=(INVALID,)), 1),
        ("", replace(HEALTHY, pools=(INVALID, *HEALTHY.pools)), 0),
        ("", replace(HEALTHY, pools=()), 1),
    ],
)
def test_jobs_that_can_not_start_are_counted(
    plane: ControlPlane, said: str, queue: Queue, stuck: int
) -> None:
    plane.begin({"id": "a"})
    plane.deliver()
    plane.job("a").said = said
    plane.backend.known_queues = [queue]
    assert sweep_later(plane, 899).stuck == 0
    assert plane.backend.queue_calls == 0
    assert sweep_later(plane, 1).stuck == stuck


def test_a_trouble_is_noted_once_a_sweep_with_its_reason(plane: ControlPlane) -> None:
    for _ in range(3):
        plane.begin({"id": "a"}, {"id": "b"})
    plane.deliver()
    place = Pool("machines", status="INVALID", said="CLIENT_ERROR - no such role")
    plane.backend.known_queues = [Queue("queue", pools=(place,)), replace(HEALTHY, name="other")]
    assert sweep_later(plane, 1000).stuck == 6
    told = [fields for _, message, fields in plane.notes.told if message == "queue trouble"]
    assert told == [
        {
            "backend": "batch",
            "detail": "compute environment machines is INVALID: CLIENT_ERROR - no such role",
        }
    ]
    assert plane.backend.queue_calls == 1


def test_queues_that_can_not_be_looked_at_are_no_obstacle(plane: ControlPlane) -> None:
    run = plane.begin({"id": "a"}, {"id": "b"})
    plane.deliver()
    plane.job("a").said = MISFIT
    plane.backend.known_queues = PermissionError("not authorized")
    swept = sweep_later(plane, 1000)
    assert (swept.stuck, swept.failed) == (1, 0)
    assert plane.backend.queue_calls == 1
    assert plane.job("b").state is JobState.WAITING
    assert plane.finish(run).state is RunState.COMPLETED
