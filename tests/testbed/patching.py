"""What all parts of the test bed share: its settings, and how it changes the emulator.

Every change goes through `replace`, which fails when the emulator no longer has the thing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.testbed.address import aws_variables

on_reset: list[Callable[[], None]] = []
"""What else forgets its state when the emulator is reset."""


@dataclass
class Settings:
    """How this test bed behaves; `__main__` fills it before anything is installed."""

    url: str = ""
    work: Path = field(default_factory=Path.cwd)
    home: Path = field(default_factory=Path.home)
    jobs: int = 8  # Batch jobs that run at the same time
    grace: float = 2.0  # seconds from SIGTERM to SIGKILL; AWS waits 30
    shards: int = 2  # of each DynamoDB stream
    windows: bool = False  # whether mappings wait until a batch is full
    pollers: int = 1  # of a queue, where windows are kept: how many batches it gives at a time

    @classmethod
    def read(cls, url: str, work: Path, home: Path) -> Settings:
        """Make settings from HUT_TESTBED_... variables."""
        given = {
            name: float(os.environ.pop(f"HUT_TESTBED_{name.upper()}"))
            for name in ("jobs", "grace", "shards", "windows", "pollers")
            if f"HUT_TESTBED_{name.upper()}" in os.environ
        }
        plain = cls(url, work, home)
        return cls(
            url,
            work,
            home,
            jobs=int(given.get("jobs", plain.jobs)),
            grace=given.get("grace", plain.grace),
            shards=int(given.get("shards", plain.shards)),
            windows=bool(given.get("windows", plain.windows)),
            pollers=int(given.get("pollers", plain.pollers)),
        )


settings = Settings()


def use(new: Settings) -> None:
    """Take over settings; modules may hold on to the one object."""
    settings.__dict__.update(new.__dict__)


def replace(owner: Any, name: str, new: Any) -> Any:
    """Put something in the place of an attribute; return what was there."""
    if not hasattr(owner, name):
        raise AssertionError(f"the emulator changed: {owner.__name__} has no {name}")
    old = getattr(owner, name)
    setattr(owner, name, new)
    return old


def require(owner: Any, *names: str) -> None:
    """Make sure that what is used of the emulator is there."""
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        raise AssertionError(f"the emulator changed: {owner.__name__} has no {missing}")


def replace_entry(table: dict[str, Any], key: str, new: Any) -> Any:
    """Put something in the place of a dictionary's entry; return what was there."""
    if key not in table:
        raise AssertionError(f"the emulator changed: there is no {key}")
    old = table[key]
    table[key] = new
    return old


def replace_text(text: str, old: str, new: str) -> str:
    """Change the only place where a text occurs."""
    if text.count(old) != 1:
        raise AssertionError(f"the emulator changed: {text.count(old)} times {old!r}")
    return text.replace(old, new)


def environment_of_children(**more: str) -> dict[str, str]:
    """Return what a job or a command starts with; nothing else of ours is passed on."""
    binaries = str(Path(sys.executable).parent)
    passed = {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}
    return {
        **passed,
        "PATH": os.pathsep.join([binaries, os.environ.get("PATH", os.defpath)]),
        "HOME": str(settings.home),
        **aws_variables(settings.url),
        **more,
    }
