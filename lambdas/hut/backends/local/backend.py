"""Runs attempts as processes of this machine and says how they ended.

Starts, stops, time limits and adoption are here; which attempt to start, and what its end means, is
decided by the engine that owns this backend. One backend belongs to one run.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple, Self

from hut.backends.local.journal import JournalFiles, NotedEnd, NotedStart
from hut.backends.local.logs import LogFiles, Slot
from hut.backends.local.pace import StartPace
from hut.backends.local.processes import (
    Ended,
    boot_time,
    find_ended,
    is_running,
    kill_group,
    leaders,
    mentions,
    spawn,
    variable_of,
)
from hut.lifecycle.attempt import EXIT_NOT_STARTED, Evidence
from hut.store.port import AttemptKey

__all__ = ["Finished", "Launch", "LocalBackend", "LocalOptions"]

_POLL_ADOPTED_SECONDS = 0.1
_LONGEST_ARGUMENT = 100_000  # Linux takes 128 KiB in one argument
_TERMINATE_FIRST = (signal.SIGTERM, signal.SIGKILL)
_INTERRUPT_FIRST = (signal.SIGINT, *_TERMINATE_FIRST)


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How processes are run.

    Attributes
    ----------
    folder : Path
        Folder of the run: logs, journal and scripts are kept in it.
    epoch : int
        The run's epoch; keeps the files of its engines apart.
    kill_grace : float
        Seconds between TERM and KILL.
    shell : str or None
        Path of bash; None to look for it.
    expected : int
        How many starts are to come, if that is known.
    """

    folder: Path
    epoch: int = 0
    kill_grace: float = 5.0
    shell: str | None = None
    expected: int = 0


class Launch(NamedTuple):
    """What is needed to start one attempt.

    Attributes
    ----------
    script : str
        Rendered with the journal entry of `LocalBackend.journal_key`.
    private : bool
        The script holds values people gave; it must not show in the list of processes.
    folder : str
        Where the command runs, for messages and relative output files.
    output_file, error_file : str or None
        Absolute paths people asked for, instead of the run's own log files.
    plain : bool
        Run it with ``sh`` though there is a bash, and ask it to end with INT before TERM: as lines of
        a task file are.
    log : str
        Path of its log files without their ending; empty: the run's own.
    grace : float or None
        Seconds between TERM and KILL, where they are its own.
    """

    key: AttemptKey
    task_id: str
    script: str
    private: bool
    folder: str
    time_limit: float
    output_file: str | None = None
    error_file: str | None = None
    plain: bool = False
    log: str = ""
    grace: float | None = None


class Finished(NamedTuple):
    """An attempt is over. `evidence` is None if it vanished without a trace of its end."""

    key: AttemptKey
    evidence: Evidence | None
    pid: int | None
    started_at: float | None
    at: float


@dataclass(slots=True)
class _Process:
    key: AttemptKey
    pid: int
    started_at: float
    time_limit: float
    limit_at: float  # on the monotonic clock, like kill_at: a clock that is set ends no task
    folder: str = ""
    slot: Slot | None = None
    grace: float | None = None
    stopped: Literal["timeout", "cancelled"] | None = None
    kill_at: float | None = None
    signals: Sequence[signal.Signals] = _TERMINATE_FIRST  # still to be sent

    @property
    def adopted(self) -> bool:
        """Whether another engine started it: it is no child of this process."""
        return self.slot is None

    @property
    def deadline(self) -> float:
        """When, on the monotonic clock, something has to be done about it, if it has not ended by itself."""
        if self.stopped is not None:
            return float("inf") if self.kill_at is None else self.kill_at
        return self.limit_at


