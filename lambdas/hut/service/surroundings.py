"""What all use cases on AWS work with: one frozen object instead of ten parameters."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hut.backends.port import RemoteBackend
from hut.metrics import Metric
from hut.model.records import RunRecord
from hut.model.schema_faults import Check
from hut.service.ports import Documents, Executions, Instances, Measuring, Noting, Wakes
from hut.store.events import EventStore

if TYPE_CHECKING:
    from hut.service.pooling import PoolBackend

__all__ = ["Surroundings"]


def _always() -> bool:
    return True


def _unseen(_: RunRecord) -> None:
    pass


def _unmeasured(_: Metric, value: float = 1.0, /) -> None:
    del value


def _unmigrated() -> None:
    pass


def _new_array() -> str:
    return secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The ports, and what is configured.

    Attributes
    ----------
    backends : mapping of str to RemoteBackend
        By the name that workflows use.
    caps : mapping of str to int
        For each capped backend how many tasks it may have at once.
    instances : mapping of str to callable
        By the ARN of the state machine that runs EC2 tasks: returns what is told of news of them.
    prefix : str
        What job names begin with.
    clock : callable
        Seconds since the epoch.
    documents : Documents
        What task programs wrote.
    check : Check
        Holds such documents against their schemas.
    has_time : callable
        Says whether there is time for more; what is left is left to a message or the next sweep.
    see : callable
        Told of each run that is worked on: `backends` and `caps` must not be older than the
        configuration it was submitted under.
    measure : Measuring
        Takes what is to be seen on the dashboard.
    new_array : callable
        Returns the id of a new array job: hexadecimal digits that no other has.
    sleep : callable
        Waits some seconds.
    pools : callable
        Returns the pools of workers there are, by their names.
    migrate : callable
        Brings what is stored a little nearer to the form that this release knows.
    """

    store: EventStore
    backends: Mapping[str, RemoteBackend]
    executions: Executions
    wakes: Wakes
    note: Noting
    clock: Callable[[], float]
    prefix: str
    caps: Mapping[str, int]
    documents: Documents
    check: Check
    has_time: Callable[[], bool] = _always
    see: Callable[[RunRecord], None] = _unseen
    measure: Measuring = _unmeasured
    new_array: Callable[[], str] = _new_array
    sleep: Callable[[float], None] = time.sleep
    instances: Mapping[str, Callable[[], Instances]] = field(default_factory=dict)
    pools: Callable[[], Mapping[str, PoolBackend]] = dict
    migrate: Callable[[], object] = _unmigrated
