"""Calls kept apart, by a clock of the test's own."""

import threading

import pytest

from hut.backends.batch.pace import SUBMITS, Pace


class Clock:
    def __init__(self):
        self.now = 100.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def test_calls_are_kept_apart():
    clock = Clock()
    pace = Pace(50, clock=lambda: clock.now, sleep=clock.sleep)
    for _ in range(101):
        pace.wait()
    assert clock.now == pytest.approx(102.0)
    assert len(clock.slept) == 100


def test_nobody_waits_after_a_pause():
    clock = Clock()
    pace = Pace(50, clock=lambda: clock.now, sleep=clock.sleep)
    pace.wait()
    clock.now += 5
    pace.wait()
    assert clock.slept == []


def test_threads_take_turns():
    slept = []
    pace = Pace(10, clock=lambda: 0.0, sleep=slept.append)
    threads = [threading.Thread(target=pace.wait) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(slept) == pytest.approx([number / 10 for number in range(1, 20)])


def test_the_process_keeps_to_the_limit_of_the_account():
    assert SUBMITS._apart == pytest.approx(1 / 50)
