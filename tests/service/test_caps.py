"""Bounds on what is active at once: of a run, and of a backend that several runs share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hut.backends.port import RemoteBackend
from hut.model.records import RunRecord
from hut.model.states import Reason, RunState
from hut.service.advancing import Advancing
from hut.service.observing import Observing
from hut.service.sweeping import Sweeping
from tests.service.control_plane import ControlPlane
from tests.service.fake_ports import FAILED

TASKS = tuple({"id": f"t{number}"} for number in range(6))


@pytest.fixture
def capped(make_plane: Callable[..., ControlPlane]) -> ControlPlane:
    return make_plane(caps={"batch": 2})


def active(plane: ControlPlane, run: RunRecord) -> int:
    return plane.run(run).active


def end_one(plane: ControlPlane, run: RunRecord) -> None:
    plane.backend.end(plane.backend.active(run.id)[0])
    plane.deliver()


def test_a_run_keeps_to_its_own_bound(plane: ControlPlane) -> None:
    run = plane.begin(*TASKS, max_concurrent=2)
    plane.deliver()
    for _ in range(4):
        assert active(plane, run) == 2
        end_one(plane, run)
    assert plane.finish(run).state is RunState.COMPLETED


def test_runs_share_the_bound_of_a_backend(capped: ControlPlane) -> None:
    one, two = capped.begin(*TASKS), capped.begin(*TASKS)
    capped.deliver()
    assert active(capped, one) + active(capped, two) == capped.busy() == 2


def test_a_freed_place_is_offered_to_other_runs(capped: ControlPlane) -> None:
    one, two = capped.begin(*TASKS[:2]), capped.begin(*TASKS[:2])
    capped.deliver()
    assert (active(capped, one), active(capped, two)) == (2, 0)
    end_one(capped, one)
    assert (active(capped, one), active(capped, two)) == (1, 1)
    assert capped.finish(one).state is capped.finish(two).state is RunState.COMPLETED
    assert capped.sweeps == 0


def test_many_runs_come_to_their_ends_one_after_the_other(capped: ControlPlane) -> None:
    runs = [capped.begin(*TASKS[:3]) for _ in range(4)]
    highest = 0
    for _ in range(20):
        capped.deliver()
        highest = max(highest, capped.busy())
        capped.backend.run_all()
    assert [capped.check(run).state for run in runs] == [RunState.COMPLETED] * 4
    assert highest == 2
    assert not capped.wakes.waiting


def test_a_cancelled_run_frees_its_places(capped: ControlPlane) -> None:
    one, two = capped.begin(*TASKS), capped.begin(*TASKS[:2])
    capped.deliver()
    capped.submitting.cancel(one.id, capped.clock.now)
    capped.deliver()
    assert active(capped, two) == 2


def test_claims_that_are_given_back_free_their_places(capped: ControlPlane) -> None:
    run = capped.begin(*TASKS)
    capped.backend.busy = 2
    capped.deliver_stream()
    assert capped.busy() == 0
    capped.finish(run)
    assert capped.busy() == 0


def test_a_task_that_waits_for_its_retry_frees_its_place(capped: ControlPlane) -> None:
    one = capped.begin(*({"id": i, "retries": 1, "retry_delay": "1h"} for i in "ab"))
    two = capped.begin(*TASKS[:2])
    capped.deliver()
    assert (active(capped, one), active(capped, two)) == (2, 0)
    capped.backend.end(outcome=FAILED)
    capped.deliver()
    assert active(capped, two) == 2


def test_a_place_that_is_freed_at_this_moment_is_not_missed(capped: ControlPlane) -> None:
    one, two = capped.begin(*TASKS[:2]), capped.submit(*TASKS[:2])
    capped.deliver_stream()
    assert active(capped, one) == 2
    claim = capped.store.claim

    def claim_then_all_end(request):
        claims = claim(request)
        if request.run_id == two.id and capped.backend.active(one.id):
            capped.backend.run_all()
            capped.deliver_jobs()
            told = capped.take_images()
            capped.advance(one.id, told[one.id])
        return claims

    capped.store.claim = claim_then_all_end  # type: ignore[method-assign]
    capped.deliver()
    assert capped.run(one).ended_at is not None
    assert active(capped, two) == 2


def test_a_run_waits_where_there_is_no_room_until_the_sweep_if_it_must(
    capped: ControlPlane,
) -> None:
    one, two = capped.begin(*TASKS[:2]), capped.begin(*TASKS[:2])
    capped.deliver()
    capped.backend.run_all()
    capped.deliver_jobs()
    capped.lose_events()
    capped.sweep()
    capped.deliver()
    assert capped.run(one).state is RunState.COMPLETED
    assert active(capped, two) == 2


def test_a_busy_backend_does_not_hold_up_another_one(
    make_plane: Callable[..., ControlPlane],
) -> None:
    plane = make_plane(backends=("batch", "other"), caps={"batch": 1})
    run = plane.begin({"id": "a"}, {"id": "b"}, {"id": "c", "backend": "other"})
    plane.deliver()
    assert plane.states(run) == {"a": "submitted", "b": "pending", "c": "submitted"}
    assert [job.spec.id for job in plane.backends["other"].jobs.values()] == ["c"]
    assert plane.finish(run).state is RunState.COMPLETED


def test_the_configuration_of_a_run_is_known_before_the_run_is_worked_on(
    plane: ControlPlane,
) -> None:
    run = plane.begin({"id": "t"})
    uses: dict[type, Callable[[Any], object]] = {
        Advancing: lambda it: it.advance(run.id),
        Observing: lambda it: it.observe(run.id, ()),
        Sweeping: lambda it: it.sweep(),
    }
    for kind, use in uses.items():
        known: dict[str, RemoteBackend] = {}  # as in a function that has not looked for a while

        def see(seen: RunRecord, known: dict[str, RemoteBackend] = known) -> None:
            assert seen.id == run.id
            known.update(plane.backends)

        use(kind(replace(plane.around(), backends=known, see=see)))
        assert known.keys() == {"batch"}, kind
        assert active(plane, run) == 1


def test_a_run_whose_budget_is_spent_is_stopped(plane: ControlPlane) -> None:
    plane.backend.price = 0.6
    tasks = [{"id": "a"}, {"id": "b", "deps": ["a"]}, {"id": "c", "deps": ["b"]}]
    run = plane.begin(*tasks, {"id": "d", "deps": ["c"]}, max_cost=1.0)
    ended = plane.finish(run)
    assert (ended.state, ended.reason) == (RunState.FAILED, Reason.BUDGET)
    assert ended.message == "the run reached its max_cost"
    assert plane.states(run) == {"a": "completed", "b": "completed", "c": "failed", "d": "failed"}
    assert ended.cost == pytest.approx(1.2)


def test_what_runs_when_the_budget_is_spent_is_ended(plane: ControlPlane) -> None:
    plane.backend.price = 2.0
    run = plane.begin({"id": "a"}, {"id": "long"}, max_cost=1.0)
    plane.deliver()
    plane.backend.start()
    plane.backend.end(plane.job("a"))
    assert plane.finish(run).reason is Reason.BUDGET
    assert plane.states(run) == {"a": "completed", "long": "failed"}
    assert [reason for _, reason in plane.backend.terminated] == ["hut: cancelled"]


@pytest.mark.parametrize(
    ("tasks", "looked_at"),
    [
        ([{"id": "a"}], {"batch"}),
        ([{"id": "a"}, {"id": "b", "backend": "other"}], {"batch", "other"}),
        ([{"id": "a", "generates_source": "more.json"}], {"batch", "other", "third"}),
    ],
)
def test_only_backends_that_a_run_uses_are_looked_at(
    make_plane: Callable[..., ControlPlane],
    tasks: list[dict[str, Any]],
    looked_at: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look costs requests, and most deployments have more backends than a run uses."""
    caps = {"batch": 5, "other": 5, "third": 5}
    plane = make_plane(caps=caps, backends=tuple(caps))
    claimed, called = set(), set()
    claim, call = plane.store.claim, plane.store.call_waiting

    def claiming(request: Any) -> Any:
        claimed.add(request.backend)
        return claim(request)

    def calling(backend: str, *more: Any) -> Any:
        called.add(backend)
        return call(backend, *more)

    monkeypatch.setattr(plane.store, "claim", claiming)
    monkeypatch.setattr(plane.store, "call_waiting", calling)
    plane.begin(*tasks)
    plane.deliver_stream()
    assert (claimed, called) == (looked_at, looked_at)
