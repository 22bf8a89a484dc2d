"""Processes, journal and log files of this machine, without an engine around them."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hut.backends.local import Finished, LocalBackend
from hut.backends.local.backend import Launch, LocalOptions
from hut.backends.local.journal import JournalFiles, NotedStart
from hut.backends.local.logs import LogFiles, log_path
from hut.backends.local.processes import boot_time
from hut.lifecycle.attempt import EXIT_NOT_STARTED
from hut.model.records import RunRecord, RunSettings
from hut.model.states import RunState, TaskState
from hut.model.workflow import TaskSpec
from hut.script import ScriptRequest, Scripts
from hut.store.port import AttemptKey
from tests.hutctl_process import alive, wait_until

RUN = RunRecord(
    id="r1",
    workflow="w",
    state=RunState.RUNNING,
    reason=None,
    message="",
    owner="me",
    created_at=0.0,
    started_at=0.0,
    ended_at=None,
    total=9,
    counts=dict.fromkeys(TaskState, 0),
    settings=RunSettings(),
)
KEY = AttemptKey(0, 1, 1)


class Machine:
    """Backends of one run, one after the other, as its engines have them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "run"
        self.work = folder / "work"
        self.work.mkdir()

    @contextlib.contextmanager
    def backend(self, epoch: int = 1, *, grace: float = 5.0) -> Iterator[LocalBackend]:
        with LocalBackend(LocalOptions(self.folder, epoch, grace)) as backend:
            backend.journal.open()
            try:
                yield backend
            finally:
                for process in list(backend._processes):
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process, signal.SIGKILL)

    def launch(
        self, backend: LocalBackend, command: str, key: AttemptKey = KEY, **more: Any
    ) -> Launch:
        """Return what starts `command`, rendered as an engine renders it."""
        shell = "sh" if more.get("plain") else backend.shell
        scripts = Scripts(RUN, shell, backend.journal.paths)
        task_id = f"t{key.position}"
        folder = str(more.get("folder", self.work))
        request = ScriptRequest(
            TaskSpec(task_id, command, task_id), key.attempt, folder, backend.journal_key(key)
        )
        fields = {"private": False, "folder": folder, "time_limit": 3600.0, **more}
        return Launch(key, task_id, scripts.render(request), **{**fields, "folder": folder})

    def start(self, backend: LocalBackend, command: str, key: AttemptKey = KEY, **more: Any) -> int:
        pid = backend.start(self.launch(backend, command, key, **more))
        assert pid is not None
        return pid

    def run(self, backend: LocalBackend, command: str, key: AttemptKey = KEY, **more: Any):
        self.start(backend, command, key, **more)
        return only(until_ended(backend))

    def log(self, key: AttemptKey = KEY, kind: str = "out") -> Path:
        return log_path(self.folder / "logs", key.position, f"t{key.position}", key.attempt, kind)

    def logs(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "logs").iterdir())

    @property
    def starts(self) -> Path:
        return self.folder / "journal" / "starts"

    @property
    def ends(self) -> Path:
        return self.folder / "journal" / "ends"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def until_ended(backend: LocalBackend, count: int = 1) -> list[Finished]:
    """Wait for so many attempts to end."""
    found: list[Finished] = []
    until = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < until, "nothing ended"
        found += backend.wait(1.0)
    return found


def only(found: list[Finished]) -> Finished:
    (one,) = found
    return one


def until(condition: Callable[[], object], backend: LocalBackend) -> None:
    """Wait for a condition while the backend goes on; nothing may end meanwhile."""
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "it never happened"
        assert backend.wait(0.02) == []


@contextlib.contextmanager
def stranger(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run something in a session of its own that is none of our attempts."""
    process = subprocess.Popen(arguments, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class LeftBehind:
    """Attempts that an engine started which is gone: children of nobody we watch."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        with machine.backend(1) as backend:
            self.backend = backend
        self.leaders: list[int] = []

    def start(self, command: str, key: AttemptKey = KEY, *, slot: str = "1-7") -> int:
        """Start an attempt by somebody who ends at once; it leads a session of its own."""
        script = self.machine.launch(self.backend, command, key).script
        logs = str(self.machine.folder / "logs" / f".slot-{slot}")
        go = 'setsid bash -c "$1" > "$2.out" 2> "$2.err" < /dev/null & echo $!'
        done = subprocess.run(
            ["bash", "-c", go, "bash", script, logs],
            stdout=subprocess.PIPE,
            env={**os.environ, "HUT_SLOT": slot},
            check=True,
        )
        self.leaders.append(int(done.stdout))
        return self.leaders[-1]

    def end(self) -> None:
        for leader in self.leaders:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, signal.SIGKILL)


