"""The bundle of the Lambda functions: locked wheels and Hut's own code in one folder. No Docker.

``lambda`` takes wheels for Amazon Linux on arm64 and Python 3.12; ``host`` takes them for this
machine and the running Python, for a test bed that runs functions as its own processes. Both come
from the same lock file with its hashes.

boto3 and botocore are bundled although the Lambda runtime has its own: what was tested is what runs,
and the runtime's copy changes without notice. Of botocore's service descriptions (27 MB) only the
services Hut calls are kept, and of EC2's, which is larger than all others together, what it calls.
Left out as well: tests, type stubs, package metadata, commands, and the
adapters for one machine (SQLite, child processes), and what task programs are made with.

There are two: of everything, for the API, and a small one for the functions that are called all the
time. That one holds what they can reach by imports, those inside of functions included, and nothing
that is compiled: see `infra.reach` and decision 20.

A bundle is kept in .bundle/ under the hash of what it is made from, so it is made once per change;
the wheels are kept apart under the hash of the lock file, so that a change of code needs no network.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.reach import reached

__all__ = ["OPERATIONS", "SERVICES", "SMALL", "Bundle", "BundleError", "make_bundle"]

ROOT = Path(__file__).resolve().parents[1]
SERVICES = frozenset({"batch", "dynamodb", "ec2", "lambda", "logs", "s3", "sqs", "stepfunctions"})
OPERATIONS = {
    "ec2": frozenset({"DescribeInstances", "TerminateInstances"}),
    "lambda": frozenset({"Invoke"}),
}
"""Of services that have hundreds of operations, those that Hut calls."""

SMALL = ("advance", "finish", "observe", "register", "sweep")
"""Functions whose bundle is the small one."""

_LOCK = Path("requirements/lambda.lock")
_SOURCES = ("handlers", "hut")
_NOT_IN_LAMBDA = frozenset({"hut/store/sqlite", "hut/backends/local", "hut/task"})
_DROPPED_FOLDERS = frozenset({"__pycache__", "bin", "tests", "test", "examples"})
_DROPPED_ENDINGS = (".pyi", ".pyx", ".pxd", ".dist-info", ".pyc")
# The small bundle has no time zones of its own: botocore asks for UTC and this machine's only.
_NOT_IN_SMALL = frozenset({"dateutil/zoneinfo/dateutil-zoneinfo.tar.gz"})
# Packages of the small bundle that import by names they make, so all of them is taken.
_WHOLE = ("botocore", "dateutil", "jmespath", "six", "urllib3")
_LAYOUT = b"3"  # counts changes of what this module keeps and drops
_KEPT = 4


class BundleError(RuntimeError):
    """The bundle could not be made; the message says why and what helps."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A folder ready for Lambda, and the SHA-256 of its content."""

    path: Path
    digest: str


def make_bundle(
    kind: Literal["lambda", "host"],
    *,
    small: bool = False,
    root: Path = ROOT,
    cache: Path | None = None,
) -> Bundle:
    """Return the bundle of the present sources, made anew only if they changed.

    Parameters
    ----------
    small
        Only what the functions in `SMALL` need.
    root
        Folder with ``lambdas/`` and ``requirements/``.
    cache
        Where bundles are kept, ``.bundle`` in `root` by default. Several processes may share it.

    Raises
    ------
    BundleError
        When the wheels can't be had.
    """
    cache = cache or root / ".bundle"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    lock = root / _LOCK
    if not lock.is_file():
        raise BundleError(f"there is no {_LOCK}; `make lock` writes it")
    platform = f"{sysconfig.get_platform()} {sys.implementation.cache_tag}"
    target = platform if kind == "host" else "aarch64-manylinux2014 cpython-312"
    wheels_key = _digest([_LAYOUT, target.encode(), lock.read_bytes(), repr(_kept()).encode()])
    wheels = cache / f"wheels-{kind}-{wheels_key[:16]}"
    if not wheels.is_dir():
        _place(wheels, lambda folder: _install(kind, lock, folder))
    sources = list(_sources(root / "lambdas"))
    code = [part for name, path in sources for part in (name.encode(), path.read_bytes())]
    bundle = cache / f"{kind}-{_digest([wheels_key.encode(), *code])[:16]}"
    if not bundle.is_dir():
        _place(bundle, lambda folder: _assemble(wheels, sources, folder))
    used = [bundle, wheels]
    if small:
        made_by = Path(__file__).with_name("reach.py").read_bytes()
        bundle = cache / f"small-{kind}-{_digest([bundle.name.encode(), made_by])[:16]}"
        if not bundle.is_dir():
            _place(bundle, lambda folder: _pick(used[0], folder))
        used.append(bundle)
    _touch_and_prune(*used)
    return Bundle(bundle, content_digest(bundle))


def content_digest(folder: Path) -> str:
    """Return the SHA-256 of all files in a folder, by their names and content.

    Bytecode is passed over: whoever imports from the folder leaves some behind.
    """
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    return _digest(
        part
        for path in files
        for part in (path.relative_to(folder).as_posix().encode(), path.read_bytes())
    )


# Making -------------------------------------------------------------------------------------------


