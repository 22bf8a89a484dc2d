"""Identical tasks: which of some claims lead, which follow, and what became of those that follow.

On one machine all of it happens in the transaction that claims, on AWS step by step while others do the
same. What happens if it dies there:

- between becoming a leader and the submit: the claim is given back like any other; who follows it
  meanwhile is told by `look`
- between joining and the look afterwards: the leader may have ended just before. The next look, of the
  engine or the sweep, finds that.

Two tries at once, or a leader that is given back and claimed again while another one has taken its
place, can make more than one attempt run, never none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hut.model.records import Attempt, RunRecord, TaskRecord
from hut.scheduling.twins import (
    Follower,
    Twin,
    is_under_way,
    leader_of,
    shared_end,
)
from hut.script.identity import digest_of
from hut.store.port import AttemptKey, Claim, Store, UnknownRun
from hut.store.twins import TwinStore

__all__ = ["Found", "Joining", "Sorted", "key_of", "twin_of"]

_TRIES = 4


class JoiningStore(Store, TwinStore, Protocol):
    """A store that knows twins."""


@dataclass(slots=True)
class Sorted:
    """Claims, sorted.

    Attributes
    ----------
    alone : list of Claim
        To be run.
    joined : list of (Claim, Follower)
        Not to be run: an identical attempt is under way.
    """

    alone: list[Claim] = field(default_factory=list)
    joined: list[tuple[Claim, Follower]] = field(default_factory=list)


@dataclass(slots=True)
class Found:
    """What became of followers; those whose leaders go on stand in neither list.

    Attributes
    ----------
    ended : list
        Followers whose leader's end is theirs, with how they end, and the leader's attempt.
    free : list of Follower
        Those that wait for nothing any more.
    """

    ended: list[tuple[Follower, str, Attempt]] = field(default_factory=list)
    free: list[Follower] = field(default_factory=list)


def _always(_: str) -> bool:
    return True


class Joining:
    """See the module's docstring.

    Parameters
    ----------
    is_driven
        Says of a run whether something works on it: nobody waits for what stands still.
    """

    def __init__(self, store: JoiningStore, *, is_driven: Callable[[str], bool] = _always) -> None:
        self._store = store
        self._is_driven = is_driven

    def sort(self, run: RunRecord, claims: Sequence[Claim]) -> Sorted:
        """Let claims of marked tasks follow identical attempts that are under way, or lead."""
        found = Sorted([claim for claim in claims if not claim.spec.dedupe])
        marked = [
            (digest_of(run, claim.spec), twin_of(run.id, claim.key), claim)
            for claim in claims
            if claim.spec.dedupe
        ]
        if not marked:
            return found
        wishes: dict[str, Twin] = {}
        for digest, twin, _ in marked:
            wishes.setdefault(digest, twin)
        leaders = self._leaders(wishes)
        joining = {
            twin: (digest, Follower(twin, leaders[digest]))
            for digest, twin, _ in marked
            if leaders[digest] != twin
        }
        joined = set(self._store.join(run.id, list(joining.values()))) if joining else set()
        for _, twin, claim in marked:
            follower = joining[twin][1] if twin in joining else None
            if follower in joined:
                found.joined.append((claim, follower))
            else:
                found.alone.append(claim)
        return found

    def _leaders(self, wishes: Mapping[str, Twin]) -> dict[str, Twin]:
        """Return for each digest the attempt that leads: one that is under way, or ours."""
        leaders = self._store.lead(wishes)
        for _ in range(_TRIES):
            others = {twin for digest, twin in leaders.items() if twin != wishes[digest]}
            over = others - self._under_way(others)
            if not over:
                return leaders
            instead = {digest: twin for digest, twin in leaders.items() if twin in over}
            again = {digest: wishes[digest] for digest in instead}
            leaders |= self._store.lead(again, instead)
        # Each time somebody else was faster and gave up at once: run it without being followed.
        return {
            digest: wishes[digest] if twin in over else twin for digest, twin in leaders.items()
        }

    def _under_way(self, twins: Collection[Twin]) -> set[Twin]:
        tasks = self._tasks(twins)
        return {
            twin
            for twin in twins
            if is_under_way(twin, tasks.get(twin))
            # One that follows another one by now does not lead.
            and leader_of(tasks[twin].handle) is None
            and self._is_driven(twin.run_id)
        }

    def look(self, followers: Sequence[Follower]) -> Found:
        """See what became of the leaders of followers."""
        found = Found()
        tasks = self._tasks({follower.leader for follower in followers})
        over = {
            follower.leader
            for follower in followers
            if not is_under_way(follower.leader, tasks.get(follower.leader))
        }
        ends = self._ends({twin: tasks[twin] for twin in over if twin in tasks})
        for follower in followers:
            leader = follower.leader
            if leader in ends:
                found.ended.append((follower, tasks[leader].spec.id, ends[leader]))
            elif leader in over or not self._is_driven(leader.run_id):
                found.free.append(follower)
        return found

    def _tasks(self, twins: Collection[Twin]) -> dict[Twin, TaskRecord]:
        """Return the tasks whose attempts these are, as they are now."""
        found: dict[Twin, TaskRecord] = {}
        for run_id, some in _by_run(twins).items():
            try:
                tasks = self._store.get_tasks(run_id, {twin.position for twin in some})
            except UnknownRun:  # it has expired
                continue
            found |= {twin: tasks[twin.position] for twin in some if twin.position in tasks}
        return found

    def _ends(self, tasks: Mapping[Twin, TaskRecord]) -> dict[Twin, Attempt]:
        """Return the ends that are the followers' too."""
        found: dict[Twin, Attempt] = {}
        for run_id, some in _by_run(tasks).items():
            attempts = self._store.list_attempts(run_id, sorted({t.position for t in some}))
            for twin in some:
                end = shared_end(twin, tasks[twin], attempts.get(twin.position, ()))
                if end is not None:
                    found[twin] = end
        return found


def twin_of(run_id: str, key: AttemptKey) -> Twin:
    """Return an attempt of a run as one among those of all runs."""
    return Twin(run_id, *key)


def key_of(twin: Twin) -> AttemptKey:
    """Return what names an attempt within its run."""
    return AttemptKey(twin.position, twin.attempt, twin.epoch)


def _by_run(twins: Collection[Twin]) -> Mapping[str, list[Twin]]:
    found: dict[str, list[Twin]] = defaultdict(list)
    for twin in twins:
        found[twin.run_id].append(twin)
    return found