@pytest.fixture
def left_behind(machine: Machine) -> Iterator[LeftBehind]:
    found = LeftBehind(machine)
    yield found
    found.end()


# Ends ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 75, 255])
def test_an_attempt_that_ends_by_itself_has_its_exit_code(machine, code):
    with machine.backend() as backend:
        ended = machine.run(backend, f"exit {code}")
        assert backend.running == 0
    assert ended.key == KEY
    evidence = ended.evidence
    assert (evidence.exit_code, evidence.signal_number) == (code, None)
    assert (evidence.timed_out, evidence.cancelled, evidence.not_started) == (False, False, "")
    assert ended.started_at <= ended.at


def test_an_attempt_that_is_killed_has_its_signal(machine):
    with machine.backend() as backend:
        ended = machine.run(backend, "kill -KILL $$")
    assert (ended.evidence.exit_code, ended.evidence.signal_number) == (None, signal.SIGKILL)


def test_several_ends_come_each_under_its_key(machine):
    keys = [AttemptKey(position, 1, 1) for position in range(6)]
    with machine.backend() as backend:
        for key in keys:
            machine.start(backend, f"exit {key.position}", key)
        found = until_ended(backend, len(keys))
    assert {f.key: f.evidence.exit_code for f in found} == {key: key.position for key in keys}


def test_waiting_without_an_end_gives_nothing(machine):
    with machine.backend() as backend:
        assert backend.wait(0.0) == []
        machine.start(backend, "sleep 60")
        assert backend.wait(0.05) == []
        assert backend.running == 1


def test_children_of_others_are_not_taken(machine):
    with machine.backend() as backend:
        other = subprocess.Popen(["sh", "-c", "exit 9"])
        machine.start(backend, "exit 3")
        found = until_ended(backend)
        assert [f.evidence.exit_code for f in found] == [3]
        assert other.wait(60) == 9


def test_what_can_not_be_started_says_why(machine):
    options = LocalOptions(machine.folder, 1, shell=str(machine.folder / "no-shell"))
    with LocalBackend(options) as backend:
        backend.journal.open()
        assert backend.start(machine.launch(backend, "true")) is None
        ended = only(backend.wait(60))
    assert ended.pid is None
    assert "could not be started" in ended.evidence.not_started
    assert machine.starts.read_text() == ""


def test_a_folder_that_is_missing_is_told_from_an_exit_with_125(machine):
    with machine.backend() as backend:
        missing = machine.run(backend, "touch ran", folder=machine.work / "nowhere")
        own = machine.run(backend, "exit 125", AttemptKey(1, 1, 1))
    assert "nowhere" in missing.evidence.not_started
    assert (own.evidence.exit_code, own.evidence.not_started) == (125, "")


def test_an_attempt_reads_nothing_and_knows_its_slot(machine):
    with machine.backend() as backend:
        machine.run(backend, "cat; echo $HUT_SLOT $HUT_TASK_ID")
    assert machine.log().read_text() == "1-0 t0\n"


def test_signals_python_ignores_work_in_tasks(machine):
    with machine.backend() as backend:
        machine.run(backend, "yes | head -n 1; echo ${PIPESTATUS[0]}")
    assert machine.log().read_text() == f"y\n{128 + signal.SIGPIPE}\n"


# Stopping -----------------------------------------------------------------------------------------


def test_the_time_limit_asks_first(machine):
    with machine.backend(grace=3600.0) as backend:
        command = "trap 'echo asked; exit 9' TERM; sleep 60 & wait"
        ended = machine.run(backend, command, time_limit=0.3)
    assert machine.log().read_text() == "asked\n"
    evidence = ended.evidence
    assert (evidence.timed_out, evidence.exit_code, evidence.time_limit) == (True, 9, 0.3)


