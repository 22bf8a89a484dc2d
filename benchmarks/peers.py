"""Gets the tools that Hut is measured beside; whatever can't be had is left out, with the reason.

They live in ``benchmarks/.peers``: nothing is installed into the system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import announce

__all__ = ["NOT_WANTED", "Peer", "Peers", "prepare_peers"]

NOT_WANTED = "left out, as --no-peers asked"
_FOLDER = Path(__file__).resolve().parent / ".peers"
_RELEASES = {"HyperShell": "2.8.2", "ScriptHut": "0.12.23"}
_VERSION_OF = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


@dataclass(frozen=True, slots=True)
class Peer:
    """A tool to measure beside Hut.

    Attributes
    ----------
    name : str
    program : Path or None
        What to run: its command, or the interpreter of its virtual environment. None if the tool
        is not there.
    version : str
    missing : str
        Why it is not there.
    """

    name: str
    program: Path | None = None
    version: str = ""
    missing: str = NOT_WANTED


@dataclass(frozen=True, slots=True)
class Peers:
    """All peers, there or not."""

    hypershell: Peer = field(default_factory=lambda: Peer("HyperShell"))
    scripthut: Peer = field(default_factory=lambda: Peer("ScriptHut"))
    parallel: Peer = field(default_factory=lambda: Peer("GNU parallel"))


class _UnavailableError(Exception):
    """A peer can't be had."""


def prepare_peers(names: Sequence[str]) -> Peers:
    """Find the named peers, installing what is missing.

    Parameters
    ----------
    names
        Fields of `Peers`; the others stay out.
    """
    found: dict[str, Peer] = {}
    for name in names:
        announce(f"Looking for {name}")
        found[name] = _PREPARE[name]()
        if found[name].program is None:
            announce(f"  left out: {found[name].missing}")
    return Peers(**found)


def _hypershell() -> Peer:
    return _from_pypi("HyperShell", "hsx")


def _scripthut() -> Peer:
    return _from_pypi("ScriptHut", "python")


def _from_pypi(name: str, program: str) -> Peer:
    package, wanted = name.lower(), _RELEASES[name]
    folder = _FOLDER / package
    python = folder / "bin" / "python"
    try:
        if _package_version(python, package) != wanted:
            announce(f"  installing {package} {wanted} from PyPI into benchmarks/.peers/{package}")
            _FOLDER.mkdir(exist_ok=True)
            _do([sys.executable, "-m", "venv", "--clear", str(folder)])
            pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
            _do([*pip, "install", f"{package}=={wanted}"])
        version = _package_version(python, package)
        if version is None:
            raise _UnavailableError("it is not there after its installation")
    except _UnavailableError as error:
        return Peer(name, missing=f"it could not be installed: {error}")
    return Peer(name, folder / "bin" / program, version)


def _package_version(python: Path, package: str) -> str | None:
    if not python.exists():
        return None
    try:
        return _do([str(python), "-I", "-c", _VERSION_OF, package]).strip()
    except _UnavailableError:
        return None


def _parallel() -> Peer:
    """Take GNU parallel from the PATH, or unpack Debian's package beside the other peers.

    It is one Perl script. Debian's package can't be installed without a service that collects
    statistics on the machine, and would need root; unpacking does neither.
    """
    own = _FOLDER / "parallel" / "usr" / "bin" / "parallel"
    on_path = shutil.which("parallel")
    for candidate in (Path(on_path) if on_path else own, own):
        version = _parallel_version(candidate)
        if version is not None:
            return Peer("GNU parallel", candidate, version)
    try:
        _unpack_parallel(_FOLDER / "parallel")
    except _UnavailableError as error:
        return Peer("GNU parallel", missing=f"it is not installed, and {error}")
    version = _parallel_version(own)
    if version is None:
        return Peer("GNU parallel", missing="Debian's package of it does not run here")
    return Peer("GNU parallel", own, version)


def _parallel_version(program: Path) -> str | None:
    """Return the version if it is GNU's; moreutils has another command of this name."""
    if not program.exists():
        return None
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "PARALLEL_HOME": home}
        try:
            first = _do([str(program), "--version"], environment=environment).partition("\n")[0]
        except _UnavailableError:
            return None
    return first.removeprefix("GNU parallel ") if first.startswith("GNU parallel ") else None


def _unpack_parallel(folder: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise _UnavailableError("this is no Debian to get its package from")
    announce("  unpacking Debian's package parallel into benchmarks/.peers/parallel")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as download:
        _do(["apt-get", "download", "-qq", "parallel"], folder=download)
        packages = [str(path) for path in Path(download).glob("parallel_*.deb")]
        if not packages:
            raise _UnavailableError("apt-get downloaded no package")
        _do(["dpkg-deb", "--extract", packages[0], str(folder)])


def _do(
    arguments: Sequence[str],
    *,
    folder: str | None = None,
    environment: dict[str, str] | None = None,
) -> str:
    """Run a command of the set-up and return its output."""
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        command = f"{os.path.basename(arguments[0])} failed"
        raise _UnavailableError(f"{command}: {lines[-1]}")
    return done.stdout


_PREPARE = {"hypershell": _hypershell, "scripthut": _scripthut, "parallel": _parallel}
