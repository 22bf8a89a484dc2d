"""What an heir makes of the notes that a dead engine and its scripts left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hut.backends.local import LocalBackend, LocalOptions
from hut.backends.local.logs import log_path
from hut.control import Control
from hut.model.states import Reason
from hut.store.port import Claim
from hutctl.local.takeover import Takeover, take_over
from tests.contract.worlds import World, sqlite_world
from tests.hutctl_process import alive, wait_until

LIMIT = {"time_limit": "60s"}
LONG_AFTER = 10_000.0


class Heir:
    """A run with one claimed task, whose engine (epoch 1) is dead, and the engine after it."""

    def __init__(self, folder: Path) -> None:
        self.world: World = sqlite_world(folder)
        self.run = self.world.create({"id": "t", **LIMIT})
        (self.claim,) = self.world.claim(self.run)
        self.folder = folder / "run"
        for name in ("journal", "logs"):
            (self.folder / name).mkdir(parents=True)

    def note(self, starts: str = "", ends: str = "", printed: str = "") -> None:
        """Leave what the dead engine and the script of its attempt wrote."""
        (self.folder / "journal" / "starts").write_text(starts)
        (self.folder / "journal" / "ends").write_text(ends)
        if printed:
            (self.folder / "logs" / ".slot-1-0.out").write_text(printed)

    def take_over(self) -> Takeover:
        options = LocalOptions(self.folder, epoch=2)
        with LocalBackend(options) as backend:
            control = Control(self.world.store)
            return take_over(control, self.world.store, self.run.id, backend, LONG_AFTER)[1]

    def log(self) -> str:
        return log_path(self.folder / "logs", 0, "t", 1, "out").read_text()


@pytest.fixture
def heir(tmp_path: Path) -> Iterator[Heir]:
    heir = Heir(tmp_path)
    yield heir
    heir.world.store.close()  # type: ignore[attr-defined]


def key(claim: Claim) -> str:
    return f"{claim.key.position}.{claim.key.attempt}.{claim.key.epoch}"


def test_an_attempt_whose_engine_died_before_it_noted_the_start_keeps_its_log(heir: Heir) -> None:
    heir.note(ends=f"E {key(heir.claim)} 0 5000.0 1-0 .\n", printed="whole\n")
    ((_, finished),) = heir.take_over().ended
    assert finished.outcome.exit_code == 0
    assert heir.log() == "whole\n"


@pytest.fixture
def leaving() -> Iterator[tuple[int, int]]:
    """A shell that has ended, and a child it left in its group."""
    command = ["sh", "-c", "sleep 60 & echo $!"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as shell:
        assert shell.stdout is not None
        left = int(shell.stdout.readline())
    yield shell.pid, left
    with contextlib.suppress(ProcessLookupError):
        os.kill(left, signal.SIGKILL)


def test_what_it_left_running_is_killed_too(heir: Heir, leaving: tuple[int, int]) -> None:
    shell, left = leaving
    heir.note(ends=f"E {key(heir.claim)} 0 {time.time()} 1-0 {shell} .\n")
    heir.take_over()
    wait_until(lambda: not alive(left))


@pytest.mark.parametrize("at", ["1.0", ""])
def test_a_process_number_of_before_the_last_boot_says_nothing(
    heir: Heir, leaving: tuple[int, int], at: str
) -> None:
    shell, left = leaving
    heir.note(ends=f"E {key(heir.claim)} 0 {at} 1-0 {shell} .\n")
    heir.take_over()
    assert alive(left)


@pytest.mark.parametrize("slot", ["../../x", "", "1-", "x"])
def test_a_slot_that_a_command_made_up_names_no_file(heir: Heir, slot: str) -> None:
    (heir.folder / "logs" / f".slot-{slot.replace('/', '')}.out").write_text("not its own")
    heir.note(ends=f"E {key(heir.claim)} 0 5000.0 {slot} .\n")
    assert len(heir.take_over().ended) == 1
    assert not log_path(heir.folder / "logs", 0, "t", 1, "out").exists()


@pytest.mark.parametrize(("at", "late"), [("1030.0", False), ("1090.0", True), ("", False)])
def test_only_a_time_says_that_an_unseen_end_was_late(heir: Heir, at: str, late: bool) -> None:
    """Shells before bash 5 note no time: an heir that comes late must not blame the attempt."""
    name = key(heir.claim)
    heir.note(starts=f"S {name} 4194304 1000.0 1-0 .\n", ends=f"E {name} 0 {at} 1-0 .\n")
    ((_, finished),) = heir.take_over().ended
    assert (finished.outcome.reason is Reason.TIMEOUT) is late
