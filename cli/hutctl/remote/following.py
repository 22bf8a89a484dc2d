"""Follows a run by what changed since the last look, through networks that come and go."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from hutctl.client import Attended, Display, Document, Progress, Running, Unreachable
from hutctl.display.text import printable
from hutctl.pace import Pace
from hutctl.remote.faults import OutOfReach, Refused

__all__ = ["Patience", "follow", "hold"]

_TICK = 0.25
_T = TypeVar("_T")

Look = Callable[[int], tuple[Document, bool]]
"""Returns the run with its changes behind a cursor, and whether there are more right now."""


def hold(seconds: float, tick: Callable[[], None] | None = None) -> None:
    """Wait; `tick` is called a few times a second meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(_TICK, left) if tick is not None else left)
        if tick is not None:
            tick()


class Patience:
    """Asks until there is an answer, for as long as a person waits.

    Parameters
    ----------
    run_id
        Goes on meanwhile, which is what a person wants to know.
    say
        Told once that the connection is lost, and once that it is back.
    """

    def __init__(self, run_id: str, say: Callable[[str], None]) -> None:
        self._run_id = run_id
        self._say = say
        self._told: set[tuple[str, str | None, str]] = set()

    def ask(self, question: Callable[[], _T], tick: Callable[[], None] | None = None) -> _T:
        """Return what a question gives.

        Raises
        ------
        Unreachable
            If waiting can't help, as with credentials that nobody can renew here.
        """
        pace = Pace(1.0, 30.0)
        told: str | None = None
        while True:
            try:
                answer = question()
            except OutOfReach as error:
                sentence = f"the connection is lost ({error}); run {self._run_id} goes on there"
                kind = "lost"
            except Refused as error:
                if not error.renewable:
                    raise self._given_up(error) from error
                sentence = f"{error}. Run {self._run_id} goes on there; following again after that"
                kind = "refused"
            except Unreachable as error:
                raise self._given_up(error) from error
            else:
                if told is not None:
                    self._say(f"following run {self._run_id} again")
                return answer
            if told != kind:
                self._say(sentence if kind == "refused" else f"{sentence}; trying again")
                told = kind
            hold(pace.next(), tick)

    def tell_refusals(self, run: Document) -> None:
        """Say, once for each, what keeps ready tasks from becoming jobs."""
        for refusal in run.get("refusals") or ():
            told = refusal["backend"], refusal["partition"], printable(refusal["message"])
            if told not in self._told:
                self._told.add(told)
                backend, partition, message = told
                where = "" if partition is None else f" for partition {partition}"
                self._say(f"{backend} takes no jobs{where} just now: {message}; trying again")

    def _given_up(self, error: Unreachable) -> Unreachable:
        return Unreachable(
            f"{error}. Run {self._run_id} goes on; follow it with: hutctl watch {self._run_id}"
        )


def follow(
    run: Document, look: Look, patience: Patience, display: Display, *, from_start: bool
) -> Attended:
    """Show a run until it has ended, or until a person has seen enough.

    Parameters
    ----------
    run
        As it was seen last.
    from_start
        Show also what happened before; otherwise it is passed over.
    """
    cursor = 0
    pace = Pace(0.5, 5.0)
    passing_over = not from_start
    running: list[Running] = []

    def tick() -> None:
        display.show(Progress(run, (), running, queued=True))

    while True:
        try:
            found, more = patience.ask(partial(look, cursor), tick)
            changes = found["changes"]
            moved, cursor = found["cursor"] != cursor, found["cursor"]
            run, running = found["run"], _running(found)
            patience.tell_refusals(run)
            display.show(Progress(run, [] if passing_over else changes, running, queued=True))
            ended = run["ended_at"] is not None
            if ended and (passing_over or not changes):
                return Attended(run)
            if more or (ended and changes):
                continue
            passing_over = False
            if moved:
                pace.changed()
            hold(pace.next(), tick)
        except KeyboardInterrupt:
            return Attended(run, interrupted=True)


def _running(found: Document) -> list[Running]:
    entries: list[Any] = found.get("running") or []
    return [
        Running(
            entry["task_id"], entry["attempt"], datetime.fromisoformat(entry["since"]).timestamp()
        )
        for entry in entries
    ]
