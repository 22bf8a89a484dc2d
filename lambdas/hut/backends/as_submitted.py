"""A backend that submits each run's jobs as the run's version of the configuration says.

What is live (caps, prices) follows the configuration; what a run's jobs are made of (image, queue)
is that of the version the run was submitted with, also when the run is repeated. All but submitting is
the same for all versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby

from hut.backends.kinds import Options
from hut.backends.port import (
    ArrayRequest,
    BundleReport,
    BundleRequest,
    BundleShape,
    Job,
    JobRequest,
    LogPage,
    RemoteBackend,
    SubmitResult,
)
from hut.lifecycle.attempt import unsatisfiable
from hut.lifecycle.task_program import Left
from hut.model.problems import InvalidInput, Problem
from hut.model.records import Outcome, RunRecord, RunSettings
from hut.model.waiting import Queue, Waiting
from hut.model.workflow import TaskSpec
from hut.scheduling.bundles import Limits
from hut.scheduling.matching import Target, choose
from hut.scheduling.matching import unsatisfiable as unsatisfiable_by
from hut.scheduling.pacing import Place
from hut.scheduling.placing import Site, sites_of, waits_for_target

__all__ = ["AsSubmitted", "Make"]

_KEPT = 32

Make = Callable[[Options], RemoteBackend]
"""Makes the backend that has some options."""


class AsSubmitted:
    """See the module's docstring; implements `hut.backends.port.RemoteBackend`.

    Parameters
    ----------
    options
        As they are configured now.
    as_of
        Returns the options that hold for a run; raises InvalidInput if there can't be any (any more).
    make
        Makes the backend for either.
    targets
        What it offers now to tasks that no target could run when they were submitted.
    """

    def __init__(
        self,
        options: Options,
        as_of: Callable[[RunSettings], Options],
        make: Make,
        targets: Sequence[Target] = (),
    ) -> None:
        self._targets = tuple(targets)
        self.options = options
        self._as_of = as_of
        self._make = make
        self._others: dict[str, RemoteBackend] = {}

    @cached_property
    def _now(self) -> RemoteBackend:
        """The backend as it is configured now; most calls of a function need one of several."""
        return self._make(self.options)

    # As of the run's version ----------------------------------------------------------------------

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        """Submit each attempt as a job, in order."""
        results: list[SubmitResult] = []
        for _, some in groupby(requests, key=lambda request: id(request.run)):
            of_run = list(some)
            late = self._waiting_for_target(of_run)
            in_time = [request for at, request in enumerate(of_run) if at not in late]
            backend = self._for(of_run[0].run)
            if isinstance(backend, SubmitResult):
                placed = [backend] * len(in_time)
            else:
                placed = backend.submit(in_time) if in_time else []
            answers = iter(placed)
            results += [
                self._submit_late(request, late[at]) if at in late else next(answers)
                for at, request in enumerate(of_run)
            ]
        return results

    def _waiting_for_target(self, of_run: Sequence[JobRequest]) -> dict[int, Site]:
        """Return the places of tasks that no target could run when they were submitted."""
        kept = of_run[0].run.settings.sites if of_run else {}
        if not kept or not any(request.claim.spec.properties for request in of_run):
            return {}
        site = sites_of(kept).get(self.name)
        if site is None or not site.has_partitions:
            return {}
        return {
            at: site
            for at, request in enumerate(of_run)
            if waits_for_target(request.claim.spec, site)
        }

    def _submit_late(self, request: JobRequest, site: Site) -> SubmitResult:
        """Submit a task to a target that is there by now, by the rules it was submitted under.

        Without one the claim is given back, and is tried again as what a backend refuses.
        """
        spec = request.claim.spec
        there = replace(site, targets=self._targets).partition(spec.partition)
        chosen = choose(site.scheduler, spec.properties, there.targets)
        if chosen is None:
            said = "; ".join(unsatisfiable_by(site.scheduler, spec.properties, there.labelled()))
            return SubmitResult(None, detail=f"no target can run it: {said}")
        claim = request.claim._replace(spec=spec._replace(partition=chosen.name))
        (result,) = self._now.submit([request._replace(claim=claim)])
        return result

    def arrays(self, requests: Sequence[JobRequest]) -> list[list[int]]:
        """Return which requests, all of one run, may become arrays."""
        backend = self._for(requests[0].run) if requests else self._now
        if isinstance(backend, SubmitResult):
            return []  # `submit` says why
        late = self._waiting_for_target(requests)
        if not late:
            return backend.arrays(requests)
        places = [at for at in range(len(requests)) if at not in late]
        groups = backend.arrays([requests[at] for at in places]) if places else []
        return [[places[at] for at in group] for group in groups]

    def submit_array(self, array: ArrayRequest) -> SubmitResult:
        """Submit attempts of one run as one array."""
        backend = self._for(array.requests[0].run)
        return backend if isinstance(backend, SubmitResult) else backend.submit_array(array)

    def bundles(self, requests: Sequence[JobRequest], size: int) -> list[BundleShape]:
        """Return which requests, all of one run, may share jobs."""
        backend = self._for(requests[0].run) if requests else self._now
        return [] if isinstance(backend, SubmitResult) else backend.bundles(requests, size)

    def submit_bundle(self, bundle: BundleRequest) -> SubmitResult:
        """Submit attempts of one run as one job."""
        backend = self._for(bundle.requests[0].run)
        return backend if isinstance(backend, SubmitResult) else backend.submit_bundle(bundle)

    def _for(self, run: RunRecord) -> RemoteBackend | SubmitResult:
        """Return what submits for a run, or why nothing can."""
        try:
            options = self._as_of(run.settings)
        except InvalidInput as error:  # the stack was deployed anew, without what the run needs
            return SubmitResult(None, unsatisfiable(str(error)), str(error))
        return self._now if options == self.options else self._other(options)

    def _other(self, options: Options) -> RemoteBackend:
        """Return the backend as an earlier version has it; it keeps what it has learned."""
        key = repr(options)
        if key not in self._others:
            while len(self._others) >= _KEPT:
                del self._others[next(iter(self._others))]
            self._others[key] = self._make(options)
        return self._others[key]

    # The same for all -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """What workflows call it."""
        return self.options.name

    def place(self) -> Place:
        """Say whether to claim for it now, or to come again."""
        return self._now.place()

    def bundle_limits(self) -> Limits | None:
        """Return what is asked of jobs that run several tasks."""
        return self._now.bundle_limits()

    def report(self, job: Job, nonce: str, size: int) -> BundleReport:
        """Return what a bundle's log says."""
        return self._now.report(job, nonce, size)

    def script(self, run: RunRecord, spec: TaskSpec, attempt: int) -> str:
        """Return the script an attempt runs."""
        return self._now.script(run, spec, attempt)

    def terminate(self, handles: Sequence[str], reason: str, *, wholly: bool = False) -> None:
        """End jobs that wait or run."""
        self._now.terminate(handles, reason, wholly=wholly)

    def cancel(self, reasons: Mapping[str, str]) -> None:
        """End jobs that wait, each with a reason of its own."""
        self._now.cancel(reasons)

    def waiting(self, spec: TaskSpec, handle: str | None) -> Waiting:
        """Return why a task waits."""
        return self._now.waiting(spec, handle)

    def where(self, handle: str) -> str:
        """Say which machine a job runs on."""
        return self._now.where(handle)

    def queues(self) -> Sequence[Queue]:
        """Return all queues that tasks may go to, with their states."""
        return self._now.queues()

    def describe(self, handles: Sequence[str]) -> dict[str, Job]:
        """Return what the service knows of jobs."""
        return self._now.describe(handles)

    def quiet(self, children: Mapping[str, tuple[int, int]]) -> set[str]:
        """Return the arrays of which nothing is to be learned."""
        return self._now.quiet(children)

    def running(self, array: str) -> Sequence[Job]:
        """Return the children of an array that run."""
        return self._now.running(array)

    def find(
        self, names: Sequence[str], has_time: Callable[[], bool] = lambda: True
    ) -> Mapping[str, Sequence[Job]]:
        """Return the jobs that exist under names."""
        return self._now.find(names, has_time)

    def tidy(self, has_time: Callable[[], bool] = lambda: True) -> Sequence[Job]:
        """End what nobody wants; return the jobs that are there."""
        return self._now.tidy(has_time)

    def outcome(self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> Outcome | None:
        """Return how a job ended; None while it has not."""
        return self._now.outcome(run, spec, attempt, job)

    def cost(self, job: Job) -> float | None:
        """Return an estimate in dollars of what a job cost."""
        return self._now.cost(job)

    def read_log(self, log: str, cursor: str | None, limit: int) -> LogPage:
        """Return a page of a log."""
        return self._now.read_log(log, cursor, limit)

    def remarks(self, tasks: Sequence[TaskSpec]) -> list[Problem]:
        """Return what of tasks this backend will pass over."""
        return self._now.remarks(tasks)

    def why_no_log(self) -> str | None:
        """Say why nothing can be read of what jobs print."""
        return self._now.why_no_log()

    def read_generated(self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job) -> str | None:
        """Return the content of the file a task generated."""
        return self._now.read_generated(run, spec, attempt, job)

    def read_left(
        self, run: RunRecord, spec: TaskSpec, attempt: int, job: Job
    ) -> tuple[Left, bool]:
        """Return what a task program left, and whether its log tells of both files (yet)."""
        return self._now.read_left(run, spec, attempt, job)
