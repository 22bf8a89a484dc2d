"""An estimate of what a job costs: hours, times what it asked for, times a price. Pure.

The prices here are AWS's list prices of us-east-1 (Fargate: https://aws.amazon.com/fargate/pricing/),
which other regions exceed by up to about half. Not in the estimate: the seconds in which a machine
comes up and goes down, what a host on EC2 costs while jobs leave a part of it idle, public addresses,
logs, transfer. So it is what a job is worth beside others, not a bill.
"""

from __future__ import annotations

from hut.backends.batch.options import BatchOptions
from hut.backends.port import Usage
from hut.model.job_settings import Architecture, Platform, Price

__all__ = ["EC2", "EC2_SPOT", "FARGATE", "FARGATE_SPOT", "estimate"]

FARGATE = {
    Architecture.X86_64: Price(0.04048, 0.004445),
    Architecture.ARM64: Price(0.03238, 0.00356),
}
"""On demand, by processor."""

FARGATE_SPOT = {kind: price.times(0.3) for kind, price in FARGATE.items()}
"""AWS says "up to 70 %" less than on demand; what it is changes slowly."""

EC2 = Price(0.033, 0.00375)
"""What on-demand hosts of general kinds share out to: with it, c5, m5 and r5 of all sizes come to
within 5 % of their list prices ($0.085, $0.096 and $0.126 an hour for the size ``large``)."""

EC2_SPOT = EC2.times(0.35)
"""Spot prices differ by kind, zone and hour; this is what general kinds mostly come to."""

_DISK_GIB_HOUR = 0.000111
_DISK_INCLUDED = 20  # GiB, on Fargate
_SHORTEST_ON_FARGATE = 60.0  # seconds that are billed at least, for each start
_DIGITS = 7


def estimate(options: BatchOptions, usage: Usage | None) -> float | None:
    """Return dollars, or None where a price or a time is missing.

    Every time that Batch itself tried the job counts.
    """
    if usage is None or not usage.seconds or not usage.cpus or not usage.memory:
        return None
    price = _price(options, usage)
    if price is None or (usage.gpus and price.gpu_hour is None):
        return None
    hourly = usage.cpus * price.vcpu_hour + usage.memory / 1024 * price.gib_hour
    hourly += usage.gpus * (price.gpu_hour or 0.0)
    seconds = usage.seconds
    if usage.platform == Platform.FARGATE:
        seconds = tuple(max(each, _SHORTEST_ON_FARGATE) for each in seconds)
        hourly += max(usage.disk - _DISK_INCLUDED, 0) * _DISK_GIB_HOUR
    return round(sum(seconds) / 3600 * hourly, _DIGITS)


def _price(options: BatchOptions, usage: Usage) -> Price | None:
    queue = usage.queue.rpartition("/")[2]
    for partition, price in options.jobs.prices.items():
        if options.queues[partition].rpartition("/")[2] == queue:
            return price
    if usage.platform != Platform.FARGATE:
        return None
    known = {kind.value: price for kind, price in FARGATE.items()}
    return known.get(usage.architecture)
