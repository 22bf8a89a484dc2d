"""Takes a run over from an engine that is gone.

For each attempt the store holds as submitted or running there is evidence of exactly one kind:

- its script noted its end: the attempt is recorded as it ended, and is not run again;
- it was started and its process lives: the attempt is adopted;
- it was started and its process is gone: the attempt is ``lost`` and follows its retry rules;
- none of these: after the fence it never will start, so the claim is given back unused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hut.backends.local import LocalBackend
from hut.backends.local.journal import NotedEnd, NotedStart
from hut.control import Control
from hut.lifecycle.attempt import Evidence, judge, lost
from hut.model.records import RunRecord
from hut.store.port import AttemptKey, Claim, End, Start
from hut.store.sqlite import SqliteStore
from hutctl.local.runner import Ended

__all__ = ["Takeover", "take_over"]


@dataclass(slots=True)
class Takeover:
    """What earlier engines left behind.

    Attributes
    ----------
    adopted : list
        Claims whose processes live, with the time they started.
    ended : list
        Claims whose scripts noted their end; the new engine records them as it does its own.
    waiting : list
        Claims that a worker may have, and may have started.
    lost, given_back : int
        Attempts that are gone without a trace, and claims that were never started.
    """

    adopted: list[tuple[Claim, float]] = field(default_factory=list)
    ended: list[tuple[Claim, Ended]] = field(default_factory=list)
    waiting: list[Claim] = field(default_factory=list)
    lost: int = 0
    given_back: int = 0


def take_over(
    control: Control, store: SqliteStore, run_id: str, backend: LocalBackend, now: float
) -> tuple[RunRecord, Takeover]:
    """Begin a new epoch of a run and look after what earlier ones left open.

    The caller holds the run's lock, so no other engine is alive.
    """
    found = Takeover()
    claims = control.open_claims(run_id)
    starts = backend.journal.fence()
    names = {backend.journal_key(claim.key): claim.key for claim in claims}
    unnoted = backend.find_unnoted([key for name, key in names.items() if name not in starts])
    starts.update({backend.journal_key(key): start for key, start in unnoted.items()})
    ends = backend.journal.ends()
    run = store.begin_epoch(run_id, now)
    backend.journal.open()
    # A slot's files hold what the last attempt in it printed; earlier ones have files of their own.
    owners = {start.slot: name for name, start in starts.items()}
    # One whose engine died before it noted the start was the last in its slot.
    owners.update({ends[name].slot: name for name in names if name in ends and name not in starts})
    cancelling = run.cancel_requested_at is not None
    recorded: list[End] = []
    unused: list[AttemptKey] = []
    running: list[Start] = []
    for claim in claims:
        name = backend.journal_key(claim.key)
        start, end = starts.get(name), ends.get(name)
        slot = start.slot if start is not None else "" if end is None else end.slot
        if slot and owners.get(slot) == name:
            backend.logs.name_left_behind(slot, claim.key, claim.spec.id)
        if start is not None:
            started_at = now if start.at is None else start.at
            if backend.adopt(claim.key, start.pid, started_at, claim.spec.resources.time_limit):
                found.adopted.append((claim, started_at))
                running.append(Start(claim.key, started_at, str(start.pid)))
                continue
        if end is None and start is not None:
            end = backend.journal.ends().get(name)  # it may have ended since we read them
        if end is not None:
            if start is None:
                backend.kill_leftovers(claim.key, end)
            found.ended.append((claim, _finished(claim, start, end, now)))
        elif start is None:
            unused.append(claim.key)
        else:
            found.lost += 1
            outcome = lost("its process and the hutctl that watched it are gone")
            recorded.append(
                control.end_of_attempt(
                    claim, outcome, now, cancelling=cancelling, started_at=start.at
                )
            )
    backend.logs.remove_left_behind()
    found.given_back = len(unused)
    with store.batch():
        store.release_claims(run_id, unused)
        store.record_started(run_id, running)
        store.record_ended(run_id, recorded)
        run = store.settle(run_id, now)
    return run, found


def _finished(claim: Claim, start: NotedStart | None, end: NotedEnd, now: float) -> Ended:
    """Return what the engine would have seen of an attempt that ended unwatched."""
    limit = claim.spec.resources.time_limit
    at = now if end.at is None else end.at
    started_at = None if start is None else start.at
    # Without a time in the note (older shells know none) nobody can say that it was late.
    overran = None not in (started_at, end.at) and at - (started_at or at) >= limit
    evidence = Evidence(exit_code=end.exit_code, timed_out=overran, time_limit=limit)
    pid = end.pid if start is None else start.pid
    return Ended(claim.key, judge(evidence), at, started_at, None if pid is None else str(pid))
