"""Where a failed task that is tried again stands among ready tasks of its priority.

The order holds at the moment of a claim: a retry that has become ready counts from then on, and what
was not claimed yet stands behind or before it. A task whose machine failed keeps its place in any
order: that was not its doing.
"""

from __future__ import annotations

from typing import Final

from hut.model.run_options import RetryOrder

__all__ = ["EAGER_RETRY", "LAZY_RETRY", "NEW", "rank_of"]

EAGER_RETRY: Final = 0
NEW: Final = 1
LAZY_RETRY: Final = 2


def rank_of(order: RetryOrder, retries: int) -> int:
    """Return the rank of a ready task within its priority; lower ones go first, equals by position.

    Parameters
    ----------
    order
        The run's: with ``document`` all are equal.
    retries
        Times the task was tried again because it failed.
    """
    if not retries or order == "document":
        return NEW
    return EAGER_RETRY if order == "eager" else LAZY_RETRY
