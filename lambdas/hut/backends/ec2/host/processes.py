"""Processes on the instance: short commands, and the task's own, in a session of its own.

A signal reaches everything the task started that is still in its process group; what is left of the
group when its first process has ended is killed. A process that makes a session of its own leaves the group;
on an instance that is used again it would stay.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import tempfile
import time
from typing import Any, NamedTuple

from hut.backends.ec2.host.calls import Stop, Stopped

__all__ = [
    "Done",
    "Ended",
    "HostProcess",
    "Process",
    "boot_id",
    "home_of_user",
    "host_environment",
    "kill_noted",
    "memory_bytes",
    "oom_kills",
    "run_command",
    "start_time",
]

_LOOK = 0.2
_SAID = 2000  # characters of what a command wrote, from its end
# The agent is protected from the kernel's lack of memory, and its files from others; a task is as usual.
_PLAIN = 'umask 022; { echo 0 >/proc/self/oom_score_adj; } 2>/dev/null; exec "$@"'


class Done(NamedTuple):
    """How a short command ended: its exit code, None if it was killed for want of time."""

    code: int | None
    output: str
    errors: str


def run_command(
    argv: list[str],
    *,
    patience: float,
    stop: Stop,
    given: bytes = b"",
    env: dict[str, str] | None = None,
) -> Done:
    """Run a short command to its end, and return what it wrote.

    Parameters
    ----------
    patience
        Seconds after which it is killed.
    given
        What it reads.
    stop
        Ends it early.
    env
        Variables to add.

    Raises
    ------
    Stopped
        If the agent is told to end; the command is killed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with tempfile.TemporaryFile() as stdin:
            stdin.write(given)
            stdin.seek(0)
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=stdin,
                    stdout=output,
                    stderr=errors,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,
                )
            except OSError as error:
                return Done(127, "", f"{argv[0]}: {error.strerror}")
        until = time.monotonic() + patience
        code: int | None = None
        while code is None and time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(min(_LOOK, max(until - time.monotonic(), 0)))
            if code is None and stop.requested:
                _kill_group(process.pid, signal.SIGKILL)
                process.wait()
                raise Stopped
        if code is None:
            _kill_group(process.pid, signal.SIGKILL)
            process.wait()
        return Done(code, _end_of(output), _end_of(errors))


def _end_of(file: Any) -> str:
    file.seek(0, os.SEEK_END)
    file.seek(max(file.tell() - _SAID, 0))
    return str(file.read().decode("utf-8", "replace"))


class Ended(NamedTuple):
    """How a task ended.

    Attributes
    ----------
    how : str
        ``exit``, ``signal``, ``not_started``, ``out_of_memory`` or ``lost``.
    exit_code : int or None
        As a shell reports it.
    said : str
        A sentence, or nothing.
    """

    how: str
    exit_code: int | None
    said: str


class Process:
    """A child that leads a session of its own.

    Attributes
    ----------
    pid
        Its number, and its process group's.
    """

    def __init__(
        self,
        argv: list[str],
        env: dict[str, str],
        output: int,
        *,
        cwd: str = "/",
        reads: Any = None,
    ) -> None:
        self._process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL if reads is None else reads,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.stdin = self._process.stdin

    def wait(self, seconds: float) -> int | None:
        """Return how it ended, as `subprocess` says it, or None if it runs on after some seconds.

        The group is killed while its dead leader still holds the number, so that can't have gone to
        a stranger.
        """
        if self._process.returncode is not None:
            return self._process.returncode
        until = time.monotonic() + seconds
        while not os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            left = until - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(left, 0.05))
        _kill_group(self.pid, signal.SIGKILL)
        return self._process.wait()

    def send(self, number: int) -> bool:
        """Send a signal to all of its group; return whether there is anything left of it."""
        return _kill_group(self.pid, number)


class HostProcess(Process):
    """The task, directly on the host: as root, from its home on."""

    def __init__(self, argv: list[str], env: dict[str, str], output: int) -> None:
        cwd = env["HOME"] if os.path.isdir(env["HOME"]) else "/"
        super().__init__(["/bin/sh", "-c", _PLAIN, "sh", *argv], env, output, cwd=cwd)

    def explain(self, code: int) -> Ended:
        """Return what its end means."""
        if code >= 0:
            return Ended("exit", code, "")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
        return Ended("signal", 128 - code, f"signal {-code} ({name}) killed it")


def host_environment(env: dict[str, str]) -> dict[str, str]:
    """Return the variables of a task on the host: the system's, as far as SSM's agent has them, and its own."""
    own = {name: value for name, value in os.environ.items() if not _is_private(name)}
    user = pwd.getpwuid(os.getuid())
    for name, value in (("HOME", user.pw_dir), ("USER", user.pw_name), ("LOGNAME", user.pw_name)):
        own.setdefault(name, value)
    own.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return {**own, **env}


def _is_private(name: str) -> bool:
    return name.startswith(("AWS_SSM_", "SSM_", "HUT_HOST_"))


def home_of_user() -> str:
    """Return the home of who runs the agent."""
    return os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir


# What another command needs to end a task whose agent died ----------------------------------------


def boot_id() -> str:
    """Return what names this start of the machine."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def start_time(pid: int) -> str:
    """Return when a process was started, in the kernel's own count; empty if there is none."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def kill_noted(pid: int, start: str, boot: str) -> bool:
    """Kill the group of a process that was noted, unless its number may be somebody else's."""
    if boot != boot_id() or start_time(pid) not in (start, ""):
        return False
    return _kill_group(pid, signal.SIGKILL)


def oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since it was started."""
    for line in _read("/proc/vmstat").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def memory_bytes() -> int:
    """Return how much memory the machine has; 0 if it doesn't say."""
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _kill_group(leader: int, number: int) -> bool:
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
