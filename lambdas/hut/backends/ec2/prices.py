"""An estimate of what an attempt costs: the hours of its whole instance, times a price. Pure.

The prices are AWS's list prices for Linux on demand in us-east-1, as they stood in 2025
(https://aws.amazon.com/ec2/pricing/on-demand/); other regions exceed them by up to about half. Sizes of
a family cost in proportion to their vCPUs, so one price for each family says them all. Not in the
estimate: volumes, public addresses, logs, transfer, the time in which an instance is idle or goes down.
So it is what an attempt is worth beside others, not a bill.
"""

from __future__ import annotations

from hut.backends.ec2.options import Ec2Options
from hut.backends.ec2.types import cpus_of, family_of
from hut.backends.port import Usage

__all__ = ["PER_VCPU_HOUR", "SPOT", "WHOLE", "estimate", "price_of"]

PER_VCPU_HOUR = {
    "a1": 0.0255,
    "c5": 0.0425,
    "c5a": 0.0385,
    "c5d": 0.048,
    "c5n": 0.054,
    "c6a": 0.03825,
    "c6g": 0.034,
    "c6gd": 0.0384,
    "c6gn": 0.0432,
    "c6i": 0.0425,
    "c6id": 0.0504,
    "c6in": 0.0567,
    "c7a": 0.05132,
    "c7g": 0.03625,
    "c7gd": 0.04536,
    "c7gn": 0.0624,
    "c7i": 0.044625,
    "c7i-flex": 0.0424,
    "c8g": 0.03988,
    "i3": 0.078,
    "i3en": 0.113,
    "i4i": 0.08575,
    "m5": 0.048,
    "m5a": 0.043,
    "m5ad": 0.0515,
    "m5d": 0.0565,
    "m5n": 0.0595,
    "m6a": 0.0432,
    "m6g": 0.0385,
    "m6gd": 0.0452,
    "m6i": 0.048,
    "m6id": 0.05933,
    "m6in": 0.06962,
    "m7a": 0.05796,
    "m7g": 0.0408,
    "m7gd": 0.0534,
    "m7i": 0.0504,
    "m7i-flex": 0.04788,
    "m8g": 0.04488,
    "r5": 0.063,
    "r5a": 0.0565,
    "r5d": 0.072,
    "r5n": 0.0745,
    "r6a": 0.0567,
    "r6g": 0.0504,
    "r6gd": 0.0576,
    "r6i": 0.063,
    "r6id": 0.0756,
    "r7a": 0.07608,
    "r7g": 0.05355,
    "r7gd": 0.06804,
    "r7i": 0.06615,
    "r8g": 0.05891,
}
"""Dollars, by family, for the sizes from ``large`` on."""

WHOLE = {
    "g4dn.xlarge": 0.526,
    "g4dn.2xlarge": 0.752,
    "g4dn.4xlarge": 1.204,
    "g4dn.8xlarge": 2.176,
    "g4dn.12xlarge": 3.912,
    "g4dn.16xlarge": 4.352,
    "g4dn.metal": 7.824,
    "g5.xlarge": 1.006,
    "g5.2xlarge": 1.212,
    "g5.4xlarge": 1.624,
    "g5.8xlarge": 2.448,
    "g5.12xlarge": 5.672,
    "g5.16xlarge": 4.096,
    "g5.24xlarge": 8.144,
    "g5.48xlarge": 16.288,
    "g6.xlarge": 0.8048,
    "g6.2xlarge": 0.9776,
    "g6.4xlarge": 1.3232,
    "g6.8xlarge": 2.0144,
    "g6.12xlarge": 4.6016,
    "g6.16xlarge": 3.3968,
    "g6.24xlarge": 6.6752,
    "g6.48xlarge": 13.3504,
    "p3.2xlarge": 3.06,
    "p3.8xlarge": 12.24,
    "p3.16xlarge": 24.48,
    "t2.micro": 0.0116,
    "t2.small": 0.023,
    "t2.medium": 0.0464,
    "t2.large": 0.0928,
    "t3.micro": 0.0104,
    "t3.small": 0.0208,
    "t3.medium": 0.0416,
    "t3.large": 0.0832,
    "t3.xlarge": 0.1664,
    "t3.2xlarge": 0.3328,
    "t3a.micro": 0.0094,
    "t3a.small": 0.0188,
    "t3a.medium": 0.0376,
    "t3a.large": 0.0752,
    "t3a.xlarge": 0.1504,
    "t3a.2xlarge": 0.3008,
    "t4g.micro": 0.0084,
    "t4g.small": 0.0168,
    "t4g.medium": 0.0336,
    "t4g.large": 0.0672,
    "t4g.xlarge": 0.1344,
    "t4g.2xlarge": 0.2688,
}
"""Dollars an hour of types whose price does not follow their vCPUs."""

SPOT = 0.35
"""Of the price on demand: what general kinds mostly come to, as for Batch's spot hosts. AWS says "up to
90 %" less, and prices differ by type, zone and hour; GPUs save less."""

_SHORTEST = 60.0  # seconds of an instance that are billed at least
_DIGITS = 7


def estimate(options: Ec2Options, usage: Usage | None) -> float | None:
    """Return dollars, or None where a price or a time is missing.

    Prices of the backend's own go before those known here, and count for spot instances as they are.
    """
    if usage is None or not usage.seconds or not usage.machine:
        return None
    hourly = options.prices.get(usage.machine)
    if hourly is None:
        hourly = price_of(usage.machine)
        if hourly is None:
            return None
        hourly *= SPOT if usage.spot else 1.0
    seconds = sum(max(each, _SHORTEST) for each in usage.seconds)
    return round(seconds / 3600 * hourly, _DIGITS)


def price_of(machine: str) -> float | None:
    """Return what an instance type costs an hour on demand, if that is known here."""
    whole = WHOLE.get(machine)
    if whole is not None:
        return whole
    each, cpus = PER_VCPU_HOUR.get(family_of(machine)), cpus_of(machine)
    return None if each is None or cpus is None else each * cpus
