"""What becomes of a simulated Batch job: how long it waits and runs, what it prints, how it ends.

The words of reasons are AWS's: "Job states" and "Automated job retries" in the Batch user guide,
"Stopped tasks error messages" in the developer guide of Amazon ECS.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from hut.backends.launcher import EXIT_NOT_FETCHED, EXIT_TIMED_OUT
from hut.backends.markers import cksum
from hut.lifecycle.attempt import EXIT_NOT_STARTED

__all__ = [
    "KILLED_AFTER",
    "Fate",
    "cannot_fetch",
    "host_reclaimed",
    "image_not_pulled",
    "marked_lines",
    "never_reached",
    "out_of_memory",
    "stopped_by_its_script",
]

KILLED_AFTER = 30.0
"""Seconds from TERM to KILL."""

_LINES_OF_A_PIECE = 48  # as the launcher joins them


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one of Batch's own attempts at a job; times are in seconds.

    Attributes
    ----------
    waits, starts, runs : float
        How long it is RUNNABLE at least, STARTING, and RUNNING if nobody ends it.
    exit_code : int or None
        None: the container's end told none.
    status_reason, reason : str
        Of the job and of its container; empty: those of a container that ended by itself.
    is_launched : bool
        Whether its container starts.
    lines : tuple of str
        What it prints when it starts.
    marks : tuple of str
        What the launcher prints at its end, behind the mark of the attempt.
    generated : bytes or None
        The file that the launcher copies into the log.
    stops : float
        How long after TERM it ends, at most `KILLED_AFTER`; it may end by itself before.
    cancels : float
        How long it stays RUNNABLE after it was cancelled, if its turn does not come before.
    kept : float or None
        How long after its end it is forgotten; None: never.
    """

    waits: float = 1.0
    starts: float = 1.0
    runs: float = 10.0
    exit_code: int | None = 0
    status_reason: str = ""
    reason: str = ""
    is_launched: bool = True
    lines: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    generated: bytes | None = None
    stops: float = 1.0
    cancels: float = 0.0
    kept: float | None = None

    @property
    def stopped_code(self) -> int:
        """The exit code of a process that was ended from outside."""
        return 137 if self.stops >= KILLED_AFTER else 143


def host_reclaimed(instance: str = "i-0123", **more: Any) -> Fate:
    """Return the fate of a job whose machine is taken away while it runs."""
    return Fate(exit_code=None, status_reason=f"Host EC2 (instance {instance}) terminated.", **more)


def out_of_memory(**more: Any) -> Fate:
    """Return the fate of a job that takes more memory than it asked for."""
    reason = "OutOfMemoryError: Container killed due to memory usage"
    return Fate(exit_code=137, reason=reason, **more)


def image_not_pulled(**more: Any) -> Fate:
    """Return the fate of a job whose image is not there."""
    reason = "CannotPullContainerError: pull image manifest has been retried 1 time(s): not found"
    return Fate(exit_code=None, reason=reason, is_launched=False, **more)


def stopped_by_its_script(limit: str = "5s", **more: Any) -> Fate:
    """Return the fate of a job whose launcher stops the command at a limit too short for Batch."""
    mark = f"timeout stopped at its time limit of {limit}"
    return Fate(exit_code=EXIT_TIMED_OUT, marks=(mark,), **more)


def never_reached(why: str, **more: Any) -> Fate:
    """Return the fate of a job whose launcher did not come to the command."""
    return Fate(exit_code=EXIT_NOT_STARTED, marks=(f"not-started {why}",), **more)


def cannot_fetch(**more: Any) -> Fate:
    """Return the fate of an array's child whose image can't fetch the child's script."""
    mark = "no-fetch the script could not be fetched from S3"
    return Fate(exit_code=EXIT_NOT_FETCHED, marks=(mark,), **more)


def marked_lines(fate: Fate, nonce: str) -> list[str]:
    """Return what the launcher prints at the end of a job, for Hut only."""
    texts = list(fate.marks)
    if fate.generated is not None and fate.exit_code == 0:
        lines = base64.encodebytes(fate.generated).decode().split("\n")[:-1]
        starts = range(0, len(lines), _LINES_OF_A_PIECE)
        pieces = ["".join(lines[start : start + _LINES_OF_A_PIECE]) for start in starts]
        texts.append("begin base64")
        texts += [f"data {number} {piece}" for number, piece in enumerate(pieces, 1)]
        texts.append(f"end {len(pieces)} cksum={cksum(fate.generated)},{len(fate.generated)}")
    return [f"::hut:{nonce}:{text}" for text in texts]
