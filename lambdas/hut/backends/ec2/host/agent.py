"""The story of a command: from its parameters to its report."""

from __future__ import annotations

import json
import sys

__all__ = ["main"]


def main() -> None:
    """Report that nothing was run: the other half of this program is not there yet."""
    said = "the program that runs tasks on the instance is not finished yet"
    report = {"how": "not_started", "exit_code": None, "started": None, "ended": None, "said": said}
    sys.stdout.write(json.dumps(report) + "\n")
