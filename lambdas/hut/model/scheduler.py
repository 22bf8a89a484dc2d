"""What a scheduler is told: which properties it matches in which way, and how patient it is.

The names and defaults are those of NativeLink's ``simple`` scheduler. `unknown_property` and
`unsatisfiable` are ours. How tasks are matched is in `hut.scheduling.matching`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "BUILT_IN",
    "LARGEST_NUMBER",
    "OF_POOLS",
    "Allocation",
    "Kind",
    "Scheduler",
    "UnknownProperty",
    "Unsatisfiable",
    "number_of",
    "scheduler_of",
]

LARGEST_NUMBER = 2**64 - 1
"""Of a property that is matched as a minimum."""

_DIGITS = re.compile(r"[0-9]+", re.ASCII)


class Kind(StrEnum):
    """How a property is matched."""

    MINIMUM = "minimum"
    """What remains of the target's number is at least the task's, and is used up by it."""
    EXACT = "exact"
    """The same text, byte for byte."""
    PRIORITY = "priority"
    """Every target will do; one with the same text comes first."""
    IGNORE = "ignore"
    """A task may say it; nothing follows."""


class Allocation(StrEnum):
    """Which of the targets that will do equally well gets a task."""

    LEAST_RECENTLY_USED = "least_recently_used"
    MOST_RECENTLY_USED = "most_recently_used"


class UnknownProperty(StrEnum):
    """What a property of a task means that the scheduler does not declare."""

    REJECT = "reject"
    MATCH = "match"
    """As if it were declared `Kind.EXACT`."""
    IGNORE = "ignore"


class Unsatisfiable(StrEnum):
    """What becomes of a task that no target could ever run."""

    FAIL = "fail"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Scheduler:
    """A named set of rules by which tasks come to targets.

    Attributes
    ----------
    properties : mapping of str to Kind
        The declared ones.
    max_job_retries : int
        How often a task may be lost (worker gone, internal error, timeout) and still be run again.
    worker_timeout_s : float
        Seconds after which a worker without a sign of life is taken for gone.
    max_action_executing_timeout_s : float
        Seconds a task may run on a live worker without news of it; 0 is no bound.
    client_action_timeout_s : float
        Seconds after which a task nobody asks for any more is given up.
    retain_completed_for_s : float
        Seconds a result can be read after the end.
    worker_match_logging_interval_s : float
        Seconds between two logs of what waits for what; 0 is never.
    worker_timeout_given : bool
        Whether the file says `worker_timeout_s`, or a pool may take a default of its own.
    """

    name: str
    properties: Mapping[str, Kind] = field(default_factory=dict)
    allocation: Allocation = Allocation.LEAST_RECENTLY_USED
    max_job_retries: int = 3
    worker_timeout_s: float = 5.0
    max_action_executing_timeout_s: float = 0.0
    client_action_timeout_s: float = 60.0
    retain_completed_for_s: float = 60.0
    worker_match_logging_interval_s: float = 10.0
    unknown_property: UnknownProperty = UnknownProperty.REJECT
    unsatisfiable: Unsatisfiable = Unsatisfiable.FAIL
    worker_timeout_given: bool = False

    def kind_of(self, name: str) -> Kind:
        """Return how a property is matched, also one that is not declared."""
        declared = self.properties.get(name)
        if declared is not None:
            return declared
        unknown = self.unknown_property
        return Kind.IGNORE if unknown is UnknownProperty.IGNORE else Kind.EXACT


BUILT_IN = Scheduler("built-in", unknown_property=UnknownProperty.IGNORE)
"""Of backends, where none is configured: what tasks say of properties changes nothing."""

OF_POOLS = Scheduler(
    "built-in", unknown_property=UnknownProperty.MATCH, unsatisfiable=Unsatisfiable.WAIT
)
"""Of pools, where none is configured: every property has to be the worker's, and one may yet join."""


DEFAULTED = (
    "max_job_retries",
    "worker_timeout_s",
    "client_action_timeout_s",
    "retain_completed_for_s",
)
"""Settings of which 0 is the default; of the other numbers it is off."""


def scheduler_of(entry: Mapping[str, Any]) -> Scheduler:
    """Return the scheduler that a valid entry of ``schedulers`` describes, as plain data."""
    simple = {**{key: entry[key] for key in _OF_BOTH if key in entry}, **entry["simple"]}
    said = {name: simple[name] for name in DEFAULTED if simple.get(name)}
    declared = simple.get("supported_platform_properties", {})
    return Scheduler(
        entry["name"],
        {name: Kind(kind) for name, kind in declared.items()},
        Allocation(simple.get("allocation_strategy", Allocation.LEAST_RECENTLY_USED)),
        max_action_executing_timeout_s=simple.get("max_action_executing_timeout_s", 0.0),
        worker_match_logging_interval_s=max(
            simple.get("worker_match_logging_interval_s", 10.0), 0.0
        ),
        unknown_property=UnknownProperty(simple.get("unknown_property", UnknownProperty.REJECT)),
        unsatisfiable=Unsatisfiable(simple.get("unsatisfiable", Unsatisfiable.FAIL)),
        worker_timeout_given="worker_timeout_s" in said,
        **said,
    )


_OF_BOTH = ("unknown_property", "unsatisfiable")  # may stand in `simple` or beside it


def number_of(text: str) -> int | None:
    """Return the number a property of the kind minimum stands for, None if it is none.

    Digits only, at most `LARGEST_NUMBER`: no sign, point, blank, underscore or unit.
    """
    if not _DIGITS.fullmatch(text):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(LARGEST_NUMBER)):
        return None
    number = int(digits)
    return number if number <= LARGEST_NUMBER else None
