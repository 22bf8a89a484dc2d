"""What a worker is told when it is started."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hut.model.limits import LONGEST_TAG, LONGEST_TAG_VALUE
from hut.model.problems import InvalidInput, Problem, is_one_line

__all__ = ["WorkerOptions", "begun_at", "default_name", "read_properties"]

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker works.

    Attributes
    ----------
    slots : int
        Tasks it runs at once.
    bundle : int or None
        Tasks it has beyond those that run; None: about half a second of work.
    max_inflight : int
        Tasks it has at most, running or not; 0 is no bound.
    idle_exit : float or None
        Seconds without anything to do after which it leaves.
    once : bool
        It leaves when there is nothing more to do.
    """

    pool: str
    name: str
    slots: int
    properties: dict[str, str] = field(default_factory=dict)
    bundle: int | None = None
    max_inflight: int = 0
    idle_exit: float | None = None
    once: bool = False


def begun_at() -> float:
    """Return when this process was started, in seconds since 1970; now where the system does not tell."""
    try:
        ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        up = Path("/proc/uptime").read_text().split()[0]
        return time.time() - (float(up) - int(ticks) / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return time.time()


def default_name() -> str:
    """Return a name that no other worker has: the host's, and the number of this process."""
    host = _NOT_IN_A_NAME.sub("-", socket.gethostname().partition(".")[0]).strip("-.") or "worker"
    return f"{host[:40]}-{os.getpid()}"


def read_properties(given: Sequence[str]) -> dict[str, str]:
    """Read ``k=v`` arguments.

    Raises
    ------
    InvalidInput
        With everything that is wrong.
    """
    properties: dict[str, str] = {}
    problems = []
    for text in given:
        key, sign, value = text.partition("=")
        place = f"--property {text[:80]}"
        if not sign or not key:
            problems.append(Problem("must be KEY=VALUE, as in gpu=2", field=place))
        elif len(key) > LONGEST_TAG or not is_one_line(key):
            problems.append(Problem(f"a name has at most {LONGEST_TAG} characters", field=place))
        elif len(value) > LONGEST_TAG_VALUE or not is_one_line(value):
            told = f"a value is one line of at most {LONGEST_TAG_VALUE} characters"
            problems.append(Problem(told, field=place))
        properties[key] = value  # of several for one key the last one counts
    if problems:
        raise InvalidInput(problems, source="the worker's properties")
    return properties
