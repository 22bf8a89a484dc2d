"""The targets a person has added, and the one that commands go to: ``targets.json``.

The file is in the XDG configuration folder and holds no credentials: it names the profile they
come from.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

__all__ = [
    "LOCAL",
    "Target",
    "Targets",
    "change_targets",
    "is_target_name",
    "load_targets",
    "targets_path",
]

LOCAL = "local"
"""The name of this machine as a target; nothing else can have it."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """A control plane in AWS.

    Attributes
    ----------
    url : str
        Of the API, without a slash at the end.
    region : str
        Requests are signed for it.
    profile : str or None
        Where the credentials come from; None for what the environment says.
    stack, prefix, version : str or None
        The stack the address came from, and what was found there, for people.
    """

    name: str
    url: str
    region: str
    profile: str | None = None
    stack: str | None = None
    prefix: str | None = None
    version: str | None = None


@dataclass(slots=True)
class Targets:
    """What the file holds.

    Attributes
    ----------
    current : str or None
        Where commands go that name no target; None if nothing was chosen.
    """

    known: dict[str, Target] = field(default_factory=dict)
    current: str | None = None


def is_target_name(name: str) -> bool:
    """Say whether a target can have this name."""
    return name != LOCAL and _NAME.fullmatch(name) is not None


def targets_path() -> Path:
    """Return where the targets are kept."""
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(folder).expanduser() / "hut" / "targets.json"


def load_targets() -> Targets:
    """Read the targets; none if there is no file.

    Raises
    ------
    InvalidInput
        If the file is not what it should be.
    """
    path = targets_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Targets()
    except UnicodeDecodeError:
        raise _broken(path, "is not UTF-8 text") from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _broken(path, f"is not JSON: {error}") from None
    return _read(path, document)


def _read(path: Path, document: Any) -> Targets:
    if not isinstance(document, dict) or not isinstance(document.get("targets"), dict):
        raise _broken(path, 'has no object "targets"')
    known: dict[str, Target] = {}
    for name, entry in document["targets"].items():
        if not is_target_name(name) or not isinstance(entry, dict):
            raise _broken(path, f"the entry {name!r} is not a target")
        values: dict[str, Any] = {
            each.name: entry.get(each.name) for each in fields(Target) if each.name != "name"
        }
        for key, value in values.items():
            needed = key in ("url", "region")
            if not (isinstance(value, str) or (value is None and not needed)):
                raise _broken(path, f"{key!r} of target {name!r} is not a text")
        known[name] = Target(name, **values)
    current = document.get("current")
    if current is not None and current != LOCAL and current not in known:
        raise _broken(path, f'the "current" target {current!r} is not among the targets')
    return Targets(known, current)


def _broken(path: Path, message: str) -> Exception:
    from hut.model.problems import InvalidInput, Problem

    hint = "mend it, or remove it and add the targets again"
    return InvalidInput([Problem(f"{message}; {hint}")], source=str(path))


@contextlib.contextmanager
def change_targets() -> Iterator[Targets]:
    """Give the targets to be changed, and write them; another `hutctl` that changes them waits."""
    import fcntl

    path = Path(os.path.realpath(targets_path()))  # where it is a link, its goal is written
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_name(".targets.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        targets = load_targets()
        yield targets
        _write(path, targets)
    finally:
        os.close(lock)


def _write(path: Path, targets: Targets) -> None:
    """Replace the file as a whole; only its owner can read it."""
    import tempfile  # most commands only read

    document: Mapping[str, Any] = {
        "current": targets.current,
        "targets": {
            name: {key: value for key, value in asdict(target).items() if key != "name"}
            for name, target in targets.known.items()
        },
    }
    handle, new = tempfile.mkstemp(dir=path.parent, prefix=".targets-")  # made with mode 0600
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        raise
