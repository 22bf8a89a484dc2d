"""Contracts, their closed-form prices, and samples of their discounted payoffs.

The market is the one of Black and Scholes: one share without dividends, a constant rate of interest
and a constant volatility. All prices are in the currency of the share, all times in years.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import erfc, exp, log, sqrt
from operator import add, sub
from pathlib import Path
from random import Random

CONTRACTS = Path(__file__).with_name("contracts.json")


@dataclass(frozen=True)
class Option:
    """One contract together with the market it is priced in.

    Attributes
    ----------
    id : str
        As in ``contracts.json``; part of task ids.
    kind : {"call", "put", "down-and-out", "geometric", "arithmetic"}
        The last two are Asian calls: they pay on the mean of the fixings.
    spot, strike : float
    years : float
        Time to maturity.
    rate, volatility : float
        Per year.
    barrier : float
        For "down-and-out": the contract is void once the share touches it. At most the strike.
    fixings : int
        For Asian calls: how many equally spaced fixings the mean is taken over.
    """

    id: str
    kind: str
    spot: float
    strike: float
    years: float
    rate: float
    volatility: float
    barrier: float = 0.0
    fixings: int = 1

    @property
    def discount(self) -> float:
        """What one unit of money at maturity is worth today."""
        return exp(-self.rate * self.years)


def read_options(path: Path = CONTRACTS) -> dict[str, Option]:
    """Return the contracts of a file by id."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return {entry["id"]: Option(**document["market"], **entry) for entry in document["contracts"]}


# Closed forms


def normal_cdf(x: float) -> float:
    """Return the probability that a standard normal variable is below `x`."""
    return 0.5 * erfc(-x / sqrt(2.0))


def european_call(option: Option, years: float | None = None) -> float:
    """Return the price of the plain call by the formula of Black and Scholes."""
    time = option.years if years is None else years
    spread = option.volatility * sqrt(time)
    d1 = (log(option.spot / option.strike) + option.rate * time) / spread + spread / 2
    strike = option.strike * exp(-option.rate * time)
    return option.spot * normal_cdf(d1) - strike * normal_cdf(d1 - spread)


def european_put(option: Option) -> float:
    """Return the price of the plain put: the call's, by put-call parity."""
    return european_call(option) - option.spot + option.strike * option.discount


def down_and_out_call(option: Option) -> float:
    """Return the price of a call that dies at a barrier watched all the time (Merton 1973)."""
    spread = option.volatility * sqrt(option.years)
    power = option.rate / option.volatility**2 + 0.5
    ratio = option.barrier / option.spot
    y = log(ratio * option.barrier / option.strike) / spread + power * spread
    tilt = exp(2 * power * log(ratio))
    share = option.spot * tilt * normal_cdf(y)
    strike = option.strike * option.discount * tilt / ratio**2 * normal_cdf(y - spread)
    return european_call(option) - (share - strike)


def geometric_asian_call(option: Option) -> float:
    """Return the price of a call on the geometric mean of the fixings.

    The logarithm of that mean is normal, so the formula has the shape of the plain call's
    (Kemna and Vorst 1990, here for discrete fixings).
    """
    n = option.fixings
    drift = (option.rate - option.volatility**2 / 2) * option.years * (n + 1) / (2 * n)
    variance = option.volatility**2 * option.years * (n + 1) * (2 * n + 1) / (6 * n * n)
    spread = sqrt(variance)
    d2 = (log(option.spot / option.strike) + drift) / spread
    forward = option.spot * exp(drift + variance / 2)
    return option.discount * (forward * normal_cdf(d2 + spread) - option.strike * normal_cdf(d2))


def bounds(option: Option) -> tuple[float, float]:
    """Return the least and the greatest price that the contract can have.

    Both are the closed form, where there is one. The arithmetic Asian call has none: it is worth
    at least the geometric one, and at most the mean of plain calls that end at the fixings.
    """
    if option.kind == "arithmetic":
        n, years = option.fixings, option.years
        times = [years * k / n for k in range(1, n + 1)]
        calls = [exp(option.rate * (t - years)) * european_call(option, t) for t in times]
        return geometric_asian_call(option), sum(calls) / n
    forms = {
        "call": european_call,
        "put": european_put,
        "down-and-out": down_and_out_call,
        "geometric": geometric_asian_call,
    }
    price = forms[option.kind](option)
    return price, price


# Samples


def samples(option: Option, random: Random, count: int) -> Iterator[float]:
    """Yield `count` independent unbiased estimates of the price.

    Each is the mean over a path and its mirror image (antithetic variates), which makes the
    estimate of a monotonic payoff more exact than two independent paths do.
    """
    if option.kind in ("geometric", "arithmetic"):
        return _asian_samples(option, random, count)
    return _terminal_samples(option, random, count)


def _terminal_samples(option: Option, random: Random, count: int) -> Iterator[float]:
    """Sample contracts that need only the share's price at maturity."""
    spread = option.volatility * sqrt(option.years)
    middle = option.spot * exp((option.rate - option.volatility**2 / 2) * option.years)
    strike, barrier, half_discount = option.strike, option.barrier, option.discount / 2
    # Between its two ends a log price is a Brownian bridge, whose chance to stay above a barrier
    # is known: no path is needed, and the barrier is watched all the time.
    bridge = 0.0
    if option.kind == "down-and-out":
        bridge = -2 * log(option.spot / barrier) / spread**2

    def payoff(share: float) -> float:
        if option.kind == "put":
            return max(strike - share, 0.0)
        if share <= strike:
            return 0.0
        if bridge:
            return (share - strike) * (1 - exp(bridge * log(share / barrier)))
        return share - strike

    for _ in range(count):
        move = exp(spread * random.gauss(0.0, 1.0))
        yield half_discount * (payoff(middle * move) + payoff(middle / move))


def _asian_samples(option: Option, random: Random, count: int) -> Iterator[float]:
    """Sample calls on the mean of the fixings.

    For the arithmetic mean, what is sampled is the difference to the geometric one on the same
    path; the geometric price, known exactly, is added (a control variate).
    """
    n = option.fixings
    step = option.years / n
    spread = option.volatility * sqrt(step)
    drift = (option.rate - option.volatility**2 / 2) * step
    trend = [log(option.spot) + drift * k for k in range(1, n + 1)]
    strike, half_discount = option.strike, option.discount / 2
    arithmetic = option.kind == "arithmetic"
    known = geometric_asian_call(option) if arithmetic else 0.0

    def payoff(logs: list[float]) -> float:
        geometric = max(exp(sum(logs) / n) - strike, 0.0)
        if arithmetic:
            return max(sum(map(exp, logs)) / n - strike, 0.0) - geometric
        return geometric

    for _ in range(count):
        walk = list(accumulate(random.gauss(0.0, spread) for _ in range(n)))
        up = payoff(list(map(add, trend, walk)))
        down = payoff(list(map(sub, trend, walk)))
        yield known + half_discount * (up + down)
