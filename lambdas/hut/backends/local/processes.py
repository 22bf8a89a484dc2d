"""Process groups on Linux and macOS: start one, see which ended, kill one, recognise one again.

A task's shell leads a session of its own, so a signal reaches everything the task started, a
terminal's Ctrl-C does not, and what is left of a task when its shell has ended is killed with it. A
process that starts a session of its own leaves its task's group; nothing here follows it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Ended",
    "boot_time",
    "find_ended",
    "is_running",
    "kill_group",
    "leaders",
    "mentions",
    "spawn",
    "variable_of",
]

# Python ignores SIGPIPE, and a parent under nohup ignores SIGHUP; tasks start with neither.
_DEFAULT_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGPIPE", "SIGXFSZ", "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGALRM")
    if hasattr(signal, name)
)
_SYSTEM = os.uname().sysname
_HAS_WAITID = hasattr(os, "waitid") and _SYSTEM != "Darwin"


class Ended(NamedTuple):
    """A child that is over: it left with `exit_code`, or `signal_number` killed it."""

    pid: int
    exit_code: int | None
    signal_number: int | None


def spawn(
    arguments: list[str],
    environment: Mapping[bytes, bytes],
    stdout: int,
    stderr: int,
) -> int:
    """Start a process as the leader of a new session, with nothing to read; return its id.

    Parameters
    ----------
    arguments
        The first is the path of what to execute.
    stdout, stderr
        Open file descriptors.

    Raises
    ------
    OSError
        If it can't be started.
    """
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
    )
    try:
        return os.posix_spawn(
            arguments[0],
            arguments,
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )
    except NotImplementedError:  # an older macOS: a process group instead of a session
        return os.posix_spawn(
            arguments[0],
            arguments,
            environment,
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )


def find_ended(children: Collection[int]) -> Iterator[Ended]:
    """Yield each of `children` that has ended, after killing what is left of its group.

    Where the system allows it, the group is killed while the dead leader still holds its process
    id, so the id can't have gone to a stranger.
    """
    if not _HAS_WAITID:
        yield from _find_ended_by_waitpid(children)
        return
    while True:
        try:
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if info is None:
            return
        if info.si_pid not in children:  # not ours to reap: look at each of ours instead
            yield from _find_ended_by_waitpid(children)
            return
        kill_group(info.si_pid, signal.SIGKILL)
        os.waitpid(info.si_pid, 0)
        if info.si_code == os.CLD_EXITED:
            yield Ended(info.si_pid, info.si_status, None)
        else:
            yield Ended(info.si_pid, None, info.si_status)


def _find_ended_by_waitpid(children: Collection[int]) -> Iterator[Ended]:
    for child in tuple(children):
        try:
            pid, status = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            continue
        if pid == 0:
            continue
        kill_group(pid, signal.SIGKILL)
        if os.WIFSIGNALED(status):
            yield Ended(pid, None, os.WTERMSIG(status))
        else:
            yield Ended(pid, os.waitstatus_to_exitcode(status), None)


def kill_group(leader: int, number: int) -> bool:
    """Send a signal to a process group; return False if nothing is left of it."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a dead leader
        return False
    return True


def is_running(pid: int) -> bool:
    """Say whether a process exists and is more than a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return _SYSTEM != "Linux" or Path(f"/proc/{pid}").exists()
    return state not in ("Z", "X")


def mentions(pid: int, text: str) -> bool:
    """Say whether the command line of a process contains `text`: it is still the one we started."""
    return text in _command_of(pid)


def leaders() -> Iterator[tuple[int, str]]:
    """Yield process id and command line of all processes that lead a session.

    A group of its own is not enough: a shell's job may have one, with its parent's command line.
    """
    for pid in _all_processes():
        try:
            if (os.getpgid if _SYSTEM == "Darwin" else os.getsid)(pid) == pid:
                yield pid, _command_of(pid)
        except OSError:  # it has ended, or is nobody's business
            continue


def variable_of(pid: int, name: str) -> str | None:
    """Return a variable of a process's environment, where the system tells."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    start = f"{name}=".encode()
    return next((e[len(start) :].decode() for e in entries if e.startswith(start)), None)


def _all_processes() -> list[int]:
    if _SYSTEM == "Linux":
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [int(word) for word in _ps("-A", "-o", "pid=").split()]


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return "" if _SYSTEM == "Linux" else _ps("-ww", "-o", "command=", "-p", str(pid))


def _ps(*arguments: str) -> str:
    answer = subprocess.run(
        ["ps", *arguments],  # noqa: S607 - wherever the system has it
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout


def boot_time() -> float:
    """Return when the machine was started, in seconds since the epoch; 0 if it doesn't say."""
    try:
        for line in Path("/proc/stat").read_text().splitlines():
            if line.startswith("btime "):
                return float(line.split()[1])
    except OSError:
        answer = subprocess.run(
            ["sysctl", "-n", "kern.boottime"],  # noqa: S607 - macOS: { sec = 1700000000, ... }
            capture_output=True,
            text=True,
            check=False,
        )
        words = answer.stdout.replace(",", " ").split()
        if "sec" in words[:-2]:
            return float(words[words.index("sec") + 2])
    return 0.0
