"""Drives one run on this machine: claims, starts, collects, records, until every task has ended.

The engine keeps nothing that the store and the journal don't have: it may be killed at any moment,
and `hutctl.local.takeover` lets the next one go on. Writes are grouped: while tasks are short, ends
are recorded and claims are taken a few times per second and not once per task; before the engine
sleeps for longer, everything is written.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hut.backends.local import Launch
from hut.control import Control
from hut.lifecycle.attempt import cancelled_before_start
from hut.model.records import RunRecord
from hut.model.states import Reason, TaskState
from hut.model.workflow import TaskSpec
from hut.planning import Extension
from hut.scheduling.order import rank_of
from hut.scheduling.room import Caps
from hut.store.port import AttemptKey, Claim, ClaimRequest, End, Start
from hut.store.sqlite import SqliteStore
from hutctl.local.asked import Asked
from hutctl.local.generating import read_generated
from hutctl.local.launching import Launcher
from hutctl.local.runner import Begun, Ended, Runner
from hutctl.local.takeover import Takeover
from hutctl.local.twins import Followers

if TYPE_CHECKING:
    from hutctl.local.calls import Calls

__all__ = ["Engine", "EngineOptions", "Observer"]

_GROUP_SECONDS = 0.2
_LOOK_SECONDS = 0.5
_MOST_PREPARED = 8
_PIECE = 32


class Observer(Protocol):
    """Whoever shows a person how the run goes."""

    def progressed(self, engine: Engine) -> None:
        """Note that something was written, or that time has passed; called a few times a second."""


def _always(_: str) -> bool:
    return True


def _nothing() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a run is driven.

    Attributes
    ----------
    folder : Path
        The run's own.
    backend_cap : int or None
        Bound on active tasks of all runs on this machine, if one is configured.
    is_driven : callable
        Says of a run whether a process works on it.
    look_again : callable
        Lets tasks be claimed that this machine could not run before; says whether there are any.
    """

    folder: Path
    backend_cap: int | None = None
    backend_name: str = "local"
    is_driven: Callable[[str], bool] = _always
    look_again: Callable[[], bool] = _nothing


def _calls_of(run: RunRecord, store: SqliteStore, folder: Path) -> Calls:
    """Return what tasks of programs need; other runs do without its imports."""
    from hutctl.local.calls import Calls
    from hutctl.local.documents import Documents

    return Calls(run, store, Documents(folder), folder / "logs")


