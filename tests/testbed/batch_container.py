"""Batch: the container of one attempt, as a child process with a folder of its own.

What a container isolates is not: file system, network, users, memory. What is modelled: its
environment, its main process (which alone gets SIGTERM), the end of everything with it, and
its output in CloudWatch Logs while it runs.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.testbed import logs
from tests.testbed.batch_secrets import UnreadableError, values_of
from tests.testbed.patching import environment_of_children, settings

_LOOK = 0.1  # seconds between two looks whether a silent process has ended
_READ = 1 << 16
_KILLED = 128

_first: set[int] = set()  # the processes that containers began with, of those that run


class Container:
    """The process of an attempt.

    Attributes
    ----------
    exit_code
        Once it ended: as a shell reports it, 128 and the signal's number if one ended it.
    timed_out
        Whether it ran longer than it was allowed to.
    """

    def __init__(self, job: dict[str, Any], group: str, stream: str, attempt: int) -> None:
        self.exit_code: int | None = None
        self.timed_out = False
        self._job = job
        self._group = group
        self._stream = stream
        self._attempt = attempt
        self._process: subprocess.Popen[bytes] | None = None
        self._kill_at: float | None = None

    def start(self, *, make_group: bool) -> str | None:
        """Start the process; return why it can't be started."""
        if make_group:
            logs.make_group(self._group)
        if not logs.group_exists(self._group):
            return (
                "ResourceInitializationError: failed to validate logger args: failed to create "
                "Cloudwatch log stream: ResourceNotFoundException: The specified log group does "
                f"not exist: {self._group}"
            )
        try:
            secrets = values_of(self._job["container"].get("secrets") or ())
        except UnreadableError as error:
            return str(error)
        name = f"{self._job['jobId'].replace(':', '-')}-{self._attempt}"
        folder = os.path.join(settings.work, "batch", name)
        work, temporary = f"{folder}/work", f"{folder}/tmp"
        for each in (folder, work, temporary):
            os.mkdir(each)
        try:
            self._process = subprocess.Popen(
                self._job["container"]["command"] or ["true"],
                cwd=work,
                env=self._environment(temporary, secrets),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        except OSError as error:
            return f"CannotStartContainerError: Error response from daemon: {error}"
        _first.add(self._process.pid)
        return None

    def wait(self, limit: float | None, grace: float) -> None:
        """Pass on what the process writes until it ends; end it when its time is over."""
        assert self._process is not None
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        os.set_blocking(output, False)
        log = logs.LogStream(self._group, self._stream)
        until = None if limit is None else time.monotonic() + limit
        with (
            self._process.stdout,
            _end_of(self._process.pid) as end,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(output, selectors.EVENT_READ)
            if end is not None:
                selector.register(end, selectors.EVENT_READ)
            is_open = True
            while self._process.poll() is None:
                ready = [key.fd for key, _ in selector.select(_LOOK if is_open else _LOOK / 10)]
                if output in ready and not _copy(output, log):
                    is_open = False  # it may go on for all that
                    selector.unregister(output)
                if until is not None and time.monotonic() > until and not self.timed_out:
                    self.timed_out = True
                    self.stop(grace)
                if self._kill_at is not None and time.monotonic() > self._kill_at:
                    self.kill()
            self.kill()  # a container ends with its main process
            if end is not None:
                selector.unregister(end)
            while is_open and selector.select(0):
                is_open = _copy(output, log)
        log.close()
        _first.discard(self._process.pid)
        code = self._process.returncode
        self.exit_code = code if code >= 0 else _KILLED - code

    def stop(self, grace: float) -> None:
        """Ask the main process to end; kill everything a while later."""
        if self._process is None or self._process.poll() is not None:
            return
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill all processes of the container."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            # What has left the group: in a container it would not outlive its first process.
            mark = f"AWS_BATCH_JOB_ID={self._job['jobId']}".encode()
            for process in _started_after(self._process.pid):
                with contextlib.suppress(OSError):
                    if mark in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                        os.kill(process, signal.SIGKILL)

    def _environment(self, temporary: str, secrets: dict[str, str]) -> dict[str, str]:
        own = {each["name"]: each["value"] for each in self._job["container"]["environment"]}
        batch = {
            "AWS_BATCH_JOB_ID": self._job["jobId"],
            "AWS_BATCH_JQ_NAME": self._job["jobQueue"].rpartition("/")[2],
            "AWS_BATCH_CE_NAME": "testbed",
            "AWS_BATCH_JOB_ATTEMPT": str(self._attempt),
        }
        index = self._job.get("arrayProperties", {}).get("index")
        if index is not None:
            batch["AWS_BATCH_JOB_ARRAY_INDEX"] = str(index)
        return environment_of_children(TMPDIR=temporary, **{**own, **secrets, **batch})


@contextlib.contextmanager
def _end_of(process: int) -> Iterator[int | None]:
    """Return a file that can be read from once a process has ended; None where there is none."""
    try:
        file = os.pidfd_open(process)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield file
    finally:
        os.close(file)


def _started_after(process: int) -> list[int]:
    """Return the processes that may have been started after one; none where there is no /proc.

    Their numbers are larger, unless the system has begun to count anew. The first processes of
    other containers are none of them.
    """
    try:
        newest = int(Path("/proc/loadavg").read_text().split()[-1])
        numbers = {int(name) for name in os.listdir("/proc") if name.isdecimal()}
    except OSError:
        return []
    return [each for each in numbers - _first if newest < process or each > process]


def _copy(output: int, log: logs.LogStream) -> bool:
    """Pass on what is there; say whether more may come."""
    try:
        data = os.read(output, _READ)
    except BlockingIOError:
        return True
    log.write(data)
    return bool(data)
