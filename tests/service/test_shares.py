"""Runs that want the places of one capped backend: what each of them gets, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hut.model.records import RunRecord
from hut.model.states import RunState
from tests.service.control_plane import ControlPlane

CAP = 10

Make = Callable[..., ControlPlane]


@pytest.fixture
def capped(make_plane: Make) -> ControlPlane:
    return make_plane(caps={"batch": CAP})


def tasks(number: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"id": f"t{n}", **fields} for n in range(number)]


def active(plane: ControlPlane, *runs: RunRecord) -> list[int]:
    return [plane.run(run).active for run in runs]


def hold_all(plane: ControlPlane, number: int = CAP) -> RunRecord:
    """Let a run take the backend's places, so that others have to wait for them."""
    holder = plane.begin(*tasks(number), name="holder")
    plane.deliver()
    assert active(plane, holder) == [number]
    return holder


def end(plane: ControlPlane, run: RunRecord, number: int) -> None:
    plane.backend.end(*plane.backend.active(run.id)[:number])
    plane.deliver()


def begin_all(plane: ControlPlane, *runs: list[dict[str, Any]], **fields: Any) -> list[RunRecord]:
    begun = [plane.begin(*some, **fields) for some in runs]
    plane.deliver()
    return begun


# The cases of the reference ---------------------------------------------------------------------


