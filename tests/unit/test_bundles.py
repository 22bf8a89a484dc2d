"""How many short tasks share one job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.model.workflow import BY_ITSELF
from hut.scheduling.bundles import (
    GRACE,
    Limits,
    Workload,
    bundle_size,
    longest_bundle,
    mean_seconds,
    most_claimed,
    time_limit_of,
    whole_bundles,
)

BATCH = Limits(60, 14 * 86400)
EC2 = Limits(300, 46 * 3600, slots=2)


@pytest.mark.parametrize(
    ("size", "limits", "load", "expected"),
    [
        pytest.param(100, BATCH, Workload(10_000, None, 3.0), 100, id="a size given is taken"),
        pytest.param(10, BATCH, Workload(10, 10, None), 10, id="also where there is more room"),
        pytest.param(0, BATCH, Workload(10_000, None, 1.0), 60, id="a minute of work"),
        pytest.param(0, EC2, Workload(100_000, 10, 1.0), 600, id="five minutes for two slots"),
        pytest.param(
            0, BATCH, Workload(10_000, None, 0.01), 100, id="no fewer jobs than a hundred"
        ),
        pytest.param(0, BATCH, Workload(10, 10, 0.01), 1, id="ten tasks in ten free places"),
        pytest.param(0, BATCH, Workload(15, 10, 0.01), 2, id="a few more than places"),
        pytest.param(0, BATCH, Workload(1000, 0, 0.01), 1000, id="no room just now"),
        pytest.param(0, BATCH, Workload(10_000, 4, None), 4, id="small at first"),
        pytest.param(0, EC2, Workload(10_000, 4, None), 8, id="small at first, for each slot"),
        pytest.param(0, BATCH, Workload(10_000, None, 3600.0), 1, id="long tasks go alone"),
        pytest.param(0, BATCH, Workload(10**6, 1, 0.0), 10_000, id="no larger than all may be"),
    ],
)
def test_size_of_a_bundle(size, limits, load, expected):
    assert bundle_size(size, limits, load) == expected


@given(
    limit=st.floats(1, 1e6),
    slots=st.integers(1, 64),
    longest=st.floats(600, 2e6),
    more=st.booleans(),
)
def test_a_bundle_is_small_enough_for_the_worst_case(limit, slots, longest, more):
    most = longest_bundle(limit, slots, longest)
    assert most >= slots  # as many as it would run at once anyway
    if most > slots:
        assert time_limit_of(most, limit, slots) <= longest + 1
    if more:
        assert time_limit_of(most + 1, limit, slots) > longest - limit - GRACE - 1


@pytest.mark.parametrize(
    ("work", "completed", "started_at", "now", "expected"),
    [
        pytest.param(0, 0, None, 10_000, None, id="nothing has run"),
        pytest.param(0, 0, 9_900, 10_000, None, id="nothing has completed yet"),
        pytest.param(0, 0, 9_000, 10_000, 1000, id="tasks take at least as long as they run"),
        pytest.param(50, 20, 9_000, 10_000, 2.5, id="the mean of what has completed"),
    ],
)
def test_how_long_a_task_takes(work, completed, started_at, now, expected):
    assert mean_seconds(work, completed, started_at, now) == expected


def test_only_some_tasks_are_tried_before_anything_is_known():
    unknown = Workload(10_000, None, None)
    assert most_claimed(BY_ITSELF, BATCH, unknown, 0) == 400
    assert most_claimed(BY_ITSELF, BATCH, unknown, 399) == 1
    assert most_claimed(BY_ITSELF, BATCH, unknown, 500) == 0
    assert most_claimed(BY_ITSELF, EC2, unknown, 0) == 800
    assert most_claimed(BY_ITSELF, BATCH, Workload(10_000, None, 1.0), 500) is None
    assert most_claimed(100, BATCH, unknown, 500) is None


@pytest.mark.parametrize(
    ("pending", "since", "now", "expected"),
    [
        pytest.param(25, None, 100, 20, id="what makes full bundles goes at once"),
        pytest.param(7, 100, 129, 0, id="the others wait"),
        pytest.param(25, 100, 129, 20, id="as long as they may"),
        pytest.param(25, 100, 130, 25, id="and no longer"),
        pytest.param(0, 100, 500, 0, id="nothing waits"),
    ],
)
def test_how_many_tasks_go_before_more_are_added(pending, since, now, expected):
    assert whole_bundles(pending, 10, since, 30, now) == expected
