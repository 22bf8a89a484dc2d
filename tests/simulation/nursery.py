"""hutctl as real processes that start quickly: each is a fork of one that has imported everything.

Run as a module this is the *nursery*: it reads a request a line and answers each with a line. It
adopts what its children leave behind, as init would, so that a test sees every process there is.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulation import effects

__all__ = ["Nursery", "Process"]

_BECOME_SUBREAPER = 36  # prctl(2), PR_SET_CHILD_SUBREAPER
_ELSEWHERE = (
    "hut.aws",
    "hut.backends.batch",
    "hut.rest",
    "hut.store.dynamodb",
    "hutctl.recovery",
    "hutctl.remote",
)
"""What no run on this machine needs."""
_LIMIT = 60.0


@dataclass
class Process:
    """A call of hutctl."""

    nursery: Nursery
    pid: int
    arguments: tuple[str, ...]
    said: Path
    code: int | None = None

    @property
    def lives(self) -> bool:
        if self.code is None:
            self.code = self.nursery.ask(ended=self.pid)
        return self.code is None

    def send(self, number: int, *, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self) -> int:
        """Wait for its end and return its exit code; minus a signal's number if that ended it."""
        until = time.monotonic() + _LIMIT
        while self.lives:
            assert time.monotonic() < until, f"{self.arguments} does not end: {self.output}"
            time.sleep(0.004)
        assert self.code is not None
        return self.code

    @property
    def output(self) -> str:
        return self.said.read_text() if self.said.exists() else ""  # killed before it could speak


class Nursery:
    """The other end of the nursery's pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        )
        self._number = 0

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def hutctl(
        self,
        folder: Path,
        *arguments: str,
        dies_before: int | str | None = None,
        tears: bool = False,
        full_from: int | None = None,
        home: Path | None = None,
    ) -> Process:
        """Start hutctl in a folder, with its home there if it is nowhere else."""
        self._number += 1
        said = folder / f"said-{self._number}"
        pid = self.ask(
            arguments=arguments,
            folder=str(folder),
            home=str(home or folder / "home"),
            said=str(said),
            dies_before=dies_before,
            tears=tears,
            full_from=full_from,
        )
        return Process(self, pid, arguments, said)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def _serve() -> None:
    with contextlib.suppress(OSError, AttributeError):  # elsewhere than on Linux init does it
        ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)
    for package in ("hut", "hutctl"):
        _import_all(package)
    gc.freeze()  # what was imported is never looked through again, nor copied for it
    answers = os.fdopen(os.dup(1), "w")
    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "arguments" in request:
            pid = os.fork()
            if pid == 0:
                _be_hutctl(request)
            answer: int | None = pid
        else:
            _reap(ended)
            answer = ended.get(request["ended"])
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()


def _import_all(package: str) -> None:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if not module.name.startswith(_ELSEWHERE) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _reap(ended: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            ended[pid] = os.waitstatus_to_exitcode(status)


def _be_hutctl(request: dict[str, Any]) -> None:
    """Do in a fork what ``python -m hutctl`` does."""
    code = 99
    try:
        os.setpgid(0, 0)
        os.chdir(request["folder"])
        said = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for place, old in enumerate((os.open(os.devnull, os.O_RDONLY), said, said)):
            os.dup2(old, place)
        folder = Path(request["folder"])
        os.environ["HUT_HOME"] = request["home"]
        os.environ["XDG_CONFIG_HOME"] = str(folder / "xdg")
        os.environ.pop("HUT_TARGET", None)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        effects.install(
            request["dies_before"],
            folder / "history",
            tears=request["tears"],
            full_from=request["full_from"],
        )
        from hutctl.root import invoke

        code = invoke([*request["arguments"], "--target", "local"])
        sys.stdout.flush()
        sys.stderr.flush()
    except KeyboardInterrupt:  # before there was anything to cancel
        code = 130
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