def test_what_does_not_listen_is_killed_when_the_grace_is_over(machine):
    with machine.backend(grace=0.3) as backend:
        command = "trap 'echo asked' TERM; while :; do sleep 0.05; done"
        ended = machine.run(backend, command, time_limit=0.5)
    assert machine.log().read_text() == "asked\n"
    assert ended.evidence.timed_out
    assert ended.evidence.signal_number == signal.SIGKILL


def test_a_plain_launch_is_asked_with_int_then_term_then_killed_all_its_group(machine):
    """As HyperShell escalates; but what the command started gets the signals too."""
    child = "trap 'echo INT' INT; trap 'echo TERM' TERM; while :; do sleep 0.05; done"
    with machine.backend(grace=0.4) as backend:
        ended = machine.run(backend, f'sh -c "{child}"; true', time_limit=0.5, plain=True)
    assert machine.log().read_text() == "INT\nTERM\n"
    assert ended.evidence.timed_out
    assert ended.evidence.signal_number == signal.SIGKILL


def test_a_plain_launch_is_run_by_sh(machine):
    with machine.backend() as backend:
        machine.run(backend, 'cat "/proc/$$/cmdline" || echo /bin/sh', plain=True)
    assert machine.log().read_bytes().startswith(b"/bin/sh")


def test_a_cancelled_attempt_says_so(machine):
    with machine.backend() as backend:
        # Told by the program itself: a TERM while the shell is about to start it reaches neither.
        machine.start(backend, "sh -c 'echo begun > begun; exec sleep 60'; true")
        until((machine.work / "begun").exists, backend)
        backend.stop(KEY, "cancelled")
        backend.stop(KEY, "timeout")
        ended = only(until_ended(backend))
    assert (ended.evidence.cancelled, ended.evidence.timed_out) == (True, False)
    assert ended.evidence.exit_code == 128 + signal.SIGTERM


def test_stopping_what_is_unknown_does_nothing(machine):
    with machine.backend() as backend:
        backend.stop(AttemptKey(5, 5, 5), "cancelled")
        assert machine.run(backend, "exit 2").evidence.exit_code == 2
        backend.stop(KEY, "cancelled")


def test_all_are_stopped_and_with_force_killed(machine):
    keys = [AttemptKey(position, 1, 1) for position in range(3)]
    with machine.backend(grace=3600.0) as backend:
        for key in keys:
            command = f"trap '' TERM; touch begun{key.position}; while :; do sleep 0.05; done"
            machine.start(backend, command, key)
        until(lambda: len(list(machine.work.iterdir())) == 3, backend)
        backend.stop_all()
        assert backend.wait(0.1) == []
        backend.stop_all(force=True)
        found = until_ended(backend, 3)
    assert {f.evidence.signal_number for f in found} == {signal.SIGKILL}
    assert all(f.evidence.cancelled for f in found)


@pytest.mark.parametrize("stop", ["end", "limit"])
def test_grandchildren_go_with_their_attempt(machine, stop):
    with machine.backend(grace=0.1) as backend:
        command = "(trap '' TERM; sleep 600) & echo $! > pid; "
        command += "exit 0" if stop == "end" else "wait"
        machine.run(backend, command, time_limit=3600.0 if stop == "end" else 0.4)
    wait_until(lambda: not alive(int((machine.work / "pid").read_text())))


# The journal --------------------------------------------------------------------------------------


def test_a_start_is_noted_with_process_and_slot(machine):
    with machine.backend() as backend:
        pid = machine.start(backend, "sleep 60")
        noted = backend.journal.fence()
        assert noted.keys() == {"0.1.1"}
        start = noted["0.1.1"]
        assert (start.pid, start.slot) == (pid, "1-0")
        assert boot_time() < start.at <= time.time()


def test_a_script_notes_its_own_end(machine):
    with machine.backend() as backend:
        machine.run(backend, "exit 7")
        machine.run(backend, "true", AttemptKey(1, 2, 1))
        ends = backend.journal.ends()
    assert {name: end.exit_code for name, end in ends.items()} == {"0.1.1": 7, "1.2.1": 0}
    assert all(end.at is not None and end.at > boot_time() for end in ends.values())


