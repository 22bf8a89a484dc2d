"""Writes down the commands of failed attempts as they end, while a run is followed.

What is told while it happens may have gaps: what ended before this process came, and what a connection
lost. So who follows a run to its end calls `catch_up` then, which adds what is missing.
"""

from __future__ import annotations

from typing import TextIO

from hutctl.client import Client, Display, Document, Progress
from hutctl.commands.failures import one_line

__all__ = ["FailureLines"]


class FailureLines:
    """A display that writes failures to a file, and shows the rest on another display.

    Parameters
    ----------
    retried
        Write down each failed attempt; else only those that no other follows.
    most
        How many are looked up one by one; the rest waits for the end. None: all.
    """

    def __init__(
        self,
        client: Client,
        run_id: str,
        file: TextIO,
        display: Display,
        *,
        retried: bool,
        most: int | None = None,
    ) -> None:
        self._client = client
        self._run_id = run_id
        self._file = file
        self._display = display
        self._retried = retried
        self._left = most
        self._written: set[tuple[str, int]] = set()

    def show(self, progress: Progress) -> None:
        """Show how the run stands, and write down what has failed since."""
        self._display.show(progress)
        for change in progress.changes:
            if self._left == 0 or not self._is_failure(change):
                continue
            if (key := (change["task"], change["attempt"])) in self._written:
                continue
            if self._left is not None:
                self._left -= 1
            command = self._client.get_task(self._run_id, change["task"])["command"]
            self._write(key, command)

    def close(self) -> None:
        """Stop showing."""
        self._display.close()

    def catch_up(self) -> None:
        """Write down what has failed and is not written down yet, in the order in which it did."""
        for failure in self._client.list_failures(self._run_id, final=not self._retried):
            if (key := (failure["task"], failure["attempt"])) not in self._written:
                self._write(key, failure["command"])

    def _is_failure(self, change: Document) -> bool:
        """Say whether an attempt has failed; one that is tried again is pending, with a reason."""
        if change["reason"] in (None, "cancelled"):
            return False
        return change["state"] == "failed" or (self._retried and change["state"] == "pending")

    def _write(self, key: tuple[str, int], command: str) -> None:
        self._written.add(key)
        print(one_line(command), file=self._file, flush=True)
