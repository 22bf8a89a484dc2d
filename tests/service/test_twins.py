"""Identical tasks on AWS: one job for several tasks, whatever dies, is lost or comes late."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from hut.model.records import RunRecord
from hut.model.states import Reason, RunState, TaskState
from hut.store.port import claim_of
from tests.aws_table import Clients
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import FAILED
from tests.service.test_crashes import Begin, Go, Story, insist, what_goes_wrong
from tests.simulation.dynamodb import SimulatedDynamoDB
from tests.simulation.s3 import SimulatedS3


@pytest.fixture
def make_plane() -> Callable[..., ControlPlane]:
    """Makes control planes on a simulated table: there are many."""

    def make(**options: Any) -> ControlPlane:
        dynamodb, s3 = SimulatedDynamoDB(time.time, copies=True), SimulatedS3(time.time)
        return ControlPlane(Clients({"dynamodb": dynamodb, "s3": s3}), **options)

    return make


def same(*ids: str, **fields: object) -> list[dict[str, object]]:
    return [{"id": task_id, "dedupe": True, **fields} for task_id in ids]


def jobs(plane: ControlPlane) -> list[str]:
    return [job.spec.id for job in plane.backend.jobs.values()]


def test_two_runs_share_one_job_and_its_end(plane: ControlPlane) -> None:
    first, second = plane.begin(*same("a")), plane.begin(*same("x"))
    plane.deliver()
    assert jobs(plane) == ["a"]
    task = plane.task(second, "x")
    assert task.state is TaskState.SUBMITTED
    assert task.handle == f"twin:{first.id}:0:1:{plane.task(first, 'a').epoch}"
    plane.backend.run_all()
    assert plane.finish(second).state == "completed"
    assert plane.task(second, "x").message == f"joined task a of run {first.id}"
    assert plane.finish(first).state == "completed"
    assert plane.sweeps == 0


def test_a_failure_is_shared_and_each_follows_its_own_retry_rules(plane: ControlPlane) -> None:
    first, second = plane.begin(*same("a")), plane.begin(*same("x", retries=1))
    plane.deliver()
    plane.backend.end(outcome=FAILED)
    plane.deliver()
    assert plane.states(first) == {"a": "failed"}
    assert jobs(plane) == ["a", "x"], "the retry of x is an execution of its own"
    assert plane.finish(second).state == "completed"
    (ended, again) = plane.store.list_attempts(second.id, [0])[0]
    assert ended.outcome.message == f"joined task a of run {first.id}: exit code 1"
    assert (ended.outcome.exit_code, ended.cost) == (1, None)
    assert again.number == 2


def test_the_end_of_an_attempt_that_is_repeated_is_shared_too(plane: ControlPlane) -> None:
    first, second = plane.begin(*same("a", retries=1)), plane.begin(*same("x"))
    plane.deliver()
    plane.backend.end(outcome=FAILED)
    plane.deliver()
    assert plane.states(first) == {"a": "submitted"}
    assert plane.states(second) == {"x": "failed"}
    assert plane.finish(first).state == "completed"
    assert plane.sweeps == 0


def test_many_in_one_run_and_what_depends_on_them(plane: ControlPlane) -> None:
    ids = [f"t{number}" for number in range(40)]
    run = plane.begin(*same(*ids), {"id": "end", "deps": ["t*"]})
    run = plane.finish(run)
    assert run.state == "completed"
    assert jobs(plane) == ["t0", "end"]
    assert plane.sweeps == 0


def test_the_followers_of_a_cancelled_run_run_it_anew(plane: ControlPlane) -> None:
    first, second, third = (plane.begin(*same(name)) for name in "abc")
    plane.deliver()
    plane.submitting.cancel(first.id, plane.clock.now)
    plane.deliver()
    assert plane.finish(second).state == "completed"
    assert plane.finish(third).state == "completed"
    assert jobs(plane) == ["a", "b"]
    assert [plane.task(run, name).attempt for run, name in ((second, "b"), (third, "c"))] == [1, 1]
    assert plane.sweeps == 0


def test_a_cancelled_follower_leaves_the_leader_alone(plane: ControlPlane) -> None:
    first, second = plane.begin(*same("a")), plane.begin(*same("x"))
    plane.deliver()
    plane.submitting.cancel(second.id, plane.clock.now)
    assert plane.finish(second).state == "cancelled"
    assert plane.task(second, "x").reason is Reason.CANCELLED
    assert plane.backend.terminated == []
    assert plane.finish(first).state == "completed"
    assert plane.sweeps == 0


def test_the_sweep_ends_followers_whose_leaders_end_was_not_told(plane: ControlPlane) -> None:
    first, second = plane.begin(*same("a")), plane.begin(*same("x"))
    plane.deliver()
    plane.backend.run_all()
    plane.deliver_jobs()
    plane.lose_events()
    assert plane.states(second) == {"x": "submitted"}
    assert plane.finish(second, sweeps=2).state == "completed"
    assert plane.finish(first, sweeps=4).state == "completed"


def test_the_sweep_frees_followers_of_what_was_given_back(plane: ControlPlane) -> None:
    first, second = plane.begin(*same("a")), plane.begin(*same("x"))
    plane.deliver()
    leader = plane.task(first, "a")
    assert leader.handle is not None
    plane.store.release_claims(first.id, [claim_of(leader).key])
    plane.submitting.cancel(first.id, plane.clock.now)
    plane.lose_events()
    assert plane.finish(second, sweeps=3).state == "completed"
    assert len(plane.backend.ran("x")) == 1


def test_a_follower_shows_the_leaders_log_and_costs_nothing(plane: ControlPlane) -> None:
    first, second = plane.begin(*same("a")), plane.begin(*same("x"))
    plane.finish(first)
    plane.finish(second)
    (end,) = plane.store.list_attempts(first.id, [0])[0]
    (followed,) = plane.store.list_attempts(second.id, [0])[0]
    assert followed.log == end.log
    assert followed.started_at == end.started_at
    assert followed.cost is None


def test_followers_count_against_caps_and_give_their_place_back(
    make_plane: Callable[..., ControlPlane],
) -> None:
    plane = make_plane(caps={"batch": 2})
    run = plane.begin(*same("a", "b", "c", "d"))
    plane.deliver()
    assert plane.busy() == 2
    assert plane.finish(run).state == "completed"
    assert plane.busy() == 0
    assert plane.sweeps == 0


# Whatever dies ----------------------------------------------------------------------------------


def begin_two(plane: ControlPlane) -> RunRecord:
    return plane.begin(*same("a", "b"), {"id": "c", "deps": ["a", "b"]})


def complete_two(plane: ControlPlane, run: RunRecord) -> None:
    assert plane.finish(run, sweeps=6).state is RunState.COMPLETED
    assert sum(len(plane.backend.ran(task_id)) for task_id in "ab") in (1, 2)
    assert all(len(plane.backend.ran(task_id)) <= 1 for task_id in "abc")


def begin_joined(plane: ControlPlane) -> RunRecord:
    plane.begin(*same("leader"))
    run = plane.begin(*same("a"))
    plane.deliver()
    return run


def lose_leader(plane: ControlPlane, run: RunRecord) -> None:
    (other,) = (each for each in plane.store.find_runs("run") if each.id != run.id)
    insist(plane, lambda: plane.submitting.cancel(other.id, plane.clock.now))
    assert plane.finish(run, sweeps=6).state is RunState.COMPLETED
    # What was to end it may die, and the job be faster than the next try.
    assert plane.finish(other, sweeps=9).state in (RunState.CANCELLED, RunState.COMPLETED)
    assert len(plane.backend.ran("leader")) + len(plane.backend.ran("a")) == 1


def begin_retry(plane: ControlPlane) -> RunRecord:
    plane.backend.outcomes["leader"] = [FAILED]
    plane.begin(*same("leader"))
    run = plane.begin(*same("a", retries=1))
    plane.deliver()
    return run


def complete_retry(plane: ControlPlane, run: RunRecord) -> None:
    assert plane.finish(run, sweeps=6).state is RunState.COMPLETED
    assert len(plane.backend.ran("a")) == 1


@pytest.mark.parametrize("fault", ["dies_before", "loses_answer_of"])
@pytest.mark.parametrize(
    ("begin", "go"),
    [(begin_two, complete_two), (begin_joined, lose_leader), (begin_retry, complete_retry)],
    ids=["completes", "leader is cancelled", "leader fails"],
)
def test_whatever_dies_every_task_ends_right_and_runs_once(
    make_plane: Callable[..., ControlPlane], begin: Begin, go: Go, fault: str
) -> None:
    assert what_goes_wrong(make_plane, Story(begin, go), fault) == []
