"""Starts the executions of attempts: payloads stored first, idle instances taken, each start in its turn.

Starting is idempotent by the name, so a call without an answer is made again. If no call was answered,
the execution may be there, and the sweep finds it under its name.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from hut.backends.calls import each
from hut.backends.ec2.bundling import plan_bundle
from hut.backends.ec2.executions import Executions
from hut.backends.ec2.instances import Instances
from hut.backends.ec2.launching import PlannedLaunch, input_of, plan_launch
from hut.backends.ec2.options import Ec2Options
from hut.backends.errors import code_of, is_throttled, may_have_happened, said_by
from hut.backends.hosts import Hosts, IdleHost
from hut.backends.pace import Pace, submit_in_turns
from hut.backends.port import BundleRequest, JobRequest, SubmitResult, Unsatisfiable
from hut.lifecycle.attempt import launch_failed, unsatisfiable

__all__ = ["LAUNCHES_PER_SECOND", "Ec2Clients", "LaunchSubmitter"]

LAUNCHES_PER_SECOND = 2.0
"""RunInstances refills two tokens a second ("Request throttling" in the developer guide of EC2)."""

_PAUSES = (0.5, 1.0)
_IN_LINE = "others launch as many instances as EC2 takes"
_STILL_GOOD = 30.0  # seconds an idle instance must be left to be of use
_NEVER = frozenset({"InvalidExecutionInput", "InvalidName", "ValidationException"})


@dataclass(frozen=True, slots=True)
class Ec2Clients:
    """Clients of boto3, which any number of threads may use at once.

    Attributes
    ----------
    states, ec2, logs, s3 : client
    bucket : str
        For payloads.
    """

    states: Any
    ec2: Any
    logs: Any
    s3: Any
    bucket: str


class LaunchSubmitter:
    """Starts the executions of one backend.

    Parameters
    ----------
    options, clients
        Of the backend.
    hosts
        Where idle instances are taken.
    pace
        Keeps launches below the account's limit.
    active
        Returns how many attempts the backend has, those that are being submitted included.
    clock, sleep
        Replaced in tests.
    """

    def __init__(
        self,
        options: Ec2Options,
        clients: Ec2Clients,
        *,
        hosts: Hosts,
        pace: Pace,
        active: Callable[[], int] | None,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        self._options = options
        self._executions = Executions(clients.states, options.machine)
        self._instances = Instances(clients.ec2, options.prefix)
        self._s3 = clients.s3
        self._bucket = clients.bucket
        self._hosts = hosts
        self._pace = pace
        self._active = active
        self._clock = clock
        self._sleep = sleep

    def submit(self, requests: Sequence[JobRequest]) -> list[SubmitResult]:
        """Start an execution for each attempt, in order.

        What AWS says of one does not hold up the others. What there is no turn for within some seconds
        is not started.
        """
        return self._launch([self._plan(request) for request in requests])

    def submit_bundle(self, bundle: BundleRequest) -> SubmitResult:
        """Start an execution for several attempts together."""
        planned: PlannedLaunch | SubmitResult
        try:
            planned = plan_bundle(self._options, bundle, self._bucket, self._clock())
        except Unsatisfiable as error:
            planned = SubmitResult(None, unsatisfiable(str(error)), str(error))
        return self._launch([planned])[0]

    def _launch(self, planned: Sequence[PlannedLaunch | SubmitResult]) -> list[SubmitResult]:
        stored = each(self._store, planned)
        ready = {n: job for n, job in enumerate(stored) if isinstance(job, PlannedLaunch)}
        results = {n: job for n, job in enumerate(stored) if isinstance(job, SubmitResult)}
        idle = self._idle_for(list(ready.values()))
        results |= submit_in_turns(
            self._pace,
            list(ready),
            lambda number: self._start(ready[number], idle),
            late=_IN_LINE,
            throttled="throttled by AWS Step Functions",
        )
        return [results[number] for number in range(len(planned))]

    def _plan(self, request: JobRequest) -> PlannedLaunch | SubmitResult:
        try:
            return plan_launch(self._options, request, self._bucket, self._clock())
        except Unsatisfiable as error:
            return SubmitResult(None, unsatisfiable(str(error)), str(error))

    def _store(self, job: PlannedLaunch | SubmitResult) -> PlannedLaunch | SubmitResult:
        if isinstance(job, SubmitResult):
            return job
        try:
            self._s3.put_object(
                Bucket=self._bucket,
                Key=job.key,
                Body=job.payload,
                ContentType="application/json",
            )
        except (ClientError, BotoCoreError) as error:
            return SubmitResult(None, None, f"the payload could not be stored: {error}")
        return job

    def _idle_for(self, jobs: Sequence[PlannedLaunch]) -> _Idle:
        """Return the idle instances that jobs may take; ends others that they need the room of.

        An instance is worth nothing for jobs of another shape, but counts: active attempts and idle
        instances together are no more than ``max_instances``.
        """
        if not self._options.reuse or not jobs:
            return _Idle([])
        try:
            found = self._hosts.idle(self._options.name)
        except (ClientError, BotoCoreError):
            return _Idle([])  # then all get new ones; the sweep sees to those that are too many
        still = self._clock() + _STILL_GOOD
        wanted = Counter(job.shape for job in jobs)
        fit: list[IdleHost] = []
        rest: list[IdleHost] = []
        for host in found:
            takes = wanted[host.shape] > 0 and host.until > still
            wanted[host.shape] -= takes
            (fit if takes else rest).append(host)
        if rest and len(fit) < len(jobs):
            self._make_room(rest, len(jobs))
        return _Idle(fit)

    def _make_room(self, idle: Sequence[IdleHost], jobs: int) -> None:
        """End idle instances that are too many beside what is active.

        Those that are taken out but could not be ended are nobody's: the sweep ends them.
        """
        with suppress(ClientError, BotoCoreError):
            active = jobs if self._active is None else self._active()
            surplus = active + len(idle) - self._options.max_instances
            out = [host for host in idle[: max(surplus, 0)] if self._hosts.evict(host)]
            self._instances.end([host.instance for host in out])

    def _start(self, job: PlannedLaunch, idle: _Idle) -> SubmitResult | None:
        """Start an execution; None if the call was throttled."""
        host = self._take(job, idle)
        text = input_of(job, host)
        for pause in (*_PAUSES, None):
            try:
                is_ours = self._executions.start(job.name, text)
            except (ClientError, BotoCoreError) as error:
                if not is_throttled(error) and may_have_happened(error):
                    if pause is None:
                        return _refused(error)._replace(is_unknown=True)
                    self._sleep(pause)
                    continue
                self._give_back(host, job, idle)
                return None if is_throttled(error) else _refused(error)
            if not is_ours and host is not None:
                self._end_taken(host, job)
            return SubmitResult(job.name)
        raise AssertionError  # the last pause is None

    def _take(self, job: PlannedLaunch, idle: _Idle) -> IdleHost | None:
        """Take an idle instance for a job, if there is one that nobody else takes."""
        while (host := idle.next(job.shape)) is not None:
            try:
                if self._hosts.take(host, job.name, self._clock()):
                    return host
            except (ClientError, BotoCoreError):
                return None  # if it is taken all the same, the sweep finds it without an execution
        return None

    def _give_back(self, host: IdleHost | None, job: PlannedLaunch, idle: _Idle) -> None:
        """Make an instance idle again whose job certainly did not start."""
        if host is None:
            return
        with suppress(ClientError, BotoCoreError):  # the sweep ends what nobody uses
            self._hosts.give_back(host, job.name)
            idle.put(host)

    def _end_taken(self, host: IdleHost, job: PlannedLaunch) -> None:
        """End an instance that was taken for an execution which had been started without it.

        It may be that very execution's, if that has ended meanwhile: then it may be idle, or somebody
        else's, whom it is left to.
        """
        with suppress(ClientError, BotoCoreError):  # the sweep ends what nobody uses
            owner = self._hosts.hosts([host.instance]).get(host.instance)
            if self._hosts.disown(host.instance, job.name, owner):
                self._instances.end([host.instance])


class _Idle:
    """Idle instances that several threads take from."""

    def __init__(self, hosts: Sequence[IdleHost]) -> None:
        self._hosts = list(hosts)
        self._lock = threading.Lock()

    def next(self, shape: str) -> IdleHost | None:
        with self._lock:
            for number, host in enumerate(self._hosts):
                if host.shape == shape:
                    return self._hosts.pop(number)
        return None

    def put(self, host: IdleHost) -> None:
        with self._lock:
            self._hosts.insert(0, host)


def _refused(error: ClientError | BotoCoreError) -> SubmitResult:
    """Return what became of a start that failed: never, or not now.

    A fault of the installation (no permission, no such state machine) is "not now": it is not the
    task's, and is over when somebody has mended it.
    """
    said = said_by(error)
    for_good = isinstance(error, ParamValidationError) or (
        isinstance(error, ClientError) and code_of(error) in _NEVER
    )
    if for_good:
        return SubmitResult(None, launch_failed(f"Step Functions refused it: {said}"), said)
    return SubmitResult(None, None, said)
