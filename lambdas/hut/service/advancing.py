"""Bring a run forward: follow up what ended, have what is ready dispatched, end the run.

Called for each batch of the table's stream, for each wake message and by the sweep, as often and as
concurrently as they come. What happens if this dies:

- before or while jobs are submitted: see `hut.service.dispatching`
- between tasks that were added and working out which may run: the run's item says that it is to do
- between the end of the run and telling of it: the sweep tells again
"""

from __future__ import annotations

from collections.abc import Sequence

from hut.backends.port import parent_of
from hut.lifecycle.run import waits_for_tasks
from hut.metrics import Metric
from hut.model.records import RunRecord
from hut.model.states import ACTIVE, Reason
from hut.scheduling.room import Caps, is_spent
from hut.scheduling.twins import leader_of
from hut.service.dispatching import CANCELLED, Dispatching
from hut.service.joining import Followers
from hut.service.surroundings import Surroundings
from hut.store.events import NotRegistered
from hut.store.port import TaskFilter

__all__ = ["CANCELLED", "Advancing"]

_TERMINATED_AT_ONCE = 80
_BUSY_SECONDS = 15.0  # until a service that had no time is asked again
_LONGEST_WAIT = 900.0  # seconds a message may be delayed (SQS)


class Advancing:
    """See the module's docstring."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._store = around.store
        self._backends = around.backends
        self._followers = Followers(around)
        self._dispatching = Dispatching(around, self._followers)

    def advance(
        self,
        run_id: str,
        ended: Sequence[int] = (),
        *,
        wholly: bool = True,
        since: float | None = None,
    ) -> RunRecord:
        """Bring a run forward.

        Parameters
        ----------
        ended
            Positions of tasks that ended, whose followers are to be released.
        wholly
            In a stopped run, end also what waits and runs: it means to look at all tasks, which
            must not be done again for each task that ends by it. In others, see to it that the next
            delayed retry is not slept through: once for each, not for each task that ends meanwhile.
        since
            When the first of what is followed up was stored, where that is known: what becomes ready
            by it waits since then.
        """
        run = self._store.get_run(run_id)
        self._around.see(run)
        stopped = run.cancel_requested_at is not None
        if run.ended_at is None and not stopped and self._is_spent(run):
            run, stopped = self._store.cancel_run(run_id, Reason.BUDGET, self._around.clock()), True
        if run.opening and not stopped:
            self._store.open_added(run_id)
        if ended and run.twins:
            self._followers.follow(run, ended)
        if ended and not stopped:
            self._store.follow(run_id, ended)
        if run.ended_at is None and stopped and wholly:
            self._stop(run)
        elif run.ended_at is None and not stopped and not run.held:
            submitted = self._dispatching.dispatch(run)
            if since is not None and submitted:
                waited = max(self._around.clock() - since, 0.0)
                self._around.measure(Metric.DISPATCH_SECONDS, waited)
            if wholly:
                self._sleep(run)
        run = self._store.settle(run_id, self._around.clock())
        if run.ended_at is not None:
            self.tell_end(run)
        elif waits_for_tasks(run):
            self._store.rest(run_id)
        self._wake_waiting(run)
        return run

    @staticmethod
    def _is_spent(run: RunRecord) -> bool:
        """Say whether the run has used up its budget; a claim looks at it too, in its transaction."""
        return is_spent(run.cost, Caps(cost=run.settings.max_cost))

    def tell_end(self, run: RunRecord) -> None:
        """Tell the run's execution that it has ended; told twice is told once."""
        self._tell(run.id, run.generation)
        self._store.unlist(run.id, run.generation)

    def tell_earlier(self, run_id: str, generation: int) -> None:
        """Tell the execution before that of a generation: the run was repeated before anybody did."""
        if generation:
            self._tell(run_id, generation - 1)

    def _tell(self, run_id: str, generation: int) -> None:
        token = self._store.token(run_id, generation)
        if token is not None:
            self._around.executions.tell_end(token)

    # Stopping -----------------------------------------------------------------------------------

    def _stop(self, run: RunRecord) -> None:
        """End what waits and what runs; the ends of jobs are told by the backend."""
        if not self._register(run):
            return
        if not self._store.end_pending(run.id, self._around.has_time):
            self._around.wakes.wake(run.id)
            return
        handles: dict[str, list[str]] = {}
        if run.active:
            active = self._store.list_tasks(run.id, TaskFilter(states=ACTIVE))
            self._followers.drop(run, active)
            for task in active:
                if task.handle is not None and leader_of(task.handle) is None:
                    handles.setdefault(task.backend, []).append(task.handle)
        for backend, every in handles.items():
            # Of a stopped run no child of an array is wanted: the array is ended as a whole.
            found = list(dict.fromkeys(map(parent_of, every)))
            for start in range(
                0, len(found) if backend in self._backends else 0, _TERMINATED_AT_ONCE
            ):
                if not self._around.has_time():
                    self._around.wakes.wake(run.id)
                    return
                some = found[start : start + _TERMINATED_AT_ONCE]
                self._backends[backend].terminate(some, CANCELLED, wholly=True)

    def _register(self, run: RunRecord) -> bool:
        """Write the tasks of a run that was stopped before they were there; say if it has begun.

        Its execution may be gone. A run ends when all its tasks have, so they must be there.
        """
        standing = self._store.standing(run.id)
        if standing.begun:
            return True
        for block in self._store.missing_blocks(run.id):
            if not self._around.has_time():
                self._around.wakes.wake(run.id)
                return False
            self._store.register_block(run.id, block, self._around.clock())
        try:
            self._store.begin_run(run.id, standing.generation, self._around.clock())
        except NotRegistered:  # the execution is not gone, and writes
            self._around.wakes.wake(run.id, _BUSY_SECONDS)
            return False
        return True

    def _sleep(self, run: RunRecord) -> None:
        """Have the run woken for its next delayed retry."""
        at = self._store.next_retry(run.id, self._around.clock())
        if at is not None:
            self._around.wakes.wake(run.id, min(max(at - self._around.clock(), 0.0), _LONGEST_WAIT))

    def _wake_waiting(self, run: RunRecord) -> None:
        """Have runs advanced that are to take what this one has made free on a capped backend."""
        for backend, cap in self._around.caps.items():
            if not run.settings.may_use(backend):
                continue
            for run_id in self._store.call_waiting(backend, cap, self._around.clock()):
                self._around.wakes.wake(run_id)
