"""The match table, capacity, queue order and allocation of NativeLink's scheduler, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hut.scheduling.matching import (
    Allocation,
    Kind,
    Scheduler,
    Target,
    UnknownProperty,
    assign,
    choose,
    give_back,
    mismatches,
    preference,
    property_problems,
    remaining_of,
    take,
    target_problems,
)

DECLARED = {
    "cpu_count": Kind.MINIMUM,
    "memory_kb": Kind.MINIMUM,
    "cpu_arch": Kind.EXACT,
    "OSFamily": Kind.PRIORITY,
    "build-id": Kind.IGNORE,
}
MAIN = Scheduler("MAIN_SCHEDULER", DECLARED)
STRING_EQUAL = replace(MAIN, unknown_property=UnknownProperty.MATCH)
LARGEST = "18446744073709551615"

# name: what the task asks for, what the worker advertises, whether they match
TABLE = {
    "minimum: more than asked": ({"cpu_count": "4"}, {"cpu_count": "8"}, True),
    "minimum: just as much": ({"cpu_count": "8"}, {"cpu_count": "8"}, True),
    "minimum: less": ({"cpu_count": "9"}, {"cpu_count": "8"}, False),
    "minimum: numbers, not texts": ({"cpu_count": "9"}, {"cpu_count": "10"}, True),
    "minimum: leading zeros": ({"cpu_count": "008"}, {"cpu_count": "8"}, True),
    "minimum: the largest number": ({"memory_kb": LARGEST}, {"memory_kb": LARGEST}, True),
    "minimum: one less than the largest": (
        {"memory_kb": LARGEST},
        {"memory_kb": "18446744073709551614"},
        False,
    ),
    "minimum: nothing of what the worker lacks": ({"cpu_count": "0"}, {}, False),
    "minimum: the worker lacks it": ({"cpu_count": "1"}, {}, False),
    "exact: the same": ({"cpu_arch": "x86_64"}, {"cpu_arch": "x86_64"}, True),
    "exact: another": ({"cpu_arch": "x86_64"}, {"cpu_arch": "aarch64"}, False),
    "exact: the case counts": ({"cpu_arch": "x86_64"}, {"cpu_arch": "X86_64"}, False),
    "exact: blanks count": ({"cpu_arch": "x86_64"}, {"cpu_arch": "x86_64 "}, False),
    "exact: texts, not numbers": ({"cpu_arch": "1"}, {"cpu_arch": "01"}, False),
    "exact: bytes, not looks": ({"cpu_arch": "\u00e9"}, {"cpu_arch": "e\u0301"}, False),
    "exact: the worker lacks it": ({"cpu_arch": "x86_64"}, {}, False),
    "exact: nothing is not the same as lacking it": ({"cpu_arch": ""}, {}, False),
    "priority: the same": ({"OSFamily": "Linux"}, {"OSFamily": "Linux"}, True),
    "priority: another": ({"OSFamily": "Linux"}, {"OSFamily": "Windows"}, True),
    "priority: the worker lacks it": ({"OSFamily": "Linux"}, {}, True),
    "ignore: another": ({"build-id": "7"}, {"build-id": "8"}, True),
    "ignore: the worker lacks it": ({"build-id": "7"}, {}, True),
    "no properties match every worker": ({}, {"cpu_arch": "x86_64", "cpu_count": "0"}, True),
    "extra properties of a worker exclude nothing": (
        {"cpu_count": "1"},
        {"cpu_count": "1", "cpu_arch": "x86_64", "gpu": "a100"},
        True,
    ),
    "all of them have to match": (
        {"cpu_count": "1", "cpu_arch": "x86_64"},
        {"cpu_count": "1", "cpu_arch": "aarch64"},
        False,
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_match_table(name: str) -> None:
    wanted, advertised, matches = TABLE[name]
    worker = Target("w", advertised)
    assert (mismatches(MAIN, wanted, worker) == ()) is matches
    assert (choose(MAIN, wanted, [worker]) is worker) is matches


UNDECLARED = {
    "the same text": ({"gpu": "a100"}, {"gpu": "a100"}, True),
    "another text": ({"gpu": "a100"}, {"gpu": "t4"}, False),
    "equal numbers of other texts": ({"gpu": "1"}, {"gpu": "01"}, False),
    "the worker lacks it": ({"gpu": "a100"}, {}, False),
}


@pytest.mark.parametrize("name", UNDECLARED)
def test_undeclared_property_that_is_matched_is_string_equal(name: str) -> None:
    wanted, advertised, matches = UNDECLARED[name]
    assert property_problems(STRING_EQUAL, wanted) == []
    assert (mismatches(STRING_EQUAL, wanted, Target("w", advertised)) == ()) is matches


def test_undeclared_property_is_an_error_by_default() -> None:
    (problem,) = property_problems(MAIN, {"cpu_counts": "1"})
    assert problem.field == "properties.cpu_counts"
    assert "'MAIN_SCHEDULER'" in problem.message
    assert "did you mean 'cpu_count'?" in problem.message


NO_NUMBERS = ["", "-1", "+1", "1.0", "1e3", " 1", "1 ", "1\n", "1_000", "4G", "0x10", "\u0661"]
NO_NUMBERS += ["18446744073709551616", "9" * 5000, "unlimited"]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_value_that_is_no_unsigned_64_bit_number(text: str) -> None:
    (of_task,) = property_problems(MAIN, {"cpu_arch": text, "cpu_count": text})
    assert of_task.field == "properties.cpu_count"
    (of_worker,) = target_problems(MAIN, {"cpu_arch": text, "cpu_count": text})
    assert of_worker.field == "properties.cpu_count"
    assert mismatches(MAIN, {"cpu_count": "0"}, Target("w", {"cpu_count": text}))
    assert mismatches(MAIN, {"cpu_count": text}, Target("w", {"cpu_count": LARGEST}))


# Capacity ---------------------------------------------------------------------------------------


def test_dispatch_subtracts_every_minimum_and_only_those() -> None:
    wanted = {"cpu_count": "3", "memory_kb": "10", "cpu_arch": "7", "OSFamily": "1"}
    worker = Target("w", {"cpu_count": "8", "memory_kb": "100", "cpu_arch": "7"})
    after = take(MAIN, wanted, worker, 5.0)
    assert {key: remaining_of(after, key) for key in DECLARED} == {
        "cpu_count": 5,
        "memory_kb": 90,
        "cpu_arch": 7,  # what is never taken: the whole
        "OSFamily": None,
        "build-id": None,
    }
    assert after.remaining == {"cpu_count": 5, "memory_kb": 90}
    assert after.inflight == 1
    assert after.used_at == 5.0


def test_what_was_subtracted_is_restored() -> None:
    wanted = {"cpu_count": "8"}
    worker = Target("w", {"cpu_count": "8"})
    busy = take(MAIN, wanted, worker, 1.0)
    assert choose(MAIN, {"cpu_count": "1"}, [busy]) is None
    free = give_back(MAIN, wanted, busy, 2.0)
    assert choose(MAIN, wanted, [free]) is free
    assert (free.inflight, free.used_at) == (0, 2.0)


def test_minimum_1_on_a_worker_with_one_slot_the_second_waits() -> None:
    waiting = [("a", 0, 1, {"cpu_count": "1"}), ("b", 0, 2, {"cpu_count": "1"})]
    worker = Target("w", {"cpu_count": "1"})
    assert assign(MAIN, waiting, [worker]) == [("a", "w")]
    busy = take(MAIN, {"cpu_count": "1"}, worker, 1.0)
    assert assign(MAIN, waiting[1:], [busy]) == []
    free = give_back(MAIN, {"cpu_count": "1"}, busy, 2.0)
    assert assign(MAIN, waiting[1:], [free]) == [("b", "w")]


def test_exact_1_waits_for_the_worker_that_has_it() -> None:
    scheduler = Scheduler("S", {"prop": Kind.EXACT})
    waiting = [("a", 0, 1, {"prop": "1"})]
    first, second = Target("first", {"prop": "2"}), Target("second", {"prop": "1"})
    assert assign(scheduler, waiting, [first]) == []
    assert assign(scheduler, waiting, [first, second]) == [("a", "second")]


def test_max_inflight_tasks_bounds_also_tasks_without_properties() -> None:
    worker = Target("w", max_inflight=2)
    waiting = [(key, 0, n, {}) for n, key in enumerate("abc")]
    assert assign(MAIN, waiting, [worker]) == [("a", "w"), ("b", "w")]
    full = replace(worker, inflight=2)
    assert choose(MAIN, {}, [full]) is None
    assert choose(MAIN, {}, [give_back(MAIN, {}, full, 1.0)]) is not None


def test_max_inflight_tasks_0_is_no_bound() -> None:
    waiting = [(n, 0, n, {}) for n in range(500)]
    assert len(assign(MAIN, waiting, [Target("w", max_inflight=0)])) == 500


def test_draining_worker_gets_nothing_and_resumes() -> None:
    worker = Target("w", draining=True)
    waiting = [("a", 0, 1, {})]
    assert assign(MAIN, waiting, [worker]) == []
    assert assign(MAIN, waiting, [replace(worker, draining=False)]) == [("a", "w")]


# Queue ------------------------------------------------------------------------------------------


def test_inserted_at_ts2_then_ts1_ts1_runs_first() -> None:
    waiting = [("late", 0, 2, {}), ("early", 0, 1, {})]
    assert assign(MAIN, waiting, [Target("w", max_inflight=1)]) == [("early", "w")]


def test_explicit_priority_goes_before_insertion() -> None:
    waiting = [("old", 0, 1, {}), ("low", -5, 0, {}), ("new", 7, 3, {}), ("newer", 7, 4, {})]
    one = Target("w", max_inflight=4)
    assert [key for key, _ in assign(MAIN, waiting, [one])] == ["new", "newer", "old", "low"]


def test_same_millisecond_the_sequence_decides() -> None:
    waiting = [("b", 0, (1000, 2), {}), ("a", 0, (1000, 1), {})]
    assert [key for key, _ in assign(MAIN, waiting, [Target("w")])] == ["a", "b"]


def test_no_head_of_line_blocking() -> None:
    waiting = [
        ("huge", 9, 1, {"cpu_count": "64"}),
        ("arm", 8, 2, {"cpu_arch": "aarch64"}),
        ("small", 0, 3, {"cpu_count": "2"}),
    ]
    worker = Target("w", {"cpu_count": "4", "cpu_arch": "x86_64"})
    assert assign(MAIN, waiting, [worker]) == [("small", "w")]


def test_what_is_left_goes_to_the_next_that_fits() -> None:
    waiting = [
        (key, 0, n, {"cpu_count": cpus})
        for n, (key, cpus) in enumerate([("a", "3"), ("b", "2"), ("c", "1"), ("d", "1")])
    ]
    worker = Target("w", {"cpu_count": "4"})
    assert assign(MAIN, waiting, [worker]) == [("a", "w"), ("c", "w")]


# Allocation -------------------------------------------------------------------------------------

USED = [Target("oldest", used_at=1.0), Target("newest", used_at=9.0), Target("middle", used_at=5.0)]


def test_least_recently_used_takes_the_worker_that_was_idle_longest() -> None:
    scheduler = replace(MAIN, allocation=Allocation.LEAST_RECENTLY_USED)
    chosen = choose(scheduler, {}, USED)
    assert chosen is not None
    assert chosen.name == "oldest"
    waiting = [(n, 0, n, {}) for n in range(4)]
    names = [name for _, name in assign(scheduler, waiting, USED)]
    assert names == ["oldest", "middle", "newest", "oldest"]


def test_most_recently_used_fills_the_worker_that_was_used_last() -> None:
    scheduler = replace(MAIN, allocation=Allocation.MOST_RECENTLY_USED)
    targets = [replace(target, max_inflight=2) for target in USED]
    waiting = [(n, 0, n, {}) for n in range(5)]
    names = [name for _, name in assign(scheduler, waiting, targets)]
    assert names == ["newest", "newest", "middle", "middle", "oldest"]


def test_a_report_counts_as_use() -> None:
    busy = take(MAIN, {}, USED[0], 10.0)
    assert choose(MAIN, {}, [busy, *USED[1:]]) is USED[2]
    assert choose(MAIN, {}, [give_back(MAIN, {}, busy, 11.0), *USED[1:]]) is USED[2]


def test_soft_preference_goes_before_the_allocation_strategy() -> None:
    linux = Target("linux", {"OSFamily": "Linux"}, used_at=9.0)
    windows = Target("windows", {"OSFamily": "Windows"}, used_at=1.0)
    assert preference(MAIN, {"OSFamily": "Linux"}, linux) == 1
    assert choose(MAIN, {"OSFamily": "Linux"}, [windows, linux]) is linux
    assert choose(MAIN, {"OSFamily": "BeOS"}, [linux, windows]) is windows


def test_soft_preference_never_keeps_a_task_from_the_other_worker() -> None:
    linux = Target("linux", {"OSFamily": "Linux"}, max_inflight=1)
    windows = Target("windows", {"OSFamily": "Windows"}, max_inflight=1)
    waiting = [(n, 0, n, {"OSFamily": "Linux"}) for n in range(3)]
    assert assign(MAIN, waiting, [windows, linux]) == [(0, "linux"), (1, "windows")]
