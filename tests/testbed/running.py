"""Start a test bed for some tests, talk to it, and leave nothing of it behind.

Nothing here imports the emulator: it runs in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

from tests.testbed.address import ACCOUNT, REGION, aws_variables, without_aws

__all__ = ["ACCOUNT", "REGION", "TestBed", "start_test_bed"]

_ROOT = Path(__file__).resolve().parents[2]
_PORTS = (10_000, 32_000)
_TRIES = 3
_START_LIMIT = 60.0  # seconds
_STOP_LIMIT = 5.0
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TERM", "VIRTUAL_ENV")
# No profile and no file of the person who runs the tests is read.
_NO_FILES: dict[str, Any] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


@dataclass
class TestBed:
    """A test bed that runs.

    Attributes
    ----------
    url
        Where all services answer, without a slash at the end.
    folder
        Its folder: the log, the homes and the folders of jobs.
    home
        The home folder of Batch jobs.
    """

    __test__ = False  # not a class of tests, whatever pytest thinks of its name

    url: str
    folder: Path
    home: Path
    _session: boto3.session.Session = field(repr=False)
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    def environment(self) -> dict[str, str]:
        """Return this process's environment, pointed to the test bed and nowhere else."""
        return {**without_aws(dict(os.environ)), **aws_variables(self.url)}

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service; threads may share it."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self.new_client(service)
            return self._clients[service]

    def new_client(
        self, service: str, key: str = "test", secret: str = "test", **config: Any
    ) -> Any:
        """Return a client with an access key and botocore settings of its own."""
        options: dict[str, Any] = {"max_pool_connections": 64, **config}
        if service == "s3":
            options.setdefault("s3", {"addressing_style": "path"})
        with self._lock:  # a session may not make two clients at the same time
            return self._session.client(
                service,
                region_name=REGION,
                endpoint_url=self.url,
                aws_access_key_id=key,
                aws_secret_access_key=secret,
                config=Config(**options),
            )

    def hook(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call one of the test bed's own hooks: POST with a body, GET without."""
        request = urllib.request.Request(
            f"{self.url}/_hut/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                message = f"{path}: {error.code} {error.read().decode(errors='replace')}"
            raise ValueError(message) from None

    def reset(self) -> None:
        """End all jobs and forget everything."""
        self.hook("reset", {})

    @property
    def log(self) -> str:
        """What the test bed itself has said so far."""
        return (self.folder / "test-bed.log").read_text(errors="replace")


@contextlib.contextmanager
def start_test_bed(
    folder: Path, *, home: Path | None = None, options: Mapping[str, str] | None = None
) -> Iterator[TestBed]:
    """Run a test bed for the time of a ``with`` block.

    Parameters
    ----------
    folder
        A folder of its own; it is created.
    home
        The home folder of Batch jobs; by default one in the folder.
    options
        More environment variables for the test bed (see README.md).
    """
    folder = folder.resolve()
    home = (home or folder / "home").resolve()
    for each in (folder, home, folder / "tmp"):
        each.mkdir(parents=True, exist_ok=True)
    process, url = _start(folder, home, options or {})
    try:
        session = botocore.session.Session(session_vars=_NO_FILES)
        yield TestBed(url, folder, home, boto3.session.Session(botocore_session=session))
    finally:
        _stop(process)


def _start(
    folder: Path, home: Path, options: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], str]:
    for _ in range(_TRIES):
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {**aws_variables(url), "HOME": str(home), "TMPDIR": str(folder / "tmp")}
        command = [sys.executable, "-m", "tests.testbed", "--ends-with-parent"]
        with (folder / "test-bed.log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--port", str(port), "--work", str(folder), "--home", str(home)],
                cwd=_ROOT,
                env={**environment, **options},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        is_up = False
        try:
            is_up = _wait_for(process, url)
            if is_up:
                return process, url
        finally:
            if not is_up:  # another process was quicker to take the port, or it is broken
                _stop(process)
    said = (folder / "test-bed.log").read_text(errors="replace")
    raise RuntimeError(f"the test bed does not start ({process.returncode}):\n{said[-4000:]}")


def _wait_for(process: subprocess.Popen[bytes], url: str) -> bool:
    until = time.monotonic() + _START_LIMIT
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_hut/health", timeout=5) as answer:
                return bool(json.load(answer)["pid"] == process.pid)
        except (OSError, ValueError):
            pass  # not yet up
        time.sleep(0.02)
    return False


def _free_port() -> int:
    """Return a port that nobody uses, below those that outgoing connections take."""
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a test bed, its Lambda workers, and its jobs (each a process group of the session)."""
    session = process.pid
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_LIMIT)
    for group in {session, *_groups_of(session)}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    process.wait()


def _groups_of(session: int) -> set[int]:
    """Return the process groups of a session; none where there is no /proc."""
    groups = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = stat.read_text(errors="replace").rpartition(")")[2].split()
            if int(after_name[3]) == session:
                groups.add(int(after_name[2]))
    return groups
