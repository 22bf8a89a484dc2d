"""Leave to call, with a clock of the test's own: for a process alone and for several together."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from hut.backends.pace import OwnBucket, Pace
from hut.scheduling.pacing import Bucket, Turn

BROKEN = EndpointConnectionError(endpoint_url="https://dynamodb")


class Clock:
    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class Watched(OwnBucket):
    """Counts what is asked of it; others come first or it can't be reached, as the test says."""

    def __init__(self):
        super().__init__()
        self.loads = self.swaps = self.races = 0
        self.error = None

    def load(self):
        self.loads += 1
        if self.error is not None:
            raise self.error
        return super().load()

    def swap(self, number, bucket):
        self.swaps += 1
        if self.error is not None:
            raise self.error
        if self.races:
            self.races -= 1
            return False
        return super().swap(number, bucket)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def shared():
    return Watched()


def pace_of(shared, clock, notes=None, **options):
    note = [].append if notes is None else notes.append
    return Pace(shared, clock=clock, sleep=clock.sleep, note=note, **options)


def make_all(pace, calls):
    while calls:
        turn = pace.take(calls)
        for number in range(turn.calls):
            pace.wait(turn, number)
        calls -= turn.calls


def test_calls_are_kept_apart(clock, shared):
    make_all(pace_of(shared, clock), 101)
    assert clock.now == pytest.approx(1002.0)


def test_nobody_waits_after_a_pause(clock, shared):
    pace = pace_of(shared, clock)
    make_all(pace, 1)
    clock.now += 5
    make_all(pace, 1)
    assert clock.slept == []


def test_a_process_that_calls_alone_writes_once_for_each_turn_and_reads_once(clock, shared):
    make_all(pace_of(shared, clock), 100)
    assert (shared.loads, shared.swaps) == (1, 4)


def test_two_processes_take_turns(clock, shared):
    one, two = pace_of(shared, clock), pace_of(shared, clock)
    turns = [pace.take(100) for pace in (one, two, one, two)]
    assert [turn.start for turn in turns] == pytest.approx([1000.0, 1000.5, 1001.0, 1001.5])


def test_threads_never_get_the_same_turn(clock):
    shared, gate, turns = OwnBucket(), threading.Barrier(8), []
    paces = [Pace(shared, clock=clock, sleep=lambda _: None) for _ in range(8)]

    def take(pace):
        gate.wait()
        for _ in range(3):
            turn = pace.take(1, 1e12)
            turns.append(turn.start)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(take, paces))
    # Eight that never sleep may lose all their tries; what the bucket gave, it gave once.
    given = sorted(turns)
    bucket, _ = shared.load()
    assert bucket.next >= given[-1]
    assert len(set(given)) >= round((bucket.next - 1000.0) * 50)


def test_who_would_wait_for_long_is_told_when_to_come_again(clock, shared):
    shared.swap(0, Bucket(50.0, clock.now + 12, clock.now))
    assert pace_of(shared, clock).take(10) == pytest.approx(clock.now + 12)
    assert shared.load()[0].next == pytest.approx(clock.now + 12)


def test_a_turn_that_comes_too_late_is_not_taken(clock, shared):
    pace = pace_of(shared, clock)
    pace.take(25)
    assert pace.take(25, clock.now + 0.1) == pytest.approx(clock.now + 0.5)


def test_a_long_line_is_no_place_to_wait(clock, shared):
    pace = pace_of(shared, clock)
    assert pace.place().has_room
    shared.swap(0, Bucket(50.0, clock.now + 8, clock.now))
    place = pace.place()
    assert not place.has_room
    assert clock.now + 5 <= place.again_at <= clock.now + 8
    clock.now += 6
    assert pace.place().has_room


def test_nothing_is_asked_where_there_was_no_line(clock, shared):
    pace = pace_of(shared, clock)
    make_all(pace, 1)
    loads = shared.loads
    assert pace.place().has_room
    assert shared.loads == loads


def test_a_throttled_call_slows_all_processes(clock, shared):
    one, two = pace_of(shared, clock), pace_of(shared, clock)
    make_all(one, 1)
    one.throttled()
    turn = two.take(100)
    assert (turn.calls, turn.apart) == (12, pytest.approx(1 / 25))
    assert turn.start == pytest.approx(clock.now + 0.5)


def test_throttled_calls_are_counted_also_where_nobody_can_be_told(clock, shared):
    counted = []
    pace = pace_of(shared, clock, count=lambda: counted.append(1))
    pace.throttled()
    shared.error = BROKEN
    pace.throttled()
    assert len(counted) == 2


def test_others_that_come_first_are_no_harm(clock, shared):
    shared.races, notes = 5, []
    assert pace_of(shared, clock, notes).take(10) == Turn(pytest.approx(1000, abs=2), 10, 0.02)
    assert not notes
    assert clock.slept


def test_where_others_always_come_first_it_goes_on_slowly_by_itself(clock, shared):
    shared.races, notes = 10**6, []
    turn = pace_of(shared, clock, notes).take(10)
    assert turn.apart == pytest.approx(1 / 5)
    assert notes == [
        "the pace of all functions is not known, this one goes slowly: too many at once"
    ]


@pytest.mark.parametrize("error", [BROKEN, ClientError({"Error": {"Code": "X"}}, "GetItem")])
def test_a_table_that_can_not_be_reached_slows_but_stops_nothing(clock, shared, error):
    shared.error, notes = error, []
    pace = pace_of(shared, clock, notes)
    assert pace.place().has_room
    assert pace.take(10).apart == pytest.approx(1 / 5)
    pace.throttled()
    assert len(notes) == 1


def test_by_itself_it_keeps_to_the_limit_of_the_account(clock):
    turn = Pace(clock=clock, sleep=clock.sleep).take(1000)
    assert (turn.calls, turn.apart) == (25, pytest.approx(1 / 50))