class Engine:
    """Drives one run. Its caller holds the run's lock and has let `takeover` look after the past.

    Parameters
    ----------
    control, store
        The use cases, and the store they are over.
    run
        The run, in the epoch this engine began.
    runner
        Entered by the caller; runs the attempts.
    found
        What earlier engines of the run left behind.
    """

    def __init__(
        self,
        control: Control,
        store: SqliteStore,
        run: RunRecord,
        runner: Runner,
        options: EngineOptions,
        found: Takeover,
    ) -> None:
        self._control = control
        self.store = store
        self.run = run
        self._runner = runner
        self._launcher = Launcher(run, runner.script_place)
        self._options = options
        self._calls = _calls_of(run, store, options.folder) if run.settings.definitions else None
        self._queue: deque[Claim] = deque()
        self._followers = Followers(control, store, options.is_driven)
        self._prepared: dict[AttemptKey, Launch] = {}
        self._held: list[Begun | Ended] = []  # heard of, but not looked at yet
        self._running: dict[AttemptKey, Claim] = {}
        self._starts: dict[AttemptKey, Start] = {}
        self._started_at: dict[AttemptKey, float] = {}
        self._ends: list[End] = []
        self._written_at = self._looked_at = time.monotonic()
        self._ended_since = 0
        self._may_claim = True
        self._goes_first = False  # an eager retry waits to be claimed
        self._data_version = -1
        self._asked = Asked()
        for claim, started_at in found.adopted:
            self._running[claim.key] = claim
            self._started_at[claim.key] = started_at
        self._running.update((claim.key, claim) for claim in found.waiting)
        for claim, ended in found.ended:
            self._running[claim.key] = claim
            self._finish(ended)

    @property
    def running(self) -> list[tuple[Claim, float]]:
        """Attempts that run, with the time they started."""
        over = {event.key for event in self._held if isinstance(event, Ended)}
        return [(self._running[key], at) for key, at in self._started_at.items() if key not in over]

    @property
    def interrupted(self) -> bool:
        """Whether a person asked for the end of the run (Ctrl-C or TERM)."""
        return self._asked.interrupts > 0

    @property
    def hung_up(self) -> bool:
        """Whether the terminal went away; the run's tasks go on without this engine."""
        return self._asked.hung_up

    def drive(self, observer: Observer) -> RunRecord:
        """Run until every task has ended, and return the run as it ended then."""
        with self._asked.heard():
            while not self._asked.hung_up:
                self._obey()
                self._start_claimed()
                if self._write_is_due():
                    self._write()
                    observer.progressed(self)
                    if self.run.ended_at is not None:
                        break
                    if self._queue and self._runner.free > 0:
                        continue
                # First fill the slots, then look at what left them.
                heard, self._held = self._held, []
                heard += self._runner.wait(0.0 if heard else self._patience())
                if heard and self._fills_at_once:
                    self._start_claimed()
                self._note(heard)
                if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
                    self._look()
                    observer.progressed(self)
            self._note(self._held)
            if self._asked.hung_up:
                self._leave()
        return self.run

    def _start_claimed(self) -> None:
        while self._queue and self._runner.free > 0:
            claim = self._queue.popleft()
            self._running[claim.key] = claim
            launch = self._prepared.pop(claim.key, None) or self._launch(claim)
            begun = None if launch is None else self._runner.start(claim, launch)
            if begun is not None:
                self._note([begun])
        # What comes next is rendered now, while the slots are busy.
        for claim in islice(self._queue, _MOST_PREPARED):
            if claim.key not in self._prepared and claim.spec.call is None:
                self._prepared[claim.key] = self._launcher.launch(claim)

    def _launch(self, claim: Claim) -> Launch | None:
        """Return what to start; None for an input that can't be taken, which ends the attempt."""
        if claim.spec.call is None or self._calls is None:
            return self._launcher.launch(claim)
        prepared = self._calls.prepare(claim)
        if isinstance(prepared, TaskSpec):
            return self._launcher.launch(claim._replace(spec=prepared))
        del self._running[claim.key]
        ruled = self._calls.by_rules(claim, prepared)
        self._ends.append(self._control.end_of_attempt(ruled, prepared.outcome, time.time()))
        self._ended_since += 1
        self._may_claim = True
        return None

    def _note(self, heard: Sequence[Begun | Ended]) -> None:
        for event in heard:
            if isinstance(event, Ended):
                self._finish(event)
            else:
                self._starts[event.key] = Start(event.key, event.at, event.handle)
                self._started_at[event.key] = event.at

    def _finish(self, ended: Ended) -> None:
        claim = self._running.pop(ended.key)
        start = self._starts.pop(ended.key, None)
        self._started_at.pop(ended.key, None)
        outcome = ended.outcome
        if claim.spec.call is not None and self._calls is not None:
            judged = self._calls.judge(claim, outcome)
            outcome, claim = judged.outcome, self._calls.by_rules(claim, judged)
        adds: Extension | None = None
        if outcome.state is TaskState.COMPLETED and claim.spec.generates_source is not None:
            self._write()  # what it generated is planned against all that is known by now
            outcome, adds = read_generated(self._control, self.run, claim.spec)
        self._ends.append(
            self._control.end_of_attempt(
                claim,
                outcome,
                ended.at,
                cancelling=self._stopping,
                started_at=ended.started_at,
                handle=ended.handle if start is None else start.handle,
                adds=adds,
            )
        )
        self._ended_since += 1
        self._may_claim = True
        retried = self._ends[-1].next.state is TaskState.PENDING
        self._goes_first |= retried and self.run.settings.retry_order == "eager"
        if adds is not None:
            self._write()

    def _write_is_due(self) -> bool:
        if self._goes_first:
            return True
        if not self._queue and self._may_claim and self._runner.is_idle:
            return True
        pending = self._starts or self._ends
        return bool(pending) and time.monotonic() - self._written_at >= _GROUP_SECONDS

    def _write(self) -> None:
        """Record what happened, claim what comes next, end the run if it is over: one write.

        It is made in pieces of about a millisecond, and freed slots are filled between them.
        """
        now, clock = time.time(), time.monotonic()
        starts, self._starts = list(self._starts.values()), {}
        ends, self._ends = self._ends, []
        wanted, is_more = 0, True
        if self._may_claim and not self._stopping:
            since = clock - self._written_at
            # With a cap each claim counts against it, so only what starts at once is claimed.
            may_prepare = self._options.backend_cap is None
            ahead = self._runner.ahead(self._ended_since, since) if may_prepare else 0
            wanted = max(self._runner.free + ahead - len(self._queue), 0)
            wanted = max(wanted, len(ends)) if self._goes_first else wanted
        claims: list[Claim] = []
        with self.store.batch():
            if starts:
                self.store.record_started(self.run.id, starts)
            for first in range(0, len(ends), _PIECE):
                self.store.record_ended(self.run.id, ends[first : first + _PIECE])
                self.serve()
            if self._followers.look(self.run, now):
                self._may_claim = True
            while is_more and len(claims) < wanted:
                piece = min(wanted - len(claims), _PIECE)
                found = self._control.claim(self._request(now, piece))
                claims += self._followers.sort(self.run, found)
                is_more = len(found) == piece
                self.serve()
            self.run = self.store.settle(self.run.id, now)
        if self._calls is not None:
            self._calls.forget(end.key for end in ends)
        self._line_up(claims)  # only now: what is not stored must not start
        if wanted:
            self._may_claim = is_more
        self._written_at, self._ended_since = clock, 0
        self._runner.recorded(ends)
        self._goes_first = False

    def _line_up(self, claims: list[Claim]) -> None:
        """Put claims into the queue; where retries have an order, it holds there too.

        So what was claimed ahead of time does not keep its place before what goes first by now.
        """
        order = self.run.settings.retry_order
        self._queue.extend(claims)
        if claims and order != "document":

            def place(claim: Claim) -> tuple[int, int, int]:
                rank = rank_of(order, claim.spent.retries)
                return -claim.spec.priority, rank, claim.key.position

            self._queue = deque(sorted(self._queue, key=place))

    def serve(self) -> None:
        """Fill slots that have become free, in the middle of something that takes a while."""
        heard = self._runner.wait(0.0)
        if heard and self._fills_at_once:
            self._start_claimed()
        self._held.extend(heard)

    def _request(self, now: float, wanted: int) -> ClaimRequest:
        return ClaimRequest(
            self.run.id,
            self.run.epoch,
            now,
            wanted,
            self._options.backend_name,
            Caps(backend=self._options.backend_cap),
        )

    def _patience(self) -> float | None:
        """Return how long to wait for an end before something else is to be done."""
        now = time.time()
        until = [max(_LOOK_SECONDS - (time.monotonic() - self._looked_at), 0.0)]
        if self._starts or self._ends:
            until.append(max(_GROUP_SECONDS - (time.monotonic() - self._written_at), 0.0))
        if not self._queue and self._runner.free > 0:
            retry_at = self.store.next_retry(self.run.id, now)
            if retry_at is not None and retry_at - now < min(until):
                until.append(retry_at - now)
                self._may_claim = True
        return min(until)

    def _look(self) -> None:
        """See whether time or another process has changed something."""
        self._looked_at = time.monotonic()
        self._runner.publish_logs()
        if self._options.look_again():
            self._may_claim = True
        limit = self.run.settings.time_limit
        if limit is not None and time.time() - (self.run.started_at or 0.0) > limit:
            self._control.cancel(self.run.id, time.time(), reason=Reason.TIMEOUT)
        version = self.store.data_version()
        if version != self._data_version or limit is not None:
            self._data_version = version
            self.run = self.store.get_run(self.run.id)
            self._may_claim = True
        if self._followers.look(self.run, time.time()):
            self._may_claim = True

    @property
    def _fills_at_once(self) -> bool:
        """Whether a freed slot is filled before it is looked at what left it: that may go first."""
        eager = self.run.settings.retry_order == "eager"
        return not (self._asked.interrupts or self._stopping or eager)

    @property
    def _stopping(self) -> bool:
        return self.run.cancel_requested_at is not None

    def _obey(self) -> None:
        """Act on interrupts, and on a cancellation by whoever it was."""
        if self._asked.interrupts and not self._stopping:
            self.run = self._control.cancel(self.run.id, time.time())
        if not self._stopping:
            return
        self._runner.stop_all(force=self._asked.interrupts > 1)
        now = time.time()
        while self._queue:
            claim = self._queue.popleft()
            outcome = cancelled_before_start()
            self._ends.append(self._control.end_of_attempt(claim, outcome, now, cancelling=True))
        self._ends += self._followers.cancel(now)
        if not self._runner.running:
            self._may_claim = True  # so that it is written that the run is over, or seen that it is

    def _leave(self) -> None:
        """Write what is known and give back what has not started; running tasks go on."""
        self._runner.publish_logs(empty_too=True)
        self.store.record_started(self.run.id, list(self._starts.values()))
        self.store.record_ended(self.run.id, self._ends)
        unused = [*(claim.key for claim in self._queue), *self._followers.keys()]
        self.store.release_claims(self.run.id, unused)
