"""A bound on calls that many callers share, in virtual time: how much, how soon, for whom."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hut.scheduling.pacing import (
    FARTHEST,
    LONGEST_WAIT,
    SLOWEST,
    Bucket,
    Turn,
    line,
    new_bucket,
    rate_at,
    reserve,
    throttled,
)

MOST = 50.0


@dataclass
class Caller:
    """Somebody with calls to make: it takes a turn, makes its calls, takes the next."""

    begins: float
    calls: int
    ahead: float = 0.0  # how much its clock is
    made: list[float] = field(default_factory=list)  # in true time
    waited: list[float] = field(default_factory=list)


def run_all(callers: list[Caller], most: float = MOST) -> None:
    """Let all callers go on until they have made their calls."""
    bucket = new_bucket(min(caller.begins + caller.ahead for caller in callers), most)
    asking = [(caller.begins, number) for number, caller in enumerate(callers)]
    heapq.heapify(asking)
    while asking:
        now, number = heapq.heappop(asking)
        caller = callers[number]
        bucket, turn = reserve(bucket, now + caller.ahead, caller.calls - len(caller.made), most)
        start = max(turn.start - caller.ahead, now)
        caller.waited.append(start - now)
        caller.made += [start + n * turn.apart for n in range(turn.calls)]
        if len(caller.made) < caller.calls:
            heapq.heappush(asking, (caller.made[-1], number))


def most_within(seconds: float, callers: list[Caller]) -> int:
    """Return the largest number of calls in any window of so many seconds."""
    times = sorted(at for caller in callers for at in caller.made)
    first = highest = 0
    for last, at in enumerate(times):
        while at - times[first] >= seconds - 1e-6:
            first += 1
        highest = max(highest, last - first + 1)
    return highest


CALLERS = st.lists(
    st.builds(
        Caller,
        begins=st.floats(0, 5).map(lambda s: 1e9 + round(s, 3)),
        calls=st.integers(1, 150),
    ),
    min_size=1,
    max_size=10,
)


@given(CALLERS, st.sampled_from([0.1, 1.0, 2.5]), st.sampled_from([2.0, 20.0, 50.0]))
def test_no_window_holds_more_calls_than_it_may(
    callers: list[Caller], seconds: float, most: float
) -> None:
    run_all(callers, most)
    assert most_within(seconds, callers) <= most * seconds + 1
    assert [len(caller.made) for caller in callers] == [caller.calls for caller in callers]


@given(CALLERS, st.data())
def test_clocks_that_differ_cost_no_more_than_they_differ(
    callers: list[Caller], data: st.DataObject
) -> None:
    for caller in callers:
        caller.ahead = data.draw(st.floats(-1, 1))
    run_all(callers)
    apart = max(c.ahead for c in callers) - min(c.ahead for c in callers)
    assert most_within(1.0, callers) <= MOST * (1.0 + apart) + 1


@given(CALLERS)
def test_nobody_waits_for_more_than_a_turn_of_each_of_the_others(callers: list[Caller]) -> None:
    run_all(callers)
    for caller in callers:
        assert max(caller.waited) <= 0.5 * len(callers) + 1e-6


def test_three_calls_do_not_wait_for_a_thousand() -> None:
    large, small = Caller(1e9, 1000), Caller(1e9 + 3.14, 3)
    run_all([large, small])
    assert small.made[-1] - small.begins <= 0.5 + 3 / MOST
    assert large.made[-1] - large.begins == pytest.approx(1003 / MOST, abs=0.1)


def test_turns_are_short_where_many_wait() -> None:
    bucket, turn = reserve(Bucket(MOST, 1003.0, 900.0), 1000.0, 80, MOST)
    assert turn == Turn(1003.0, 5, 1 / MOST)
    assert line(bucket, 1000.0) == pytest.approx(3.1)


def test_a_turn_holds_no_more_than_there_are_calls() -> None:
    bucket, turn = reserve(new_bucket(1000.0, MOST), 1000.0, 3, MOST)
    assert turn == Turn(1000.0, 3, 1 / MOST)
    assert bucket.next == pytest.approx(1000.06)


def test_a_slow_pace_gives_leave_to_one_call_at_a_time() -> None:
    _, turn = reserve(Bucket(SLOWEST, 1000.0, 1000.0), 1000.0, 80, MOST)
    assert turn == Turn(1000.0, 1, 1.0)


def test_throttling_halves_the_rate_and_time_gives_it_back() -> None:
    bucket = throttled(new_bucket(1000.0, MOST), 2000.0, MOST)
    assert rate_at(bucket, 2000.0, MOST) == 25
    assert bucket.next == 2000.5
    assert rate_at(bucket, 2010.0, MOST) == 35
    assert rate_at(bucket, 2100.0, MOST) == MOST


def test_calls_throttled_together_tell_the_same() -> None:
    bucket = throttled(new_bucket(1000.0, MOST), 2000.0, MOST)
    assert throttled(bucket, 2000.4, MOST) == bucket
    assert throttled(bucket, 2001.5, MOST).rate == pytest.approx(26.5 / 2)


def test_a_bucket_that_was_just_made_is_throttled_all_the_same() -> None:
    assert throttled(new_bucket(1000.0, MOST), 1000.0, MOST).rate == 25


@given(st.lists(st.floats(0, 30), max_size=60), st.sampled_from([0.5, 1.0, 50.0]))
def test_the_rate_stays_within_its_bounds(pauses: list[float], most: float) -> None:
    now, bucket = 1e9, new_bucket(1e9, most)
    for pause in pauses:
        now += pause
        bucket = throttled(bucket, now, most)
        assert min(most, SLOWEST) <= rate_at(bucket, now, most) <= most
    assert rate_at(bucket, now + most, most) == most


def test_a_line_made_by_a_clock_that_is_wrong_is_forgotten() -> None:
    wrong = Bucket(MOST, 1000.0 + FARTHEST + 1, 900.0)
    _, turn = reserve(wrong, 1000.0, 10, MOST)
    assert turn.start == 1000.0
    assert LONGEST_WAIT < FARTHEST


@settings(max_examples=50)
@given(st.integers(11, 40))
def test_turns_do_not_overlap_however_many_ask_at_once(number: int) -> None:
    bucket, end = new_bucket(1e9, MOST), 1e9
    for _ in range(number):
        bucket, turn = reserve(bucket, 1e9, 100, MOST)
        assert turn.start >= end - 1e-6
        end = turn.start + turn.calls * turn.apart
