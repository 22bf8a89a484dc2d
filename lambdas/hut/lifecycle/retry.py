"""Whether a failed attempt is followed by another, and after what delay.

A task's own failures count against its `retries`. Ends that are not its doing (`lost`,
`host_terminated`) are repeated at once, up to `MOST_LOSSES` times, and counted apart, so a task
with ``retries: 0`` still survives a crashed machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from hut.model.records import Outcome
from hut.model.states import INFRASTRUCTURE_REASONS, Reason, TaskState
from hut.model.workflow import RetryPolicy

__all__ = ["LONGEST_DELAY", "MOST_LOSSES", "Spent", "next_delay"]

MOST_LOSSES = 5
"""Attempts that may be lost before the task is failed: a task that kills its machine must end."""

LONGEST_DELAY = 86400.0
"""Seconds; a growing delay stops growing here."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Retries a task has used: its own, and those after losses."""

    retries: int = 0
    losses: int = 0


def next_delay(
    outcome: Outcome, policy: RetryPolicy, spent: Spent, *, most_losses: int = MOST_LOSSES
) -> float | None:
    """Return the seconds until the next attempt, or None if there is none.

    The first retry waits `policy.delay`, each further one `policy.backoff` times longer. A scheduler
    may have a bound on losses of its own.
    """
    if outcome.state is not TaskState.FAILED or outcome.reason is Reason.CANCELLED:
        return None
    if outcome.reason in INFRASTRUCTURE_REASONS:
        return 0.0 if spent.losses < most_losses else None
    if spent.retries >= policy.retries:
        return None
    if policy.on and not _listed(outcome, policy):
        return None
    if not policy.delay:
        return 0.0
    try:
        return min(policy.delay * policy.backoff**spent.retries, LONGEST_DELAY)
    except OverflowError:
        return LONGEST_DELAY


def _listed(outcome: Outcome, policy: RetryPolicy) -> bool:
    """An exit code counts only for a command that ended by itself, not for one Hut stopped."""
    if str(outcome.reason) in policy.on:
        return True
    own_end = outcome.reason in (Reason.EXIT, Reason.SIGNAL)
    return own_end and outcome.exit_code in policy.on
