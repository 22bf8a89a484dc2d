"""Attempts of an engine's run that follow identical ones, of the same run or of other hutctl's runs.

They take no slot: what they wait for runs elsewhere, or beside them. The engine that claimed them looks
after them; when it dies, whoever takes its run up gives them back like all claims that never started.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hut.control import Control
from hut.lifecycle.attempt import cancelled_before_start
from hut.model.records import RunRecord
from hut.scheduling.twins import Follower, outcome_of_follower, twin_handle
from hut.store.port import AttemptKey, Claim, End
from hut.store.sqlite import SqliteStore
from hut.twins import Found, Joining

__all__ = ["Followers"]


class Followers:
    """What an engine has claimed and does not start.

    Parameters
    ----------
    is_driven
        Says of a run whether a process works on it.
    """

    def __init__(
        self, control: Control, store: SqliteStore, is_driven: Callable[[str], bool]
    ) -> None:
        self._control = control
        self._store = store
        self._joining = Joining(store, is_driven=is_driven)
        self._waiting: dict[Follower, Claim] = {}

    def __bool__(self) -> bool:
        """Say whether any attempt follows another one."""
        return bool(self._waiting)

    def sort(self, run: RunRecord, claims: Sequence[Claim]) -> list[Claim]:
        """Return which of some claims are to be started; called in the transaction that claims."""
        found = self._joining.sort(run, claims)
        self._waiting.update({follower: claim for claim, follower in found.joined})
        return found.alone

    def look(self, run: RunRecord, now: float) -> int:
        """Record what became of those that followed; return how many wait for nothing any more."""
        found = self._joining.look(list(self._waiting)) if self._waiting else Found()
        if not found.ended and not found.free:
            return 0
        ends = [
            self._control.end_of_attempt(
                self._waiting[follower],
                outcome_of_follower(follower.leader, task_id, end),
                now,  # when it is known here: who joined late may have been claimed after the end
                cancelling=run.cancel_requested_at is not None,
                started_at=end.started_at,
                handle=twin_handle(follower.leader),
            )
            for follower, task_id, end in found.ended
        ]
        with self._store.batch():
            self._store.record_ended(run.id, ends)
            self._store.leave(run.id, found.free)
        for follower in (*(each for each, _, _ in found.ended), *found.free):
            del self._waiting[follower]
        return len(found.ended) + len(found.free)

    def cancel(self, now: float) -> list[End]:
        """Return the ends of all of them; the attempts they followed go on."""
        ends = [
            self._control.end_of_attempt(
                claim,
                cancelled_before_start(),
                now,
                cancelling=True,
                handle=twin_handle(follower.leader),
            )
            for follower, claim in self._waiting.items()
        ]
        self._waiting.clear()
        return ends

    def keys(self) -> list[AttemptKey]:
        """Return the attempts, to give them back."""
        return [claim.key for claim in self._waiting.values()]
