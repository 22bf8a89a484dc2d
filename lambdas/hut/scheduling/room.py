"""How many tasks may be claimed now.

Caps are taken in the claim: the store counts what is active inside the same transaction in which it
claims, so two dispatchers can't exceed a cap together. What does not fit stays pending.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NO_CAPS", "Caps", "claim_ahead", "is_spent", "room"]


@dataclass(frozen=True, slots=True)
class Caps:
    """Upper bounds; None is no bound.

    Attributes
    ----------
    run, backend : int or None
        On active (submitted or running) tasks.
    cost : float or None
        On what the ended attempts of the run have cost, in dollars: once it is reached, no task is
        claimed any more.
    """

    run: int | None = None
    backend: int | None = None
    cost: float | None = None


NO_CAPS = Caps()


def is_spent(cost: float | None, caps: Caps) -> bool:
    """Say whether the run's budget is used up by what its attempts have cost."""
    return cost is not None and caps.cost is not None and cost >= caps.cost


def room(asked: int, caps: Caps, *, active_in_run: int, active_on_backend: int) -> int:
    """Return how many of `asked` tasks fit under the caps."""
    fits = asked
    if caps.run is not None:
        fits = min(fits, caps.run - active_in_run)
    if caps.backend is not None:
        fits = min(fits, caps.backend - active_on_backend)
    return max(fits, 0)


def claim_ahead(ended: int, seconds: float, *, horizon: float, most: int) -> int:
    """Return how many tasks beyond the free slots to claim, so that one write covers many.

    Claims must be stored before their tasks start. With tasks of milliseconds a write per task
    would cost more than the task, so as many are claimed as the slots will use within `horizon`
    seconds at the rate just seen. Tasks that take longer than that are never claimed ahead, and a
    task that becomes ready with a higher priority waits at most `horizon`.

    Parameters
    ----------
    ended
        Tasks that ended within the last `seconds`.
    seconds
        Length of that window.
    horizon
        Seconds of work to claim at most.
    most
        Upper bound.
    """
    if seconds <= 0:
        return 0
    return min(int(ended / seconds * horizon), most)