def _install(kind: str, lock: Path, folder: Path) -> None:
    command = [_uv(), "pip", "install", "--quiet", "--target", str(folder), "--link-mode", "copy"]
    command += ["--only-binary", ":all:", "--require-hashes", "-r", str(lock)]
    if kind == "lambda":
        command += ["--python-platform", "aarch64-manylinux2014", "--python-version", "3.12"]
    command += ["--python", sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-8:])
        raise BundleError(
            f"the wheels of {_LOCK} for the {kind} bundle could not be installed. Without a "
            f"network they must be in uv's cache from an earlier time. uv said:\n{said}"
        )
    _trim(folder)


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise BundleError(f"uv is needed to bundle: install it beside {sys.executable}")
    return found


def _trim(folder: Path) -> None:
    """Remove what no function needs at run time."""
    for path in sorted(folder.rglob("*")):
        if not path.exists():
            continue  # its folder is gone already
        if path.is_dir() and (path.name in _DROPPED_FOLDERS or path.suffix == ".dist-info"):
            shutil.rmtree(path)
        elif path.is_file() and (path.name == ".lock" or path.suffix in _DROPPED_ENDINGS):
            path.unlink()
    for data in (folder / "botocore/data").iterdir():
        if data.is_dir() and data.name not in SERVICES:
            shutil.rmtree(data)
    for service, operations in OPERATIONS.items():
        _cut(folder / "botocore/data" / service, operations)
    shutil.rmtree(folder / "boto3/data", ignore_errors=True)  # resources; Hut uses clients
    for path in folder.rglob("examples-1.json*"):
        path.unlink()


def _cut(data: Path, operations: Collection[str]) -> None:
    """Keep of a service's description its newest version, and what some operations need of it."""
    *older, newest = sorted(path for path in data.iterdir() if path.is_dir())
    for path in older:
        shutil.rmtree(path)
    for name in ("waiters-2.json", "paginators-1.sdk-extras.json"):
        (newest / name).unlink(missing_ok=True)
    paginators = newest / "paginators-1.json"
    found = json.loads(paginators.read_text())["pagination"]
    kept = {name: found[name] for name in operations if name in found}
    paginators.write_text(json.dumps({"pagination": kept}))
    path = newest / "service-2.json.gz"
    model = json.loads(gzip.decompress(path.read_bytes()))
    model["operations"] = {name: model["operations"][name] for name in sorted(operations)}
    shapes = model["shapes"]
    needed: set[str] = set()
    waiting = _shapes_in(list(model["operations"].values()))
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting |= _shapes_in(shapes[name])
    model["shapes"] = {name: shape for name, shape in shapes.items() if name in needed}
    # Without the time, which would be another one each time it is made.
    path.write_bytes(gzip.compress(json.dumps(model).encode(), mtime=0))


def _shapes_in(part: object) -> set[str]:
    """Return the names of the shapes that a part of a description refers to."""
    if isinstance(part, list):
        return {name for each in part for name in _shapes_in(each)}
    if not isinstance(part, dict):
        return set()
    own = {part["shape"]} if isinstance(part.get("shape"), str) else set()
    return own.union(*(_shapes_in(each) for each in part.values()))


def _kept() -> list[object]:
    operations = [(service, sorted(names)) for service, names in sorted(OPERATIONS.items())]
    return [sorted(SERVICES), operations, sorted(_DROPPED_FOLDERS), _DROPPED_ENDINGS]


def _sources(folder: Path) -> Iterable[tuple[str, Path]]:
    """Yield the files of Hut that Lambdas need: name in the bundle, and path."""
    for package in _SOURCES:
        for path in sorted((folder / package).rglob("*")):
            name = path.relative_to(folder).as_posix()
            within = any(name.startswith(f"{left_out}/") for left_out in _NOT_IN_LAMBDA)
            if path.is_file() and "__pycache__" not in path.parts and not within:
                yield name, path


def _assemble(wheels: Path, sources: Iterable[tuple[str, Path]], folder: Path) -> None:
    shutil.copytree(wheels, folder, dirs_exist_ok=True)
    for name, path in sources:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _pick(whole: Path, folder: Path) -> None:
    """Copy what the functions of the small bundle can reach."""
    roots = [*(f"handlers.{name}" for name in SMALL), *_WHOLE]
    for path in sorted(reached(whole, roots, own=_SOURCES, whole=_WHOLE)):
        if "__pycache__" in path.parts:  # left by somebody who imported from there
            continue
        if path.relative_to(whole).as_posix() in _NOT_IN_SMALL:
            continue
        target = folder / path.relative_to(whole)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


# Keeping ------------------------------------------------------------------------------------------


def _place(target: Path, make: Callable[[Path], None]) -> None:
    """Make a folder beside its place and move it there whole; the first of two makers wins."""
    with tempfile.TemporaryDirectory(prefix="making-", dir=target.parent) as temporary:
        made = Path(temporary) / "made"
        made.mkdir()
        make(made)
        try:
            os.rename(made, target)
        except OSError:
            if not target.is_dir():
                raise


def _touch_and_prune(*used: Path) -> None:
    """Mark what was used, and remove all but the last few of each kind."""
    for folder in used:
        os.utime(folder)
        kind = folder.name.rpartition("-")[0]
        rivals = [path for path in folder.parent.glob(f"{kind}-*") if path.name != folder.name]
        rivals.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in rivals[_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)


def _digest(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8))
        found.update(part)
    return found.hexdigest()
