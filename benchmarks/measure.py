"""Times whole commands: from before the process is started until it has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "Command",
    "CommandError",
    "Spread",
    "Timing",
    "announce",
    "clean_environment",
    "spread",
    "timed",
]

_SETTINGS_OF_TOOLS = ("HUT_", "HYPERSHELL_", "PARALLEL", "PYTHON", "SCRIPTHUT_", "XDG_", "BASH_ENV")
_SHOWN_OF_STDERR = 2000
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class CommandError(Exception):
    """A measured command failed, did not finish in time, or did less than it was told.

    The first line of the message says so; what the command wrote may follow it.
    """


@dataclass(frozen=True, slots=True)
class Command:
    """What to run.

    Attributes
    ----------
    arguments : tuple of str
        The first is the path of the program.
    folder : Path
        Where it runs.
    environment : mapping of str to str
        Variables on top of `clean_environment`.
    stdin : Path or None
        File that it reads; None for an empty input.
    timeout : float
        Seconds after which it is killed.
    """

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: Path | None = None
    timeout: float = 3600.0


@dataclass(frozen=True, slots=True)
class Timing:
    """What one run of a command took.

    Attributes
    ----------
    wall : float
        Seconds from before its start until it was collected.
    cpu : float
        Seconds of user and system time, of the command and all descendants that were waited for.
    peak_bytes : int
        Largest resident set of any one process among them. Linux counts the parent's at the start
        too, so the measuring process has to stay small.
    """

    wall: float
    cpu: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Spread:
    """Smallest, middle and largest of some samples."""

    low: float
    median: float
    high: float


def spread(samples: Sequence[float]) -> Spread:
    """Return how `samples` are spread; there has to be at least one."""
    return Spread(min(samples), statistics.median(samples), max(samples))


def announce(text: str) -> None:
    """Tell the person at the terminal how far the measurement is."""
    print(text, file=sys.stderr, flush=True)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without the settings of any measured tool."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS_OF_TOOLS)
    }


def timed(command: Command) -> Timing:
    """Run a command once and measure it; its output goes to the null device.

    Raises
    ------
    CommandError
        If it can't be started, fails, or has to be killed.
    """
    with tempfile.TemporaryFile() as errors:
        with open(command.stdin or os.devnull, "rb") as source:
            timing, status = _run(command, source.fileno(), errors.fileno())
        if status != 0:
            errors.seek(0)
            text = errors.read()[-_SHOWN_OF_STDERR:].decode(errors="replace").strip()
            name = os.path.basename(command.arguments[0])
            raise CommandError(f"{name} {_describe(status)} after {timing.wall:.1f} s\n{text}")
    return timing


def _run(command: Command, stdin: int, stderr: int) -> tuple[Timing, int]:
    environment = {**clean_environment(), **command.environment}
    began = time.perf_counter()
    try:
        # Not a `with` block: `wait4` collects the process, since only it tells the usage.
        process = subprocess.Popen(
            command.arguments,
            cwd=command.folder,
            env=environment,
            stdin=stdin,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        name = os.path.basename(command.arguments[0])
        raise CommandError(f"{name} can't be started: {error.strerror}") from None
    alarm = threading.Timer(command.timeout, _kill, (process.pid,))
    alarm.daemon = True
    alarm.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    except BaseException:
        _kill(process.pid)
        process.wait()
        raise
    finally:
        alarm.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return Timing(wall, cpu, usage.ru_maxrss * _RSS_UNIT), process.returncode


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _describe(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"left with exit code {status}"
