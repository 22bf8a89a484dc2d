"""Where the threads that hear workers and the engine of a run meet.

A worker's turn waits here until the engine has written what it reported: the answer says that it is
recorded. The pool itself is only touched under the lock.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from hut.pools.memory import Hearing, MemoryPool
from hut.pools.port import Answer, Heard, Lost, PoolState, Queued, Turn, WorkerSpec
from hut.pools.protocol import Welcome

__all__ = ["Busy", "Desk", "Letter"]

_PATIENCE_SECONDS = 30.0
_KEEPALIVES = 5  # in the time after which a worker is taken for dead


class Busy(Exception):  # noqa: N818 - says what it is
    """The engine has not written in time, or is about to leave; the worker says it again."""


@dataclass(slots=True)
class Letter:
    """What a worker reported, until it is recorded.

    Attributes
    ----------
    open : set of (str, int)
        Lease and part of reports that are not in the store yet.
    """

    heard: Heard
    open: set[tuple[str, int]]
    is_recorded: bool = False
    answered: threading.Event = field(default_factory=threading.Event)

    def close(self, *, recorded: bool) -> None:
        """Let the worker's turn go on."""
        self.is_recorded = recorded
        self.answered.set()


class Desk:
    """A pool for several threads.

    Parameters
    ----------
    wake
        Called when there is something for the engine.
    is_draining
        Says of the worker of a name, or (None) of the pool, whether it is to take nothing new. The worker
        sees it, too, but later: from when somebody was told that it drains, it gets nothing.
    """

    def __init__(
        self,
        pool: MemoryPool,
        wake: Callable[[], None],
        is_draining: Callable[[str | None], bool] = lambda _: False,
    ) -> None:
        self.pool = pool
        self._wake = wake
        self._is_draining = is_draining
        self._names: dict[str, str] = {}
        self._news = threading.Condition()
        self._letters: list[Letter] = []
        self._lost: list[Lost] = []
        self._serial = 0
        self._asked: dict[str, int] = {}
        self._closed = False

    # For workers --------------------------------------------------------------------------------

    def join(self, spec: WorkerSpec) -> Welcome:
        """Let a worker in.

        Raises
        ------
        InvalidInput
            If it advertises what can't be matched.
        """
        worker = f"{spec.name}-{secrets.token_hex(4)}"
        timeout = self.pool.scheduler.worker_timeout_s
        with self._news:
            joined = self.pool.join(worker, spec, time.time())
            self._names[worker] = spec.name
            self._lost += joined.lost
            self._tell()
        self._wake()
        return Welcome(
            worker, timeout / _KEEPALIVES, timeout, joined.draining, refused=joined.refused
        )

    def turn(self, worker: str, turn: Turn) -> Answer:
        """Take a worker's turn; what it reports is in the store before this returns.

        Raises
        ------
        Busy
        """
        with self._news:
            if turn.want:
                self.pool.drain(None, self._is_draining(None), time.time())
                self.pool.drain(worker, self._is_draining(self._names.get(worker)), time.time())
            hearing = self.pool.hear(worker, turn, time.time())
            if hearing is None:
                return Answer(gone=True)
            letter = self._post(hearing)
        if letter is not None:
            self._wake()
            if not letter.answered.wait(_PATIENCE_SECONDS):
                raise Busy
        until = time.monotonic() + turn.wait_s
        with self._news:
            if letter is not None and not letter.is_recorded:
                raise Busy
            self.pool.settle(worker, hearing, time.time())
            serial = self._serial
            answer = self._answer(worker, turn, hearing)
            while not (answer.ring or answer.cancel or answer.gone or self._closed):
                left = until - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    break
                answer = self._answer(worker, turn, hearing)
            if turn.holding is not None:
                self._asked[worker] = serial
        if turn.want > len(answer.tasks):
            self._wake()  # the engine may have more to claim
        return answer

    def _post(self, hearing: Hearing) -> Letter | None:
        heard = hearing.heard
        if not heard.starts and not heard.reports:
            return None
        if self._closed:
            raise Busy
        letter = Letter(heard, {(report.lease, report.part) for report in heard.reports})
        if not letter.open:
            letter.close(recorded=True)  # nothing is lost with a start that is not written
        self._letters.append(letter)
        return letter

    def _answer(self, worker: str, turn: Turn, hearing: Hearing) -> Answer:
        answer = self.pool.answer(worker, turn, hearing, time.time())
        ring = self._serial > self._asked.get(worker, -1) and self.pool.wants(worker)
        return replace(answer, ring=ring and turn.holding is None)

    def leave(self, worker: str) -> None:
        """Let a worker go."""
        with self._news:
            self._lost += self.pool.leave(worker, time.time())
            self._asked.pop(worker, None)
            self._names.pop(worker, None)
            self._tell()
        self._wake()

    def state(self) -> PoolState:
        """Return how the pool stands."""
        with self._news:
            return self.pool.describe(time.time())

    # For the engine -----------------------------------------------------------------------------

    def letters(self) -> list[Letter]:
        """Return what workers reported since the last time."""
        with self._news:
            found, self._letters = self._letters, []
            return found

    def lost(self) -> list[Lost]:
        """Return what was lost since the last time."""
        with self._news:
            self._lost += self.pool.expire(time.time())
            found, self._lost = self._lost, []
            if found:
                self._tell()
            return found

    def enqueue(self, items: Sequence[Queued]) -> None:
        """Let items wait for workers."""
        with self._news:
            self.pool.enqueue(items, time.time())
            self._tell()

    def withdraw(self, names: Sequence[str]) -> list[Queued]:
        """Cancel items; return those that only waited."""
        with self._news:
            waited = self.pool.withdraw(names, time.time())
            self._tell()
            return waited

    def expect(self, items: Iterable[Queued]) -> None:
        """Let workers join with what they have from an earlier engine."""
        with self._news:
            self.pool.expect(items)

    def unclaimed(self) -> list[Queued]:
        """Wait no longer for workers to join with something; return what nobody came with."""
        with self._news:
            return self.pool.unclaimed()

    def leased(self) -> list[str]:
        """Return the names of items that a worker has."""
        with self._news:
            return self.pool.leased()

    def demand(self) -> tuple[int, int]:
        """Return how many tasks workers want that they did not get, and how many wait."""
        with self._news:
            return self.pool.unmet, self.pool.queued

    def close(self) -> None:
        """Answer everybody; take nothing more."""
        with self._news:
            self._closed = True
            for letter in self._letters:
                letter.close(recorded=False)
            self._letters.clear()
            self._news.notify_all()

    def _tell(self) -> None:
        self._serial += 1
        self._news.notify_all()
