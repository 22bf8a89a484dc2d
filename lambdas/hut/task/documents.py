"""The files a task is invoked with: each document is there as a whole or not at all.

A document is written beside its place under a name of its own, then renamed. What is no regular file
(``/dev/stdout``, a pipe) can't be replaced and is written to.
"""

from __future__ import annotations

import contextlib
import os
import stat

__all__ = ["Place"]


class Place:
    """Where a document goes.

    Parameters
    ----------
    named
        The path as it was given. A relative one is held against the folder of now, and a link is
        followed, so that what it leads to is replaced, not the link.

    Attributes
    ----------
    path : str
        The absolute path of the file.
    """

    def __init__(self, named: str) -> None:
        self.named = named
        self._stream = _is_stream(named)
        self.path = os.path.abspath(named) if self._stream else os.path.realpath(named)

    def problem(self) -> str | None:
        """Say why no document can go here; None if it can, as far as one can see."""
        if os.path.isdir(self.path):
            return f"{self.named!r} is a folder; name a file"
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            return f"{self.named!r} can't be written: there is no folder {folder!r}"
        return None

    def clear(self) -> None:
        """Take away what is there."""
        if not self._stream:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def put(self, document: bytes) -> None:
        """Let a document be there, whole."""
        if self._stream:
            with open(self.path, "wb") as stream:
                stream.write(document)
            return
        # The same folder, so that it can be renamed; a random name, as what a process of the same
        # number left behind when it was killed may still be there.
        written = os.path.join(os.path.dirname(self.path), f".hut-{os.urandom(8).hex()}.tmp")
        try:
            with open(written, "xb") as file:
                file.write(document)
            os.replace(written, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(written)
            raise


def _is_stream(path: str) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
