"""Progress without a terminal: one line per change of a task's state, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from hutctl.client import Progress
from hutctl.display.text import clock

__all__ = ["LineDisplay", "change_text"]


def change_text(change: Mapping[str, Any]) -> str:
    """Return one transition as a line: time, state, task, and what is special about it."""
    parts = [clock(change["at"]), f"{change['state']:<10}", change["task"]]
    if change["state"] == "pending" and change["reason"]:
        parts.append(f"(again, after attempt {change['attempt']}: {_why(change)})")
    elif change["state"] in ("failed", "dep_failed"):
        parts.append(f"({_why(change)})")
    elif change["attempt"] > 1:
        parts.append(f"(attempt {change['attempt']})")
    return " ".join(parts)


def _why(change: Mapping[str, Any]) -> str:
    if change["reason"] == "exit":
        return f"exit code {change['exit_code']}"
    if change["reason"] == "dependency":
        return "a dependency failed"
    return str(change["reason"]).replace("_", " ")


class LineDisplay:
    """Writes a line per change."""

    def show(self, progress: Progress) -> None:
        """Write what happened."""
        if progress.changes:
            sys.stderr.write("".join(f"{change_text(change)}\n" for change in progress.changes))
            sys.stderr.flush()

    def close(self) -> None:
        """Do nothing."""
