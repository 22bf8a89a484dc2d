"""Which faults a history may have, and how many."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CALM", "Faults"]


@dataclass(frozen=True, slots=True)
class Faults:
    """Shares in [0, 1] of what may go wrong, and bounds of what may be late.

    Attributes
    ----------
    crash : float
        Of AWS calls: the process that makes it dies, before or after it was done.
    throttled, broken : float
        Of AWS calls: refused for their number, answered with a 5xx before they were done.
    unanswered : float
        Of AWS calls: done, but the answer never arrives, so the client repeats it.
    raced : float
        Of DynamoDB transactions: in the way of another one.
    lost : float
        Of events on the bus: never delivered.
    repeated : float
        Of messages and batches of a stream: delivered again; up to five times.
    late : float
        Seconds that an event or a message may be under way, so others overtake it.
    left : float
        Of keys and items of a batch: left unprocessed.
    skew : float
        Seconds by which a process's clock may be wrong, either way.
    index_lag : float
        Seconds that an index of the table may be behind.
    list_lag : float
        Seconds until Batch knows a new job when it is asked; for as long EC2, Systems Manager and Step
        Functions may tell what was.
    reclaimed : float
        Of jobs: the host is taken away while they run. Of instances: at any moment.
    stopped : float
        Of the AWS calls of a state machine for a task: somebody stops it in the console.
    no_capacity : float
        Of launches: EC2 has no instance.
    offline : float
        Of instances: Systems Manager never sees them.
    vanished : float
        Of jobs: AWS Batch forgets them, without an event of their end.
    poisoned : float
        Of messages: one that can't be read is put in beside them.
    calls_at_most : float
        Seconds an AWS call may take.
    seconds : float
        How long it goes on.
    """

    crash: float = 0.0
    throttled: float = 0.0
    broken: float = 0.0
    unanswered: float = 0.0
    raced: float = 0.0
    lost: float = 0.0
    repeated: float = 0.0
    late: float = 0.0
    left: float = 0.0
    skew: float = 0.0
    index_lag: float = 0.0
    list_lag: float = 0.0
    reclaimed: float = 0.0
    stopped: float = 0.0
    no_capacity: float = 0.0
    offline: float = 0.0
    vanished: float = 0.0
    poisoned: float = 0.0
    calls_at_most: float = 0.02
    seconds: float = 900.0


CALM = Faults()
"""Nothing goes wrong."""