def test_a_script_that_was_asked_to_end_notes_no_success(machine):
    with machine.backend() as backend:
        machine.start(backend, "true; sh -c 'echo x > begun; exec sleep 60'; true")
        until((machine.work / "begun").exists, backend)
        backend.stop(KEY, "cancelled")
        until_ended(backend)
        assert backend.journal.ends()["0.1.1"].exit_code == 128 + signal.SIGTERM


def test_a_script_that_was_killed_notes_nothing(machine):
    with machine.backend() as backend:
        machine.run(backend, "kill -KILL $$")
        assert backend.journal.ends() == {}


def test_a_script_that_has_not_passed_the_gate_never_runs_anything(machine):
    with machine.backend() as backend:
        launch = machine.launch(backend, "touch ran")
        backend.journal.fence()
        backend.start(launch)
        ended = only(until_ended(backend))
        assert ended.evidence.exit_code == EXIT_NOT_STARTED
        assert backend.journal.ends() == {}
    assert not (machine.work / "ran").exists()
    assert machine.logs() == []


def test_a_new_epoch_opens_its_own_gate_only(machine):
    with machine.backend(1) as first:
        old = machine.launch(first, "touch old")
        first.journal.fence()
    with machine.backend(2) as second:
        second.start(old)
        assert only(until_ended(second)).evidence.exit_code == EXIT_NOT_STARTED
        machine.run(second, "touch new", AttemptKey(0, 1, 2))
    assert [path.name for path in machine.work.iterdir()] == ["new"]


def test_who_has_passed_the_gate_goes_on(machine):
    with machine.backend() as backend:
        machine.start(backend, "touch begun; until [ -e go ]; do sleep 0.02; done; exit 4")
        until((machine.work / "begun").exists, backend)
        backend.journal.fence()
        (machine.work / "go").touch()
        assert only(until_ended(backend)).evidence.exit_code == 4


def journal(folder: Path, epoch: int = 1) -> JournalFiles:
    files = JournalFiles(folder, epoch)
    files.open()
    return files


WHOLE = "S 0.1.1 4567 1700000000.5 1-0 .\n"
NOTED = {"0.1.1": NotedStart(4567, 1700000000.5, "1-0")}


def test_a_missing_journal_tells_of_nothing(tmp_path):
    files = JournalFiles(tmp_path / "journal", 1)
    assert files.fence() == {}
    assert files.ends() == {}


def test_starts_of_all_epochs_are_read_back(tmp_path):
    first = journal(tmp_path)
    first.note_start("0.1.1", NOTED["0.1.1"])
    first.close()
    second = journal(tmp_path, 2)
    second.note_start("3.2.2", NotedStart(9, 5.0, "2-0"))
    assert second.fence() == {**NOTED, "3.2.2": NotedStart(9, 5.0, "2-0")}
    second.close()


@pytest.mark.parametrize("torn", ["", "S", "S 0.2", "S 0.2.1", "S 0.2.1 45", "S 0.2.1 45 1.5 1-0"])
def test_a_torn_last_start_is_left_out(tmp_path, torn):
    (tmp_path / "starts").write_text(WHOLE + torn)
    assert JournalFiles(tmp_path, 2).fence() == NOTED


TORN_STARTS = [
    "S",
    "S 0.2",
    "S 0.2.1",
    pytest.param(
        "S 0.2.1 45",

    ),
    pytest.param(
        "S 0.2.1 4567 17000",

    ),
]  # fmt: skip


@pytest.mark.parametrize("torn", TORN_STARTS)
def test_a_torn_start_hides_none_behind_it_and_stays_left_out(tmp_path, torn):
    (tmp_path / "starts").write_text(WHOLE + torn)
    files = journal(tmp_path, 2)
    files.note_start("3.1.2", NotedStart(9, 5.0, "2-0"))
    assert files.fence() == {**NOTED, "3.1.2": NotedStart(9, 5.0, "2-0")}
    files.close()


