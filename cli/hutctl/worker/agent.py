"""The worker's main thread: starts what it has, sees how it ends, and obeys signals.

Talking is left to the threads of its memberships (`hutctl.worker.membership`), so that no slow
answer keeps a slot empty, and nothing that runs here keeps a sign of life from going out.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Protocol

from hut import __version__
from hut.backends.local import Finished, Launch, LocalBackend, LocalOptions
from hut.backends.local.journal import NotedStart
from hut.lifecycle.attempt import Evidence
from hut.model.scheduler import number_of
from hut.pools.port import How, Report, WorkerSpec
from hut.store.port import AttemptKey
from hutctl.local.pool.places import HeldFile, PoolFolder
from hutctl.worker.leftovers import Warden, tidy
from hutctl.worker.membership import Membership
from hutctl.worker.options import WorkerOptions
from hutctl.worker.stock import Held, Stock

__all__ = ["Agent", "LogShipper", "Places"]

_LOOK_SECONDS = 0.3
_LEAVE_SECONDS = 10.0
_LONGEST_SAID = 1000
_MOST_NOTED = 20_000
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Places(Protocol):
    """Where the pool is to be found."""

    def look(self, agent: Agent) -> None:
        """Let memberships begin, move and end; called a few times a second, with the lock held."""

    @property
    def waits_for(self) -> str:
        """What there is to wait for while there is no membership."""

    def is_over(self, agent: Agent) -> bool:
        """Whether there was something to do and there is nothing more; called as `look` is."""


class LogShipper(Protocol):
    """Carries what tasks print elsewhere. None where their files are read on this machine."""

    def begin(self, held: Held, path: str, member: Membership) -> str | None:
        """Begin with a task that prints into a file; return the name of its log, if it has one."""

    def end(self, held: Held, told: Callable[[], None]) -> None:
        """Carry the rest; then call `told`, from another thread."""


class Agent:
    """One worker.

    Parameters
    ----------
    folder
        That of the pool on this machine.
    say
        Tells a person something; with a level of `logging`.
    """

    def __init__(
        self,
        options: WorkerOptions,
        folder: PoolFolder,
        places: Places,
        say: Callable[[str], None],
        *,
        debug: Callable[[str], None],
        shipper: LogShipper | None = None,
    ) -> None:
        self.options = options
        self.news = threading.Condition()
        self.say = say
        self.debug = debug
        self.members: dict[str, Membership] = {}
        numbers = {
            name: number
            for name, value in options.properties.items()
            if (number := number_of(value)) is not None
        }
        self.stock = Stock(options.slots, numbers, options.bundle, options.max_inflight)
        self._pool = folder
        self._folder = folder.worker_folder(options.name)
        self._file = HeldFile(self._folder / "worker.json")
        self._places = places
        self._shipper = shipper
        self._backend = LocalBackend(LocalOptions(self._folder, epoch=1), self._environment())
        self._signals = 0
        self._interrupted = self._told_waiting = False
        self._looked_at = 0.0
        self._busy_at = time.monotonic()
        self._noted = 0
        self._shipping = 0

    def _environment(self) -> Mapping[str, str]:
        """Return what tasks find in their environment: this process's, and who runs them."""
        return {**os.environ, "HUT_POOL": self.options.pool, "HUT_WORKER": self.options.name}

    @property
    def spec(self) -> WorkerSpec:
        """What it says of itself."""
        options = self.options
        return WorkerSpec(
            options.name,
            options.properties,
            options.slots,
            options.max_inflight,
            socket.gethostname(),
            os.getpid(),
            __version__,
        )

    def wake(self) -> None:
        """Let the main thread look at once; may be called from another thread."""
        self._backend.wake()

    def run(self) -> int:
        """Work until there is a reason to leave; return the exit code."""
        left = tidy(self._pool)
        if left:
            self.say(f"killed what {left:,} tasks of workers left that are gone")
        options = self.options
        self._file.write(
            {
                "name": options.name,
                "pid": os.getpid(),
                "slots": options.slots,
                "properties": options.properties,
                "since": time.time(),
            }
        )
        restore = self._listen()
        warden = Warden(self._folder)
        try:
            with self._backend:
                self._backend.journal.open()
                self._work()
                self._leave()
        finally:
            restore()
            warden.dismiss()
            self._file.release(remove=True)
            tidy_own(self._folder)
        for member in self.members.values():
            if member.error is not None:
                raise member.error
        return 130 if self._interrupted else 0

    # Working ------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self.news:
                if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
                    self._look()
                if self.stock.attention:
                    self._stop_unwanted()
                if self.stock.draining:
                    self._give_back()
                self._start()
                if self._is_done():
                    return
            finished = self._backend.wait(_LOOK_SECONDS)
            with self.news:
                self._start()  # first fill the slots, then look at what left them
                for one in finished:
                    self._finish(one)

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        self._backend.publish_logs()
        self._places.look(self)
        for member in self.members.values():
            if member.error is not None:
                raise member.error
        is_quiet = all(member.is_quiet for member in self.members.values())
        if not is_quiet:
            self._busy_at = time.monotonic()
        paused = self._pool.is_draining() or self._pool.is_draining(self.options.name)
        draining = self._signals > 0 or paused
        if draining != self.stock.draining:
            self.stock.draining = draining
            if not self._signals:
                self.say("draining: nothing new is taken" if draining else "takes tasks again")
            self.news.notify_all()
        if not self.members and not self._told_waiting:
            self._told_waiting = True
            self.say(self._places.waits_for)

    def _start(self) -> None:
        while (held := self.stock.next()) is not None:
            member, order = self.members[held.source], held.order
            key = AttemptKey(held.serial, 1, 1)
            name = self._backend.journal_key(key)
            stem = order.log or f"{self._folder}/logs/{held.serial}"
            output, errors = order.output_file, order.error_file
            if self._shipper is not None and output is None:
                output, errors = f"{stem}.log", errors or f"{stem}.log"
            launch = Launch(
                key,
                order.task,
                # By this line it is told from strangers when this worker is dead.
                f"# {self._folder}/scripts/{name}.sh\n{order.script}",
                order.private,
                order.folder,
                order.time_limit,
                output,
                errors,
                plain=order.shell == "sh",
                log=stem,
                grace=order.grace,
            )
            held.started_at = time.time()
            try:
                pid = self._backend.start(launch)
            except OSError as error:  # the disk is full: nothing the task can do about
                self.say(f"task {order.task} can't be started: {error.strerror or error}")
                self._report(held, How.ERROR, said=str(error.strerror or error))
                continue
            if pid is None:
                continue
            held.pid = pid
            if self._shipper is not None:
                held.log = self._shipper.begin(held, f"{stem}.log", member)
            member.started(held)
            self.debug(f"started {order.task} of run {order.run} (attempt {order.attempt})")

    def _finish(self, finished: Finished) -> None:
        held = self.stock.running[finished.key.position]
        self._noted += 1
        self._backend.journal.note_end(self._backend.journal_key(finished.key))
        if self._noted >= _MOST_NOTED:
            self._noted = 0
            self._backend.journal.restart(self._living())
        evidence = finished.evidence
        if held.unwanted or self._signals > 1 or evidence is None:
            self._over(held)
            return
        how, code, number = _how(evidence)
        if self._shipper is None:
            self._report(held, how, code, number, said=evidence.not_started)
            return
        self._over(held)
        self._shipping += 1

        def shipped() -> None:
            with self.news:
                self._shipping -= 1
                self._tell(held, how, code, number, said=evidence.not_started)

        self._shipper.end(held, shipped)

    def _living(self) -> dict[str, NotedStart]:
        return {
            self._backend.journal_key(AttemptKey(serial, 1, 1)): NotedStart(
                held.pid, held.started_at, "-"
            )
            for serial, held in self.stock.running.items()
            if held.pid
        }

    def _over(self, held: Held) -> None:
        self.stock.end(held.serial, max(time.time() - (held.started_at or 0.0), 0.0))

    def _report(
        self,
        held: Held,
        how: How,
        code: int | None = None,
        number: int | None = None,
        *,
        said: str = "",
    ) -> None:
        if held.serial in self.stock.running:
            self._over(held)
        self._tell(held, how, code, number, said=said)

    def _tell(
        self, held: Held, how: How, code: int | None, number: int | None, *, said: str
    ) -> None:
        order = held.order
        report = Report(
            order.lease,
            order.epoch,
            how,
            time.time(),
            order.part,
            code,
            number,
            held.started_at,
            held.pid,
            said[:_LONGEST_SAID],
            held.log,
        )
        self.members[held.source].over(held, report)

    def _stop_unwanted(self) -> None:
        """Stop what runs and is cancelled or nobody's any more; what waits is over at once."""
        self.stock.attention = False
        for held in [*self.stock.waiting]:
            if held.stopping:
                self.stock.drop(held)
                self._tell(held, How.CANCELLED, None, None, said="")
        for serial, held in self.stock.running.items():
            if held.stopping or held.unwanted:
                self._backend.stop(AttemptKey(serial, 1, 1), "cancelled")
            if held.unwanted:
                self._backend.kill(AttemptKey(serial, 1, 1))

    def _give_back(self) -> None:
        while self.stock.waiting:
            held = self.stock.waiting.popleft()
            how = How.CANCELLED if held.stopping else How.RETURNED
            self._tell(held, how, None, None, said="")

    # Leaving ------------------------------------------------------------------------------------

    def _is_done(self) -> bool:
        if self._signals > 1:
            self._backend.stop_all(force=self._signals > 2)
            return not self.stock.running
        if self.stock.running or self.stock.waiting or self._shipping:
            return False
        if not all(member.is_quiet for member in self.members.values()):
            return False
        if self._signals:
            return True
        idle = self.options.idle_exit
        if idle is not None and time.monotonic() - self._busy_at >= idle:
            self.say(f"nothing to do for {idle:g} s: leaves")
            return True
        return self.options.once and self._places.is_over(self)

    def _leave(self) -> None:
        with self.news:
            for member in self.members.values():
                if self._signals > 1:
                    member.forget_all()
                member.leave()
        until = time.monotonic() + _LEAVE_SECONDS
        for member in self.members.values():
            member.wait(max(until - time.monotonic(), 0.1))

    def _listen(self) -> Callable[[], None]:
        def obey(number: int, _frame: FrameType | None) -> None:
            self._signals += 1
            self._interrupted = self._interrupted or number == signal.SIGINT
            self._looked_at = 0.0
            told = (
                "draining: finishes what runs, then leaves; a second signal stops it",
                "stops its tasks; once more kills them",
                "kills its tasks",
            )
            os.write(2, f"{told[min(self._signals, 3) - 1]}\n".encode())

        old = {number: signal.signal(number, obey) for number in _SIGNALS}

        def restore() -> None:
            for number, handler in old.items():
                signal.signal(number, handler)

        return restore


def tidy_own(folder: Path) -> None:
    """Remove a worker's folder."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _how(evidence: Evidence) -> tuple[How, int | None, int | None]:
    """Return how a task ended, its exit code and the signal that ended it, as they are reported."""
    if evidence.not_started:
        how = How.NOT_STARTED
    elif evidence.cancelled:
        how = How.CANCELLED
    elif evidence.timed_out:
        how = How.TIMEOUT
    elif evidence.signal_number is not None:
        how = How.SIGNAL
    else:
        how = How.EXIT
    return how, evidence.exit_code, evidence.signal_number
