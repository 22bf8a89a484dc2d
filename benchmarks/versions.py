"""Versions of what took part in a scenario."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from benchmarks.peers import Peer

__all__ = ["versions_of"]


def versions_of(peers: Sequence[Peer], commands: Sequence[str] = ()) -> dict[str, str]:
    """Return versions by name: of the peers that are there, and of commands on the PATH."""
    found = {peer.name: peer.version for peer in peers if peer.program is not None}
    return found | {name: _of_command(name) for name in commands}


def _of_command(name: str) -> str:
    """Return the first thing in the output of ``--version`` that looks like a version."""
    try:
        done = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return "not found"
    match = re.search(r"\d+(\.\d+)+", done.stdout)
    return match.group() if match else "of an unknown version"
