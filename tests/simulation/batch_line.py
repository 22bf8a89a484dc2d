"""Simulated AWS Batch: the order in which the jobs of queues start.

As in the test bed's model: first come, first served, but in a queue with a scheduling policy the share
that has the fewest jobs comes first, and within a share the job of the highest priority. A job that
can't be placed holds back all others of its queue.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from tests.simulation.batch_job import SimulatedJob

__all__ = ["Lines"]


@dataclass(slots=True)
class _Line:
    order: deque[tuple[int, SimulatedJob]] = field(default_factory=deque)
    shares: dict[str | None, list[tuple[int, int, SimulatedJob]]] = field(default_factory=dict)
    having: Counter[str | None] = field(default_factory=Counter)
    held: SimulatedJob | None = None


class Lines:
    """The jobs that may start, by queue."""

    def __init__(self, why_held: Callable[[str, float], str | None]) -> None:
        self._why_held = why_held
        self._lines: dict[str, _Line] = {}
        self._number = 0
        self._ready: dict[SimulatedJob, int] = {}

    def add(self, job: SimulatedJob) -> None:
        """Let a job stand in its queue's line."""
        self._number += 1
        self._put(job, self._number)

    def leave(self, job: SimulatedJob) -> bool:
        """Take out a job that ended while it waited; say whether it held back others."""
        self._ready.pop(job, None)
        line = self._lines.get(job.queue)
        if line is None or line.held is not job:
            return False
        line.held = None
        return True

    def count(self, job: SimulatedJob, change: int) -> None:
        """Count the jobs that a share has started."""
        if job.submission.share is not None:
            self._line(job.queue).having[job.submission.share] += change

    def release(self) -> None:
        """Look anew whether jobs that are held can be placed."""
        for line in self._lines.values():
            if line.held is not None:
                line.held.reason = None
                line.held = None

    def take(self) -> SimulatedJob | None:
        """Return the job that is next, or None."""
        while True:
            line: _Line | None = None
            for each in self._lines.values():
                if each.held is not None or not self._trim(each):
                    continue
                if line is None or each.order[0][0] < line.order[0][0]:
                    line = each
            if line is None:
                return None
            job, number = self._best(line)
            why = self._why_held(job.queue, job.submission.vcpus)
            if why is None:
                del self._ready[job]
                return job
            self._put_back(line, job, number)
            line.held = job
            if why:
                job.reason = why

    def _best(self, line: _Line) -> tuple[SimulatedJob, int]:
        """Return the job of a line that is next, and its number; it is taken out of its share."""
        found: tuple[tuple[int, int, int], str | None] | None = None
        for share, jobs in line.shares.items():
            while jobs and self._ready.get(jobs[0][2]) != jobs[0][1]:
                heappop(jobs)
            if jobs:
                key = (line.having[share], jobs[0][0], jobs[0][1])
                if found is None or key < found[0]:
                    found = key, share
        assert found is not None  # its line has an oldest job
        _, number, job = heappop(line.shares[found[1]])
        return job, number

    def _put(self, job: SimulatedJob, number: int) -> None:
        line = self._line(job.queue)
        self._ready[job] = number
        line.order.append((number, job))
        self._put_back(line, job, number)

    def _put_back(self, line: _Line, job: SimulatedJob, number: int) -> None:
        jobs = line.shares.setdefault(job.submission.share, [])
        heappush(jobs, (-job.submission.priority, number, job))

    def _trim(self, line: _Line) -> bool:
        """Drop what has started or ended from the head of a line; say whether anything is left."""
        while line.order and self._ready.get(line.order[0][1]) != line.order[0][0]:
            line.order.popleft()
        return bool(line.order)

    def _line(self, queue: str) -> _Line:
        if queue not in self._lines:
            self._lines[queue] = _Line()
        return self._lines[queue]
