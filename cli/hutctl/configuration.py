"""Finds and reads ``hut.yaml``.

It is named by ``--config``, or stands beside or above the workflow file, or in the XDG
configuration folder.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hut.model.configuration import Configuration

__all__ = ["find_configuration", "load_configuration"]

NAMES = ("hut.yaml", "hut.yml")


def find_configuration(named: str | None, folder: str) -> Path | None:
    """Return the configuration file that counts, or None if there is none.

    Parameters
    ----------
    named
        What ``--config`` says.
    folder
        Where the workflow file is; the search goes from there upwards.
    """
    if named is not None:
        return Path(named)
    start = Path(folder).absolute()
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "hut"
    for place in (start, *start.parents, xdg):
        for name in NAMES:
            if (place / name).is_file():
                return place / name
    return None


def load_configuration(path: Path) -> Configuration:
    """Read a configuration file.

    Raises
    ------
    InvalidInput
        With every problem, each with its line.
    """
    # Both cost more to import than most commands take; without a file nobody needs them.
    from hut.model.configuration_reading import read_configuration
    from hut.model.documents import MalformedDocument, decode_text
    from hut.model.problems import InvalidInput, Problem

    try:
        text = decode_text(path.read_bytes())
    except MalformedDocument as error:
        raise InvalidInput([Problem(error.message, line=error.line)], source=str(path)) from None
    return read_configuration(text, filename=str(path))
