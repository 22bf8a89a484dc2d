"""Tasks and targets: what fits, what is used up, who is next, and what is said where nothing fits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.scheduling.matching import (
    BUILT_IN,
    OF_POOLS,
    Allocation,
    Kind,
    Mismatch,
    Scheduler,
    Target,
    assign,
    choose,
    give_back,
    mismatches,
    preference,
    property_problems,
    remaining_of,
    take,
    unsatisfiable,
)

MAIN = Scheduler(
    "MAIN",
    {
        "cpu": Kind.MINIMUM,
        "mem": Kind.MINIMUM,
        "arch": Kind.EXACT,
        "os": Kind.PRIORITY,
        "label": Kind.IGNORE,
    },
)
SMALL = Target("small", {"cpu": "4", "mem": "16", "arch": "x86_64", "os": "Linux"})
ARM = Target("arm", {"cpu": "64", "mem": "8", "arch": "aarch64"})
BARE = Target("bare")

# name: wanted, targets, what is said
SENTENCES: dict[str, tuple[dict[str, str], list[Target], list[str]]] = {
    "nothing is asked": ({}, [BARE], []),
    "somebody can": ({"cpu": "4", "arch": "x86_64"}, [BARE, SMALL], []),
    "more than the best": (
        {"cpu": "65"},
        [SMALL, ARM, BARE],
        ["cpu: at least 65 was asked for, and the most any target has is 64 (arm)"],
    ),
    "every property is named": (
        {"cpu": "65", "arch": "riscv", "mem": "1"},
        [SMALL, ARM],
        [
            "cpu: at least 65 was asked for, and the most any target has is 64 (arm)",
            "arch: riscv was asked for, and targets have x86_64, aarch64",
        ],
    ),
    "nobody has it": (
        {"cpu": "1"},
        [BARE],
        ["cpu: 1 was asked for, and no target has this property"],
    ),
    "each is had somewhere, but nowhere all": (
        {"cpu": "32", "arch": "x86_64"},
        [SMALL, ARM],
        ["small lacks cpu >= 32 (it has 4)", "arm lacks arch = x86_64 (it has aarch64)"],
    ),
    "soft ones never": ({"os": "BeOS", "label": "x"}, [BARE], []),
    "no targets": ({"cpu": "1"}, [], ["there is no target"]),
    "no targets and nothing asked": ({}, [], []),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_unsatisfiable(name: str) -> None:
    wanted, targets, expected = SENTENCES[name]
    assert unsatisfiable(MAIN, wanted, targets) == expected


def test_unsatisfiable_is_judged_by_the_whole_fleet() -> None:
    full = Target("full", {"cpu": "4"}, {"cpu": 0}, inflight=9, max_inflight=1, draining=True)
    assert choose(MAIN, {"cpu": "4"}, [full]) is None
    assert unsatisfiable(MAIN, {"cpu": "4"}, [full]) == []


def test_mismatch_tells_what_is_left_and_what_there_is() -> None:
    busy = take(MAIN, {"cpu": "3"}, SMALL, 1.0)
    assert mismatches(MAIN, {"cpu": "2", "arch": "arm"}, busy) == (
        Mismatch("cpu", Kind.MINIMUM, "2", "1", "4"),
        Mismatch("arch", Kind.EXACT, "arm", "x86_64", "x86_64"),
    )
    assert mismatches(MAIN, {"cpu": "2"}, busy, ever=True) == ()
    assert mismatches(MAIN, {"cpu": "2"}, BARE) == (Mismatch("cpu", Kind.MINIMUM, "2", None, None),)


def test_built_in_ones() -> None:
    wanted = {"anything": "at all", "cpu": "many"}
    assert property_problems(BUILT_IN, wanted) == []
    assert choose(BUILT_IN, wanted, [BARE]) is BARE
    assert property_problems(OF_POOLS, wanted) == []
    assert choose(OF_POOLS, wanted, [BARE]) is None
    exact = Target("exact", wanted)
    assert choose(OF_POOLS, wanted, [BARE, exact]) is exact


VALUES = {
    "cpu": st.integers(0, 6).map(str),
    "mem": st.integers(0, 6).map(str),
    "arch": st.sampled_from(["x86_64", "aarch64"]),
    "os": st.sampled_from(["Linux", "Windows"]),
    "label": st.text(max_size=2),
}
WANTED = st.fixed_dictionaries({}, optional=VALUES)
SCHEDULERS = st.builds(
    Scheduler,
    st.just("S"),
    st.just(MAIN.properties),
    st.sampled_from(list(Allocation)),
)


def targets_of(most: int) -> Any:
    one = st.builds(
        Target,
        st.just(""),
        WANTED,
        inflight=st.integers(0, 2),
        max_inflight=st.integers(0, 4),
        draining=st.booleans(),
        used_at=st.floats(0, 1e10),
    )
    return st.lists(one, max_size=most).map(
        lambda found: [
            Target(f"t{n}", t.properties, {}, t.inflight, t.max_inflight, t.draining, t.used_at)
            for n, t in enumerate(found)
        ]
    )


QUEUES = st.lists(st.tuples(st.integers(-1, 1), WANTED), max_size=12).flatmap(
    lambda found: st.permutations(
        [(n, priority, n, wanted) for n, (priority, wanted) in enumerate(found)]
    )
)


@given(SCHEDULERS, QUEUES, targets_of(4))
def test_assign(scheduler: Scheduler, queue: list[Any], targets: list[Target]) -> None:
    assigned = assign(scheduler, queue, targets)
    by_name = {target.name: target for target in targets}
    wanted = {key: asked for key, _, _, asked in queue}
    # Each at most once, in the order of priority, then of arrival.
    keys = [key for key, _ in assigned]
    in_order = sorted(queue, key=lambda one: (-one[1], one[2]))
    assert keys == [key for key, *_ in in_order if key in set(keys)]
    # Never more than there is.
    for target in targets:
        given_ = [wanted[key] for key, name in assigned if name == target.name]
        for name in ("cpu", "mem"):
            assert sum(int(w.get(name, 0)) for w in given_) <= int(target.properties.get(name, 0))
        assert all(not mismatches(scheduler, w, target, ever=True) for w in given_)
        assert not (given_ and target.draining)
        assert (
            not target.max_inflight
            or not given_
            or (target.inflight + len(given_) <= target.max_inflight)
        )
    # Nobody who could run now is left waiting, whoever stands before it.
    for key, name in assigned:
        by_name[name] = take(scheduler, wanted[key], by_name[name], 0.0)
    for key, asked in wanted.items():
        if key not in keys:
            assert choose(scheduler, asked, by_name.values()) is None


@given(SCHEDULERS, WANTED, targets_of(4))
def test_soft_preferences_only_rank(
    scheduler: Scheduler, wanted: dict[str, str], targets: list[Target]
) -> None:
    hard = {name: asked for name, asked in wanted.items() if name not in ("os", "label")}
    chosen, without = choose(scheduler, wanted, targets), choose(scheduler, hard, targets)
    assert (chosen is None) is (without is None)
    if chosen is not None:
        able = [t for t in targets if t.has_room and not mismatches(scheduler, hard, t)]
        best = max(preference(scheduler, wanted, target) for target in able)
        assert preference(scheduler, wanted, chosen) == best


@given(SCHEDULERS, st.lists(WANTED, max_size=6), WANTED, st.data())
def test_take_and_give_back_are_inverse(
    scheduler: Scheduler, tasks: list[dict[str, str]], advertised: dict[str, str], data: Any
) -> None:
    start = target = Target("t", advertised)
    for wanted in tasks:
        target = take(scheduler, wanted, target, 1.0)
    assert target.inflight == len(tasks)
    for wanted in data.draw(st.permutations(tasks)):
        target = give_back(scheduler, wanted, target, 2.0)
    assert target.inflight == 0
    for name in ("cpu", "mem"):
        assert remaining_of(target, name) == remaining_of(start, name)
    assert target.properties == start.properties
