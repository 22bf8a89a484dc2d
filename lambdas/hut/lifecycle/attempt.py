"""How an attempt ended, judged from evidence. No evidence, no verdict.

The backend gathers `Evidence`; `judge` turns it into an `Outcome`. What was done to the attempt on
purpose (cancelled, timed out) outranks the exit code that this caused.
"""

from __future__ import annotations

import signal
from typing import NamedTuple

from hut.model.quantities import format_seconds
from hut.model.records import Outcome
from hut.model.states import Reason, TaskState

__all__ = [
    "Evidence",
    "cancelled_before_start",
    "invalid_output",
    "judge",
    "launch_failed",
    "lost",
    "queue_timeout",
    "unsatisfiable",
]

EXIT_NOT_STARTED = 125
"""Exit code by which a task script says that it never reached the user's command."""


class Evidence(NamedTuple):
    """What a backend knows about an attempt that is over.

    Attributes
    ----------
    exit_code : int or None
        Code the command left with; None if a signal ended it.
    signal_number : int or None
        Signal that ended it.
    timed_out, cancelled : bool
        Whether Hut stopped it, and why.
    time_limit : float
        Seconds, for the message.
    not_started : str
        If not empty, the command could not be started, and this says why.
    """

    exit_code: int | None = None
    signal_number: int | None = None
    timed_out: bool = False
    cancelled: bool = False
    time_limit: float = 0.0
    not_started: str = ""


_SUCCESS = Outcome(TaskState.COMPLETED, Reason.EXIT, 0)


def judge(evidence: Evidence) -> Outcome:
    """Return how the attempt ended.

    Raises
    ------
    ValueError
        If the evidence holds no end at all: such an attempt is not over.
    """
    code = evidence.exit_code
    if evidence.signal_number is not None:
        code = 128 + evidence.signal_number
    if evidence.not_started:
        return Outcome(TaskState.FAILED, Reason.LAUNCH_FAILED, code, evidence.not_started)
    if evidence.cancelled:
        return Outcome(TaskState.FAILED, Reason.CANCELLED, code, "cancelled while it ran")
    if evidence.timed_out:
        limit = format_seconds(evidence.time_limit)
        message = f"stopped at its time limit of {limit}"
        return Outcome(TaskState.FAILED, Reason.TIMEOUT, code, message)
    if evidence.signal_number is not None:
        message = f"killed by {_signal_name(evidence.signal_number)}"
        return Outcome(TaskState.FAILED, Reason.SIGNAL, code, message)
    if code is None:
        raise ValueError("an attempt without exit code and signal has not ended")
    if code == 0:
        return _SUCCESS
    return Outcome(TaskState.FAILED, Reason.EXIT, code, f"exit code {code}{_hint(code)}")


def launch_failed(message: str) -> Outcome:
    """Return the outcome of an attempt that its backend could not or would not start."""
    return judge(Evidence(not_started=message))


def lost(detail: str) -> Outcome:
    """Return the outcome of an attempt that is gone without a trace of its end."""
    return Outcome(TaskState.FAILED, Reason.LOST, None, detail)


def invalid_output(detail: str) -> Outcome:
    """Return the outcome of an attempt whose command succeeded but whose output is unusable."""
    return Outcome(TaskState.FAILED, Reason.INVALID_OUTPUT, 0, detail)


def queue_timeout(detail: str) -> Outcome:
    """Return the outcome of an attempt that waited longer for a machine than its task allows."""
    return Outcome(TaskState.FAILED, Reason.QUEUE_TIMEOUT, None, detail)


def unsatisfiable(message: str) -> Outcome:
    """Return the outcome of an attempt that asks for what its backend never has."""
    return Outcome(TaskState.FAILED, Reason.UNSATISFIABLE, None, message)


def cancelled_before_start() -> Outcome:
    """Return the outcome of a claim that was cancelled before anything ran."""
    return Outcome(TaskState.FAILED, Reason.CANCELLED, None, "cancelled before it started")


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"


def _hint(code: int) -> str:
    """Say what well-known exit codes of shells mean."""
    if code == 126:
        return " (the command was found but could not be executed)"
    if code == 127:
        return " (command not found)"
    if code == 137:
        return " (128 + 9: something in it was killed by SIGKILL, often for lack of memory)"
    if 128 < code <= 128 + 64:
        return f" (128 + {code - 128}: something in it was killed by {_signal_name(code - 128)})"
    return ""
