"""Pauses come only for slow starts, and become rarer while they don't help."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.backends.local.pace import StartPace

FAST, SLOW = 0.0001, 0.002
WINDOW = 24


def window(pace, seconds, now):
    """Start as many tasks as are looked at together; return the pauses."""
    return [pace.pause_after(seconds, now) for _ in range(WINDOW)]


def pauses(pace, times):
    """Return at which of `times` a window of slow starts is followed by a pause."""
    return [now for now in times if any(window(pace, SLOW, now))]


@pytest.mark.parametrize(
    ("busy", "expected"), [(0.0, 10_000), (0.04, 10_000), (9.0, 1), (9.0, 150)]
)
def test_a_process_that_was_idle_or_has_little_to_start_starts_at_once(busy, expected):
    assert StartPace.pause_before_first(busy, expected) == 0


@pytest.mark.parametrize("busy", [0.06, 1.0, 100.0])
def test_a_process_that_was_busy_pauses_before_many_starts(busy):
    assert 0 < StartPace.pause_before_first(busy, 1000) < 1


@given(st.lists(st.floats(0, 0.0004), min_size=1, max_size=200))
def test_fast_starts_are_never_followed_by_a_pause(durations):
    pace = StartPace()
    assert not any(pace.pause_after(seconds, now) for now, seconds in enumerate(durations))


def test_slow_starts_are_judged_together_and_followed_by_one_pause():
    *before, last = window(StartPace(), SLOW, 100.0)
    assert before == [0.0] * (WINDOW - 1)
    assert last > 0


@pytest.mark.parametrize("seconds", [0.005, 60.0])
def test_one_slow_start_among_fast_ones_is_no_pattern(seconds):
    pace = StartPace()
    durations = [FAST] * (WINDOW - 1) + [seconds]
    assert [pace.pause_after(seconds, 0.0) for seconds in durations] == [0.0] * WINDOW


@given(st.integers(0, WINDOW), st.randoms(use_true_random=False))
def test_a_pattern_is_when_most_starts_are_slow(slow, chance):
    pace = StartPace()
    durations = [SLOW] * slow + [FAST] * (WINDOW - slow)
    chance.shuffle(durations)
    *before, last = [pace.pause_after(seconds, 0.0) for seconds in durations]
    assert not any(before)
    assert (last > 0) == (slow > WINDOW / 2)


def test_each_window_is_judged_by_itself():
    pace = StartPace()
    assert any(window(pace, SLOW, 0.0))
    assert not any(window(pace, FAST, 100.0))
    assert any(window(pace, SLOW, 200.0))


def test_pauses_that_do_not_help_become_rarer_up_to_a_bound():
    found = pauses(StartPace(), [tenth / 10 for tenth in range(4000)])
    gaps = [round(later - earlier, 1) for earlier, later in pairwise(found)]
    assert gaps[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    assert set(gaps[8:]) == {64.0}


def test_a_pause_that_helped_lets_the_next_one_come_as_soon_as_the_first():
    pace = StartPace()
    first = pauses(pace, [tenth / 10 for tenth in range(200)])
    assert first[-1] - first[-2] > 5
    assert not any(window(pace, FAST, 40.0))
    again = pauses(pace, [40 + tenth / 10 for tenth in range(30)])
    assert again[1] - again[0] == pytest.approx(0.5)


def test_no_two_watches_share_what_they_saw():
    assert any(window(StartPace(), SLOW, 0.0))
    assert any(window(StartPace(), SLOW, 0.0))
