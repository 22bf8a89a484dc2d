"""What a job tells a queue's scheduling policy: whose share it takes, and what comes first in it. Pure.

Batch wants a share identifier for queues that have a fair-share policy, and refuses it for those that
have none (they start jobs in the order in which they came). Priorities order the jobs of one share
among each other; shares are weighed against each other by what they used.

Source: SubmitJob in the API reference of AWS Batch, "Use share identifiers to identify workloads" and
"Service quotas" in its user guide.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from hut.backends.batch.options import BatchOptions, ShareBy
from hut.model.records import RunRecord
from hut.model.workflow import TaskSpec

__all__ = ["MIDDLE", "batch_priority", "scheduling_of", "share_identifier"]

MIDDLE = 5000
"""What Batch is told for a task of priority 0: tasks may have less than that, Batch's begin at 0."""

_HIGHEST = 9999
_LONGEST = 255
_OTHERS = re.compile(r"[^A-Za-z0-9]+")
_DIGEST = 8  # characters that tell names apart which are the same without what is left out
_NOBODY = "hut"


def scheduling_of(options: BatchOptions, run: RunRecord, spec: TaskSpec) -> dict[str, Any]:
    """Return the parameters of SubmitJob for a task's queue; none if it has no policy.

    Tasks with different ones are jobs of different shapes.
    """
    partition = spec.partition or options.default_queue
    if partition not in options.scheduling_policies:
        return {}
    name = run.workflow if options.share_by is ShareBy.WORKFLOW else run.owner
    return {
        "shareIdentifier": share_identifier(name),
        "schedulingPriorityOverride": batch_priority(spec.priority),
    }


def batch_priority(priority: int) -> int:
    """Return a task's priority as Batch takes it; from -5000 to 4999 the order is kept."""
    return min(max(priority + MIDDLE, 0), _HIGHEST)


def share_identifier(name: str) -> str:
    """Return the share of an owner or a workflow: Batch takes letters and digits.

    A name that has others loses them, and gets a digest behind it so that it is still nobody else's.
    A weight in a policy for ``alice*`` meets all of them that begin so.
    """
    kept = _OTHERS.sub("", name)
    if kept == name and 0 < len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST]
    return (kept or _NOBODY)[: _LONGEST - _DIGEST] + digest