@pytest.mark.parametrize("torn", ["", "E", "E 0.2.1", "E 0.2.1 1", "E 0.2.1 13 1700"])
def test_a_torn_last_end_is_left_out(tmp_path, torn):
    (tmp_path / "ends").write_text("E 0.1.1 3 1700000000,25 .\n" + torn)
    ends = JournalFiles(tmp_path, 2).ends()
    assert {name: (end.exit_code, end.at) for name, end in ends.items()} == {
        "0.1.1": (3, 1700000000.25)
    }


def test_a_torn_end_hides_none_behind_it(machine):
    with machine.backend(1):
        pass
    machine.ends.write_text("E 5.1.1 1")
    with machine.backend(2) as backend:
        machine.run(backend, "exit 6", AttemptKey(0, 1, 2))
        ends = backend.journal.ends()
    assert ends["0.1.2"].exit_code == 6


def test_an_end_of_a_shell_without_a_clock_has_no_time(tmp_path):
    (tmp_path / "ends").write_text("E 0.1.1 3  .\nE 1.1.1 0  .\n")
    ends = JournalFiles(tmp_path, 1).ends()
    assert {name: (end.exit_code, end.at) for name, end in ends.items()} == {
        "0.1.1": (3, None),
        "1.1.1": (0, None),
    }


@pytest.mark.parametrize(
    "line", ["noise", "E 0.1.1 x 5 .", "S 0.1.1 3 5 .", "E 0.1.1 3 5", "E\n\n", "\xff\xfe"]
)
def test_lines_that_say_nothing_are_left_out(tmp_path, line):
    (tmp_path / "ends").write_bytes(f"{line}\nE 9.1.1 0 5 .\n".encode("latin-1"))
    assert JournalFiles(tmp_path, 1).ends().keys() == {"9.1.1"}


# What a dead engine left --------------------------------------------------------------------------

GO_ON = "touch begun; until [ -e go ]; do sleep 0.02; done; echo done; exit 4"


def test_an_attempt_whose_start_was_never_noted_is_found_with_its_slot(machine, left_behind):
    pid = left_behind.start(GO_ON, slot="1-7")
    wait_until((machine.work / "begun").exists)
    with machine.backend(2) as backend:
        assert backend.journal.fence() == {}
        others = [AttemptKey(0, 2, 1), AttemptKey(0, 1, 2), AttemptKey(10, 1, 1)]
        found = backend.find_unnoted([*others, KEY])
    assert found.keys() == {KEY}
    assert (found[KEY].pid, found[KEY].slot) == (pid, "1-7")


def test_an_attempt_of_a_running_backend_is_found_after_its_note_is_lost(machine):
    with machine.backend() as backend:
        pid = machine.start(backend, GO_ON)
        until((machine.work / "begun").exists, backend)
        machine.starts.write_text("")
        assert backend.journal.fence() == {}
        found = backend.find_unnoted([KEY])
    assert (found[KEY].pid, found[KEY].slot) == (pid, "1-0")


@pytest.mark.parametrize("private", [False, True])
def test_children_of_an_attempt_are_not_taken_for_it(machine, private):
    with machine.backend() as backend:
        command = "(sleep 60; :) & (sleep 60; :) & touch begun; wait; :"
        pid = machine.start(backend, command, private=private)
        until((machine.work / "begun").exists, backend)
        assert backend.find_unnoted([KEY])[KEY].pid == pid
        assert backend.find_unnoted([]) == {}


@pytest.mark.skipif(sys.platform != "linux", reason="the order of processes is the system's")
def test_jobs_of_an_attempt_with_job_control_are_not_taken_for_it(machine):
    with machine.backend() as backend:
        pid = machine.start(backend, "set -m; (sleep 60; :) & touch begun; wait; :")
        until((machine.work / "begun").exists, backend)
        assert backend.find_unnoted([KEY])[KEY].pid == pid


