"""Bring a run forward: follow up what ended, claim what is ready, submit it, end the run.

Called for each batch of the table's stream, for each wake message and by the sweep, as often and as
concurrently as they come. Claims are stored, under a deterministic job name, before anything is
submitted. What happens if this dies:

- before the claim: nothing has happened; the stream or the sweep calls again
- between claim and submit, or between submit and the note of the handle: the sweep finds the job
  under its name and adopts it, or gives the claim back
- between the end of the run and telling of it: the sweep tells again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hut.backends.port import JobRequest, RemoteBackend, job_name
from hut.control import Control
from hut.metrics import Metric
from hut.model.records import Outcome, Refusal, RunRecord
from hut.model.states import ACTIVE
from hut.scheduling.room import Caps
from hut.service.counting import count_ends
from hut.service.queueing import destination_of, note_refusal, refused_too_long
from hut.service.surroundings import Surroundings
from hut.store.events import Destination, NotRegistered
from hut.store.port import AttemptKey, Claim, ClaimRequest, End, TaskFilter

__all__ = ["CANCELLED", "Advancing"]

CANCELLED = "hut: cancelled"
"""What a terminated job is told; the backend knows by it why the job ended."""

_AT_ONCE = 80  # claims per transaction
_BUSY_SECONDS = 15.0  # until a service that had no time is asked again
_LONGEST_WAIT = 900.0  # seconds a message may be delayed (SQS)


class Advancing:
    """See the module's docstring."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._store = around.store
        self._backends = around.backends
        self._control = Control(around.store)
        self._submitted = 0

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
        stopped = run.cancel_requested_at is not None
        if ended and not stopped:
            self._store.follow(run_id, ended)
        if run.ended_at is None and stopped and wholly:
            self._stop(run)
        elif run.ended_at is None and not stopped:
            before = self._submitted
            self._dispatch(run)
            if since is not None and self._submitted > before:
                waited = max(self._around.clock() - since, 0.0)
                self._around.measure(Metric.DISPATCH_SECONDS, waited)
            if wholly:
                self._sleep(run)
        run = self._store.settle(run_id, self._around.clock())
        if run.ended_at is not None:
            self.tell_end(run)
        self._wake_others(run_id)
        return run

    def tell_end(self, run: RunRecord) -> None:
        """Tell the run's execution that it has ended; told twice is told once."""
        token = self._store.token(run.id)
        if token is not None:
            self._around.executions.tell_end(token)
        self._store.unlist(run.id)

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
            for task in self._store.list_tasks(run.id, TaskFilter(states=ACTIVE)):
                if task.handle is not None:
                    handles.setdefault(task.backend, []).append(task.handle)
        for backend, found in handles.items():
            for start in range(0, len(found) if backend in self._backends else 0, _AT_ONCE):
                if not self._around.has_time():
                    self._around.wakes.wake(run.id)
                    return
                self._backends[backend].terminate(found[start : start + _AT_ONCE], CANCELLED)

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

    # Dispatching --------------------------------------------------------------------------------

    def _dispatch(self, run: RunRecord) -> None:
        """Claim and submit what is ready, as long as there is room and time."""
        for name, backend in self._backends.items():
            while self._may_claim(run, backend) and self._claim_some(run, name, backend):
                if not self._around.has_time():
                    self._around.wakes.wake(run.id)
                    return

    def _may_claim(self, run: RunRecord, backend: RemoteBackend) -> bool:
        """Say whether claims could be submitted soon; else have the run woken when they could."""
        place = backend.place()
        if not place.has_room:
            self._around.wakes.wake(run.id, max(place.again_at - self._around.clock(), 0.0))
        return place.has_room

    def _sleep(self, run: RunRecord) -> None:
        """Have the run woken for its next delayed retry."""
        at = self._store.next_retry(run.id, self._around.clock())
        if at is not None:
            self._around.wakes.wake(run.id, min(max(at - self._around.clock(), 0.0), _LONGEST_WAIT))

    def _claim_some(self, run: RunRecord, name: str, backend: RemoteBackend) -> bool:
        """Claim and submit a number of tasks; say whether there may be more."""
        cap = self._around.caps.get(name)
        caps = Caps(run=run.settings.max_concurrent, backend=cap)
        epoch = run.epoch
        request = ClaimRequest(
            run.id, epoch, self._around.clock(), _AT_ONCE, backend=name, caps=caps
        )
        claims = self._store.claim(request)
        while cap is not None and len(claims) < _AT_ONCE:
            # First the note, then another look: a place may be freed between the two.
            full = self._store.active_on(name) >= cap
            if full:
                self._store.wait_for_room(name, run.id)
            more = self._store.claim(replace(request, at_most=_AT_ONCE - len(claims)))
            claims = [*claims, *more]
            if full or not more:
                break
        if not claims:
            return False
        return self._submit(run, backend, claims) and len(claims) == _AT_ONCE

    def _submit(self, run: RunRecord, backend: RemoteBackend, claims: Sequence[Claim]) -> bool:
        """Submit claims; say whether the service had time for all of them."""
        prefix = self._around.prefix
        requests = [JobRequest(run, c, job_name(prefix, run.id, c.key)) for c in claims]
        submitted: list[tuple[AttemptKey, str]] = []
        taken: list[Claim] = []
        refused: list[End] = []
        paced: list[AttemptKey] = []
        not_taken: list[AttemptKey] = []
        pause = _BUSY_SECONDS
        refusals: dict[Destination, Refusal] = {}
        for claim, result in zip(claims, backend.submit(requests), strict=True):
            if result.handle is not None:
                submitted.append((claim.key, result.handle))
                taken.append(claim)
            elif result.outcome is not None:
                refused.append(self._end(claim, result.outcome))
            elif result.again_at is not None:
                paced.append(claim.key)
                pause = min(pause, max(result.again_at - self._around.clock(), 0.0))
            elif (late := refused_too_long(claim, result, self._around.clock())) is not None:
                refused.append(self._end(claim, late))
            else:
                not_taken.append(claim.key)
                note_refusal(refusals, backend.name, claim, result, self._around.clock())
                self._around.note.warning("not submitted", run=run.id, detail=result.detail)
        accepted = {destination_of(backend.name, claim) for claim in taken} - refusals.keys()
        self._store.note_handles(run.id, submitted, accepted)
        self._submitted += len(submitted)
        self._around.measure(Metric.ATTEMPTS_SUBMITTED, len(submitted))
        given_back = len(paced) + len(not_taken)
        self._around.measure(Metric.CLAIMS_GIVEN_BACK, given_back)
        if given_back:
            self._store.release_claims(run.id, paced)
            self._store.give_back(run.id, not_taken, list(refusals.values()))
            self._around.wakes.wake(run.id, pause)
        if refused:
            first = self._store.record_ended(run.id, refused)
            told = [end for end, is_first in zip(refused, first, strict=True) if is_first]
            count_ends(self._around.measure, told, self._around.clock())
        self._around.note.info(
            "submitted", run=run.id, backend=backend.name, jobs=len(submitted), refused=len(refused)
        )
        # The run may have been stopped before the handles were there to be seen.
        if submitted and self._store.get_run(run.id).cancel_requested_at is not None:
            backend.terminate([handle for _, handle in submitted], CANCELLED)
        return not given_back

    def _end(self, claim: Claim, outcome: Outcome) -> End:
        return self._control.end_of_attempt(claim, outcome, self._around.clock())

    def _wake_others(self, run_id: str) -> None:
        """Let runs that wait for room on a capped backend try again, if there is any."""
        for backend, cap in self._around.caps.items():
            if self._store.active_on(backend) >= cap:
                continue
            for other in self._store.take_waiting(backend):
                if other != run_id:
                    self._around.wakes.wake(other)
