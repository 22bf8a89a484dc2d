"""Lets the workers of a pool run the attempts of an engine's run.

Everything that is claimed waits in the pool; workers take it, and what they report becomes what the
engine would have seen of its own processes. So many are claimed that workers find something each time.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hut.backends.local import Launch
from hut.backends.port import job_name
from hut.lifecycle.attempt import cancelled_before_start
from hut.model.records import Outcome, RunRecord
from hut.model.scheduler import Kind, Scheduler, number_of
from hut.model.states import Reason, TaskState
from hut.pools.judging import outcome_of, outcome_of_loss
from hut.pools.memory import MemoryPool
from hut.pools.port import How, Order, Queued
from hut.scheduling.room import claim_ahead
from hut.store.port import Claim, End
from hutctl.local.pool.desk import Desk, Letter
from hutctl.local.runner import Begun, Ended

__all__ = ["PoolSide"]

_AHEAD_SECONDS = 0.6
_MOST_AHEAD = 4096
_LEAST_WAITING = 64  # so that what some worker can't run hides nothing from it
_LOOK_SECONDS = 0.5
_PREFIX = "hut"


class PoolSide:
    """See `hutctl.local.runner.Runner` for what each method does.

    Parameters
    ----------
    logs
        Folder of the run's logs.
    slots
        Tasks that may be in the pool at once; None is no bound.
    grace
        Seconds between TERM and KILL.
    is_draining
        See `Desk`.
    """

    script_place = None

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        run: RunRecord,
        logs: Path,
        *,
        slots: int | None,
        grace: float,
        is_draining: Callable[[str | None], bool] = lambda _: False,
    ) -> None:
        self._run = run
        self._logs = str(logs)
        self._slots = slots
        self._grace = grace
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._scheduler = scheduler
        self.desk = Desk(MemoryPool(name, scheduler), self.wake, is_draining)
        self._open: dict[str, Claim] = {}
        self._letters: dict[tuple[str, int], Letter] = {}
        self._ready: list[Begun | Ended] = []
        self._new: list[Queued] = []
        self._expecting: dict[str, bool] = {}
        self._expected_until = 0.0
        self._looked_at = 0.0
        self._stopping = self._killed = False

    def wake(self) -> None:
        """Let `wait` return now; may be called from another thread."""
        with suppress(OSError):
            self._waker.send(b"\0")

    def close(self) -> None:
        """Answer every worker; nothing is heard any more."""
        self.desk.close()
        self._wake.close()
        self._waker.close()

    # What the engine asks -----------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Attempts that wait in the pool or are with a worker."""
        return len(self._open)

    @property
    def free(self) -> int:
        """How many more may be put into the pool now."""
        if self._slots is not None:
            return self._slots - len(self._open)
        unmet, queued = self.desk.demand()
        return max(unmet + _LEAST_WAITING - queued - len(self._new), 0)

    @property
    def is_idle(self) -> bool:
        """Whether a worker waits for something to do, or nothing waits for a worker."""
        if self._slots is not None and len(self._open) >= self._slots:
            return False
        unmet, queued = self.desk.demand()
        return unmet > 0 or queued == 0

    def ahead(self, ended: int, seconds: float) -> int:
        """Return how many to claim beyond, so that workers find something until the next write."""
        if self._slots is not None:
            return 0
        return claim_ahead(ended, seconds, horizon=_AHEAD_SECONDS, most=_MOST_AHEAD)

    def start(self, claim: Claim, launch: Launch) -> Begun | None:
        """Let an attempt wait for a worker."""
        item = self._item(claim, launch)
        self._open[item.name] = claim
        self._new.append(item)
        return None

    def expect(self, claims: Iterable[tuple[Claim, Launch, bool]], patience: float) -> None:
        """Wait for workers to come with attempts an earlier engine gave them.

        Parameters
        ----------
        claims
            With what would start them, and whether it is known that they were started.
        patience
            Seconds; what nobody came with by then was lost, or was never started.
        """
        items = []
        for claim, launch, has_started in claims:
            item = self._item(claim, launch)
            self._open[item.name] = claim
            self._expecting[item.name] = has_started
            items.append(item)
        self._expected_until = time.monotonic() + patience
        self.desk.expect(items)

    def wait(self, timeout: float | None) -> list[Begun | Ended]:
        """Return what workers told."""
        self._put_in()
        if not self._ready:
            seconds = min(_LOOK_SECONDS if timeout is None else timeout, _LOOK_SECONDS)
            if seconds and select.select([self._wake], [], [], seconds)[0]:
                with suppress(BlockingIOError):
                    self._wake.recv(4096)
        for letter in self.desk.letters():
            self._read(letter)
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS or self._stopping:
            self._looked_at = now
            self._look(now)
        heard, self._ready = self._ready, []
        return heard

    def recorded(self, ends: Sequence[End]) -> None:
        """Let the turns of workers go on whose reports are in the store."""
        self._put_in()  # so that they find what was claimed with it
        for end in ends:
            name = job_name(_PREFIX, self._run.id, end.key)
            self._recorded(name, 0)

    def stop_all(self, *, force: bool = False) -> None:
        """Cancel everything; with `force`, wait for no worker."""
        if not self._stopping:
            self._stopping = True
            self._new.clear()
            waited = {item.name for item in self.desk.withdraw(list(self._open))}
            reached = {*self.desk.leased(), *self._expecting}
            for name in list(self._open):
                if name in waited or name not in reached:
                    self._end(name, cancelled_before_start(), time.time())
        if force and not self._killed:
            self._killed = True
            message = "cancelled; its worker was not waited for"
            outcome = Outcome(TaskState.FAILED, Reason.CANCELLED, None, message)
            for name in list(self._open):
                self._end(name, outcome, time.time())

    def publish_logs(self, *, empty_too: bool = False) -> None:
        """Do nothing: workers do."""

    # What workers say ---------------------------------------------------------------------------

    def _read(self, letter: Letter) -> None:
        heard = letter.heard
        for started in heard.starts:
            claim = self._open.get(started.lease)
            if claim is not None:
                handle = f"{heard.worker}/{started.pid}"
                self._ready.append(Begun(claim.key, started.at, handle))
        for report in heard.reports:
            claim = self._open.get(report.lease)
            outcome = None
            if claim is not None:
                outcome = outcome_of(
                    report,
                    heard.worker,
                    time_limit=claim.spec.resources.time_limit,
                    losses=claim.spent.losses,
                    most=self._scheduler.max_job_retries,
                )
            if outcome is None or report.how is How.RETURNED:
                letter.open.discard((report.lease, report.part))
                continue
            self._letters[report.lease, report.part] = letter
            handle = f"{heard.worker}/{report.pid}" if report.pid else heard.worker
            self._end(report.lease, outcome, report.ended_at, report.started_at, handle)
        if not letter.open:
            letter.close(recorded=True)

    def _recorded(self, name: str, part: int) -> None:
        letter = self._letters.pop((name, part), None)
        if letter is not None:
            letter.open.discard((name, part))
            if not letter.open:
                letter.close(recorded=True)

    def _look(self, now: float) -> None:
        """See which workers are gone, and who came with what was expected."""
        for loss in self.desk.lost():
            claim = self._open.get(loss.item.name)
            if claim is not None:
                most = self._scheduler.max_job_retries
                outcome = outcome_of_loss(loss, claim.spent.losses, most)
                self._end(loss.item.name, outcome, time.time(), handle=loss.worker)
        if self._expecting and (now >= self._expected_until or self._stopping):
            self._give_up_expecting()

    def _give_up_expecting(self) -> None:
        outcome = Outcome(
            TaskState.FAILED, Reason.LOST, None, "the hutctl that gave it to a worker died, and "
            "no worker came back with it"
        )  # fmt: skip
        for item in self.desk.unclaimed():
            claim = self._open.get(item.name)
            if claim is None:
                continue
            if self._stopping:
                self._end(item.name, cancelled_before_start(), time.time())
            elif self._expecting[item.name]:
                self._end(item.name, outcome, time.time())
            else:  # nobody has it, so it never was started
                self._new.append(item)
        self._expecting.clear()

    def _end(
        self,
        name: str,
        outcome: Outcome,
        at: float,
        started_at: float | None = None,
        handle: str | None = None,
    ) -> None:
        claim = self._open.pop(name)
        self._expecting.pop(name, None)
        self._ready.append(Ended(claim.key, outcome, at, started_at, handle))

    def _put_in(self) -> None:
        if self._new and not self._stopping:
            self.desk.enqueue(self._new)
            self._new = []

    def _item(self, claim: Claim, launch: Launch) -> Queued:
        spec, key = claim.spec, claim.key
        name = job_name(_PREFIX, self._run.id, key)
        order = Order(
            name,
            0,
            self._run.id,
            spec.id,
            key.attempt,
            launch.script,
            shell="sh" if launch.plain else "bash",
            private=launch.private,
            folder=launch.folder,
            time_limit=launch.time_limit,
            grace=self._grace,
            takes=_numbers(self._scheduler, spec.properties),
            output_file=launch.output_file,
            error_file=launch.error_file,
            log=f"{self._logs}/{key.position}-{spec.id}.{key.attempt}",
        )
        arrival = f"{key.position:08d}"
        return Queued(name, self._run.id, spec.priority, arrival, spec.properties, (order,))


def _numbers(scheduler: Scheduler, wanted: Any) -> dict[str, int]:
    """Return what a task uses up of its worker."""
    return {
        name: number
        for name, value in wanted.items()
        if scheduler.kind_of(name) is Kind.MINIMUM and (number := number_of(value)) is not None
    }