def test_runs_of_other_folders_are_not_searched(machine, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with machine.backend() as backend:
        machine.start(backend, GO_ON)
        until((machine.work / "begun").exists, backend)
        with LocalBackend(LocalOptions(other / "run", 1)) as elsewhere:
            assert elsewhere.find_unnoted([KEY]) == {}


def test_an_adopted_attempt_ends_with_the_code_it_notes(machine, left_behind):
    pid = left_behind.start(GO_ON)
    wait_until((machine.work / "begun").exists)
    with machine.backend(2) as backend:
        assert backend.adopt(KEY, pid, time.time(), 3600.0)
        assert backend.running == 1
        (machine.work / "go").touch()
        ended = only(until_ended(backend))
    assert (ended.key, ended.pid, ended.evidence.exit_code) == (KEY, pid, 4)


def test_an_adopted_attempt_that_vanishes_leaves_no_evidence(machine, left_behind):
    pid = left_behind.start(GO_ON)
    wait_until((machine.work / "begun").exists)
    with machine.backend(2) as backend:
        assert backend.adopt(KEY, pid, time.time(), 3600.0)
        os.killpg(pid, signal.SIGKILL)
        assert only(until_ended(backend)).evidence is None


def test_the_time_limit_of_an_adopted_attempt_counts_from_its_start(machine, left_behind):
    pid = left_behind.start(GO_ON)
    wait_until((machine.work / "begun").exists)
    began = max(time.time() - 100, boot_time())
    with machine.backend(2) as backend:
        assert backend.adopt(KEY, pid, began, (time.time() - began) / 2)
        ended = only(until_ended(backend))
    assert ended.evidence.timed_out
    assert not alive(pid)


def test_what_has_ended_is_not_adopted(machine, left_behind):
    pid = left_behind.start("sleep 600 & echo $! > child; exit 0")
    wait_until(lambda: not alive(pid))
    with machine.backend(2) as backend:
        assert not backend.adopt(KEY, pid, time.time(), 3600.0)
        assert backend.running == 0
    wait_until(lambda: not alive(int((machine.work / "child").read_text())))


def test_a_stranger_with_the_same_number_is_neither_adopted_nor_killed(machine):
    with machine.backend(2) as backend, stranger("sleep", "600") as process:
        assert not backend.adopt(KEY, process.pid, time.time(), 3600.0)
        assert backend.running == 0
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM  # and not of an earlier KILL


def test_another_attempt_of_the_run_is_a_stranger_too(machine, left_behind):
    pid = left_behind.start(GO_ON)
    wait_until((machine.work / "begun").exists)
    with machine.backend(2) as backend:
        for other in (AttemptKey(0, 2, 1), AttemptKey(0, 1, 2), AttemptKey(1, 1, 1)):
            assert not backend.adopt(other, pid, time.time(), 3600.0)
        (machine.work / "go").touch()
        wait_until(backend.journal.ends)
        assert backend.journal.ends()["0.1.1"].exit_code == 4  # nobody killed it


def test_a_process_of_an_earlier_boot_is_nobody_we_know(machine, left_behind):
    assert boot_time() > 0
    pid = left_behind.start(GO_ON)
    wait_until((machine.work / "begun").exists)
    with machine.backend(2) as backend:
        assert not backend.adopt(KEY, pid, boot_time() - 60, 3600.0)
        (machine.work / "go").touch()
        wait_until(backend.journal.ends)
        assert backend.journal.ends()["0.1.1"].exit_code == 4  # nobody killed it


# Log files ----------------------------------------------------------------------------------------


def test_what_an_attempt_printed_bears_its_name(machine):
    with machine.backend() as backend:
        machine.run(backend, "echo out; echo err >&2")
    assert machine.logs() == ["0-t0.1.err", "0-t0.1.out"]
    assert machine.log().read_text() == "out\n"
    assert machine.log(kind="err").read_text() == "err\n"
    assert stat.S_IMODE(machine.log().stat().st_mode) == 0o600


def test_an_attempt_that_prints_nothing_leaves_no_file(machine):
    with machine.backend() as backend:
        machine.run(backend, "true")
        machine.run(backend, "echo x >&2", AttemptKey(1, 1, 1))
    assert machine.logs() == ["1-t1.1.err"]


def test_output_can_be_read_while_the_attempt_runs(machine):
    with machine.backend() as backend:
        command = "echo first; touch begun; until [ -e go ]; do sleep 0.02; done; echo second"
        machine.start(backend, command)
        until((machine.work / "begun").exists, backend)
        assert not machine.log().exists()
        backend.publish_logs()
        backend.publish_logs()
        assert machine.log().read_text() == "first\n"
        assert not machine.log(kind="err").exists()
        backend.publish_logs(empty_too=True)
        assert machine.log(kind="err").read_text() == ""
        (machine.work / "go").touch()
        until_ended(backend)
    assert machine.log().read_text() == "first\nsecond\n"


def test_attempts_in_one_slot_never_share_a_file(machine):
    printed = ["echo a{}", "true", "echo b{} >&2", "echo a{}; echo b{} >&2"]
    with machine.backend() as backend:
        for position in range(24):
            command = printed[position % 4].format(position, position)
            machine.run(backend, command, AttemptKey(position, 1, 1))
            if position % 3 == 0:
                backend.publish_logs()
        slots = {start.slot for start in backend.journal.fence().values()}
    assert slots == {"1-0"}
    expected = {}
    for position in range(24):
        if position % 4 in (0, 3):
            expected[f"{position}-t{position}.1.out"] = f"a{position}\n"
        if position % 4 in (2, 3):
            expected[f"{position}-t{position}.1.err"] = f"b{position}\n"
    folder = machine.folder / "logs"
    assert {path.name: path.read_text() for path in folder.iterdir()} == expected


def test_attempts_at_the_same_time_have_slots_of_their_own(machine):
    with machine.backend() as backend:
        for position in range(4):
            command = f"echo {position}; until [ -e go ]; do sleep 0.02; done; echo {position}"
            machine.start(backend, command, AttemptKey(position, 1, 1))
        (machine.work / "go").touch()
        until_ended(backend, 4)
        starts = backend.journal.fence().values()
    assert len({start.slot for start in starts}) == 4
    for position in range(4):
        assert machine.log(AttemptKey(position, 1, 1)).read_text() == f"{position}\n" * 2


def test_each_attempt_of_a_task_has_its_own_log(machine):
    with machine.backend() as backend:
        for attempt in (1, 2):
            machine.run(backend, "echo $HUT_ATTEMPT", AttemptKey(0, attempt, 1))
    assert machine.log(AttemptKey(0, 1, 1)).read_text() == "1\n"
    assert machine.log(AttemptKey(0, 2, 1)).read_text() == "2\n"


def test_files_people_name_get_the_output_and_folders_are_made(machine):
    out, err = machine.work / "deep" / "o.txt", machine.work / "e.txt"
    out.parent.mkdir()
    out.write_text("of an earlier attempt\n")
    with machine.backend() as backend:
        command = "echo out; echo err >&2"
        machine.run(backend, command, output_file=str(out), error_file=str(err))
    assert (out.read_text(), err.read_text()) == ("out\n", "err\n")
    assert machine.logs() == []


def test_one_file_may_take_both(machine):
    both = str(machine.work / "new" / "both.txt")
    with machine.backend() as backend:
        command = "echo 1; echo 2 >&2; echo 3"
        machine.run(backend, command, output_file=both, error_file=both)
    assert Path(both).read_text() == "1\n2\n3\n"


def test_a_file_that_can_not_be_opened_says_which(machine):
    with machine.backend() as backend:
        launch = machine.launch(backend, "true", output_file=str(machine.work))
        assert backend.start(launch) is None
        ended = only(backend.wait(60))
        assert str(machine.work) in ended.evidence.not_started
        machine.run(backend, "echo fine", AttemptKey(1, 1, 1))
    assert machine.logs() == ["1-t1.1.out"]


def test_files_of_a_dead_engines_slot_get_the_attempts_name(machine, left_behind):
    left_behind.start("echo printed; exit 0", slot="1-7")
    wait_until(lambda: machine.ends.exists() and machine.ends.read_text())
    with machine.backend(2) as backend:
        backend.logs.name_left_behind("1-7", KEY, "t0")
        backend.logs.remove_left_behind()
    assert machine.log().read_text() == "printed\n"
    assert [name for name in machine.logs() if name.startswith(".")] == []


def test_naming_what_was_named_already_changes_nothing(tmp_path):
    logs = LogFiles(tmp_path, 2)
    (tmp_path / "0-t.1.out").write_text("published\n")
    (tmp_path / ".slot-1-0.out").write_text("of whoever came next\n")
    logs.name_left_behind("1-0", AttemptKey(0, 1, 1), "t")
    logs.name_left_behind("1-9", AttemptKey(5, 1, 1), "nobody")
    assert (tmp_path / "0-t.1.out").read_text() == "published\n"
    assert (tmp_path / ".slot-1-0.out").read_text() == "of whoever came next\n"
    assert not list(tmp_path.glob("5-*"))
    logs.close()


def test_only_slots_of_other_engines_are_removed(tmp_path):
    logs = LogFiles(tmp_path, 2)
    logs.take(logs.stem(0, "t", 1))
    for name in (".slot-1-0.out", ".slot-12-0.err", ".slot-21-0.out", "0-x.1.out", "other"):
        (tmp_path / name).write_text("x")
    logs.remove_left_behind()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".slot-2-0.err",
        ".slot-2-0.out",
        "0-x.1.out",
        "other",
    ]
    logs.close()


