"""How many tasks may be claimed under the caps, and how many ahead of free slots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hut.scheduling.room import Caps, claim_ahead, is_spent, room

COUNTS = st.integers(0, 1000)
CAPS = st.builds(Caps, st.none() | COUNTS, st.none() | COUNTS)


@pytest.mark.parametrize(
    ("asked", "caps", "in_run", "on_backend", "fits"),
    [
        (5, Caps(), 0, 0, 5),
        (5, Caps(), 10**6, 10**6, 5),
        (0, Caps(8, 8), 0, 0, 0),
        (5, Caps(run=8), 0, 0, 5),
        (5, Caps(run=8), 4, 0, 4),
        (5, Caps(run=8), 8, 0, 0),
        (5, Caps(run=8), 9, 0, 0),
        (5, Caps(run=8), 0, 100, 5),
        (5, Caps(backend=8), 100, 6, 2),
        (5, Caps(backend=8), 0, 12, 0),
        (50, Caps(run=8, backend=20), 3, 10, 5),
        (50, Caps(run=20, backend=8), 3, 6, 2),
        (5, Caps(run=0), 0, 0, 0),
    ],
)
def test_what_is_asked_fits_under_both_caps(asked, caps, in_run, on_backend, fits):
    assert room(asked, caps, active_in_run=in_run, active_on_backend=on_backend) == fits


@given(COUNTS, CAPS, COUNTS, COUNTS)
def test_a_claim_never_exceeds_a_cap_and_wastes_no_room(asked, caps, in_run, on_backend):
    fits = room(asked, caps, active_in_run=in_run, active_on_backend=on_backend)
    assert 0 <= fits <= asked
    after = [(caps.run, in_run + fits), (caps.backend, on_backend + fits)]
    full = [cap is not None and active >= cap for cap, active in after]
    if fits:
        assert all(cap is None or active <= cap for cap, active in after)
    if fits < asked:
        assert any(full)


@pytest.mark.parametrize(
    ("ended", "seconds", "horizon", "most", "ahead"),
    [
        (0, 1.0, 0.1, 100, 0),
        (1000, 1.0, 0.1, 500, 100),
        (1000, 1.0, 0.1, 64, 64),
        (3, 1.0, 0.1, 64, 0),
        (30, 0.5, 0.1, 64, 6),
        (5, 0.0, 0.1, 64, 0),
        (5, -1.0, 0.1, 64, 0),
        (100, 1.0, 0.1, 0, 0),
    ],
)
def test_claims_ahead_cover_the_horizon_at_the_rate_just_seen(ended, seconds, horizon, most, ahead):
    assert claim_ahead(ended, seconds, horizon=horizon, most=most) == ahead


# No clock tells less than a nanosecond.
@given(COUNTS, st.floats(1e-9, 100) | st.floats(-1, 0), st.floats(0, 10), COUNTS)
def test_claims_ahead_are_bounded(ended, seconds, horizon, most):
    assert 0 <= claim_ahead(ended, seconds, horizon=horizon, most=most) <= most


@pytest.mark.parametrize(
    ("cost", "most", "spent"),
    [
        (None, 1.0, False),
        (5.0, None, False),
        (0.99, 1.0, False),
        (1.0, 1.0, True),
        (2.0, 1.0, True),
    ],
)
def test_a_budget_is_spent_once_it_is_reached(cost, most, spent):
    assert is_spent(cost, Caps(cost=most)) is spent
