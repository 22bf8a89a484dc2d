"""Identical tasks on AWS: what becomes of claims that follow others, and when.

A follower has no job, so no backend tells of its end. It is looked after when the attempt it follows
has ended (`follow`, by whoever reads that in the table's stream, in whichever run it is), when its own
run is stopped (`drop`), and by the sweep (`check`), which needs nothing to have been told. Each of them
looks at both tasks as they are, and writes under the condition that the follower still follows: done
twice or at once it is done once. What dies before, leaves it to the sweep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from hut.control import Control
from hut.lifecycle.attempt import cancelled_before_start
from hut.model.records import Outcome, RunRecord, TaskRecord
from hut.scheduling.twins import (
    Follower,
    is_under_way,
    leader_of,
    outcome_of_follower,
    twin_handle,
)
from hut.script.identity import digest_of
from hut.service.counting import count_ends
from hut.service.surroundings import Surroundings
from hut.store.port import Claim, End, UnknownRun, claim_of
from hut.twins import Joining, twin_of

__all__ = ["Followers"]


class Followers:
    """See the module's docstring."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._store = around.store
        self._control = Control(around.store)
        self._joining = Joining(around.store)

    def sort(self, run: RunRecord, claims: Sequence[Claim]) -> list[Claim]:
        """Return which of some claims are to be submitted; the others follow identical ones."""
        found = self._joining.sort(run, claims)
        if found.joined:
            self._around.note.info("joined identical tasks", run=run.id, tasks=len(found.joined))
            # Whom they follow may have ended before it could be seen that they do.
            if self._settle([follower for _, follower in found.joined], run.id):
                self._around.wakes.wake(run.id)
            now = self._store.get_run(run.id)
            if now.cancel_requested_at is not None:
                self._drop(now, [follower for _, follower in found.joined])
        return found.alone

    def follow(self, run: RunRecord, positions: Sequence[int]) -> None:
        """Do what the ends of tasks mean for those that follow them, in any run."""
        marked = {
            position: digest_of(run, task.spec)
            for position, task in self._store.get_tasks(run.id, positions).items()
            if task.spec.dedupe
        }
        if marked:
            self._settle(self._store.followers(run.id, marked), run.id)

    def check(self, run: RunRecord, tasks: Iterable[TaskRecord]) -> None:
        """Look at tasks of a run that follow others, as the sweep does."""
        self._settle(_followers(run, tasks), run.id)

    def drop(self, run: RunRecord, tasks: Iterable[TaskRecord]) -> None:
        """End tasks of a stopped run that follow others, which go on."""
        self._drop(run, _followers(run, tasks))

    def _drop(self, run: RunRecord, followers: Sequence[Follower]) -> None:
        outcome = cancelled_before_start()
        tasks = self._still_following(run.id, followers)
        self._record(run, [self._end(run, tasks[each], each, outcome) for each in tasks])

    def _settle(self, followers: Sequence[Follower], own: str) -> int:
        """Record what became of followers whose leaders have ended or are gone.

        Parameters
        ----------
        own
            The run whose caller goes on to claim; others are woken for what is free.

        Returns
        -------
        int
            How many are free in that run.
        """
        free = 0
        by_run: dict[str, list[Follower]] = defaultdict(list)
        for follower in followers:
            by_run[follower.twin.run_id].append(follower)
        for run_id, some in by_run.items():
            if not self._around.has_time():
                self._around.note.warning("no time for all that joined tasks", run=own)
                break  # the sweep looks at them
            tasks = self._still_following(run_id, some)
            found = self._joining.look(list(tasks))
            if found.ended:
                run = self._store.get_run(run_id)
                ends = []
                for each, task_id, end in found.ended:
                    outcome = outcome_of_follower(each.leader, task_id, end)
                    made = self._end(run, tasks[each], each, outcome, end.started_at)
                    ends.append(made._replace(log=end.log))
                self._record(run, ends)
            left = self._store.leave(run_id, found.free) if found.free else 0
            if run_id == own:
                free += left
            elif left:
                self._around.wakes.wake(run_id)
        return free

    def _still_following(
        self, run_id: str, followers: Sequence[Follower]
    ) -> dict[Follower, TaskRecord]:
        """Return the tasks of those that do, as they are now."""
        try:
            tasks = self._store.get_tasks(run_id, {each.twin.position for each in followers})
        except UnknownRun:  # it has expired
            return {}
        return {
            each: tasks[each.twin.position]
            for each in followers
            if is_under_way(each.twin, tasks.get(each.twin.position))
            and leader_of(tasks[each.twin.position].handle) == each.leader
        }

    def _end(
        self,
        run: RunRecord,
        task: TaskRecord,
        follower: Follower,
        outcome: Outcome,
        started_at: float | None = None,
    ) -> End:
        return self._control.end_of_attempt(
            claim_of(task),
            outcome,
            self._around.clock(),
            cancelling=run.cancel_requested_at is not None,
            started_at=started_at,
            handle=twin_handle(follower.leader),
        )

    def _record(self, run: RunRecord, ends: Sequence[End]) -> None:
        if ends:
            first = self._store.record_ended(run.id, ends)
            told = [end for end, is_first in zip(ends, first, strict=True) if is_first]
            count_ends(self._around.measure, told, self._around.clock())


def _followers(run: RunRecord, tasks: Iterable[TaskRecord]) -> list[Follower]:
    found: list[Follower] = []
    for task in tasks:
        leader = leader_of(task.handle)
        if leader is not None:
            found.append(Follower(twin_of(run.id, claim_of(task).key), leader))
    return found
