"""Free places of a backend, divided between runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.scheduling.shares import Contender, shares_of

# name: free places, (active, wants) of runs from the oldest to the newest, what each gets
CASES = {
    "equal runs get equal shares": (10, [(0, 20), (0, 20)], [5, 5]),
    "freed places go to the run that has less": (2, [(8, 12), (0, 4)], [0, 2]),
    "until it has as many": (6, [(4, 20), (1, 20)], [2, 4]),
    "what one does not want goes to the others": (10, [(0, 20), (0, 1)], [9, 1]),
    "more runs than places: the oldest first": (2, [(0, 5), (0, 5), (0, 5)], [1, 1, 0]),
    "a run by itself takes all": (10, [(0, 20)], [10]),
    "it takes no more than it wants": (10, [(3, 4)], [4]),
    "of two that have the same the older one": (1, [(3, 5), (3, 5)], [1, 0]),
    "a bound of a run's own is what it wants": (12, [(0, 2), (0, 50), (4, 50)], [2, 7, 3]),
    "three levels": (9, [(5, 9), (3, 9), (0, 9)], [1, 3, 5]),
    "no places": (0, [(0, 5)], [0]),
    "more than there may be": (-3, [(0, 5)], [0]),
    "nobody": (5, [], []),
    "nobody wants any": (5, [(1, 0)], [0]),
}


@pytest.mark.parametrize("name", CASES)
def test_shares(name: str) -> None:
    free, runs, expected = CASES[name]
    contenders = [Contender(f"r{n}", *run, since=float(n)) for n, run in enumerate(runs)]
    shares = shares_of(free, reversed(contenders))
    assert [shares.get(c.run_id, 0) for c in contenders] == expected


RUNS = st.lists(
    st.builds(
        Contender,
        run_id=st.uuids().map(str),
        active=st.integers(0, 30),
        wants=st.integers(0, 30),
        since=st.floats(0, 9),
    ),
    max_size=8,
)


def one_by_one(free: int, contenders: list[Contender]) -> dict[str, int]:
    """Give place after place to the run that has the fewest tasks."""
    got = {c.run_id: 0 for c in contenders}
    for _ in range(free):
        wanting = [c for c in contenders if got[c.run_id] < c.wants]
        if not wanting:
            break
        least = min(wanting, key=lambda c: (c.active + got[c.run_id], c.since, c.run_id))
        got[least.run_id] += 1
    return got


@given(st.integers(0, 200), RUNS)
def test_it_is_as_if_each_place_went_to_the_run_that_has_least(
    free: int, contenders: list[Contender]
) -> None:
    shares = shares_of(free, contenders)
    expected = one_by_one(free, contenders)
    assert {c.run_id: shares.get(c.run_id, 0) for c in contenders} == expected
    assert sum(shares.values()) == min(free, sum(c.wants for c in contenders))
