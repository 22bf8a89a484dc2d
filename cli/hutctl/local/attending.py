"""Works on runs of this machine, or stands by while another process does."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from hut.control import Control
from hut.model.states import TERMINAL_RUN
from hut.store.port import StoreError
from hut.store.sqlite import SqliteStore
from hut.views import Document, run_document
from hutctl.client import Attended, Display, Unreachable
from hutctl.local.configured import Configured
from hutctl.local.driving import drive, follow
from hutctl.local.home import Home
from hutctl.local.lock import holder_of
from hutctl.local.takeover import Takeover

__all__ = ["Attending"]

_DETACH_SECONDS = 10.0


class Attending:
    """The part of `LocalClient` that sees runs to their end."""

    _config: str | None
    _configured: Configured
    _control: Control
    _home: Home
    _say: Callable[[str], None]
    _store: SqliteStore

    def attend(self, run_id: str, display: Display) -> Attended:
        """Work on a run until it ends; where another process does, follow it and stand by."""
        return self._attend(run_id, display, self._say)

    def _attend(self, run_id: str, display: Display, say: Callable[[str], None]) -> Attended:
        folder = self._home.run_folder(run_id)
        while True:
            run = self._store.get_run(run_id)
            if run.ended_at is not None:
                return Attended(run_document(run))
            if run.held and run.cancel_requested_at is None:
                raise StoreError(
                    f"run {run_id} is still being sent, so nothing of it may start; submit the same "
                    f"again to go on with that, or cancel it: hutctl cancel {run_id}"
                )
            try:
                attended = drive(
                    self._control,
                    self._store,
                    folder,
                    run_id,
                    replace(
                        self._configured.machine(run), look_again=self._configured.look_again(run)
                    ),
                    display,
                    found=lambda left: _tell_found(left, say),
                )
            except BrokenPipeError:
                raise  # nobody reads what is shown any more
            except (OSError, sqlite3.Error) as error:
                raise Unreachable(_left_at(run_id, error)) from error
            if attended is None:
                say(f"another hutctl works on run {run_id}; following it")
                attended = follow(self._store, folder, run_id, display)
            if attended is not None:
                return attended

    def watch(self, run_id: str, display: Display) -> Attended:
        """Follow a run that another process works on."""
        attended = follow(self._store, self._home.run_folder(run_id), run_id, display)
        if attended is None:
            raise Unreachable(
                f"no hutctl works on run {run_id}; take it up with: hutctl resume {run_id}"
            )
        return attended

    def detach(self, run_id: str) -> None:
        """Let a process of its own work on the run."""
        folder = self._home.run_folder(run_id)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [sys.executable, "-m", "hutctl", "resume", run_id, "--target", "local"]
        if self._config is not None:
            command += ["--config", os.path.abspath(self._config)]
        descriptor = os.open(folder / "hutctl.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "HUT_HOME": str(self._home.path)},
            )
        until = time.monotonic() + _DETACH_SECONDS
        while time.monotonic() < until:
            if holder_of(folder) or self._store.get_run(run_id).state in TERMINAL_RUN:
                return
            if child.poll() is not None:
                break
            time.sleep(0.02)
        raise Unreachable(f"the hutctl in the background did not start; see {folder}/hutctl.log")

    def cancel(self, run_id: str) -> Document:
        """Stop a run; if nobody works on it any more, end here what it left running."""
        run = self._control.cancel(run_id, time.time())
        if run.ended_at is None:
            return self._attend(run_id, _Nowhere(), _say_nothing).run
        return run_document(run)


def _left_at(run_id: str, error: OSError | sqlite3.Error) -> str:
    """Say that the files of a run can't be written, and what becomes of it."""
    where, why = "", str(error)
    if isinstance(error, OSError):
        where, why = f"{error.filename}: " if error.filename else "", error.strerror or why
    return (
        f"run {run_id} can't go on: {where}{why}; its tasks that run now go on by themselves, the "
        f"others wait until what is wrong is put right and you say: hutctl resume {run_id}"
    )


def _say_nothing(message: str) -> None:
    """Say nothing."""


def _tell_found(found: Takeover, say: Callable[[str], None]) -> None:
    parts = [
        (len(found.adopted), "still running"),
        (len(found.ended), "ended meanwhile"),
        (found.lost, "lost"),
        (found.given_back, "never started"),
    ]
    told = ", ".join(f"{count:,} {what}" for count, what in parts if count)
    if told:
        say(f"taken over from an earlier hutctl: {told}")


class _Nowhere:
    """A display for nobody."""

    def show(self, progress: object) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Do nothing."""
