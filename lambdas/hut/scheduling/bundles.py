"""How many short tasks share one job. Pure.

A job takes its time to start, so it should have some work: `Limits.work` seconds for each slot, by the
mean of what the run's tasks have taken so far. But tasks that could run beside each other must not
wait for each other: there are never fewer jobs than the backend has room for. Until something has
completed, bundles are small and few. A size that people give is taken as it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hut.model.limits import LARGEST_BUNDLE
from hut.model.workflow import BY_ITSELF

__all__ = [
    "GRACE",
    "Limits",
    "Workload",
    "bundle_size",
    "longest_bundle",
    "mean_seconds",
    "most_claimed",
    "time_limit_of",
    "whole_bundles",
]

GRACE = 15
"""Seconds a task may take beyond its time limit: from TERM to KILL, and until that is noticed."""

_SPARE = 300  # seconds of a job's time limit for what is not a task: its table, a slow disk
_FIRST = 4  # tasks for each slot while nothing is known
_PROBES = 100  # jobs while nothing is known
_PATIENCE = 300.0  # seconds after the first start in which nothing has completed: tasks are long
_NOMINAL = 100  # jobs a backend without a cap is taken to have room for


class Limits(NamedTuple):
    """What a backend asks of bundles.

    Attributes
    ----------
    work : float
        Seconds of work a job should have for each slot.
    longest : float
        Seconds a job may take.
    slots : int
        How many tasks a job runs at a time, as far as that is known without them.
    """

    work: float
    longest: float
    slots: int = 1


class Workload(NamedTuple):
    """What is known of a run that makes bundles.

    Attributes
    ----------
    ready : int
        Tasks that wait.
    jobs : int or None
        Jobs the backend has room for; None if it has no cap.
    mean : float or None
        Seconds its tasks have taken.
    """

    ready: int
    jobs: int | None
    mean: float | None


def mean_seconds(work: float, completed: int, started_at: float | None, now: float) -> float | None:
    """Return how long a task takes, or None while nothing tells.

    Parameters
    ----------
    work, completed
        Seconds that so many tasks took together.
    started_at
        When the first task of the run was seen to run.
    """
    if completed:
        return work / completed
    if started_at is not None and now - started_at > _PATIENCE:
        return now - started_at
    return None


def bundle_size(given: int, limits: Limits, load: Workload) -> int:
    """Return how many tasks a job gets, at least 1.

    Parameters
    ----------
    given
        As people say; `BY_ITSELF` to have it worked out.
    """
    if given != BY_ITSELF:
        return min(given, LARGEST_BUNDLE)
    each = _FIRST if load.mean is None else limits.work / max(load.mean, 0.001)
    wanted = max(int(each), 1) * limits.slots
    room = _NOMINAL if load.jobs is None else max(load.jobs, 1)
    spread = math.ceil(load.ready / room)
    return max(min(wanted, spread, LARGEST_BUNDLE), 1)


def most_claimed(given: int, limits: Limits, load: Workload, active: int) -> int | None:
    """Return how many tasks more may be on their way; None for no bound.

    What is sized by itself is sized by what has completed: before that, only some are tried.
    """
    if given != BY_ITSELF or load.mean is not None:
        return None
    return max(_PROBES * _FIRST * limits.slots - active, 0)


def whole_bundles(pending: int, size: int, since: float | None, wait: float, now: float) -> int:
    """Return how many of the tasks that wait may go: those of full bundles, or all after a while.

    Parameters
    ----------
    since
        When tasks began to wait that make no full bundle; None if there are none.
    wait
        Seconds that they may.
    """
    is_over = since is not None and now >= since + wait
    return pending if is_over else pending - pending % size


def longest_bundle(limit: float, slots: int, longest: float) -> int:
    """Return how many tasks a job may have if all of them used up their time limit, at least 1."""
    rounds = int((longest - _SPARE) // (limit + GRACE))
    return max(rounds, 1) * slots


def time_limit_of(tasks: int, limit: float, slots: int) -> int:
    """Return the time limit of a job: what its tasks may take together, in seconds."""
    return math.ceil(math.ceil(tasks / slots) * (limit + GRACE)) + _SPARE
