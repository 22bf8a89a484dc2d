"""The store port of a control plane that is driven by events, beside `hut.store.port`.

On AWS a run is stored before its tasks, ends are recorded by one function and followed up by
another, and any of them may die between two calls. What protects each operation:

==================  ============================================================================
operation           what protects it
==================  ============================================================================
reserve_run         the run id and the idempotency key must be new; all of it or nothing
register_block      the run has not begun; counted before and after, so `begin_run` can wait
begin_run           every block is written; once for each generation
begin_reset         the run has ended and something is to be repeated
follow              set operations, the same the second time, bound to the generation
end_pending         the run is stopped; pending tasks only
note_handles        the attempt is active under its key and has no handle yet
give_back           as `release_claims`; the refusals are kept with it
keep_array, _bundle the id must be new; written before its job is submitted, never changed
keep_bundle         as `keep_array`; a place goes from claim to claim in one write, while both are
keep_part           the first time counts, until a claim
keep_token          one for each generation; the last one counts, but none of an earlier step
unlist              the run was not repeated since it ended
reopen              as `follow`
open_added          as `follow`; that it is done is noted afterwards
rest                the run has begun, waits for more tasks and for nothing else
call_waiting        each note of a run that waits is marked once
==================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from hut.model.records import Refusal, RunRecord
from hut.scheduling.twins import Follower
from hut.store.port import AttemptKey, NewRun, Store, StoreError
from hut.store.twins import TwinStore

__all__ = [
    "LONGEST_OPEN",
    "Bundle",
    "Destination",
    "EventStore",
    "NotRegistered",
    "Standing",
]

LONGEST_OPEN = 360 * 86400.0
"""Seconds an open run may take if its file does not say: an execution of Step Functions has a year."""

Destination = tuple[str, str | None]
"""A backend and a partition of it, as tasks name it."""


class Bundle(NamedTuple):
    """Attempts that one job runs.

    Attributes
    ----------
    keys : sequence of AttemptKey
        In the order in which they begin.
    nonce : str
        What marks the lines by which the job tells of them.
    slots : int
        How many run at a time.
    """

    keys: Sequence[AttemptKey]
    nonce: str
    slots: int


class NotRegistered(StoreError):  # noqa: N818 - named after what it says
    """Not all blocks of the run's plan are written, or one may still be being written."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run has come on its way into the store.

    Attributes
    ----------
    generation : int
        How often it was repeated.
    blocks : int
        Parts its plan was stored in.
    begun : bool
        Whether tasks may be claimed.
    """

    generation: int
    blocks: int
    begun: bool


class EventStore(Store, TwinStore, Protocol):
    """See the module's docstring for what protects each operation."""

    def reserve_run(self, new: NewRun, *, blocks: int | None = None) -> tuple[RunRecord, bool]:
        """Store a run without its tasks, and its plan for `register_block`; say if it is new."""

    def register_block(self, run_id: str, block: int, now: float) -> None:
        """Write one block of a run's plan."""

    def missing_blocks(self, run_id: str) -> list[int]:
        """Return the blocks of a run's plan that are not written; none once it has begun."""

    def begin_run(self, run_id: str, generation: int, now: float) -> RunRecord:
        """Let tasks of a run be claimed.

        Raises
        ------
        NotRegistered
            If its plan is not all there.
        """

    def begin_reset(self, run_id: str, *, everything: bool = False) -> int:
        """Begin a new generation of an ended run, which `begin_run` completes; return how many tasks.

        Raises
        ------
        StoreError
            If the run has not ended.
        """

    def standing(self, run_id: str) -> Standing:
        """Return how far a run has come."""

    def follow(self, run_id: str, positions: Sequence[int]) -> None:
        """Do what follows from the ends of tasks."""

    def reopen(self, run_id: str) -> None:
        """Work out anew what may run, from the states of all tasks."""

    def open_added(self, run_id: str) -> None:
        """Work out which of the tasks that were added to a run may be claimed."""

    def rest(self, run_id: str) -> None:
        """Take a run that waits for more tasks, and for nothing else, off the list of active ones.

        Whatever happens to it puts it back in the same transaction.
        """

    def end_pending(self, run_id: str, has_time: Callable[[], bool] | None = None) -> bool:
        """End what waits in a stopped run, as long as there is time; say if all of it has ended."""

    def note_handles(
        self,
        run_id: str,
        handles: Sequence[tuple[AttemptKey, str]],
        accepted: Collection[Destination] = (),
    ) -> None:
        """Note under which handle attempts were submitted, and forget refusals of these places."""

    def give_back(
        self, run_id: str, keys: Sequence[AttemptKey], refusals: Sequence[Refusal]
    ) -> int:
        """Give claims back that a backend did not take, and keep what it said of each place."""

    def keep_array(self, run_id: str, array: str, keys: Sequence[AttemptKey]) -> None:
        """Store which attempts are the children of an array, before it is submitted."""

    def keep_bundle(
        self, run_id: str, array: str, bundle: Bundle, *, has_place: bool = False
    ) -> None:
        """Store which attempts one job runs, before it is submitted; they are an array of the run, too.

        Parameters
        ----------
        has_place
            Its first attempt has a place on a backend with a cap: it is the last one's from now on.
        """

    def bundle(self, run_id: str, array: str) -> Bundle | None:
        """Return what `keep_bundle` stored; None if it is not known."""

    def keep_part(self, run_id: str, now: float) -> float:
        """Return since when tasks wait that make no full bundle: from now on, if none did before.

        With the next claim none does any more.
        """

    def array(self, run_id: str, array: str) -> Sequence[AttemptKey] | None:
        """Return the attempts that are the children of an array, in order; None if it is not known."""

    def arrays(self, run_id: str) -> Mapping[str, Sequence[AttemptKey]]:
        """Return all arrays of a run by their ids."""

    def followers(self, run_id: str, leaders: Mapping[int, str]) -> list[Follower]:
        """Return who follows attempts of tasks, which are given with their digests, by position.

        Some may have ended or left since.
        """

    def active_runs(self) -> list[str]:
        """Return the ids of runs that have not ended, oldest first."""

    def unlist(self, run_id: str, generation: int) -> None:
        """Take a run that ended in a generation off the list of active ones."""

    def keep_token(self, run_id: str, generation: int, token: str, *, turn: int = 0) -> None:
        """Keep the token by which whoever waits for the end of a generation is told of it.

        Parameters
        ----------
        turn
            How many steps have waited before: a call for an earlier one comes too late.
        """

    def token(self, run_id: str, generation: int) -> str | None:
        """Return that token."""

    def active_on(self, backend: str) -> int:
        """Return how many tasks of all runs are active on a backend."""

    def call_waiting(self, backend: str, most: int, now: float) -> Collection[str]:
        """Return the runs that wait for room on a backend and are to take what is free now.

        Their shares are kept for them for a while, in which they are not called again. A run begins
        to wait when a claim finds no room for it, and ends when one takes all it has ready.

        Parameters
        ----------
        most
            The backend's cap.
        """