# Scripts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("private", "length"), [(True, 0), (False, 120_000)])
def test_a_private_or_long_script_is_a_file_of_its_owners(machine, private, length):
    secret = "s3cret" + "x" * length
    with machine.backend() as backend:
        command = f"echo {shlex.quote(secret)} > told; cat /proc/$$/cmdline > line; echo $0 > name"
        machine.run(backend, command, private=private)
    (script,) = (machine.folder / "scripts").iterdir()
    assert (machine.work / "name").read_text() == f"{script}\n"
    assert (machine.work / "told").read_text() == f"{secret}\n"
    assert stat.S_IMODE(script.stat().st_mode) == 0o600
    assert b"s3cret" not in (machine.work / "line").read_bytes()


def test_any_other_script_needs_no_file(machine):
    with machine.backend() as backend:
        machine.run(backend, "true")
    assert not (machine.folder / "scripts").exists()


def test_a_private_attempt_is_found_and_adopted_by_its_scripts_path(machine):
    with machine.backend() as first:
        pid = machine.start(first, GO_ON, private=True)
        until((machine.work / "begun").exists, first)
        assert first.find_unnoted([KEY])[KEY].pid == pid
        assert first.find_unnoted([AttemptKey(10, 1, 1)]) == {}
        assert first._is_attempt(KEY, pid)
        assert not first._is_attempt(AttemptKey(0, 1, 11), pid)


