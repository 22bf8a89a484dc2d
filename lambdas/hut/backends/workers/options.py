"""What a pool of workers is: the entry of ``HUT_BACKENDS`` that describes it.

A pool is a backend: its name is what workflows and workers call it. The stack writes the entry and a
configuration may refine it; all faults are told at once, each with the place it is at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hut.backends.entries import EntryReader, check_prefix
from hut.model.problems import InvalidInput
from hut.model.scheduler import OF_POOLS, Scheduler, scheduler_of

__all__ = [
    "DEFAULT_PARTITION",
    "LARGEST_BUNDLE",
    "WORKER_TIMEOUT",
    "WorkersOptions",
    "read_options",
]

DEFAULT_PARTITION = "default"
"""What stands for the ``partition`` of tasks; a pool has no other."""

WORKER_TIMEOUT = 30.0
"""Seconds without a sign of life after which a worker is taken for gone, where nobody says otherwise.

NativeLink's 5 are for a network of its own: a worker here speaks through the internet.
"""

LARGEST_BUNDLE = 1000

_KEYS = ("name", "type", "log_group", "bells", "region", "max_concurrent", "bundle", "scheduler")


@dataclass(frozen=True, slots=True)
class WorkersOptions:
    """A pool of workers.

    Attributes
    ----------
    name : str
        What workflows and workers call it.
    log_group : str
        Log group that workers write to.
    bells : mapping of str to str
        For each pool of the stack the queue that rings when something waits there.
    region : str
        Where log group and queues are.
    max_concurrent : int or None
        Most tasks at a time that wait or run in it, over all runs.
    bundle : int or None
        Tasks that a worker is given at once; None: as many as lets all workers have some.
    scheduler : Scheduler
        By which tasks and workers are matched.
    prefix : str
        Of the deployment; stands before the names of jobs.
    """

    name: str
    log_group: str
    bells: Mapping[str, str] = field(default_factory=dict)
    region: str = ""
    max_concurrent: int | None = None
    bundle: int | None = None
    scheduler: Scheduler = OF_POOLS
    prefix: str = "hut"

    @property
    def default_image(self) -> str | None:
        """Workers run processes."""
        return None

    @property
    def partitions(self) -> tuple[str, ...]:
        """What a task may name as its ``partition``."""
        return (DEFAULT_PARTITION,)

    @property
    def default_partition(self) -> str:
        """The partition of tasks that name none."""
        return DEFAULT_PARTITION

    @property
    def cap(self) -> int | None:
        """Most tasks at a time, over all runs."""
        return self.max_concurrent

    @property
    def bell(self) -> str | None:
        """The pool's own queue; a pool that only a configuration names has none."""
        return self.bells.get(self.name)


def read_options(
    entry: Mapping[str, Any], *, prefix: str = "hut", place: str = "backend"
) -> WorkersOptions:
    """Return the options one entry describes.

    Parameters
    ----------
    prefix
        Letters and digits, small: it is a part of names that are taken apart at dashes.
    place
        Where the entry stands, for messages.

    Raises
    ------
    InvalidInput
        With all that is missing, unknown or of the wrong kind.
    """
    check_prefix(prefix)
    reader = _Reader(entry, place)
    options = reader.read(prefix)
    if reader.problems:
        raise InvalidInput(reader.problems)
    return options


class _Reader(EntryReader):
    def read(self, prefix: str) -> WorkersOptions:
        self._check_keys(_KEYS)
        return WorkersOptions(
            name=self._text("name"),
            log_group=self._text("log_group"),
            bells=self._bells(),
            region=self._text_or_none("region") or "",
            max_concurrent=self._count("max_concurrent", 1_000_000),
            bundle=self._count("bundle", LARGEST_BUNDLE),
            scheduler=self._scheduler(),
            prefix=prefix,
        )

    def _bells(self) -> dict[str, str]:
        value = self._entry.get("bells")
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(url, str) for url in value.values()):
            self._fault("bells", 'must be an object such as {"workers": "https://sqs..."}')
            return {}
        return dict(value)

    def _count(self, key: str, most: int) -> int | None:
        value = self._entry.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            self._fault(key, f"{value!r} is no whole number from 1 to {most:,}")
            return None
        return value

    def _scheduler(self) -> Scheduler:
        """Return the scheduler of an entry of ``schedulers``, which was checked when it was applied."""
        value = self._entry.get("scheduler")
        found = OF_POOLS
        if isinstance(value, Mapping) and "name" in value and "simple" in value:
            found = scheduler_of(value)
        elif value is not None:
            self._fault("scheduler", "must be an entry of schedulers")
        if found.worker_timeout_given:
            return found
        return replace(found, worker_timeout_s=WORKER_TIMEOUT)
