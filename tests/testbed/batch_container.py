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
from pathlib import Path
from typing import Any

from tests.testbed import logs
from tests.testbed.patching import environment_of_children, settings

_LOOK = 0.1  # seconds between two looks whether a silent process has ended
_READ = 1 << 16
_KILLED = 128


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
        folder = settings.work / "batch" / self._job["jobId"].replace(":", "-") / str(self._attempt)
        for each in ("work", "tmp"):
            (folder / each).mkdir(parents=True, exist_ok=True)
        try:
            self._process = subprocess.Popen(
                self._job["container"]["command"] or ["true"],
                cwd=folder / "work",
                env=self._environment(str(folder / "tmp")),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        except OSError as error:
            return f"CannotStartContainerError: Error response from daemon: {error}"
        return None

    def wait(self, limit: float | None, grace: float) -> None:
        """Pass on what the process writes until it ends; end it when its time is over."""
        assert self._process is not None
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        os.set_blocking(output, False)
        log = logs.LogStream(self._group, self._stream)
        until = None if limit is None else time.monotonic() + limit
        with self._process.stdout, selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            is_open = True
            while self._process.poll() is None:
                if is_open and selector.select(_LOOK):
                    is_open = _copy(output, log)
                elif not is_open:
                    time.sleep(_LOOK / 10)  # it closed its output and goes on
                if until is not None and time.monotonic() > until and not self.timed_out:
                    self.timed_out = True
                    self.stop(grace)
                if self._kill_at is not None and time.monotonic() > self._kill_at:
                    self.kill()
            self.kill()  # a container ends with its main process
            while is_open and selector.select(0):
                is_open = _copy(output, log)
        log.close()
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
            for environment in Path("/proc").glob("[0-9]*/environ"):
                with contextlib.suppress(OSError):
                    if mark in environment.read_bytes().split(b"\0"):
                        os.kill(int(environment.parent.name), signal.SIGKILL)

    def _environment(self, temporary: str) -> dict[str, str]:
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
        return environment_of_children(TMPDIR=temporary, **{**own, **batch})


def _copy(output: int, log: logs.LogStream) -> bool:
    """Pass on what is there; say whether more may come."""
    try:
        data = os.read(output, _READ)
    except BlockingIOError:
        return True
    log.write(data)
    return bool(data)
