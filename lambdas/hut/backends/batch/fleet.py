"""The Batch backends of a control plane: as configured now, and for each run as it was submitted.

What is live (caps) follows the configuration; what a run's jobs are made of (image, queue) is that
of the version the run was submitted with, also when the run is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from hut.backends.batch.backend import BatchBackend, Clients
from hut.backends.batch.options import BatchOptions
from hut.backends.batch.outcomes import unsatisfiable
from hut.backends.batch.refining import Backend, Refinement, backends_of, options_of
from hut.backends.port import ArrayRequest, JobRequest, SubmitResult
from hut.model.problems import InvalidInput
from hut.model.records import RunRecord, RunSettings

__all__ = ["ConfiguredBackend", "Fleet", "LiveBackends", "LiveCaps"]

_KEPT = 32


class ConfiguredBackend(BatchBackend):
    """A Batch backend that submits each run's jobs as the run's version of the configuration says.

    Parameters
    ----------
    as_of
        Returns the options that hold for a run; raises InvalidInput if there can't be any (any more).
    shared
        What else a `BatchBackend` takes; the same for all versions of this one.
    """

    def __init__(
        self,
        options: BatchOptions,
        clients: Clients,
        as_of: Callable[[RunSettings], BatchOptions],
        **shared: Any,
    ) -> None:
        super().__init__(options, clients, **shared)
        self._as_of = as_of
        self._clients = clients
        self._shared = {"pace": self._pace, **shared}
        self._others: dict[str, BatchBackend] = {}

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        """Submit each attempt as a job, in order."""
        results: list[SubmitResult] = []
        for _, some in groupby(requests, key=lambda request: id(request.run)):
            of_run = list(some)
            other = self._for(of_run[0].run)
            if isinstance(other, SubmitResult):
                results += [other] * len(of_run)
            else:
                results += other.submit(of_run) if other else super().submit(of_run)
        return results

    def arrays(self, requests: Sequence[JobRequest]) -> list[list[int]]:
        """Return which requests, all of one run, may become arrays."""
        other = self._for(requests[0].run) if requests else None
        if isinstance(other, SubmitResult):
            return []  # `submit` says why
        return other.arrays(requests) if other else super().arrays(requests)

    def submit_array(self, array: ArrayRequest) -> SubmitResult:
        """Submit attempts of one run as one array."""
        other = self._for(array.requests[0].run)
        if isinstance(other, SubmitResult):
            return other
        return other.submit_array(array) if other else super().submit_array(array)

    def _for(self, run: RunRecord) -> BatchBackend | SubmitResult | None:
        """Return what submits for a run: another backend, nothing at all, or None for this one."""
        try:
            options = self._as_of(run.settings)
        except InvalidInput as error:  # the stack was deployed anew, without what the run needs
            return SubmitResult(None, unsatisfiable(str(error)), str(error))
        return None if options == self.options else self._other(options)

    def _other(self, options: BatchOptions) -> BatchBackend:
        """Return the backend as an earlier version has it; it keeps the definitions it looked up."""
        key = repr(options)
        if key not in self._others:
            while len(self._others) >= _KEPT:
                del self._others[next(iter(self._others))]
            self._others[key] = BatchBackend(options, self._clients, **self._shared)
        return self._others[key]


class Fleet:
    """Makes backends as they are needed, and keeps them as long as they stay the same.

    Parameters
    ----------
    stack
        The entries of ``HUT_BACKENDS``.
    prefix
        Of this deployment.
    clients
        What backends call.
    shared
        What else a `BatchBackend` takes, the same for all: the pace of SubmitJob, for example.
    """

    def __init__(
        self,
        stack: Sequence[Mapping[str, Any]],
        prefix: str,
        clients: Clients,
        **shared: Any,
    ) -> None:
        self._stack = stack
        self._prefix = prefix
        self._clients = clients
        self._shared = shared
        self._made: dict[str, BatchBackend] = {}
        self._caps: dict[str, int] = {}
        self._followed: Sequence[Refinement] | None = None

    def described(self, refinements: Sequence[Refinement]) -> dict[str, Backend]:
        """Return what each backend is, those included that are only there for earlier runs."""
        return backends_of(refinements, self._stack, self._prefix)

    def backends(self, refinements: Sequence[Refinement]) -> dict[str, BatchBackend]:
        """Return the backends by the names that workflows use."""
        self._follow(refinements)
        return self._made

    def caps(self, refinements: Sequence[Refinement]) -> dict[str, int]:
        """Return for each capped backend how many tasks it may have at once."""
        self._follow(refinements)
        return self._caps

    def _follow(self, refinements: Sequence[Refinement]) -> None:
        """Make what is new; the same refinements, which come at every turn, cost nothing."""
        if refinements is self._followed:
            return
        found = {name: each.options for name, each in self.described(refinements).items()}
        self._made = {name: self._backend(options) for name, options in found.items()}
        most = {name: options.max_concurrent for name, options in found.items()}
        self._caps = {name: cap for name, cap in most.items() if cap}
        self._followed = refinements

    def _backend(self, options: BatchOptions) -> BatchBackend:
        known = self._made.get(options.name)
        if known is not None and known.options == options:
            return known

        def as_of(settings: RunSettings) -> BatchOptions:
            kept = settings.backends.get(options.name, {})
            then = options_of(options.name, kept, self._stack, self._prefix)
            jobs = replace(then.jobs, prices=options.jobs.prices)
            return replace(then, max_concurrent=options.max_concurrent, jobs=jobs)

        return ConfiguredBackend(options, self._clients, as_of, **self._shared)


class LiveBackends(Mapping[str, BatchBackend]):
    """The backends by name, as they are configured at the moment they are asked for.

    Parameters
    ----------
    current
        Returns what is chosen now.
    """

    def __init__(self, fleet: Fleet, current: Callable[[], Sequence[Refinement]]) -> None:
        self._fleet = fleet
        self._current = current

    def __getitem__(self, name: str) -> BatchBackend:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> Mapping[str, BatchBackend]:
        return self._fleet.backends(self._current())


class LiveCaps(Mapping[str, int]):
    """For each capped backend how many tasks it may have, at the moment it is asked for."""

    def __init__(self, fleet: Fleet, current: Callable[[], Sequence[Refinement]]) -> None:
        self._fleet = fleet
        self._current = current

    def __getitem__(self, name: str) -> int:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> Mapping[str, int]:
        return self._fleet.caps(self._current())