def test_two_runs_get_equal_shares(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    runs = begin_all(capped, tasks(20), tasks(20))
    end(capped, holder, CAP)
    assert active(capped, *runs) == [5, 5]


def test_freed_places_go_to_the_run_that_has_less_also_from_its_own_ends(
    capped: ControlPlane,
) -> None:
    large = capped.begin(*tasks(20))
    capped.deliver()
    (small,) = begin_all(capped, tasks(4))
    assert active(capped, large, small) == [10, 0]
    end(capped, large, 2)
    assert active(capped, large, small) == [8, 2]
    end(capped, large, 3)
    assert active(capped, large, small) == [6, 4]


def test_what_one_does_not_want_goes_to_the_other(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    large, small = begin_all(capped, tasks(20), tasks(1))
    end(capped, holder, CAP)
    assert active(capped, large, small) == [9, 1]


def test_what_one_wants_but_can_not_start_yet_goes_to_the_other_in_the_end(
    capped: ControlPlane,
) -> None:
    holder = hold_all(capped)
    chain = [{"id": "first"}, *tasks(8, deps=["first"])]
    large, small = begin_all(capped, tasks(20), chain)
    end(capped, holder, CAP)
    assert active(capped, large, small) == [9, 1]


def test_fewer_places_than_runs_are_not_given_twice(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    runs = begin_all(capped, *[tasks(5)] * 3)
    end(capped, holder, 2)
    assert capped.busy() == CAP
    assert sorted(active(capped, *runs)) == [0, 1, 1]


def test_a_run_by_itself_takes_all(capped: ControlPlane) -> None:
    run = capped.begin(*tasks(20))
    capped.deliver()
    assert active(capped, run) == [CAP]


def test_of_two_that_have_the_same_the_older_one_comes_first(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    older = capped.begin(*tasks(5), new_id="runz")
    capped.clock.now += 1
    newer = capped.begin(*tasks(5), new_id="runa")
    capped.deliver()
    end(capped, holder, 1)
    assert active(capped, older, newer) == [1, 0]


def test_backends_are_shared_each_by_itself(make_plane: Make) -> None:
    plane = make_plane(backends=("batch", "other"), caps={"batch": 4, "other": 4})
    one = plane.begin(*tasks(10))
    two = plane.begin(*tasks(10, backend="other"))
    plane.deliver()
    assert active(plane, one, two) == [4, 4]


# More of it -------------------------------------------------------------------------------------


def test_bounds_of_runs_are_kept_and_cost_the_others_nothing(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    (bounded,) = begin_all(capped, tasks(20), max_concurrent=2)
    (free,) = begin_all(capped, tasks(20))
    end(capped, holder, CAP)
    assert active(capped, bounded, free) == [2, 8]


def test_what_a_run_has_elsewhere_is_not_counted_against_it(make_plane: Make) -> None:
    plane = make_plane(backends=("batch", "other"), caps={"batch": CAP})
    holder = hold_all(plane)
    elsewhere = [{"id": f"o{n}", "backend": "other"} for n in range(9)]
    runs = begin_all(plane, tasks(20), [*tasks(20), *elsewhere])
    end(plane, holder, CAP)
    assert active(plane, *runs) == [5, 5 + 9]


def test_runs_come_to_have_the_same_and_stay_so(capped: ControlPlane) -> None:
    large = capped.begin(*tasks(60))
    capped.deliver()
    (small,) = begin_all(capped, tasks(40))
    for _ in range(5):
        end(capped, large, 1)
    assert active(capped, large, small) == [5, 5]
    for run in (large, small, large, large, small):
        end(capped, run, 2)
        assert capped.busy() == CAP
        assert abs(active(capped, large)[0] - 5) <= 1


def test_priorities_and_the_order_of_the_file_hold_inside_a_share(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    urgent = [*tasks(5), {"id": "urgent", "priority": 5}, {"id": "last"}]
    run, _ = begin_all(capped, urgent, tasks(20))
    end(capped, holder, 6)
    found = [job.spec.id for job in capped.backend.active(run.id)]
    assert found == ["urgent", "t0", "t1"]


def test_all_come_to_their_ends_without_a_sweep(capped: ControlPlane) -> None:
    runs = begin_all(capped, tasks(40), tasks(3), tasks(25), tasks(1))
    for run in runs:
        assert capped.finish(run).state is RunState.COMPLETED
    assert capped.sweeps == 0
    assert not capped.wakes.waiting


# Who is told ------------------------------------------------------------------------------------


def test_as_many_runs_are_woken_as_there_are_places(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    begin_all(capped, *[tasks(1)] * 30)
    capped.wakes.sent = 0
    end(capped, holder, 2)
    assert capped.wakes.sent == 2
    assert capped.busy() == CAP


def test_a_run_is_called_once_while_it_is_under_way(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    (small,) = begin_all(capped, tasks(3))
    capped.backend.end(*capped.backend.active(holder.id)[:2])
    capped.deliver_jobs()
    for _ in range(5):
        capped.deliver_stream()
        capped.advancing.advance(holder.id)
    assert capped.wakes.runs() == [small.id]
    assert active(capped, holder) == [8]  # nobody else takes what it was called for
    capped.deliver()
    assert active(capped, small) == [2]


def test_a_call_that_is_lost_is_made_good_by_a_sweep(capped: ControlPlane) -> None:
    large = capped.begin(*tasks(20))
    capped.deliver()
    (small,) = begin_all(capped, tasks(3))
    capped.backend.end(*capped.backend.active(large.id)[:2])
    capped.deliver_jobs()
    capped.deliver_stream()
    capped.lose_events()
    assert active(capped, large, small) == [8, 0]
    capped.clock.now += 200
    capped.sweep()
    capped.deliver()
    assert active(capped, large, small) == [8, 2]


def test_a_call_that_is_lost_is_repeated_by_the_next_that_looks(capped: ControlPlane) -> None:
    large = capped.begin(*tasks(20))
    capped.deliver()
    (small,) = begin_all(capped, tasks(3))
    capped.backend.end(*capped.backend.active(large.id)[:2])
    capped.deliver_jobs()
    capped.deliver_stream()
    capped.lose_events()
    capped.clock.now += 61
    capped.advancing.advance(large.id)
    assert active(capped, large, small) == [8, 0]
    assert capped.wakes.runs() == [small.id]
    capped.deliver()
    assert active(capped, large, small) == [8, 2]


def test_a_share_is_not_kept_for_ever_for_a_run_that_does_not_come(capped: ControlPlane) -> None:
    large = capped.begin(*tasks(20))
    capped.deliver()
    begin_all(capped, tasks(3))
    capped.backend.end(*capped.backend.active(large.id)[:2])
    capped.deliver_jobs()
    capped.deliver_stream()
    capped.lose_events()
    capped.clock.now += 301
    capped.advancing.advance(large.id)
    assert active(capped, large) == [10]


@pytest.mark.parametrize("how", ["cancelled", "gone"])
def test_a_run_that_takes_nothing_any_more_holds_nothing(capped: ControlPlane, how: str) -> None:
    large = capped.begin(*tasks(30))
    capped.deliver()
    (small,) = begin_all(capped, tasks(3))
    if how == "cancelled":
        capped.submitting.cancel(small.id, capped.clock.now)
    else:
        capped.bed.client("dynamodb").delete_item(
            TableName=capped.options.table,
            Key={"pk": {"S": f"RUN#{small.id}"}, "sk": {"S": "META"}},
        )
    capped.backend.end(*capped.backend.active(large.id)[:4])
    capped.deliver_jobs()
    capped.advancing.advance(large.id)
    assert active(capped, large) == [10]
    notes = capped.store._waiting._notes("batch")
    assert [note["run"] for note in notes] == [large.id]


# What happens between a look and a note ----------------------------------------------------------


def during_the_look(plane: ControlPlane, run: RunRecord, work: Callable[[], Any]) -> None:
    """Let something happen once, after the run has seen that there is no room for it."""
    look, left = plane.store._waiting.has_ready, [work]

    def look_then(backend: str, meta: dict[str, Any], now: float) -> bool:
        found = look(backend, meta, now)
        if meta["id"] == run.id and left:
            left.pop()()
        return found

    plane.store._waiting.has_ready = look_then  # type: ignore[method-assign]


def test_a_place_freed_before_the_run_is_noted_is_taken(capped: ControlPlane) -> None:
    holder, small = hold_all(capped), capped.submit(*tasks(3))

    def free() -> None:
        capped.backend.end(*capped.backend.active(holder.id)[:2])
        capped.deliver_jobs()
        capped.deliver_stream()  # it looks for runs that wait, and finds none
        assert not capped.wakes.waiting

    during_the_look(capped, small, free)
    capped.deliver()
    assert active(capped, small) == [2]


def test_a_share_given_up_before_the_run_is_noted_is_taken(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    (other,) = begin_all(capped, tasks(4))
    small = capped.submit(*tasks(3))
    capped.backend.end(*capped.backend.active(holder.id)[:1])
    capped.deliver_jobs()
    capped.deliver_stream()  # the place is the other's now
    capped.wakes.waiting.clear()
    capped.step_executions()

    def leave() -> None:
        capped.store._waiting.leave("batch", other.id)
        assert list(capped.store.call_waiting("batch", CAP, capped.clock.now)) == []

    during_the_look(capped, small, leave)
    capped.deliver_stream()
    assert active(capped, small) == [1]


def test_a_run_that_begins_to_wait_during_a_claim_gets_its_share(capped: ControlPlane) -> None:
    holder = hold_all(capped)
    large, small = capped.submit(*tasks(20)), capped.submit(*tasks(20))
    capped.step_executions()
    capped.images.clear()
    end(capped, holder, CAP)
    view, waits = capped.store._waiting.view, [small.id]

    def view_then(backend: str, cap: int, meta: Any, wants: int, now: float) -> Any:
        seen = view(backend, cap, meta, wants, now)
        if meta["id"] == large.id and waits:
            waiting = capped.store._meta(waits.pop())
            assert capped.store._waiting.keep(backend, waiting, seen._replace(note=None), now)
        return seen

    capped.store._waiting.view = view_then  # type: ignore[method-assign]
    capped.advancing.advance(large.id)
    assert active(capped, large) == [5]
    capped.deliver()
    assert active(capped, large, small) == [5, 5]
