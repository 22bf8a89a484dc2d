"""List prices: what units cost, by service."""

from __future__ import annotations

import pytest

from infra.prices import PRICES, dollars


def test_what_units_cost_is_summed_by_service() -> None:
    found = dollars({"dynamodb_write": 2_000_000, "dynamodb_read": 8_000_000, "transition": 40_000})
    assert found == {"DynamoDB": pytest.approx(2.25), "Step Functions": pytest.approx(1.0)}
    assert dollars({}) == {}


def test_what_has_no_price_is_an_error() -> None:
    with pytest.raises(KeyError, match="moonlight"):
        dollars({"moonlight": 1})


def test_each_price_says_where_it_is_from() -> None:
    for price in PRICES.values():
        assert price.dollars > 0
        assert price.per >= 1
        assert price.source.startswith("aws.amazon.com/")