# A full disk --------------------------------------------------------------------------------------


def full(path: Any = None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_a_disk_that_is_full_for_the_runs_own_files_is_no_fault_of_the_task(machine, monkeypatch):
    real = os.open

    def refuse(path, flags, *mode, **more):
        if "/scripts/" in str(path):
            raise full(str(path))
        return real(path, flags, *mode, **more)

    with machine.backend() as backend:
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(OSError, match="No space left"):
            backend.start(machine.launch(backend, "true", private=True))
        monkeypatch.undo()
        machine.run(backend, "echo fine")


def test_a_disk_that_is_full_for_the_tasks_own_file_is_an_end_of_the_attempt(machine, monkeypatch):
    real, path = os.open, str(machine.work / "o")

    def refuse(name, flags, *mode, **more):
        if name == path:
            raise full(path)
        return real(name, flags, *mode, **more)

    with machine.backend() as backend:
        monkeypatch.setattr(os, "open", refuse)
        assert backend.start(machine.launch(backend, "true", output_file=path)) is None
        assert "No space left" in only(backend.wait(60)).evidence.not_started


def test_half_a_note_of_a_start_is_an_error_and_hides_no_other(tmp_path, monkeypatch):
    journal = JournalFiles(tmp_path, 1)
    journal.open()
    real = os.write
    monkeypatch.setattr(os, "write", lambda to, content: real(to, content[:9]))
    with pytest.raises(OSError, match="No space left"):
        journal.note_start("0.1.1", NotedStart(7, 1.0, "1-0"))
    monkeypatch.undo()
    journal.close()
    journal.open()  # as the next engine does
    journal.note_start("1.1.1", NotedStart(8, 1.0, "1-1"))
    assert journal.fence() == {"1.1.1": NotedStart(8, 1.0, "1-1")}
    journal.close()
