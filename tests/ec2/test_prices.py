"""What an attempt on an instance of its own costs, about."""

from __future__ import annotations

import pytest

from hut.backends.ec2.prices import PER_VCPU_HOUR, SPOT, WHOLE, estimate, price_of
from hut.backends.port import Usage
from tests.ec2.plain_ec2 import options


@pytest.mark.parametrize(
    ("machine", "price"),
    [
        ("c5.large", 0.085),
        ("c5.xlarge", 0.17),
        ("c5.24xlarge", 4.08),
        ("m5.large", 0.096),
        ("m7g.large", 0.0816),
        ("m7i-flex.large", 0.09576),
        ("r5.large", 0.126),
        ("c7g.medium", 0.03625),
        ("g4dn.xlarge", 0.526),
        ("g5.xlarge", 1.006),
        ("t3.micro", 0.0104),
        ("c5.metal", None),
        ("z9.large", None),
        ("", None),
    ],
)
def test_list_prices(machine, price):
    assert price_of(machine) == (None if price is None else pytest.approx(price))


def test_the_whole_instance_counts_for_its_hours():
    usage = Usage((1800.0, 1800.0), machine="c5.xlarge")
    assert estimate(options(), usage) == pytest.approx(0.17)


def test_a_minute_is_billed_at_least():
    assert estimate(options(), Usage((1.0,), machine="c5.xlarge")) == round(0.17 / 60, 7)


def test_spot_costs_a_part():
    usage = Usage((3600.0,), machine="c5.xlarge", spot=True)
    assert estimate(options(), usage) == pytest.approx(0.17 * SPOT)


@pytest.mark.parametrize("spot", [True, False])
def test_ones_own_price_goes_before(spot):
    usage = Usage((7200.0,), machine="z9.large", spot=spot)
    assert estimate(options(prices={"z9.large": 0.5}), usage) == 1.0


@pytest.mark.parametrize(
    "usage",
    [
        None,
        Usage(),
        Usage((1.0,)),
        Usage((), machine="c5.large"),
        Usage((9.0,), machine="z9.large"),
    ],
)
def test_without_a_time_or_a_price_there_is_none(usage):
    assert estimate(options(), usage) is None


def test_prices_are_dollars_an_hour():
    assert all(0.02 < price < 0.2 for price in PER_VCPU_HOUR.values())
    assert all(0.005 < price < 50 for price in WHOLE.values())
