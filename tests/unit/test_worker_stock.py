"""What a worker has: what it starts next, how many it asks for, when it asks."""

from __future__ import annotations

from hut.pools.port import Order
from hutctl.worker.stock import Held, Stock


def order(name: str, **takes: int) -> Order:
    return Order(name, 1, "run", name, 1, "true", takes=takes)


def started(stock: Stock) -> list[str]:
    found: list[Held] = []
    while (held := stock.next()) is not None:
        found.append(held)
    return [held.order.lease for held in found]


def test_first_come_first_served_while_there_are_slots() -> None:
    stock = Stock(2)
    for name in "abc":
        stock.add(order(name), "run")
    assert started(stock) == ["a", "b"]
    stock.end(1, 0.1)
    assert started(stock) == ["c"]


def test_what_does_not_fit_keeps_nothing_from_others() -> None:
    stock = Stock(3, {"gpu": 2})
    stock.add(order("one", gpu=1), "run")
    stock.add(order("two", gpu=2), "run")
    stock.add(order("none"), "run")
    assert started(stock) == ["one", "none"]
    stock.end(1, 0.1)
    assert started(stock) == ["two"]


def test_what_asks_for_more_than_there_is_runs_alone() -> None:
    """The pool gave it out, so it may run: waiting would be for ever."""
    stock = Stock(2, {"gpu": 1})
    stock.add(order("big", gpu=3), "run")
    stock.add(order("small", gpu=1), "run")
    assert started(stock) == ["big"]
    stock.end(1, 0.1)
    assert started(stock) == ["small"]


def test_it_asks_for_a_slot_each_until_it_knows_how_long_tasks_take() -> None:
    stock = Stock(4)
    assert stock.demand == 4
    stock.reserved = 3
    assert stock.demand == 1


def test_it_asks_for_half_a_second_of_work_beyond_what_runs() -> None:
    stock = Stock(2)
    stock.add(order("a"), "run")
    started(stock)
    stock.end(1, 0.01)
    assert stock.demand == 2 + 120
    stock.add(order("b"), "run")
    started(stock)
    stock.end(2, 100.0)
    assert stock.demand == 2


def test_long_tasks_are_not_kept_waiting_behind_others() -> None:
    stock = Stock(2)
    stock.add(order("a"), "run")
    started(stock)
    stock.end(1, 3600.0)
    assert stock.demand == 2


def test_a_bundle_and_a_bound_are_kept() -> None:
    assert Stock(2, bundle=10).demand == 12
    assert Stock(2, bundle=10, max_inflight=5).demand == 5
    assert Stock(2, bundle=0).demand == 2


def test_it_asks_again_when_half_is_used_up() -> None:
    stock = Stock(1, bundle=4)
    for name in "abcd":
        stock.add(order(name), "run")
    assert not stock.is_low
    started(stock)
    assert not stock.is_low
    stock.end(1, 0.1)
    started(stock)
    assert stock.is_low


def test_one_that_drains_wants_nothing() -> None:
    stock = Stock(4, draining=True)
    assert stock.demand == 0
