"""Claim what is ready of a run and submit it, as jobs of their own, arrays or bundles.

Claims are stored, under a deterministic job name, before anything is submitted. What happens if this
dies:

- before the claim: nothing has happened; the stream or the sweep calls again
- between claim and submit, or between submit and the note of the handle: the sweep finds the job,
  the array or the bundle under its name and adopts it, or gives the claims back
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

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
)
from hut.control import Control
from hut.lifecycle.task_program import Left
from hut.metrics import Metric
from hut.model.records import Outcome, Refusal, RunRecord
from hut.model.states import TaskState
from hut.scheduling.bundles import whole_bundles
from hut.scheduling.room import Caps
from hut.service.counting import count_ends
from hut.service.joining import Followers
from hut.service.packing import pack, size_and_bound, waits_to_be_full
from hut.service.programs import Programs
from hut.service.queueing import (
    destination_of,
    next_try,
    note_refusal,
    refused_too_long,
)
from hut.service.surroundings import Surroundings
from hut.store.events import Bundle, Destination
from hut.store.port import AttemptKey, Claim, ClaimRequest, End

__all__ = ["CANCELLED", "Dispatching"]

CANCELLED = "hut: cancelled"
"""What a terminated job is told; the backend knows by it why the job ended."""

_JOBS_AT_ONCE = 80  # submitted before the next look at what is ready
_CLAIMED_AT_ONCE = 1000  # where tasks of one shape become arrays
_MOST_CLAIMED = 10_000  # of them before they are submitted: the children one array may have
_STARTS_TOLD = 200  # tasks a run may have whose starts are worth an event each
_BUSY_SECONDS = 15.0  # until a service that had no time is asked again
_LONGEST_WAIT = 900.0  # seconds a message may be delayed (SQS)


class Dispatching:
    """See the module's docstring."""

    def __init__(self, around: Surroundings, followers: Followers) -> None:
        self._around = around
        self._store = around.store
        self._backends = around.backends
        self._control = Control(around.store)
        self._followers = followers
        self._programs = Programs(around)
        self._submitted = 0

    def dispatch(self, run: RunRecord) -> int:
        """Claim and submit what is ready, as long as there is room and time; return how many tasks."""
        before = self._submitted
        for name, backend in self._backends.items():
            if not run.settings.may_use(name):
                continue  # each look costs requests
            while self._may_claim(run, backend) and self._claim_some(run, name, backend):
                # A job was taken: what was refused before may be over, and sizes follow what is active.
                if run.refusals or run.settings.bundle is not None:
                    run = self._store.get_run(run.id)
                if not self._around.has_time():
                    self._around.wakes.wake(run.id)
                    return self._submitted - before
        return self._submitted - before

    def _may_claim(self, run: RunRecord, backend: RemoteBackend) -> bool:
        """Say whether claims could be submitted soon; else have the run woken when they could."""
        place = backend.place()
        if not place.has_room:
            self._around.wakes.wake(run.id, max(place.again_at - self._around.clock(), 0.0))
        return place.has_room

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
        if waits_to_be_full(run) and not (wanted := min(wanted, self._whole(run, size))):
            return False  # the next tasks of the run, or the wake message, bring it here again
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
        if waits_to_be_full(run):
            return done and bool(found)  # what is left waits from now on
        return done and (len(found) == wanted == most or bool(packed.back))

    def _whole(self, run: RunRecord, size: int) -> int:
        """Return how many tasks make full bundles, or are not to wait any longer for that.

        Since when they wait is stored; who stored it has the run woken. If that is lost, the sweep comes.
        """
        pending, wait = run.counts[TaskState.PENDING], run.settings.bundle_wait or 0.0
        since, now = run.part_since, self._around.clock()
        if pending % size and since is None:
            since = self._store.keep_part(run.id, now)
            if since == now:
                self._around.wakes.wake(run.id, min(wait, _LONGEST_WAIT))
        return whole_bundles(pending, size, since, wait, now)

    def _submit_bundle(
        self, run: RunRecord, backend: RemoteBackend, requests: Sequence[JobRequest], slots: int
    ) -> bool:
        """Submit claims as one job; say whether the service had time for it.

        Which of its tasks is which attempt is stored first, as for an array; so is that its last task has
        its place from now on, because others may end before their handles are noted.
        """
        array = f"{BUNDLE}{self._around.new_array()}"
        seed = f"{self._around.new_array()}{self._around.new_array()}"
        nonce = hashlib.sha256(seed.encode()).hexdigest()[:16]
        keys = [request.claim.key for request in requests]
        capped = backend.name in self._around.caps
        self._store.keep_bundle(run.id, array, Bundle(keys, nonce, slots), has_place=capped)
        name = array_name(self._around.prefix, run.id, array)
        result = backend.submit_bundle(BundleRequest(name, requests, nonce, slots))
        results = [result] * len(requests)
        if result.handle is not None:
            results = [
                result._replace(handle=bundled_handle(result.handle, place))
                for place in range(len(requests))
            ]
        return self._note(run, backend, list(zip(requests, results, strict=True)))

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
        self._store.note_handles(run.id, submitted, accepted)
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
