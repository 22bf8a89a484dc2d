"""What the figures were measured on, and when."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["Conditions", "Machine", "read_conditions"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, as far as it matters for timings.

    Attributes
    ----------
    cpu : str
        Model name.
    cores : int
        Cores that this process may use.
    memory : str
    system : str
        Distribution and kernel.
    filesystem : str
        Kind of the file system of the temporary folder, where every tool keeps its state.
    """

    cpu: str
    cores: int
    memory: str
    system: str
    filesystem: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where, when and of what a scenario was measured.

    Attributes
    ----------
    date : str
        Beginning of the measurement, UTC.
    load : str
        Load averages of 1, 5 and 15 minutes at that time.
    python : str
    hut : str
        Version, and the commit where the code comes from a checkout.
    machine : Machine
    """

    date: str
    load: str
    python: str
    hut: str
    machine: Machine


def read_conditions() -> Conditions:
    """Return the conditions of right now."""
    return Conditions(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        load=" ".join(f"{load:.2f}" for load in os.getloadavg()),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        hut=_hut_version(),
        machine=Machine(_cpu(), _cores(), _memory(), _system(), _filesystem()),
    )


def _cpu() -> str:
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> str:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / 2**30:.1f} GiB"


def _system() -> str:
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


def _filesystem() -> str:
    """Return the type of the mount that holds the temporary folder."""
    folder = os.path.realpath(tempfile.gettempdir())
    found, kind = "", "unknown"
    for line in _lines("/proc/mounts"):
        _, mount, this_kind, *_ = line.split()
        inside = folder == mount or folder.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(found):
            found, kind = mount, this_kind
    return kind


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _hut_version() -> str:
    version = importlib.metadata.version("hutctl")
    commit = _git("rev-parse", "--short", "HEAD")
    if not commit:
        return version
    changed = (
        ", with uncommitted changes" if _git("status", "--porcelain", "lambdas", "cli") else ""
    )
    return f"{version}, commit {commit}{changed}"


def _git(*arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([git, *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