class LocalBackend:
    """Processes of one run.

    Must be used from the main thread, as a context manager: it listens to SIGCHLD meanwhile.

    Parameters
    ----------
    options
        How processes are run.
    environment
        What their environment starts from; by default this process's.
    """

    def __init__(self, options: LocalOptions, environment: Mapping[str, str] = os.environ) -> None:
        self.options = options
        self._processes: dict[int, _Process] = {}
        self._pids: dict[AttemptKey, int] = {}
        self._not_started: list[Finished] = []
        self._pace = StartPace()
        self._started = False
        shell = options.shell or shutil.which("bash")
        self.shell: Literal["bash", "sh"] = "bash" if shell else "sh"
        self._shell = shell or "/bin/sh"
        self._environment = {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}
        self._environments: dict[str, dict[bytes, bytes]] = {}
        self.logs = LogFiles(options.folder / "logs", options.epoch)
        self.journal = JournalFiles(options.folder / "journal", options.epoch)

    def __enter__(self) -> Self:
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        self._old_wakeup = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._old_handler: Any = signal.signal(signal.SIGCHLD, _ignore)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._old_wakeup)
        signal.signal(signal.SIGCHLD, self._old_handler)
        self._wake.close()
        self._waker.close()
        self.logs.close()
        self.journal.close()

    @property
    def running(self) -> int:
        """Number of processes that have not ended."""
        return len(self._processes)

    def journal_key(self, key: AttemptKey) -> str:
        """Return the name of an attempt in the journal."""
        return f"{key.position}.{key.attempt}.{key.epoch}"

    def start(self, launch: Launch) -> int | None:
        """Start an attempt and return its process id.

        If it can't be started, None is returned and `wait` reports the end, with the reason.

        Raises
        ------
        OSError
            If the disk of the run's own files is full, which is no fault of the task.
        """
        key = launch.key
        slot = self.logs.take(
            launch.log or self.logs.stem(key.position, launch.task_id, key.attempt)
        )
        environment = self._environments.get(slot.name)
        if environment is None:
            environment = {**self._environment, b"HUT_SLOT": slot.name.encode()}
            self._environments[slot.name] = environment
        opened: list[int] = []
        if not self._started:
            self._started = True
            time.sleep(self._pace.pause_before_first(time.process_time(), self.options.expected))
        try:
            stdout, stderr = self._output(launch, slot, opened)
            arguments = self._arguments(launch)
            began = time.monotonic()
            pid = spawn(arguments, environment, stdout, stderr)
        except OSError as error:
            self.logs.give_back(slot)
            if self._is_full(error):
                raise
            what = f"{error.filename}: " if error.filename else ""
            message = f"the task could not be started: {what}{error.strerror}"
            now = time.time()
            evidence = Evidence(not_started=message)
            self._not_started.append(Finished(key, evidence, None, None, now))
            return None
        finally:
            for descriptor in opened:
                os.close(descriptor)
        clock, now = time.monotonic(), time.time()
        self.journal.note_start(self.journal_key(key), NotedStart(pid, now, slot.name))
        self._processes[pid] = _Process(
            key,
            pid,
            now,
            launch.time_limit,
            clock + launch.time_limit,
            launch.folder,
            slot,
            launch.grace,
            signals=_INTERRUPT_FIRST if launch.plain else _TERMINATE_FIRST,
        )
        self._pids[key] = pid
        if pause := self._pace.pause_after(clock - began, clock):
            time.sleep(pause)
        return pid

    def _is_full(self, error: OSError) -> bool:
        """Say whether there is no room for the run's own files; a task may name others."""
        folder = str(self.options.folder)
        own = error.filename is None or str(error.filename).startswith(folder)
        return own and error.errno in (errno.ENOSPC, errno.EDQUOT)

    def adopt(self, key: AttemptKey, pid: int, started_at: float, time_limit: float) -> bool:
        """Take over an attempt that an earlier engine started; False if it does not live."""
        if started_at < boot_time():
            return False  # the process ids of an earlier boot say nothing
        if not (is_running(pid) and self._is_attempt(key, pid)):
            # Its shell is dead, and so must be what it left behind.
            self._kill_leftovers(key, pid)
            return False
        limit_at = time.monotonic() + time_limit - (time.time() - started_at)
        self._processes[pid] = _Process(key, pid, started_at, time_limit, limit_at)
        self._pids[key] = pid
        return True

    def stop(self, key: AttemptKey, why: Literal["timeout", "cancelled"]) -> None:
        """Ask an attempt to end (TERM, or INT first); it is killed when the grace is over."""
        process = self._processes.get(self._pids.get(key, -1))
        if process is None or process.stopped is not None:
            return
        process.stopped = why
        self._signal(process)

    def _signal(self, process: _Process) -> None:
        """Send the next signal, and say when the one after it is due."""
        following, *more = process.signals
        process.signals = more
        grace = self.options.kill_grace if process.grace is None else process.grace
        process.kill_at = time.monotonic() + grace if more else None
        kill_group(process.pid, following)

    def kill(self, key: AttemptKey) -> None:
        """Kill an attempt now."""
        pid = self._pids.get(key)
        if pid is not None:
            kill_group(pid, signal.SIGKILL)

    def stop_all(self, *, force: bool = False) -> None:
        """Cancel everything that runs; with `force`, kill it now."""
        for process in list(self._processes.values()):
            self.stop(process.key, "cancelled")
            if force:
                kill_group(process.pid, signal.SIGKILL)

    def wake(self) -> None:
        """Let `wait` return now; may be called from another thread."""
        with suppress(OSError):  # so many are on their way that one more is nothing, or it is over
            self._waker.send(b"\0")

    def publish_logs(self, *, empty_too: bool = False) -> None:
        """Let what running attempts have written be found under their names."""
        slots = [p.slot for p in self._processes.values() if p.slot is not None]
        self.logs.publish(slots, empty_too=empty_too)

    def wait(self, timeout: float | None) -> list[Finished]:
        """Return attempts that ended, after waiting for up to `timeout` seconds for one.

        Returns early, with an empty list, when a signal arrives. Time limits are enforced here.
        """
        if not self._not_started:
            self._sleep(timeout)  # returns at once if a child has ended since the last time
        return self._collect()

    def _sleep(self, timeout: float | None) -> None:
        """Sleep until a child ends, a signal arrives or something is due."""
        now = time.monotonic()
        due = [process.deadline - now for process in self._processes.values()]
        if any(process.adopted for process in self._processes.values()):
            due.append(_POLL_ADOPTED_SECONDS)
        if timeout is not None:
            due.append(timeout)
        shortest = min(due, default=None)
        seconds = None if shortest in (None, float("inf")) else max(shortest or 0.0, 0.0)
        ready, _, _ = select.select([self._wake], [], [], seconds)
        if ready:
            self._wake.recv(4096)

    def _collect(self) -> list[Finished]:
        finished, self._not_started = self._not_started, []
        for ended in find_ended(self._processes):
            finished.append(self._finish(self._processes.pop(ended.pid), ended))
        now = time.monotonic()
        noted = None
        for process in list(self._processes.values()):
            if process.deadline <= now:
                self._enforce(process)
            if process.adopted and not is_running(process.pid):
                noted = self.journal.ends() if noted is None else noted
                del self._processes[process.pid]
                self._kill_leftovers(process.key, process.pid)
                end = noted.get(self.journal_key(process.key))
                ended_adopted = None if end is None else Ended(process.pid, end.exit_code, None)
                finished.append(self._finish(process, ended_adopted))
        return finished

    def _finish(self, process: _Process, ended: Ended | None) -> Finished:
        self._pids.pop(process.key, None)
        if process.slot is not None:
            self.logs.give_back(process.slot)
        evidence: Evidence | None = None
        if ended is not None or process.stopped is not None:
            evidence = Evidence(
                exit_code=None if ended is None else ended.exit_code,
                signal_number=None if ended is None else ended.signal_number,
                timed_out=process.stopped == "timeout",
                cancelled=process.stopped == "cancelled",
                time_limit=process.time_limit,
                not_started=self._why_not_started(process, ended),
            )
        return Finished(process.key, evidence, process.pid, process.started_at, time.time())

    def _why_not_started(self, process: _Process, ended: Ended | None) -> str:
        """Tell a script that could not enter its folder from a command that exits with 125."""
        if ended is None or ended.exit_code != EXIT_NOT_STARTED or not process.folder:
            return ""
        if os.path.isdir(os.path.expanduser(process.folder)):
            return ""
        return f"the working folder {process.folder} does not exist"

    def _enforce(self, process: _Process) -> None:
        if process.stopped is None:
            self.stop(process.key, "timeout")
        elif process.kill_at is not None:
            self._signal(process)

    def _arguments(self, launch: Launch) -> list[str]:
        """Return what to execute: the script as an argument, or as a file only its owner reads."""
        shell = "/bin/sh" if launch.plain else self._shell
        if not launch.private and len(launch.script) < _LONGEST_ARGUMENT:
            return [shell, "-c", launch.script]
        folder = self.options.folder / "scripts"
        folder.mkdir(exist_ok=True, mode=0o700)
        path = folder / f"{self.journal_key(launch.key)}.sh"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(launch.script)
        return [shell, str(path)]

    def _output(self, launch: Launch, slot: Slot, opened: list[int]) -> tuple[int, int]:
        """Return descriptors for output and errors; those of files people named go to `opened`."""
        stdout, stderr = slot.descriptors
        if launch.output_file is not None:
            stdout = _open_output(launch.output_file)
            opened.append(stdout)
        if launch.error_file is not None and launch.error_file == launch.output_file:
            stderr = stdout
        elif launch.error_file is not None:
            stderr = _open_output(launch.error_file)
            opened.append(stderr)
        return stdout, stderr

    def _is_attempt(self, key: AttemptKey, pid: int) -> bool:
        """Say whether process `pid` still is the attempt, and not a stranger with its number."""
        folder = f"{self.options.folder}/"
        name = self.journal_key(key)
        return mentions(pid, folder) and any(mentions(pid, mark) for mark in _marks(name))

    def find_unnoted(self, keys: Sequence[AttemptKey]) -> dict[AttemptKey, NotedStart]:
        """Return those attempts that run although no start is noted.

        Call it after the fence: what passed the gate before is a process by now.
        """
        found: dict[AttemptKey, NotedStart] = {}
        if not keys:
            return found
        folder = f"{self.options.folder}/"
        for pid, command in leaders():
            if folder not in command:
                continue
            for key in keys:
                if any(mark in command for mark in _marks(self.journal_key(key))):
                    slot = variable_of(pid, "HUT_SLOT") or ""
                    found[key] = NotedStart(pid, time.time(), slot)
        return found

    def kill_noted(self) -> int:
        """Kill what an earlier process noted in this journal as started, and not as ended; return how many."""
        starts, ends = self.journal.fence(), self.journal.ends()
        left = {name: start for name, start in starts.items() if name not in ends}
        for name, start in left.items():
            if start.at is not None and start.at >= boot_time():
                position, attempt, epoch = name.split(".")
                key = AttemptKey(int(position), int(attempt), int(epoch))
                self._kill_leftovers(key, start.pid)
        return len(left)

    def kill_leftovers(self, key: AttemptKey, end: NotedEnd) -> None:
        """Kill what an attempt left behind whose end is noted, but not its start."""
        if end.pid is not None and end.at is not None and end.at >= boot_time():
            self._kill_leftovers(key, end.pid)

    def _kill_leftovers(self, key: AttemptKey, leader: int) -> None:
        """Kill what a dead shell left in its group, unless its number has gone to a stranger."""
        if not is_running(leader) or self._is_attempt(key, leader):
            kill_group(leader, signal.SIGKILL)


def _marks(name: str) -> tuple[str, str]:
    """Return what tells an attempt's process by its command line: its script, or its script's path."""
    return f'"E {name} ', f"/{name}.sh"


def _open_output(path: str) -> int:
    """Open a file a task names for its output, empty; missing folders are made."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    return os.open(path, flags, 0o666)


def _ignore(number: int, frame: FrameType | None) -> None:
    """Take SIGCHLD; its arrival at the wake-up descriptor is all that counts."""
