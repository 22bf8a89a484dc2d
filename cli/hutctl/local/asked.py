"""What a person asks of an engine by signals: an end of the run (Ctrl-C, TERM), or to be left alone with it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Asked"]


class Asked:
    """Counts signals while it listens; from the main thread only.

    Attributes
    ----------
    interrupts : int
        How often the end of the run was asked for.
    hung_up : bool
        The terminal went away.
    """

    def __init__(self) -> None:
        self.interrupts = 0
        self.hung_up = False

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Handle the signals meanwhile."""
        old = {
            signal.SIGINT: signal.signal(signal.SIGINT, self._interrupt),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._interrupt),
        }
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup stays what it is
            old[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupts += 1

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self.hung_up = True
