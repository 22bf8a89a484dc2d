"""Bring a run forward: follow up what ended, claim what is ready, submit it, end the run.

Called for each batch of the table's stream, for each wake message and by the sweep, as often and as
concurrently as they come. Claims are stored, under a deterministic job name, before anything is
submitted. What happens if this dies:

- before the claim: nothing has happened; the stream or the sweep calls again
- between claim and submit, or between submit and the note of the handle: the sweep finds the job
  or the array under its name and adopts it, or gives the claims back
- between tasks that were added and working out which may run: the run's item says that it is to do
- between the end of the run and telling of it: the sweep tells again
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from hut.backends.port import (
    BUNDLE,
    ArrayRequest,
    BundleRequest,
    JobRequest,
    RemoteBackend,
    SubmitResult,
    array_name,
    bundled_handle,
    child_handle,
    job_name,
    parent_of,
)
from hut.control import Control
from hut.lifecycle.run import waits_for_tasks
from hut.lifecycle.task_program import Left
from hut.metrics import Metric
from hut.model.records import Outcome, Refusal, RunRecord
from hut.model.states import ACTIVE, Reason
from hut.scheduling.room import Caps, is_spent
from hut.scheduling.twins import leader_of
from hut.service.counting import count_ends
from hut.service.dispatching import pack, size_and_bound
from hut.service.joining import Followers
from hut.service.programs import Programs
from hut.service.queueing import (
    destination_of,
    next_try,
    note_refusal,
    refused_too_long,
)
from hut.service.surroundings import Surroundings
from hut.store.events import NOTHING_HELD, Bundle, Destination, NotRegistered
from hut.store.port import AttemptKey, Claim, ClaimRequest, End, TaskFilter

__all__ = ["CANCELLED", "Advancing"]

CANCELLED = "hut: cancelled"
"""What a terminated job is told; the backend knows by it why the job ended."""

_JOBS_AT_ONCE = 80  # submitted before the next look at what is ready
_CLAIMED_AT_ONCE = 1000  # where tasks of one shape become arrays
_MOST_CLAIMED = 10_000  # of them before they are submitted: the children one array may have
_TERMINATED_AT_ONCE = 80
_STARTS_TOLD = 200  # tasks a run may have whose starts are worth an event each
_BUSY_SECONDS = 15.0  # until a service that had no time is asked again
_LONGEST_WAIT = 900.0  # seconds a message may be delayed (SQS)


class Advancing:
    """See the module's docstring."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._store = around.store
        self._backends = around.backends
        self._control = Control(around.store)
        self._followers = Followers(around)
        self._programs = Programs(around)
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

    # Dispatching --------------------------------------------------------------------------------

    def _dispatch(self, run: RunRecord) -> None:
        """Claim and submit what is ready, as long as there is room and time."""
        for name, backend in self._backends.items():
            if not run.settings.may_use(name):
                continue  # each look costs requests
            while self._may_claim(run, backend) and self._claim_some(run, name, backend):
                # A job was taken: what was refused before may be over, and sizes follow what is active.
                if run.refusals or run.settings.bundle is not None:
                    run = self._store.get_run(run.id)
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
        """Claim and submit a number of tasks; say whether there may be more.

        As many are claimed as make a number of jobs: tasks of one shape become one array.
        """
        size, bound = self._bundling(run, name, backend)
        if bound == 0:
            return False  # what is known of the first bundles brings the run here again
        if size > 1:
            return self._claim_bundles(run, name, backend, size, bound)
        requests: list[JobRequest] = []
        refused = any(refusal.backend == name for refusal in run.refusals)
        jobs, wanted, more = 0, _JOBS_AT_ONCE, True
        while more and jobs < _JOBS_AT_ONCE and len(requests) < _MOST_CLAIMED:
            found = self._claim(run, name, wanted)
            more = len(found) == wanted
            claims = self._followers.sort(run, found)
            some, put_off = self._requests(run, claims)
            requests += some
            more = more and not put_off
            jobs += len(some) - sum(len(group) - 1 for group in backend.arrays(some))
            if refused or jobs * 2 > len(requests) or not self._around.has_time():
                break  # it may be for nothing again, or there are not many of one shape
            wanted = min(_CLAIMED_AT_ONCE, _MOST_CLAIMED - len(requests))
        if not requests:
            return more
        return self._submit(run, backend, requests) and more

    def _bundling(
        self, run: RunRecord, name: str, backend: RemoteBackend
    ) -> tuple[int, int | None]:
        """Return how many tasks are to share a job, and how many more may be on their way."""
        if run.settings.bundle is None:
            return 1, None
        cap = self._around.caps.get(name)
        room = None if cap is None else max(cap - self._store.active_on(name), 0)
        return size_and_bound(run, backend, room, self._around.clock())

    def _claim_bundles(
        self, run: RunRecord, name: str, backend: RemoteBackend, size: int, bound: int | None
    ) -> bool:
        """Claim and submit tasks that share jobs; say whether there may be more."""
        most = min(size * _JOBS_AT_ONCE, _MOST_CLAIMED)
        wanted = most if bound is None else min(most, bound)
        found = self._claim(run, name, wanted, size)
        claims = self._followers.sort(run, found)
        requests, put_off = self._requests(run, claims)
        packed = pack(backend, requests, size, capped=name in self._around.caps)
        self._store.release_claims(run.id, [request.claim.key for request in packed.back])
        done, late = True, list[JobRequest]()
        for number, (some, slots) in enumerate(packed.bundles):
            if number and not self._around.has_time():
                late += some
                continue
            done = self._submit_bundle(run, backend, some, slots) and done
        if packed.alone:
            done = self._submit(run, backend, packed.alone) and done
        if late:
            self._store.release_claims(run.id, [request.claim.key for request in late])
            self._around.wakes.wake(run.id)
        done = done and not late and not put_off
        return done and (len(found) == wanted == most or bool(packed.back))

    def _submit_bundle(
        self, run: RunRecord, backend: RemoteBackend, requests: Sequence[JobRequest], slots: int
    ) -> bool:
        """Submit claims as one job; say whether the service had time for it.

        Which of its tasks is which attempt is stored first, as for an array.
        """
        array = f"{BUNDLE}{self._around.new_array()}"
        seed = f"{self._around.new_array()}{self._around.new_array()}"
        nonce = hashlib.sha256(seed.encode()).hexdigest()[:16]
        keys = [request.claim.key for request in requests]
        self._store.keep_bundle(run.id, array, Bundle(keys, nonce, slots))
        name = array_name(self._around.prefix, run.id, array)
        result = backend.submit_bundle(BundleRequest(name, requests, nonce, slots))
        results = [result] * len(requests)
        if result.handle is not None:
            results = [
                result._replace(handle=bundled_handle(result.handle, place))
                for place in range(len(requests))
            ]
        holds = {key: place == len(keys) - 1 for place, key in enumerate(keys)}
        return self._note(run, backend, list(zip(requests, results, strict=True)), holds)

    def _claim(self, run: RunRecord, name: str, most: int, share: int = 1) -> list[Claim]:
        """Claim up to `most` tasks, on a bounded backend no more than the run's share.

        Parameters
        ----------
        share
            How many tasks share a job, and so a place.
        """
        cap = self._around.caps.get(name)
        settings = run.settings
        caps = Caps(run=settings.max_concurrent, backend=cap, cost=settings.max_cost)
        request = ClaimRequest(
            run.id, run.epoch, self._around.clock(), most, backend=name, caps=caps, share=share
        )
        return self._store.claim(request)

    def _requests(self, run: RunRecord, claims: Sequence[Claim]) -> tuple[list[JobRequest], bool]:
        """Return what is to be submitted for claims, and whether some were given back.

        Tasks of task programs get their input here; one that can't be taken ends its attempt.
        """
        prepared = self._programs.prepare(run, claims)
        refused = [
            self._control.end_of_attempt(claim, judged.outcome, self._around.clock())
            for claim, judged in prepared.refused
        ]
        self._record_refused(run, refused)
        if prepared.later:
            self._store.release_claims(run.id, [claim.key for claim in prepared.later])
            self._around.wakes.wake(run.id, _BUSY_SECONDS)
        requests = [self._request(run, claim) for claim in prepared.ready]
        return requests, bool(prepared.later)

    def _request(self, run: RunRecord, claim: Claim) -> JobRequest:
        name = job_name(self._around.prefix, run.id, claim.key)
        return JobRequest(run, claim, name, starts=run.total <= _STARTS_TOLD)

    def _submit(
        self, run: RunRecord, backend: RemoteBackend, requests: Sequence[JobRequest]
    ) -> bool:
        """Submit claims, arrays first; say whether the service had time for all of them.

        What there is no time for is given back, and the run is woken to claim it again.
        """
        groups = backend.arrays(requests)
        grouped = {place for group in groups for place in group}
        alone = [request for place, request in enumerate(requests) if place not in grouped]
        done, late, first = True, list[JobRequest](), True
        for places in groups:
            array = [requests[place] for place in places]
            if first or self._around.has_time():
                done = self._submit_array(run, backend, array) and done
            else:
                late += array
            first = False
        for start in range(0, len(alone), _JOBS_AT_ONCE):
            some = alone[start : start + _JOBS_AT_ONCE]
            if first or self._around.has_time():
                results = backend.submit(some)
                done = self._note(run, backend, list(zip(some, results, strict=True))) and done
            else:
                late += some
            first = False
        if late:
            self._store.release_claims(run.id, [request.claim.key for request in late])
            self._around.wakes.wake(run.id)
        return done and not late

    def _submit_array(
        self, run: RunRecord, backend: RemoteBackend, requests: Sequence[JobRequest]
    ) -> bool:
        """Submit claims as one array; say whether the service had time for it.

        Which child is which attempt is stored first: events and the sweep find it there.
        """
        array = self._around.new_array()
        self._store.keep_array(run.id, array, [request.claim.key for request in requests])
        name = array_name(self._around.prefix, run.id, array)
        result = backend.submit_array(ArrayRequest(name, requests))
        results = [result] * len(requests)
        if result.handle is not None:
            results = [
                result._replace(handle=child_handle(result.handle, index))
                for index in range(len(requests))
            ]
        return self._note(run, backend, list(zip(requests, results, strict=True)))

    def _note(
        self,
        run: RunRecord,
        backend: RemoteBackend,
        results: Sequence[tuple[JobRequest, SubmitResult]],
        holds: Mapping[AttemptKey, bool] = NOTHING_HELD,
    ) -> bool:
        """Note what became of submissions; say whether the service had time for all of them."""
        submitted: list[tuple[AttemptKey, str]] = []
        taken: list[Claim] = []
        refused: list[End] = []
        paced: list[AttemptKey] = []
        not_taken: list[AttemptKey] = []
        pauses: list[float] = []
        refusals: dict[Destination, Refusal] = {}
        for request, result in results:
            claim = request.claim
            if result.handle is not None:
                submitted.append((claim.key, result.handle))
                taken.append(claim)
            elif result.outcome is not None:
                refused.append(self._end(run, claim, result.outcome))
            elif result.is_unknown:
                self._around.note.warning(
                    "perhaps submitted", run=run.id, job=request.name, detail=result.detail
                )
            elif result.again_at is not None:
                paced.append(claim.key)
                pauses.append(max(result.again_at - self._around.clock(), 0.0))
            elif (late := refused_too_long(claim, result, self._around.clock())) is not None:
                refused.append(self._end(run, claim, late))
            else:
                not_taken.append(claim.key)
                note_refusal(refusals, backend.name, claim, result, self._around.clock())
        accepted = {destination_of(backend.name, claim) for claim in taken} - refusals.keys()
        self._store.note_handles(run.id, submitted, accepted, holds)
        self._submitted += len(submitted)
        self._around.measure(Metric.ATTEMPTS_SUBMITTED, len(submitted))
        self._around.measure(Metric.CLAIMS_PACED, len(paced))
        self._around.measure(Metric.CLAIMS_GIVEN_BACK, len(not_taken))
        self._store.release_claims(run.id, paced)
        if not_taken:
            now = self._around.clock()
            again_at, is_first = next_try(run, refusals.values(), now)
            if is_first:
                pauses.append(again_at - now)
            kept = [refusal._replace(again_at=again_at) for refusal in refusals.values()]
            self._store.give_back(run.id, not_taken, kept)
        if pauses:
            self._around.wakes.wake(run.id, min(pauses))
        if not_taken:
            said = sorted({refusal.said for refusal in refusals.values()})
            self._around.note.warning(
                "not submitted", run=run.id, tasks=len(not_taken), details=said[:3]
            )
        self._record_refused(run, refused)
        self._around.note.info(
            "submitted", run=run.id, backend=backend.name, jobs=len(submitted), refused=len(refused)
        )
        # The run may have been stopped before the handles were there to be seen.
        if submitted and self._store.get_run(run.id).cancel_requested_at is not None:
            backend.terminate([handle for _, handle in submitted], CANCELLED, wholly=True)
        return not (paced or not_taken)

    def _record_refused(self, run: RunRecord, refused: Sequence[End]) -> None:
        if refused:
            first = self._store.record_ended(run.id, refused)
            told = [end for end, is_first in zip(refused, first, strict=True) if is_first]
            count_ends(self._around.measure, told, self._around.clock())

    def _end(self, run: RunRecord, claim: Claim, outcome: Outcome) -> End:
        if claim.spec.call is not None:
            outcome, claim = self._programs.judge(run, claim, outcome, Left())
        return self._control.end_of_attempt(claim, outcome, self._around.clock())

    def _wake_waiting(self, run: RunRecord) -> None:
        """Have runs advanced that are to take what this one has made free on a capped backend."""
        for backend, cap in self._around.caps.items():
            if not run.settings.may_use(backend):
                continue
            for run_id in self._store.call_waiting(backend, cap, self._around.clock()):
                self._around.wakes.wake(run_id)
