"""Other users of the same machine: what they can read and replace of a person's runs.

Modes are checked for every file and folder, with an umask that takes nothing away. What another user can
really do takes root to try, which becomes such a user for the moment.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hutctl.local.home import Home
from tests.hutctl_process import Hut

SECRET = "canary-7f3a90"
NOBODY = 65534
TASKS = [
    {"id": "t", "command": f"echo {SECRET}", "env_vars": {"TOKEN": SECRET}},
    {"id": "u", "command": f"echo {SECRET} >&2; : {SECRET}", "output_file": "mine.txt"},
]

as_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can try what another user of the machine can do"
)


@pytest.fixture
def hut(tmp_path: Path) -> Hut:
    folder = tmp_path / "work"
    folder.mkdir()
    return Hut(folder)


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def another_user() -> Iterator[None]:
    """Be a user without rights; what is read and written meanwhile is what they can."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def home_of(hut: Hut) -> Path:
    return Path(hut.env["HUT_HOME"])


def everything(folder: Path) -> dict[str, int]:
    """Return the mode of all files and folders below one, and of itself."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in (folder, *folder.rglob("*"))
    }


def open_to_others(folder: Path) -> dict[str, str]:
    return {name: oct(mode) for name, mode in everything(folder).items() if mode & 0o077}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_files_are_their_owners_alone_whatever_the_umask(hut: Hut, mask: int) -> None:
    with umask(mask):
        hut("run", hut.write(TASKS))
        run = hut("run", hut.write(TASKS), "--detach").stdout.strip()
        hut("watch", run, exit_code=None)
    found = everything(home_of(hut))
    assert {"hut.db", "runs", f"runs/{run}/hutctl.log"} <= set(found)
    assert not open_to_others(home_of(hut))


def test_what_older_versions_left_open_is_closed(hut: Hut) -> None:
    hut("run", hut.write(TASKS))
    home = home_of(hut)
    (home / "hut.db").chmod(0o644)
    (home / "runs").chmod(0o755)
    home.chmod(0o755)
    hut("runs")
    assert everything(home)["hut.db"] == 0o600
    assert everything(home)["runs"] == 0o700
    assert stat.S_IMODE(home.stat().st_mode) == 0o755, "the folder itself is its owner's choice"


def test_files_of_tasks_are_as_people_want_them(hut: Hut) -> None:
    with umask(0o022):
        hut("run", hut.write(TASKS))
    assert stat.S_IMODE((hut.folder / "mine.txt").stat().st_mode) == 0o644


def test_a_traceback_and_verbose_words_hold_no_value(hut: Hut) -> None:
    """What goes wrong is told with places in the code, not with what people gave."""
    file = hut.write(TASKS)
    hut("run", file, "-v")
    (home_of(hut) / "hut.db").write_bytes(b"no database")
    done = hut("runs", "-v", exit_code=4)
    assert SECRET not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_home_that_everybody_may_write_to_is_refused(hut: Hut, mode: int) -> None:
    home = home_of(hut)
    home.mkdir()
    home.chmod(mode)
    said = hut("run", hut.write(TASKS), exit_code=4).stderr
    assert f"{home}: can be written by everybody" in said
    assert not list(home.iterdir())


def test_a_home_of_a_group_is_taken(hut: Hut) -> None:
    """With an umask of 002 each user has a group of their own: it says nothing of others."""
    home = home_of(hut)
    home.mkdir()
    home.chmod(0o770)
    hut("run", hut.write(TASKS))
    assert not open_to_others(home / "runs")


@as_root
def test_a_home_of_another_user_is_refused(hut: Hut) -> None:
    home = home_of(hut)
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    said = hut("runs", exit_code=4).stderr
    assert f"{home}: belongs to another user" in said


@as_root
def test_a_link_that_another_user_left_leads_nowhere(tmp_path: Path) -> None:
    """In a folder as /tmp is: who comes first has the name, and is found out."""
    shared, theirs = tmp_path / "shared", tmp_path / "theirs"
    shared.mkdir()
    shared.chmod(0o1777)
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    for path in (tmp_path, *tmp_path.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o111)
    with another_user():
        (shared / "hut").symlink_to(theirs)
    with pytest.raises(PermissionError, match="belongs to another user"):
        Home(shared / "hut").create()
    assert not list(theirs.iterdir())


@as_root
def test_another_user_reads_and_changes_nothing(hut: Hut, tmp_path: Path) -> None:
    """Also where the folder above is open to everybody."""
    with umask(0):
        hut("run", hut.write(TASKS))
    home = home_of(hut)
    home.chmod(0o755)  # a person may open the folder itself; what is in it stays closed
    for path in (home, *home.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o111)
    with another_user():
        assert "hut.db" in os.listdir(home)
        for path in (home / "hut.db", home / "runs"):
            with pytest.raises(PermissionError):
                path.read_bytes() if path.suffix else os.listdir(path)
        with pytest.raises(PermissionError):
            (home / "hut.db").write_bytes(b"")
        with pytest.raises(PermissionError):
            (home / "hut.db-wal").write_bytes(b"")
        with pytest.raises(PermissionError):
            (home / "hut.db").rename(home / "other.db")
    assert SECRET in hut("logs", "last", "t").stdout


@as_root
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_another_user_sees_no_value_in_the_list_of_processes(hut: Hut) -> None:
    """Values of variables are not in any argument; commands are, as in every shell."""
    words = """if True:
        import contextlib, os, sys
        os.setgid(65534)
        os.setuid(65534)
        found = 0
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                with contextlib.suppress(OSError):  # it has just ended
                    found += sys.argv[1].encode() in open(f"/proc/{entry}/cmdline", "rb").read()
        print(found)
    """
    value = f"{SECRET}-value"
    task = {"id": "t", "command": ": > on; sleep 30 & wait", "env_vars": {"TOKEN": value}}
    with hut.popen("run", hut.write([task])) as running:
        try:
            while not (hut.folder / "on").exists():
                assert running.poll() is None
            # The mark is in the arguments of who looks; it leaves itself out.
            done = subprocess.run(
                [sys.executable, "-c", words, value], capture_output=True, text=True, check=True
            )
        finally:
            running.terminate()
    assert done.stdout.strip() == "0"
    shutil.rmtree(home_of(hut))
