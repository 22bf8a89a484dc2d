"""A worker's place in one pool: joining, turns, signs of life, each tried until it is answered.

Two threads belong to it. The *courier* reports and asks; its turns come one after the other. The
*keeper* gives signs of life beside it, whatever the courier waits for, and hears of what came
meanwhile. What both and the main thread share is touched under one lock, that of `news`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from hut.model.problems import InvalidInput
from hut.pools.port import Answer, How, Order, Report, Started, Turn, WorkerSpec
from hut.pools.protocol import Welcome
from hutctl.client import Unreachable
from hutctl.worker.links import Away, Link
from hutctl.worker.stock import Held, Stock

__all__ = ["Membership"]

_AGAIN_SECONDS = 0.5
_LONGEST_AGAIN = 5.0
_MOST_REPORTS = 2000


class Membership:
    """See the module's docstring.

    Parameters
    ----------
    source
        Names this membership among those of the worker.
    open_link
        Gives a new way to the pool.
    wake
        Lets the main thread look at once.
    """

    def __init__(
        self,
        source: str,
        spec: WorkerSpec,
        open_link: Callable[[], Link],
        stock: Stock,
        news: threading.Condition,
        wake: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self.source = source
        self.error: Exception | None = None
        self.welcome: Welcome | None = None
        self.has_joined = False
        self.gave_nothing = False
        self._spec = spec
        self._open_link = open_link
        self._stock = stock
        self._news = news
        self._wake = wake
        self._say = say
        self._held: dict[tuple[str, int], Held] = {}
        self._starts: dict[tuple[str, int], Started] = {}
        self._reserved = 0
        self._reports: list[Report] = []
        self._sent = 0  # reports of the turn under way
        self._turn_at = 0.0
        self._asks = True
        self._asked_at = 0.0
        self._moved = self._closed = self._leaving = False
        self._courier = threading.Thread(target=self._guard, args=(self._carry,), daemon=True)
        self._keeper = threading.Thread(target=self._guard, args=(self._keep,), daemon=True)

    def start(self) -> None:
        """Join, and begin to take turns."""
        self._courier.start()
        self._keeper.start()

    # For the main thread, which holds the lock --------------------------------------------------

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing it has or has to say."""
        return not self._held and not self._reports

    @property
    def log_stream(self) -> str:
        """Where its logs go; empty for files."""
        return "" if self.welcome is None else self.welcome.log_stream

    def started(self, held: Held) -> None:
        """Note that a task runs."""
        order = held.order
        at = held.started_at or 0.0
        start = Started(order.lease, order.epoch, at, order.part, held.pid, held.log)
        self._starts[order.lease, order.part] = start

    def over(self, held: Held, report: Report) -> None:
        """Note that a task is over, to be reported."""
        if self._held.get((report.lease, report.part)) is held:
            self._starts.pop((report.lease, report.part), None)  # the report says when it began
            self._reports.append(report)
            self._news.notify_all()

    def move(self, open_link: Callable[[], Link]) -> None:
        """Join anew, with all it has, on another way."""
        self._open_link = open_link
        self._moved = True
        self._news.notify_all()

    def finish(self) -> None:
        """Have no more to do with the pool: what is left of it is killed."""
        self._closed = True
        for held in list(self._held.values()):
            self._forget(held)
        self._reports.clear()
        self._news.notify_all()

    def ring(self) -> None:
        """Ask at once: there may be something."""
        with self._news:
            self._asks = True
            self._news.notify_all()

    def forget_all(self) -> None:
        """Say nothing of what it has: it is lost when this worker signs off."""
        self._held.clear()
        self._reports.clear()

    def leave(self) -> None:
        """Sign off when everything is said."""
        self._leaving = True
        self._news.notify_all()

    def wait(self, seconds: float) -> None:
        """Wait for the courier to be through."""
        self._courier.join(seconds)

    # The courier --------------------------------------------------------------------------------

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the main thread tells of it
            with self._news:
                self.error = error
        self._wake()

    def _carry(self) -> None:
        link: Link | None = None
        again = _AGAIN_SECONDS
        while not self._closed:
            try:
                if link is None or self._moved or self.welcome is None:
                    link = self._enter(link)
                elif not self._take_turn(link):
                    return
                again = _AGAIN_SECONDS
            except Away:
                with self._news:
                    self._stock.reserved -= self._reserved
                    self._reserved = 0
                    self._news.wait_for(lambda: self._moved or self._closed, again)
                again = min(again * 1.5, _LONGEST_AGAIN)

    def _enter(self, link: Link | None) -> Link:
        """Join; tell what it still has from before."""
        if link is not None:
            link.close()
        with self._news:
            self._moved = False
            link = self._open_link()
            leases = {lease: held.order.epoch for (lease, _), held in self._held.items()}
            spec = replace(self._spec, holding=tuple(leases.items()))
        try:
            welcome = link.join(spec)
        except Unreachable as error:
            if not self.has_joined:
                raise  # whoever started it should know
            raise Away(str(error)) from error
        with self._news:
            self.welcome, self.has_joined, self._asks = welcome, True, True
            for lease in welcome.refused:
                self._refused(lease)
            self._starts.clear()
            for held in self._held.values():
                if held.serial in self._stock.running:
                    self.started(held)
            self._news.notify_all()
        self._wake()
        return link

    def _take_turn(self, link: Link) -> bool:
        """Say and ask once, when it is time; False when there is nothing more to come."""
        with self._news:
            while (patience := self._patience(link)) > 0:
                self._news.wait(patience)
            if self._closed or self._moved:
                return not self._closed
            assert self.welcome is not None  # noqa: S101 - the caller looked
            worker = self.welcome.worker
            turn = None if self._leaving and not self._reports else self._compose()
        if turn is None:
            link.leave(worker)
            return False
        answer = link.turn(worker, turn)
        fetched = [(order, _fetch(order)) for order in answer.tasks]
        with self._news:
            self._stock.reserved -= self._reserved
            self._reserved = 0
            self._hear(turn, answer, fetched)
            self._news.notify_all()
        self._wake()
        return True

    def _patience(self, link: Link) -> float:
        """Return how long to wait before the next turn; 0 when it is time."""
        now = time.monotonic()
        if self._closed or self._moved or self._leaving or self.welcome is None:
            return 0.0
        if self._reports and (
            len(self._reports) >= _MOST_REPORTS or self._stock.has_room or not self._held
        ):
            return 0.0
        demand = self._stock.demand
        if demand and self._stock.is_low and self._asks:
            return 0.0
        until = [1.0]
        if self._reports or self._starts:
            until.append(self._turn_at + link.group_s - now)
        if demand:
            until.append(self._asked_at + link.poll_s - now)
        return max(min(until), 0.0) if min(until) != 1.0 else 1.0

    def _compose(self) -> Turn:
        now = time.monotonic()
        want = self._stock.demand if self._asks or now - self._asked_at >= 1.0 else 0
        self._reserved = want
        self._stock.reserved += want
        starts, self._starts = self._starts, {}
        self._sent = min(len(self._reports), _MOST_REPORTS)
        reports = tuple(self._reports[: self._sent])
        self._turn_at = now
        if want:
            self._asked_at = now
        holding = tuple(dict.fromkeys(lease for lease, _ in self._held))
        stopping = tuple({h.order.lease for h in self._held.values() if h.stopping})
        return Turn(want, tuple(starts.values()), reports, holding, stopping)

    def _hear(self, turn: Turn, answer: Answer, fetched: list[tuple[Order, str | None]]) -> None:
        del self._reports[: self._sent]
        self._sent = 0
        for report in turn.reports:
            self._held.pop((report.lease, report.part), None)
        if answer.gone:
            self._gone()
            return
        for lease in answer.refused:
            self._refused(lease)
        for order, script in fetched:
            if (order.lease, order.part) in self._held:
                continue  # told once more
            held = self._stock.add(
                order if script is None else order._replace(script=script), self.source
            )
            self._held[order.lease, order.part] = held
            if script == "" and order.url:
                self._stock.drop(held)
                told = "its script could not be fetched"
                self.over(
                    held,
                    Report(order.lease, order.epoch, How.ERROR, time.time(), order.part, said=told),
                )
        self.gave_nothing = turn.want > 0 and not answer.tasks
        if turn.want:
            self._asks = bool(answer.tasks)
        self._told(answer)

    def _told(self, answer: Answer) -> None:
        """Do what an answer says beside new tasks; the keeper's answers, too."""
        for lease in answer.cancel:
            for (name, _), held in self._held.items():
                if name == lease:
                    held.stopping = self._stock.attention = True
        if answer.ring:
            self._asks = True
        if answer.draining:
            self._asks = False

    def _refused(self, lease: str) -> None:
        for (name, _), held in list(self._held.items()):
            if name == lease:
                self._forget(held)
        self._reports = [report for report in self._reports if report.lease != lease]

    def _gone(self) -> None:
        """Nobody knows this worker any more: kill what it has, join anew."""
        if self._closed:
            return
        self._say("the pool has given this worker up: what it had is killed, it joins anew")
        for held in list(self._held.values()):
            self._forget(held)
        self._reports.clear()
        self.welcome = None

    def _forget(self, held: Held) -> None:
        held.unwanted = self._stock.attention = True
        self._held.pop((held.order.lease, held.order.part), None)
        if held in self._stock.waiting:
            self._stock.drop(held)

    # The keeper ---------------------------------------------------------------------------------

    def _keep(self) -> None:
        link: Link | None = None
        opened: Callable[[], Link] | None = None
        while not self._closed and self._courier.is_alive():
            with self._news:
                welcome, ways = self.welcome, self._open_link
                if welcome is None or self._moved:
                    self._news.wait(_AGAIN_SECONDS)
                    continue
            if link is None or opened is not ways:
                link, opened = ways(), ways
            try:
                answer = link.turn(welcome.worker, Turn(wait_s=welcome.keepalive_s))
            except (Away, InvalidInput):
                time.sleep(_AGAIN_SECONDS)
                continue
            with self._news:
                if self.welcome is welcome:
                    if answer.gone:
                        self._gone()
                    else:
                        self._told(answer)
                    self._news.notify_all()
            if answer.cancel or answer.gone:
                self._wake()
            link.pause(welcome.keepalive_s)
            if answer.cancel:
                time.sleep(0.05)  # until the courier has said that it knows


def _fetch(order: Order) -> str | None:
    """Return the script of an order that says where it is; empty if it can't be had."""
    if not order.url:
        return None
    import urllib.request

    for _ in range(3):
        try:
            with urllib.request.urlopen(order.url, timeout=30) as answer:  # noqa: S310 - the pool's word
                content: bytes = answer.read()
                return content.decode()
        except (OSError, ValueError):
            time.sleep(_AGAIN_SECONDS)
    return ""
