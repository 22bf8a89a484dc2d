"""What a worker has: which task comes next, how many more it wants. No I/O, no clock, no threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from hut.pools.port import Order

__all__ = ["Held", "Stock"]

_AHEAD_SECONDS = 0.6
_MOST_AHEAD = 2000
_WEIGHT = 0.05  # of one more duration in the mean
_SHORTEST = 0.0005


@dataclass(slots=True, eq=False)
class Held:
    """A task the worker has.

    Attributes
    ----------
    source : str
        Which of the worker's memberships it came by.
    serial : int
        Number of the task in this worker.
    started_at : float or None
        None while it waits for a slot.
    log : str or None
        Name of its log, where that is the worker's own.
    unwanted : bool
        Nobody wants to hear of it any more: it is killed.
    """

    order: Order
    source: str
    serial: int
    started_at: float | None = None
    pid: int = 0
    log: str | None = None
    stopping: bool = False
    unwanted: bool = False


@dataclass(slots=True)
class Stock:
    """Tasks that wait for a slot, and those that run.

    Attributes
    ----------
    numbers : dict of str to int
        What its tasks may use up together.
    draining : bool
        Nothing new is wanted, what waits is given back.
    reserved : int
        Tasks that were asked for, and may come.
    attention : bool
        Something it has is to be stopped.
    """

    slots: int
    numbers: dict[str, int] = field(default_factory=dict)
    bundle: int | None = None
    max_inflight: int = 0
    draining: bool = False
    waiting: deque[Held] = field(default_factory=deque)
    running: dict[int, Held] = field(default_factory=dict)
    reserved: int = 0
    attention: bool = False
    _mean: float | None = None
    _serial: int = 0

    def add(self, order: Order, source: str) -> Held:
        """Let a task wait for a slot."""
        self._serial += 1
        held = Held(order, source, self._serial)
        self.waiting.append(held)
        return held

    def next(self) -> Held | None:
        """Take the first task that may start now; one that does not fit keeps nothing from others."""
        if len(self.running) >= self.slots:
            return None
        for index, held in enumerate(self.waiting):
            if self._fits(held.order):
                del self.waiting[index]
                self.running[held.serial] = held
                return held
        return None

    def _fits(self, order: Order) -> bool:
        """Say whether a task's numbers are left: two engines may have given out the same ones."""
        for name, number in order.takes.items():
            whole = self.numbers.get(name)
            if whole is None:
                continue
            used = sum(held.order.takes.get(name, 0) for held in self.running.values())
            if used + number > whole and used:
                return False
        return True

    def end(self, serial: int, seconds: float) -> Held:
        """Note that a task runs no more."""
        mean = self._mean
        self._mean = seconds if mean is None else mean + _WEIGHT * (seconds - mean)
        return self.running.pop(serial)

    def drop(self, held: Held) -> None:
        """Forget a task that waits."""
        self.waiting.remove(held)

    @property
    def has_room(self) -> bool:
        """Whether a slot is free and nothing waits for one."""
        return len(self.running) < self.slots and not self.waiting

    @property
    def demand(self) -> int:
        """How many tasks it wants, beside those it has and has asked for."""
        if self.draining:
            return 0
        desired = self.slots + self._ahead()
        if self.max_inflight:
            desired = min(desired, self.max_inflight)
        return max(desired - len(self.waiting) - len(self.running) - self.reserved, 0)

    @property
    def is_low(self) -> bool:
        """Whether it is time to ask: half of what it wants to have beyond the running is used up."""
        return len(self.waiting) + self.reserved <= self._ahead() // 2

    def _ahead(self) -> int:
        if self.bundle is not None:
            return self.bundle
        if self._mean is None:
            return 0
        return min(int(self.slots * _AHEAD_SECONDS / max(self._mean, _SHORTEST)), _MOST_AHEAD)

    def of(self, source: str) -> Iterator[Held]:
        """Yield what came by one membership."""
        for held in (*self.waiting, *self.running.values()):
            if held.source == source:
                yield held
